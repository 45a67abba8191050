//! What a page may know about its own visitor: what its source lists, and nothing else.

use super::traits;
use crate::Admin;
use crate::answer::{Refused, blocking};
use crate::extract::Query;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onefold_api::profiles::Personal;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Visitor {
    /// The visitor's device.
    anonymous_id: String,
    /// The page's source.
    write_key: String,
}

/// What a page may know about its own visitor.
pub(super) async fn personalise(
    State(admin): State<Admin>,
    visitor: Result<Query<Visitor>, Refused>,
    headers: HeaderMap,
) -> Response {
    let visitor = match visitor {
        Ok(Query(visitor)) => visitor,
        Err(refused) => return readable([], refused),
    };
    if !(admin.0.accepting)() {
        let refused =
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "no workspace is loaded yet");
        return readable([(header::RETRY_AFTER, "1")], refused);
    }
    let compiled = admin.0.reader.handle().catalogue();
    let sources = compiled.catalogue.workspace.sources.iter();
    let Some(source) =
        sources.filter(|s| s.labels.enabled).find(|s| s.write_key.contains(&visitor.write_key)).cloned()
    else {
        let detail = "no enabled source has this write key";
        return readable([], Refused::new(StatusCode::UNAUTHORIZED, "unknown_write_key", detail));
    };
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
    let allowed = origin.filter(|origin| source.origins.iter().any(|known| known == "*" || known == origin));
    let reader = admin.0.reader.clone();
    let answer = blocking(move || {
        let person = reader.with(|query| match query.visitor(&visitor.anonymous_id)? {
            Some(handle) => query.person(handle),
            None => Ok(None),
        })?;
        let mut told = Personal { audiences: BTreeMap::new(), traits: BTreeMap::new() };
        for key in &source.personalize {
            let is_audience = compiled.catalogue.audiences.contains_key(key);
            if is_audience {
                let is = person
                    .as_ref()
                    .is_some_and(|person| person.audiences.iter().any(|(known, _)| known == key));
                told.audiences.insert(key.clone(), is);
                continue;
            }
            let Some(person) = &person else { continue };
            if let Some(computed) = person.computed.iter().find(|computed| computed.key == *key) {
                told.traits.insert(key.clone(), computed.value.into());
            } else if let Some(value) = person.profile.traits.get(key).filter(|value| !value.is_removed()) {
                told.traits.insert(key.clone(), traits::value(value));
            }
        }
        Ok(told)
    })
    .await;
    let mut response = match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => refused.into_response(),
    };
    // It is of one visitor and this instant, and another page may not read it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// What a browser asks before it asks: a page that sends headers of its own may do so. Which page may read the answer is
/// said with the answer.
pub(super) async fn preflight(headers: HeaderMap) -> Response {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let allowed = asked.unwrap_or_else(|| HeaderValue::from_static("content-type"));
    let said = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, OPTIONS")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    (StatusCode::NO_CONTENT, said).into_response()
}

/// A refusal that every page may read: it says nothing of the visitor.
fn readable<const N: usize>(headers: [(header::HeaderName, &'static str); N], refused: Refused) -> Response {
    (headers, [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], refused).into_response()
}
