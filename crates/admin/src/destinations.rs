//! Destinations: how each is doing, and its dead letters.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking, time};
use crate::describe::{Described, operation};
use crate::extract::{Path, Query};
use crate::keys::Keys;
use crate::numbers::Numbers;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::deliveries::{DeadLetter, DestinationStatus, NotDelivered, Reply, Retried, RetriedAll};
use onefold_api::quarantine::Discarded;
use onefold_api::{ByKey, ByNumber};
use onefold_connector::{Answer as Said, Outcome as Sent};

pub(crate) fn routes() -> Described {
    Described::default()
        .get(
            "/api/destinations",
            operation("Destinations and how each is doing").query::<Keys>(),
            destinations,
        )
        .get(
            "/api/destinations/{key}/dead-letters",
            operation("Effects that could not be delivered").query::<Numbers>(),
            dead_letters,
        )
        .post(
            "/api/destinations/{key}/dead-letters/retry-all",
            operation("Sends dead letters again, by number, and says where to go on").query::<Numbers>(),
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

fn reply(said: Said) -> Reply {
    Reply { status: said.status, text: said.text }
}

async fn destinations(
    State(admin): State<Admin>,
    Query(keys): Query<Keys>,
) -> Answer<ByKey<DestinationStatus>> {
    let (page, cursor) = keys.page(admin.0.delivery.status(), |status| &status.key);
    let shown = page.into_iter().map(|status| DestinationStatus {
        key: status.key,
        enabled: status.enabled,
        queued: status.queued,
        oldest: status.oldest.map(time),
        in_flight: status.in_flight,
        delivered: status.delivered,
        failed: status.failed,
        dead: status.dead,
        last_error: status.last_error.map(reply),
        breaker: status.breaker.as_str().to_owned(),
        trouble: status.trouble,
        unreadable: status.unreadable,
    });
    Ok(Json(ByKey { data: shown.collect(), cursor }))
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
    Query(numbers): Query<Numbers>,
) -> Answer<ByNumber<DeadLetter>> {
    blocking(move || {
        let letters = admin.0.delivery.dead_letters(&key, numbers.cursor, numbers.limit());
        let shown = letters.map_err(|error| refused(&error))?.into_iter().map(|letter| {
            let shown = DeadLetter {
                number: letter.sequence,
                id: letter.effect.id_text(),
                at: time(letter.at),
                attempts: letter.attempts,
                answer: reply(letter.answer),
                body: serde_json::from_slice(&letter.body).unwrap_or_default(),
            };
            (letter.sequence, shown)
        });
        Ok(numbers.page(shown.collect()))
    })
    .await
    .map(Json)
}

async fn retry(State(admin): State<Admin>, Path((key, sequence)): Path<(String, u64)>) -> Answer<Retried> {
    let sent = admin.0.delivery.retry(&key, sequence).await.map_err(|error| refused(&error))?;
    let (delivered, answer) = match sent {
        Sent::Delivered(answer) => (true, answer),
        Sent::Retry { answer, .. } | Sent::Refused(answer) | Sent::RefusedTogether(answer) => (false, answer),
    };
    Ok(Json(Retried { delivered, answer: reply(answer) }))
}

/// Sends dead letters from `cursor` on once more, as many as one request has time for; `cursor` in the answer is where to
/// go on, `stopped` what the destination said when it took nothing more.
async fn retry_all(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    Query(numbers): Query<Numbers>,
) -> Answer<RetriedAll> {
    let redriven = admin.0.delivery.retry_all(&key, numbers.cursor, numbers.limit()).await;
    let redriven = redriven.map_err(|error| refused(&error))?;
    let not_delivered = |(number, answer)| NotDelivered { number, answer: reply(answer) };
    Ok(Json(RetriedAll {
        delivered: redriven.delivered,
        failed: redriven.failed.len(),
        failures: redriven.failed.into_iter().map(not_delivered).collect(),
        cursor: redriven.next,
        stopped: redriven.stopped.map(reply),
    }))
}

async fn discard(
    State(admin): State<Admin>,
    Path((key, sequence)): Path<(String, u64)>,
) -> Answer<Discarded> {
    blocking(move || admin.0.delivery.discard(&key, sequence).map_err(|error| refused(&error))).await?;
    Ok(Json(Discarded { discarded: true }))
}
