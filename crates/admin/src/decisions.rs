//! Operator decisions.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking, time};
use crate::describe::{Described, operation};
use crate::extract::{Body, Query};
use crate::numbers::Numbers;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::ByNumber;
use onefold_api::identity::{Numbered, Taken};
use onefold_fold::Outcome;
use onefold_log::record::Record;
use onefold_types::decision::{Decision, DecisionRecord};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) fn routes() -> Described {
    Described::default()
        .get("/api/decisions", operation("Operator decisions that were taken").query::<Numbers>(), list)
        .post(
            "/api/decisions",
            operation("Takes a decision, or says why it is refused").body::<Asked>(),
            decide,
        )
}

/// A decision. `kind` is link, cut, force (with `a` and `b`), block, unblock, delete_profile, issue_customer_key (with
/// `id`; the last answers with `customer_key`), delete_message (with `message_id`), undo or release (with `number`); an
/// identifier is `{type, id}`.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Asked {
    // A flattened member's own words are in no schema: the struct says them.
    #[serde(flatten)]
    #[schemars(with = "onefold_api::identity::Decision")]
    pub(crate) decision: Decision,
    /// Why, in the operator's words.
    #[serde(default)]
    pub(crate) reason: String,
    /// Who decided.
    #[serde(default)]
    pub(crate) operator: String,
}

async fn decide(State(admin): State<Admin>, Body(asked): Body<Asked>) -> Answer<Numbered> {
    take(&admin, asked).await
}

/// Appends a decision, waits until it is folded, and tells what became of it.
pub(crate) async fn take(admin: &Admin, asked: Asked) -> Answer<Numbered> {
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
        Some(Outcome::Taken { number }) => Ok(Json(Numbered { number, customer_key: None })),
        Some(Outcome::Issued { number, customer_key }) => {
            Ok(Json(Numbered { number, customer_key: Some(customer_key) }))
        }
        Some(Outcome::Refused { rule, witnesses }) => Err(Refused::decision(rule, witnesses)),
        None => Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "lost",
            "the decision was folded without an outcome",
        )),
    }
}

async fn list(State(admin): State<Admin>, Query(numbers): Query<Numbers>) -> Answer<ByNumber<Taken>> {
    blocking(move || {
        let found = admin.0.reader.with(|query| query.decisions(numbers.cursor, numbers.limit()))?;
        let taken = found.into_iter().map(|(number, decided)| {
            let taken = Taken {
                number,
                at: time(decided.at),
                operator: decided.record.operator,
                reason: decided.record.reason,
                decision: decided.record.decision.into(),
            };
            (number, taken)
        });
        Ok(numbers.page(taken.collect()))
    })
    .await
    .map(Json)
}
