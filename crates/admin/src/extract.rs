//! What requests say, read by axum's extractors; what they refuse is a problem like any other.

use crate::answer::Refused;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io::ErrorKind;

/// Bytes of a body: a workspace is one record of the log, which holds no more.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// The query parameters.
pub(crate) struct Query<T>(pub(crate) T);

/// The parameters in the path.
pub(crate) struct Path<T>(pub(crate) T);

/// The body, as JSON.
pub(crate) struct Body<T>(pub(crate) T);

/// The body, as JSON; the default where there is none.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Refused::bad(rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(rejection) => Err(Refused::bad(rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused(rejection.status(), rejection.body_text(), &rejection)),
        }
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let read = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let bytes =
            read.map_err(|rejection| refused(rejection.status(), rejection.body_text(), &rejection))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        let Body(body) = Body::from_request(Request::from_parts(parts, bytes.into()), state).await?;
        Ok(Self(body))
    }
}

/// Characters of what is wrong with a body: the parser's words can hold all of it.
const DETAIL_MAX: usize = 500;

fn refused(status: StatusCode, mut detail: String, why: &(dyn Error + 'static)) -> Refused {
    if let Some(late) = late(why) {
        return Refused::new(StatusCode::REQUEST_TIMEOUT, "too_slow", late);
    }
    if let Some((end, _)) = detail.char_indices().nth(DETAIL_MAX) {
        detail.truncate(end);
        detail.push('…');
    }
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        _ => "invalid_request",
    };
    Refused::new(status, code, detail)
}

/// In words, that a body did not arrive in time: the server breaks such a body off with an I/O error that says so.
fn late(why: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(why);
    while let Some(error) = cause {
        match error.downcast_ref::<std::io::Error>() {
            Some(error) if error.kind() == ErrorKind::TimedOut => return Some(error.to_string()),
            _ => cause = error.source(),
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use serde_json::Value;

    /// A body of which a part comes, and then an error of this kind.
    fn broken_off(kind: ErrorKind) -> Request {
        let parts = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::new(kind, "not within 60s"))];
        let body = axum::body::Body::from_stream(futures_util::stream::iter(parts));
        Request::builder().header("content-type", "application/json").body(body).unwrap()
    }

    #[tokio::test]
    async fn a_body_that_is_too_slow_is_told_from_one_that_broke() {
        for (kind, status, code) in
            [(ErrorKind::TimedOut, 408, "too_slow"), (ErrorKind::ConnectionReset, 400, "invalid_request")]
        {
            let whole = Body::<Value>::from_request(broken_off(kind), &()).await.err().unwrap();
            let either = OptionalBody::<Value>::from_request(broken_off(kind), &()).await.err().unwrap();
            for refused in [whole, either] {
                assert_eq!((refused.status(), refused.code()), (status, code), "{refused}");
            }
        }
    }

    #[tokio::test]
    async fn a_limit_between_the_server_and_the_reader_hides_no_slowness() {
        use axum::extract::DefaultBodyLimit;
        use axum::routing::post;
        use tower::ServiceExt;
        let read = post(|Body(_): Body<Value>| async {});
        let router = axum::Router::new().route("/", read).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let mut request = broken_off(ErrorKind::TimedOut);
        *request.method_mut() = axum::http::Method::POST;
        assert_eq!(router.oneshot(request).await.unwrap().status(), 408);
    }
}
