//! Audiences and their sizes, and what an expression is.

use crate::Admin;
use crate::answer::{Answer, Refused};
use crate::describe::{Described, operation};
use crate::extract::{Body, Query};
use crate::keys::Keys;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::workspace::{Audience, Audiences, Backfill, Checked, ExpressionKind};
use onefold_api::{ByKey, Place};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) fn routes() -> Described {
    Described::default()
        .get("/api/audiences", operation("Audiences and how many are in each").query::<Keys>(), audiences)
        .post(
            "/api/check",
            operation("What an expression is, or where it is wrong").body::<Expression>(),
            check,
        )
}

#[derive(Deserialize, JsonSchema)]
struct Expression {
    /// In the audience language.
    expression: String,
}

/// Parses an expression and says what it is, or where it is wrong.
async fn check(Body(given): Body<Expression>) -> Answer<Checked> {
    let text = given.expression;
    let wrong = |error: onefold_audience::SyntaxError| {
        let place = Place { place: "expression".to_owned(), detail: error.render(&text) };
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_expression", "the expression cannot be used")
            .with(vec![place])
    };
    let expr = onefold_audience::parse(&text).map_err(&wrong)?;
    let is_condition = onefold_audience::check_condition(&expr).is_ok();
    if !is_condition {
        onefold_audience::check_value(&expr).map_err(&wrong)?;
    }
    let texts = |notes: Vec<(_, String)>| notes.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    Ok(Json(Checked {
        canonical: expr.to_string(),
        kind: if is_condition { ExpressionKind::Condition } else { ExpressionKind::Value },
        explanation: onefold_audience::explain::explain(&expr),
        notes: texts(onefold_audience::explain::notes(&expr)),
        unsupported: texts(onefold_audience::unsupported(&expr)),
    }))
}

async fn audiences(State(admin): State<Admin>, Query(keys): Query<Keys>) -> Answer<Audiences> {
    let compiled = admin.0.reader.handle().catalogue();
    let status = admin.0.reader.handle().status();
    let all = compiled.catalogue.workspace.audiences.iter().collect();
    let (page, cursor) = keys.page(all, |audience| &audience.key);
    let shown = page.into_iter().map(|audience| {
        let id = compiled.catalogue.audiences.get(&audience.key).copied().unwrap_or_default();
        Audience {
            key: audience.key.clone(),
            name: audience.labels.name.clone(),
            condition: audience.condition.clone(),
            size: admin.0.reader.handle().audience_size(id),
            enabled: audience.labels.enabled,
        }
    });
    let backfill = status.backfill.map(|(done, of)| Backfill { done, of });
    Ok(Json(Audiences { page: ByKey { data: shown.collect(), cursor }, backfill }))
}
