//! Every path that a Segment client calls, and the one thing they all do: [`Ingest::take`].

use crate::answer::Refusal;
use crate::take::{Asked, Call, Ingest};
use crate::{auth, body, settings};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine;
use onefold_types::MessageType;
use std::net::SocketAddr;

type Peer = Option<axum::Extension<ConnectInfo<SocketAddr>>>;

/// The tracking API's routes, CORS included.
pub fn router(ingest: Ingest) -> Router {
    let mut router = Router::new();
    let calls = MessageType::ALL.map(|call| (Call::One(call), call.as_str(), &call.as_str()[..1]));
    let batches = [(Call::Batch, "batch", "b"), (Call::Batch, "import", "import")];
    for (call, name, short) in calls.into_iter().chain(batches) {
        let handler = post(
            move |State(ingest): State<Ingest>, peer: Peer, headers: HeaderMap, body: Body| async move {
                ingest
                    .take(call, peer.map(|peer| peer.0.0), &headers, body)
                    .await
                    .map_err(IntoResponse::into_response)
            },
        );
        router = router.route(&format!("/v1/{name}"), handler.clone());
        if short != name {
            router = router.route(&format!("/v1/{short}"), handler);
        }
    }
    router
        .route("/v1/m", post(performance))
        .route("/v1/pixel/{call}", get(pixel))
        .route("/v1/projects/{key}/settings", get(project_settings))
        .route("/analytics.js/v1/{key}/analytics.min.js", get(script))
        .route("/analytics.js/LICENSE", get(licence))
        .route("/analytics-next/bundles/{file}", get(chunk))
        .route("/v1/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(ingest.clone(), around))
        .with_state(ingest)
}

async fn unknown(uri: Uri) -> Refusal {
    let detail = format!("there is no {}; expected a call as in /v1/track, or /v1/batch", path_of(&uri));
    Refusal::final_(StatusCode::NOT_FOUND, "not_found", detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let detail = format!("{} does not take {method}; calls are sent with POST", path_of(&uri));
    Refusal::final_(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// The beginning of a path: it can be as long as a request's head.
fn path_of(uri: &Uri) -> String {
    uri.path().chars().take(100).collect()
}

/// CORS for every origin, and a count of every answer.
async fn around(State(ingest): State<Ingest>, request: axum::extract::Request, next: Next) -> Response {
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
        let allowed = asked
            .unwrap_or_else(|| HeaderValue::from_static("authorization, content-type, content-encoding"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    } else {
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after, x-ratelimit-reset"),
        );
        ingest.counters().count_answer(response.status().as_u16());
    }
    response
}

/// Bytes that are read of what clients count of themselves.
const PERFORMANCE_BYTES: usize = 64 << 10;

/// The clients' counters of themselves: taken, so that they go on, and of no use here.
async fn performance(State(ingest): State<Ingest>, body: Body) -> Response {
    body::discard(body, PERFORMANCE_BYTES, ingest.limits().body_timeout).await;
    axum::Json(serde_json::json!({ "success": true })).into_response()
}

/// A transparent image of one pixel.
const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\0\0\0!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

#[derive(serde::Deserialize)]
struct Pixel {
    #[serde(default)]
    data: String,
}

/// Always an image: a mail program shows nothing else. What is wrong is kept and counted like everywhere, and what has no
/// item to count (an unknown key, a full disk) is counted by its code: no status tells of it.
async fn pixel(
    State(ingest): State<Ingest>,
    Path(call): Path<String>,
    query: Result<Query<Pixel>, axum::extract::rejection::QueryRejection>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    let taken = match (call.parse(), query) {
        (Ok(call), Ok(Query(Pixel { data }))) => seen(&ingest, call, &data, peer, &headers).await,
        _ => Err("invalid_pixel"),
    };
    if let Err(code) = taken {
        ingest.counters().count_rejected(code);
        tracing::debug!(code, "a pixel's message was not taken");
    }
    ([(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")], GIF).into_response()
}

/// Takes a pixel's message; the code of a refusal that nothing has counted yet.
async fn seen(
    ingest: &Ingest,
    call: MessageType,
    data: &str,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<(), &'static str> {
    let catalogue = ingest.catalogue().map_err(|refusal| refusal.code)?;
    let text = decode_data(data);
    if text.len() > ingest.limits().single_bytes {
        return Err("too_large");
    }
    let asked = Asked {
        call: Call::One(call),
        catalogue,
        header_key: auth::header_key(headers),
        ip: ingest.address(peer.map(|peer| peer.0.0), headers),
        bytes: text.into_bytes(),
        share: None,
    };
    match ingest.take_asked(asked).await {
        Err(refusal) if !refusal.is_counted() => Err(refusal.code),
        _ => Ok(()),
    }
}

/// base64url of JSON, or the JSON itself.
fn decode_data(data: &str) -> String {
    let engines = [
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(data.trim_end_matches('=')),
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(data.trim_end_matches('=').replace(' ', "+")),
    ];
    engines
        .into_iter()
        .flatten()
        .find_map(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| data.to_owned())
}

async fn project_settings(
    State(ingest): State<Ingest>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response {
    let catalogue = match ingest.catalogue() {
        Ok(catalogue) => catalogue,
        Err(refusal) => return refusal.into_response(),
    };
    match auth::source(&catalogue, &[Some(&key)]) {
        Ok(source) => axum::Json(settings::settings(source, &key, &ingest.origin(&headers))).into_response(),
        Err(_) => (StatusCode::NOT_FOUND, "no enabled source has this write key\n").into_response(),
    }
}

const NO_CLIENT: &str = "this build has no analytics.js in it: run `make clients` before `cargo build`\n";
const JAVASCRIPT: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];

async fn script(State(ingest): State<Ingest>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    let catalogue = match ingest.catalogue() {
        Ok(catalogue) => catalogue,
        Err(refusal) => return refusal.into_response(),
    };
    if auth::source(&catalogue, &[Some(&key)]).is_err() {
        return (StatusCode::NOT_FOUND, "no enabled source has this write key\n").into_response();
    }
    match ingest.client() {
        Some(client) => (JAVASCRIPT, client.script(&key, &ingest.origin(&headers).url())).into_response(),
        None => (StatusCode::NOT_FOUND, NO_CLIENT).into_response(),
    }
}

async fn licence(State(ingest): State<Ingest>) -> Response {
    match ingest.client() {
        Some(client) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], client.licence).into_response()
        }
        None => (StatusCode::NOT_FOUND, NO_CLIENT).into_response(),
    }
}

async fn chunk(State(ingest): State<Ingest>, Path(file): Path<String>) -> Response {
    match ingest.client().and_then(|client| client.chunk(&file)) {
        Some(bytes) => (JAVASCRIPT, bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
