//! Who may call (ADMIN-2): on a loopback address without an admin token everyone on this machine, elsewhere whoever has the
//! token, as Bearer or as the Basic user name.

use crate::Admin;
use crate::answer::Refused;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Who may call.
#[derive(Clone)]
pub enum Access {
    /// Everyone on this machine: the server listens on a loopback address, and no token was given.
    Loopback,
    /// Whoever has this token.
    Token(String),
}

pub(crate) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    match &admin.0.access {
        Access::Loopback => match is_local(&request) {
            Ok(()) => next.run(request).await,
            Err(refused) => refused.into_response(),
        },
        Access::Token(token) if given(request.headers()).is_some_and(|given| same(&given, token)) => {
            next.run(request).await
        }
        Access::Token(_) => {
            let detail = "expected the admin token, as `Authorization: Bearer …` or as the Basic user name";
            let mut response =
                Refused::new(StatusCode::UNAUTHORIZED, "authentication_error", detail).into_response();
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// Whether a request to a loopback address comes from this machine, as far as it says so itself: a page in a browser must
/// not drive the API of a server on its visitor's own machine, and a proxy on this machine must not open it to everyone.
fn is_local(request: &Request) -> Result<(), Refused> {
    let refuse = |code, detail: &str| Err(Refused::new(StatusCode::FORBIDDEN, code, detail));
    if let Some(name) = forwarded_by(request.headers()) {
        let detail = format!(
            "the header {name} says that a proxy passed this on, so it may come from anywhere; without an admin token a \
             server on a loopback address answers only this machine itself. Start the server with --admin-token or \
             ONEFOLD_ADMIN_TOKEN and send the token as `Authorization: Bearer …`, or have the proxy pass on only what \
             sends events"
        );
        return refuse("proxied", &detail);
    }
    if !names_loopback(request.headers()) {
        return refuse(
            "foreign_host",
            "the Host header names another machine; call the server by its loopback address",
        );
    }
    if !is_from_loopback(request) {
        return refuse(
            "foreign_origin",
            "a page of another site asked for this; only pages of this machine may change anything",
        );
    }
    Ok(())
}

/// The header by which a proxy says for whom it asks. One that says nothing cannot be told from a local caller.
fn forwarded_by(headers: &HeaderMap) -> Option<&'static str> {
    ["X-Forwarded-For", "Forwarded", "X-Real-IP"].into_iter().find(|name| headers.contains_key(*name))
}

/// Whether `Host` is a loopback name (DNS rebinding: a foreign name that resolves here is not).
fn names_loopback(headers: &HeaderMap) -> bool {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_none_or(is_loopback)
}

/// Whether a request that changes something comes from no page, or from one of this machine: a browser sends a POST
/// without a body to anyone, and only then looks whether its page may read the answer.
fn is_from_loopback(request: &Request) -> bool {
    let origin = request.headers().get(header::ORIGIN);
    let Some(origin) = origin.filter(|_| !request.method().is_safe()) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, host)| is_loopback(host))
}

/// Whether `host`, with a port or without, is a loopback name.
fn is_loopback(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn given(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.trim().to_owned());
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    Some(decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user).to_owned())
}

/// Compares without telling by time how much was right.
fn same(given: &str, token: &str) -> bool {
    let (a, b) = (given.as_bytes(), token.as_bytes());
    let differences = a.iter().zip(b).fold(a.len() ^ b.len(), |sum, (x, y)| sum | usize::from(x ^ y));
    differences == 0 && !token.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::{is_from_loopback, is_local, is_loopback};
    use axum::body::Body;
    use axum::extract::Request;

    #[test]
    fn what_a_proxy_passed_on_is_not_local_whatever_host_it_names() {
        let local = |header: Option<&str>| {
            let mut request = Request::builder().header("host", "127.0.0.1:8080");
            if let Some(header) = header {
                request = request.header(header, "203.0.113.9");
            }
            is_local(&request.body(Body::empty()).unwrap()).map_err(|refused| refused.to_string())
        };
        assert_eq!(local(None), Ok(()));
        assert_eq!(local(Some("x-forwarded-proto-of-mine")), Ok(()));
        for header in ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "X-Real-Ip"] {
            let refused = local(Some(header)).unwrap_err();
            assert!(refused.to_lowercase().contains(&header.to_lowercase()), "{refused}");
            assert!(refused.contains("--admin-token"), "{refused}");
        }
    }

    #[test]
    fn only_pages_of_this_machine_change_anything() {
        let from = |method: &str, origin: Option<&str>| {
            let mut request = Request::builder().method(method);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            is_from_loopback(&request.body(Body::empty()).unwrap())
        };
        assert!(from("POST", None) && from("GET", Some("https://evil.example")));
        assert!(from("POST", Some("http://localhost:3000")) && from("POST", Some("http://[::1]:8080")));
        for origin in
            ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil"]
        {
            assert!(!from("POST", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn loopback_names_are_known_with_and_without_a_port() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com:80", "10.0.0.1", "127.0.0.1.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
