//! The quarantine: what was refused, sent again or given up.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking, time};
use crate::decisions::{Asked, take};
use crate::describe::{Described, operation};
use crate::extract::{OptionalBody, Path, Query};
use crate::numbers;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::quarantine::{Discarded, Quarantine, Quarantined, SentAgain};
use onefold_fold::Quarantined as Kept;
use onefold_types::decision::Decision;
use onefold_types::rejected::is_cut;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub(crate) fn routes() -> Described {
    Described::default()
        .get("/api/quarantine", operation("What was refused, and why").query::<Wanted>(), list)
        .post(
            "/api/quarantine/{number}/send",
            operation("Sends a refused item again, mended or as it was").body::<Again>(),
            send_again,
        )
        .post("/api/quarantine/{number}/discard", operation("Gives a refused item up"), discard)
}

/// Bytes of the bodies of one page, but for one body that is longer alone.
const BODIES_BYTES_MAX: usize = 4 << 20;

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Where the last page ended.
    #[serde(default)]
    cursor: u64,
    /// At most so many; 50 if it is not given, 1,000 at most. With bodies a page ends after about 4 MiB of them, with more
    /// to come from its cursor on.
    limit: Option<usize>,
    /// Each item with its body.
    #[serde(default)]
    bodies: bool,
}

async fn list(State(admin): State<Admin>, Query(wanted): Query<Wanted>) -> Answer<Quarantine> {
    let limit = wanted.limit.unwrap_or(50).clamp(1, 1_000);
    blocking(move || {
        admin
            .0
            .reader
            .with(|query| {
                let mut found = query.quarantine(wanted.cursor, limit)?;
                let mut is_more = found.len() >= limit;
                let mut bodies = None;
                if wanted.bodies {
                    let read = query.quarantined_bodies(&found, BODIES_BYTES_MAX)?;
                    is_more |= read.len() < found.len();
                    found.truncate(read.len());
                    bodies = Some(read.into_iter());
                }
                let shown = |(number, item)| {
                    let body = bodies.as_mut().map(|bodies| bodies.next().flatten());
                    (number, shown(number, item, body))
                };
                let items = found.into_iter().map(shown).collect();
                let dropped = query.counters()?.quarantine_dropped;
                Ok(Quarantine { page: numbers::page(items, is_more), dropped })
            })
            .map_err(Refused::from)
    })
    .await
    .map(Json)
}

/// `body` is `None` if bodies are not asked for, and has none if the log has it no more.
fn shown(number: u64, item: Kept, body: Option<Option<Vec<u8>>>) -> Quarantined {
    let truncated = body.as_ref().map(|body| body.as_deref().is_some_and(is_cut));
    let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(other) => String::from_utf8_lossy(other.as_bytes()).into_owned(),
    };
    Quarantined {
        number,
        received_at: time(item.rt),
        source: item.source,
        code: item.code,
        detail: item.detail,
        body: body.map(|body| body.map(text)),
        truncated,
    }
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
) -> Answer<SentAgain> {
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
    if item.code == "dup_conflict" && has_the_same_id(again.body.as_ref(), kept.as_deref()) {
        let detail = "another message had this `messageId` before it, with another content; give the item as `body` with a \
                      `messageId` of its own or without one, or discard it";
        return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "same_message_id", detail));
    }
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
    if let Err((code, detail)) = (admin.0.send_again)(item.source, body, message_id, item.rt).await {
        let detail = format!("refused again ({code}): {detail}");
        return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "refused_again", detail));
    }
    let reason = if again.reason.is_empty() { "sent again".to_owned() } else { again.reason };
    let asked = Asked { decision: Decision::Release { number }, reason, operator: again.operator };
    take(&admin, asked).await.map(|_| Json(SentAgain { sent: true }))
}

/// Whether an item would come again with the message id that it was kept with.
fn has_the_same_id(mended: Option<&Value>, kept: Option<&[u8]>) -> bool {
    let kept = kept.and_then(|kept| serde_json::from_slice::<Value>(kept).ok()).unwrap_or_default();
    // One without an id of its own gets another each time.
    let id = Some(&kept["messageId"]).filter(|id| !id.is_null());
    id.is_some_and(|id| mended.is_none_or(|mended| mended["messageId"] == *id))
}

async fn discard(State(admin): State<Admin>, Path(number): Path<u64>) -> Answer<Discarded> {
    let reason = "discarded".to_owned();
    let asked = Asked { decision: Decision::Release { number }, reason, operator: String::new() };
    take(&admin, asked).await.map(|_| Json(Discarded { discarded: true }))
}
