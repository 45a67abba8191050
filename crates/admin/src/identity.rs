//! Why two identifiers are one person or not, merges and splits, user ids that differ in nothing but case.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking, time};
use crate::describe::{Described, operation};
use crate::extract::Query;
use crate::numbers::Numbers;
use axum::Json;
use axum::extract::State;
use onefold_api::identity::{Alike, Apart, Because, Changed, Hop, Stamp, Transition, Why};
use onefold_api::{ByKey, ByNumber};
use onefold_fold::Kept;
use onefold_fold::query::Query as View;
use onefold_identity::engine::Transition as Kind;
use onefold_identity::graph::Stamp as Known;
use onefold_identity::why::{Because as Says, Hop as Joined, WhyNot};
use onefold_types::Identifier;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) fn routes() -> Described {
    Described::default()
        .get(
            "/api/why",
            operation("Why two identifiers are one person, or why they are not").query::<Two>(),
            why,
        )
        .get("/api/transitions", operation("Merges, splits and moves").query::<Numbers>(), transitions)
        .get(
            "/api/near-duplicates",
            operation("User ids that differ in nothing but case").query::<Forms>(),
            near_duplicates,
        )
}

fn identifier(text: &str) -> Result<Identifier, Refused> {
    let (id_type, value) = text
        .split_once(':')
        .ok_or_else(|| Refused::bad(format!("`{text}` is no identifier; expected `type:value`")))?;
    Ok(Identifier::new(id_type, value))
}

#[derive(Deserialize, JsonSchema)]
struct Two {
    /// An identifier, `type:value`.
    a: String,
    /// Another.
    b: String,
}

/// Why two identifiers are one person, or why they are not.
async fn why(State(admin): State<Admin>, Query(two): Query<Two>) -> Answer<Why> {
    let (a, b) = (identifier(&two.a)?, identifier(&two.b)?);
    blocking(move || {
        admin
            .0
            .reader
            .with(|query| {
                let (Some(a), Some(b)) = (query.normalise(&a), query.normalise(&b)) else {
                    let detail = "one of them is blocked by the rules: it says nothing about anyone";
                    let reason = Apart::Blocked { detail: detail.to_owned() };
                    return Ok(Why { together: false, path: None, reason: Some(reason) });
                };
                if let Some(hops) = query.why(&a, &b)? {
                    let hops = hops.into_iter().map(|hop| shown(query, hop)).collect::<Result<_, _>>()?;
                    return Ok(Why { together: true, path: Some(hops), reason: None });
                }
                let why_not = query.why_not(&a, &b)?;
                Ok(Why { together: false, path: None, reason: Some(apart(query, why_not)?) })
            })
            .map_err(Refused::from)
    })
    .await
    .map(Json)
}

fn apart(query: &mut View<'_, '_>, why_not: WhyNot) -> Result<Apart, onefold_fold::Error> {
    Ok(match why_not {
        WhyNot::Unknown { id } => Apart::Unknown { detail: format!("{id} was never seen") },
        WhyNot::Together => Apart::Together,
        WhyNot::NoEvidence => {
            let detail = "no chain of events or decisions leads from one to the other";
            Apart::NoEvidence { detail: detail.to_owned() }
        }
        WhyNot::TooFar { searched } => {
            let detail = format!(
                "too far apart to show: {searched} identifiers were searched, and none of them is the other; whether a \
                 chain leads there is not known"
            );
            Apart::TooFar { searched, detail }
        }
        WhyNot::Rejected { hop, refusal } => {
            let witnesses = refusal.witnesses.into_iter().map(Into::into).collect();
            Apart::Rejected { hop: shown(query, hop)?, rule: refusal.rule, witnesses }
        }
    })
}

fn shown(query: &mut View<'_, '_>, hop: Joined) -> Result<Hop, onefold_fold::Error> {
    let because = match &hop.because {
        Says::Operator { number } => Because::Operator { decision: *number },
        Says::Events { sets, first } => {
            let (count, message_ids, last) = query.messages_of(sets, 4)?;
            Because::Events { first: time(first.ts), last: last.map(time), count, message_ids }
        }
    };
    let rules_version = query.compiled().catalogue.rules_version;
    Ok(Hop { from: hop.from.into(), to: hop.to.into(), because, rules_version })
}

async fn transitions(
    State(admin): State<Admin>,
    Query(numbers): Query<Numbers>,
) -> Answer<ByNumber<Changed>> {
    blocking(move || {
        let found = admin.0.reader.with(|query| query.transitions(numbers.cursor, numbers.limit()))?;
        let changed = found.into_iter().map(|(number, kept)| (number, changed(number, kept)));
        Ok(numbers.page(changed.collect()))
    })
    .await
    .map(Json)
}

fn changed(number: u64, kept: Kept) -> Changed {
    let stamp = |stamp: Known| Stamp { ts: stamp.ts.0, message_id: stamp.message_id };
    let transition = match kept.transition {
        Kind::Merged { from, into } => Transition::Merged { from: from.0, into: into.0 },
        Kind::Split { from, into } => {
            Transition::Split { from: from.0, into: into.into_iter().map(|profile| profile.0).collect() }
        }
        Kind::Moved { device, from, to, since, until } => Transition::Moved {
            device: device.0,
            from: from.map(|profile| profile.0),
            to: to.map(|profile| profile.0),
            since: stamp(since),
            until: until.map(stamp),
        },
        Kind::IdChanged { profile, from, to } => {
            Transition::IdChanged { profile: profile.0, from: from.0, to: to.0 }
        }
    };
    Changed { number, at: time(kept.at), transition, cause: kept.cause.into() }
}

#[derive(Deserialize, JsonSchema)]
struct Forms {
    /// Where the last page ended.
    cursor: Option<String>,
    /// At most so many; 50 if it is not given, 1,000 at most.
    limit: Option<usize>,
}

async fn near_duplicates(State(admin): State<Admin>, Query(forms): Query<Forms>) -> Answer<ByKey<Alike>> {
    blocking(move || {
        let limit = forms.limit.unwrap_or(50).clamp(1, 1_000);
        let found = admin.0.reader.with(|query| query.near_duplicates(forms.cursor.as_deref(), limit))?;
        let cursor = found.last().filter(|_| found.len() >= limit).map(|(form, _)| form.clone());
        let alike = |ids: Vec<Identifier>| Alike { ids: ids.into_iter().map(Into::into).collect() };
        Ok(ByKey { data: found.into_iter().map(|(_, ids)| alike(ids)).collect(), cursor })
    })
    .await
    .map(Json)
}
