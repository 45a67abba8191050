//! Operator decisions, why and why not, the quarantine, dead letters.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking};
use crate::describe::{Described, operation};
use crate::extract::{Body, OptionalBody, Path, Query};
use crate::keys::Keys;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_connector::Outcome as Sent;
use onefold_delivery::render::iso;
use onefold_fold::Outcome;
use onefold_fold::query::Query as View;
use onefold_identity::why::{Because, Hop, WhyNot};
use onefold_log::record::Record;
use onefold_types::Identifier;
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::rejected::is_cut;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) fn routes() -> Described {
    Described::default()
        .get(
            "/api/why",
            operation("Why two identifiers are one person, or why they are not").query::<Two>(),
            why,
        )
        .get("/api/decisions", operation("Operator decisions that were taken").query::<Page>(), list)
        .post(
            "/api/decisions",
            operation("Takes a decision, or says why it is refused").body::<Asked>(),
            decide,
        )
        .get("/api/transitions", operation("Merges, splits and moves").query::<Page>(), transitions)
        .get(
            "/api/near-duplicates",
            operation("User ids that differ in nothing but case").query::<Forms>(),
            near_duplicates,
        )
        .get("/api/quarantine", operation("What was refused, and why").query::<Page>(), quarantine)
        .post(
            "/api/quarantine/{number}/send",
            operation("Sends a refused item again, mended or as it was").body::<Again>(),
            send_again,
        )
        .post("/api/quarantine/{number}/discard", operation("Gives a refused item up"), discard_item)
        .get(
            "/api/destinations",
            operation("Destinations and how each is doing").query::<Keys>(),
            destinations,
        )
        .get(
            "/api/destinations/{key}/dead-letters",
            operation("Effects that could not be delivered").query::<Page>(),
            dead_letters,
        )
        .post(
            "/api/destinations/{key}/dead-letters/retry-all",
            operation("Sends dead letters again, by number, and says where to go on").query::<Page>(),
            retry_all,
        )
        .post(
            "/api/destinations/{key}/dead-letters/{sequence}/retry",
            operation("Sends a dead letter again"),
            retry,
        )
        .post(
            "/api/destinations/{key}/dead-letters/{sequence}/discard",
            operation("Gives a dead letter up"),
            discard,
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
async fn why(State(admin): State<Admin>, Query(two): Query<Two>) -> Answer {
    let (a, b) = (identifier(&two.a)?, identifier(&two.b)?);
    blocking(move || {
        admin.0.reader.with(|query| {
            let (Some(a), Some(b)) = (query.normalise(&a), query.normalise(&b)) else {
                return Ok(json!({ "together": false, "reason": { "kind": "blocked", "detail": "one of them is blocked by the rules: it says nothing about anyone" } }));
            };
            if let Some(hops) = query.why(&a, &b)? {
                let hops = hops.iter().map(|hop| shown(query, hop)).collect::<Result<Vec<_>, _>>()?;
                return Ok(json!({ "together": true, "path": hops }));
            }
            let reason = match query.why_not(&a, &b)? {
                WhyNot::Unknown { id } => json!({ "kind": "unknown", "detail": format!("{id} was never seen") }),
                WhyNot::Together => json!({ "kind": "together" }),
                WhyNot::NoEvidence => json!({ "kind": "no_evidence", "detail": "no chain of events or decisions leads from one to the other" }),
                WhyNot::TooFar { searched } => json!({ "kind": "too_far", "searched": searched, "detail": format!("too far apart to show: {searched} identifiers were searched, and none of them is the other; whether a chain leads there is not known") }),
                WhyNot::Rejected { hop, refusal } => {
                    json!({ "kind": "rejected", "hop": shown(query, &hop)?, "rule": refusal.rule, "witnesses": refusal.witnesses })
                }
            };
            Ok(json!({ "together": false, "reason": reason }))
        })
        .map_err(Refused::from)
    })
    .await
    .map(Json)
}

fn shown(query: &mut View<'_, '_>, hop: &Hop) -> Result<Value, onefold_fold::Error> {
    let because = match &hop.because {
        Because::Operator { number } => json!({ "kind": "operator", "decision": number }),
        Because::Events { sets, first } => {
            let (count, ids, last) = query.messages_of(sets, 4)?;
            json!({ "kind": "events", "first": iso(first.ts), "last": last.map(iso), "count": count, "message_ids": ids })
        }
    };
    Ok(
        json!({ "from": hop.from, "to": hop.to, "because": because, "rules_version": query.compiled().catalogue.rules_version }),
    )
}

/// A decision. `kind` is link, cut, force (with `a` and `b`), block, unblock, delete_profile, issue_customer_key (with
/// `id`; the last answers with `customer_key`), delete_message (with `message_id`), undo or release (with `number`); an
/// identifier is `{type, id}`.
#[derive(Deserialize, JsonSchema)]
struct Asked {
    // A flattened member's own words are in no schema: the struct says them.
    #[serde(flatten)]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    decision: Decision,
    /// Why, in the operator's words.
    #[serde(default)]
    reason: String,
    /// Who decided.
    #[serde(default)]
    operator: String,
}

async fn decide(State(admin): State<Admin>, Body(asked): Body<Asked>) -> Answer {
    take(&admin, asked).await
}

/// Appends a decision, waits until it is folded, and tells what became of it.
async fn take(admin: &Admin, asked: Asked) -> Answer {
    let request_id = uuid::Uuid::now_v7().to_string();
    let operator = if asked.operator.is_empty() { "api".to_owned() } else { asked.operator };
    let record = DecisionRecord {
        request_id: request_id.clone(),
        operator,
        reason: asked.reason,
        decision: asked.decision,
    };
    let json = serde_json::to_vec(&record).map_err(|error| Refused::bad(error.to_string()))?;
    admin.append(Record::Decision(json)).await?;
    let reader = admin.0.reader.clone();
    let decided =
        blocking(move || reader.with(|query| query.decided(&request_id)).map_err(Refused::from)).await?;
    match decided.map(|decided| decided.outcome) {
        Some(Outcome::Taken { number }) => Ok(Json(json!({ "number": number }))),
        Some(Outcome::Issued { number, customer_key }) => {
            Ok(Json(json!({ "number": number, "customer_key": customer_key })))
        }
        Some(Outcome::Refused { rule, witnesses }) => {
            let witnesses: Vec<String> = witnesses.iter().map(ToString::to_string).collect();
            let shown =
                if witnesses.is_empty() { String::new() } else { format!(" ({})", witnesses.join(", ")) };
            let detail = format!("refused, and not recorded: {rule}{shown}");
            Err(Refused::new(StatusCode::CONFLICT, "refused", detail))
        }
        None => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "lost",
            "the decision was folded without an outcome",
        )),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Page {
    /// Where the last page ended.
    #[serde(default)]
    cursor: u64,
    /// At most so many; 50 if it is not given, 1,000 at most.
    limit: Option<usize>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(50).clamp(1, 1_000)
    }
}

fn paged(items: Vec<(u64, Value)>, limit: usize) -> Value {
    let next = items.last().filter(|_| items.len() >= limit).map(|(number, _)| number + 1);
    json!({ "data": items.into_iter().map(|(_, item)| item).collect::<Vec<_>>(), "cursor": next })
}

async fn list(State(admin): State<Admin>, Query(page): Query<Page>) -> Answer {
    blocking(move || {
        let found = admin.0.reader.with(|query| query.decisions(page.cursor, page.limit()))?;
        let items = found.into_iter().map(|(number, decided)| {
            let item = json!({ "number": number, "at": iso(decided.at), "operator": decided.record.operator,
                "reason": decided.record.reason, "decision": decided.record.decision });
            (number, item)
        });
        Ok(paged(items.collect(), page.limit()))
    })
    .await
    .map(Json)
}

async fn transitions(State(admin): State<Admin>, Query(page): Query<Page>) -> Answer {
    blocking(move || {
        let found = admin.0.reader.with(|query| query.transitions(page.cursor, page.limit()))?;
        let items = found.into_iter().map(|(number, kept)| {
            (number, json!({ "number": number, "at": iso(kept.at), "transition": kept.transition, "cause": kept.cause }))
        });
        Ok(paged(items.collect(), page.limit()))
    })
    .await
    .map(Json)
}

#[derive(Deserialize, JsonSchema)]
struct Forms {
    /// Where the last page ended.
    cursor: Option<String>,
    /// At most so many; 50 if it is not given, 1,000 at most.
    limit: Option<usize>,
}

async fn near_duplicates(State(admin): State<Admin>, Query(forms): Query<Forms>) -> Answer {
    blocking(move || {
        let limit = forms.limit.unwrap_or(50).clamp(1, 1_000);
        let found = admin.0.reader.with(|query| query.near_duplicates(forms.cursor.as_deref(), limit))?;
        let next = found.last().filter(|_| found.len() >= limit).map(|(form, _)| form.clone());
        let data: Vec<Value> = found.into_iter().map(|(_, ids)| json!({ "ids": ids })).collect();
        Ok(json!({ "data": data, "cursor": next }))
    })
    .await
    .map(Json)
}

async fn quarantine(State(admin): State<Admin>, Query(page): Query<Page>) -> Answer {
    blocking(move || {
        let (dropped, items) = admin.0.reader.with(|query| {
            let found = query.quarantine(page.cursor, page.limit())?;
            let mut items = Vec::new();
            for (number, item) in found {
                let body = query.quarantined_body(item.at)?;
                let truncated = body.as_deref().is_some_and(is_cut);
                let body = body.map(|body| String::from_utf8_lossy(&body).into_owned());
                let item = json!({ "number": number, "received_at": iso(item.rt), "source": item.source, "code": item.code, "detail": item.detail, "body": body, "truncated": truncated });
                items.push((number, item));
            }
            Ok((query.counters()?.quarantine_dropped, items))
        })?;
        let mut answer = paged(items, page.limit());
        answer["dropped"] = dropped.into();
        Ok(answer)
    })
    .await
    .map(Json)
}

#[derive(Deserialize, Default, JsonSchema)]
struct Again {
    /// The item as it should have been; as it was if this is not given.
    body: Option<Value>,
    /// Why, in the operator's words.
    #[serde(default)]
    reason: String,
    /// Who decided.
    #[serde(default)]
    operator: String,
}

/// Sends an item once more, mended or as it was, and takes it out when it was accepted.
async fn send_again(
    State(admin): State<Admin>,
    Path(number): Path<u64>,
    OptionalBody(again): OptionalBody<Again>,
) -> Answer {
    let reader = admin.0.reader.clone();
    let found = blocking(move || {
        Ok(reader.with(|query| {
            let found = query.quarantine(number, 1)?.pop().filter(|(known, _)| *known == number);
            let Some((_, item)) = found else { return Ok(None) };
            let body = query.quarantined_body(item.at)?;
            Ok(Some((item, body)))
        })?)
    })
    .await?;
    let (item, kept) =
        found.ok_or_else(|| Refused::not_found(format!("the quarantine has no item {number}")))?;
    let body = match (again.body, kept) {
        (Some(body), _) => body.to_string(),
        (None, Some(kept)) if is_cut(&kept) => {
            let detail = "only a part of the item was kept; give it whole as `body`, or discard the item";
            return Err(Refused::new(StatusCode::GONE, "body_truncated", detail));
        }
        (None, Some(kept)) => String::from_utf8_lossy(&kept).into_owned(),
        (None, None) => {
            let detail = "the item's body is not in the log any more; give it as `body`, or discard the item";
            return Err(Refused::new(StatusCode::GONE, "body_gone", detail));
        }
    };
    let message_id = format!("again-{}-{}", item.at.position, item.at.index);
    if let Err((code, detail)) = (admin.0.send_again)(item.source, body, message_id).await {
        let detail = format!("refused again ({code}): {detail}");
        return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "refused_again", detail));
    }
    let reason = if again.reason.is_empty() { "sent again".to_owned() } else { again.reason };
    let asked = Asked { decision: Decision::Release { number }, reason, operator: again.operator };
    take(&admin, asked).await.map(|_| Json(json!({ "sent": true })))
}

async fn discard_item(State(admin): State<Admin>, Path(number): Path<u64>) -> Answer {
    let reason = "discarded".to_owned();
    let asked = Asked { decision: Decision::Release { number }, reason, operator: String::new() };
    take(&admin, asked).await.map(|_| Json(json!({ "discarded": true })))
}

async fn destinations(State(admin): State<Admin>, Query(keys): Query<Keys>) -> Answer {
    let (page, cursor) = keys.page(admin.0.delivery.status(), |status| &status.key);
    let list: Vec<Value> = page
        .into_iter()
        .map(|s| {
            json!({ "key": s.key, "queued": s.queued, "in_flight": s.in_flight, "delivered": s.delivered, "failed": s.failed,
                "dead": s.dead, "last_error": s.last_error, "breaker": s.breaker.as_str(), "trouble": s.trouble })
        })
        .collect();
    Ok(Json(json!({ "data": list, "cursor": cursor })))
}

fn refused(error: &onefold_delivery::Error) -> Refused {
    match error {
        onefold_delivery::Error::Store(_) => {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "state_failed", error.to_string())
        }
        onefold_delivery::Error::UnderWay { .. } => {
            Refused::new(StatusCode::CONFLICT, "under_way", error.to_string())
        }
        _ => Refused::not_found(error.to_string()),
    }
}

async fn dead_letters(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    blocking(move || {
        let letters = admin
            .0
            .delivery
            .dead_letters(&key, page.cursor, page.limit())
            .map_err(|error| refused(&error))?;
        let items = letters.into_iter().map(|letter| {
            let body: Value = serde_json::from_slice(&letter.body).unwrap_or_default();
            let item = json!({ "number": letter.sequence, "id": letter.effect.id_text(), "at": iso(letter.at),
                "attempts": letter.attempts, "answer": letter.answer, "body": body });
            (letter.sequence, item)
        });
        Ok(paged(items.collect(), page.limit()))
    })
    .await
    .map(Json)
}

async fn retry(State(admin): State<Admin>, Path((key, sequence)): Path<(String, u64)>) -> Answer {
    match admin.0.delivery.retry(&key, sequence).await.map_err(|error| refused(&error))? {
        Sent::Delivered(answer) => Ok(Json(json!({ "delivered": true, "answer": answer }))),
        Sent::Retry { answer, .. } | Sent::Refused(answer) | Sent::RefusedTogether(answer) => {
            Ok(Json(json!({ "delivered": false, "answer": answer })))
        }
    }
}

/// Sends dead letters from `cursor` on once more, as many as one request has time for; `cursor` in the answer is where to
/// go on, `stopped` what the destination said when it took nothing more.
async fn retry_all(State(admin): State<Admin>, Path(key): Path<String>, Query(page): Query<Page>) -> Answer {
    let redriven = admin.0.delivery.retry_all(&key, page.cursor, page.limit()).await;
    let redriven = redriven.map_err(|error| refused(&error))?;
    let failures =
        redriven.failed.iter().map(|(number, answer)| json!({ "number": number, "answer": answer }));
    Ok(Json(json!({ "delivered": redriven.delivered, "failed": redriven.failed.len(),
        "failures": failures.collect::<Vec<_>>(), "cursor": redriven.next, "stopped": redriven.stopped })))
}

async fn discard(State(admin): State<Admin>, Path((key, sequence)): Path<(String, u64)>) -> Answer {
    blocking(move || admin.0.delivery.discard(&key, sequence).map_err(|error| refused(&error))).await?;
    Ok(Json(json!({ "discarded": true })))
}
