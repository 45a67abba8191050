//! What a client is told. A status is chosen for what the clients in use do with it (INGEST-3).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One item of a batch that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Its index in the batch.
    pub index: usize,
    /// The reason, machine-readable.
    pub code: &'static str,
    /// The reason in words.
    pub detail: String,
}

/// A request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The reason, machine-readable.
    pub code: &'static str,
    /// What was found and what was expected.
    pub detail: String,
    /// Seconds after which to send again.
    pub retry_after: Option<u64>,
    /// The items of a batch of which none was taken.
    pub rejected: Vec<Rejection>,
}

impl Refusal {
    /// A refusal that a client should not repeat.
    pub(crate) fn final_(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None, rejected: Vec::new() }
    }

    /// A refusal that a client should repeat after `seconds`.
    pub(crate) fn later(
        status: StatusCode,
        code: &'static str,
        seconds: u64,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, code, detail: detail.into(), retry_after: Some(seconds), rejected: Vec::new() }
    }

    /// Whether it is about what was sent, and so counted as rejected where it arises; the others (who sent it, how fast,
    /// the state of the server) show in the count of answers.
    pub(crate) fn is_counted(&self) -> bool {
        self.retry_after.is_none() && self.status != StatusCode::UNAUTHORIZED
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    success: bool,
    error: Detail<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    rejected: &'a [Rejection],
}

#[derive(Serialize)]
struct Detail<'a> {
    code: &'a str,
    detail: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Problem {
            success: false,
            error: Detail { code: self.code, detail: &self.detail },
            rejected: &self.rejected,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let value = HeaderValue::from(seconds);
            if self.status == StatusCode::TOO_MANY_REQUESTS {
                response.headers_mut().insert("x-ratelimit-reset", value.clone());
            }
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// A request of which something was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Accepted {
    success: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejection>,
}

impl Accepted {
    pub(crate) fn new(rejected: Vec<Rejection>) -> Self {
        Self { success: true, rejected }
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
