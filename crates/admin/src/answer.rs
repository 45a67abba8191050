//! Answers: JSON, or a problem.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onefold_api::{Place, Problem};

/// A problem as a response.
#[derive(Debug)]
pub(crate) struct Refused(Box<Problem>);

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Problem");
        Self(Box::new(Problem::new(status.as_u16(), title, code, detail)))
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    pub(crate) fn with(mut self, problems: Vec<Place>) -> Self {
        self.0.problems = problems;
        self
    }
}

impl From<onefold_fold::Error> for Refused {
    fn from(error: onefold_fold::Error) -> Self {
        tracing::error!(%error, "a query failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "state_failed", error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)?;
        self.0.problems.iter().try_for_each(|problem| write!(f, "\n{}: {}", problem.place, problem.detail))
    }
}

/// A stored message's JSON; in words, why it cannot be read. That is never silent: it looks like a message that has nothing.
pub(crate) fn stored(message_id: &str, body: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::error!(message_id, %error, "a stored message is not JSON");
        format!("the stored message is not JSON: {error}")
    })
}

/// What handlers answer.
pub(crate) type Answer = Result<Json<serde_json::Value>, Refused>;

/// Runs a blocking read off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "broken_off",
            format!("the work was broken off: {error}"),
        ))
    })
}
