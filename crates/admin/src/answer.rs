//! Answers: JSON, or a problem.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onefold_api::{Place, Problem, Time};
use onefold_delivery::render::iso;
use onefold_types::{Identifier, Timestamp};

/// A problem as a response.
#[derive(Debug)]
pub(crate) struct Refused(Box<Problem>);

impl Refused {
    /// The code of what was not done for the fold has other work first; whoever asks again later gets it.
    pub(crate) const BEHIND: &str = "behind";

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

    /// A decision that is refused, by which rule, and the identifiers that show it.
    pub(crate) fn decision(rule: String, witnesses: Vec<Identifier>) -> Self {
        let named: Vec<String> = witnesses.iter().map(ToString::to_string).collect();
        let shown = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
        let detail = format!("refused, and not recorded: {rule}{shown}");
        let mut refused = Self::new(StatusCode::CONFLICT, "refused", detail);
        refused.0.rule = Some(rule);
        refused.0.witnesses = witnesses.into_iter().map(Into::into).collect();
        refused
    }

    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.0.status
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
        let is_behind = self.0.code == Self::BEHIND;
        let mut response = (status, Json(self.0)).into_response();
        if is_behind {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
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
pub(crate) type Answer<T> = Result<Json<T>, Refused>;

/// An instant as answers have it.
pub(crate) fn time(at: Timestamp) -> Time {
    Time(iso(at))
}

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
