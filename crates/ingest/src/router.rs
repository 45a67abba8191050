//! Every path that a Segment client calls, and the one thing they all do: [`Ingest::take`].

use crate::answer::{Accepted, Refusal, Rejection};
use crate::auth;
use crate::body::{self, Budget};
use crate::client::ClientBundle;
use crate::decode::{self, Decoded, Request};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::rate::Rates;
use crate::settings::{self, Origin};
use arc_swap::ArcSwapOption;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use onefold_log::record::{Record, Rejected};
use onefold_log::{Clock, SharedLog};
use onefold_types::{Catalogue, MessageType};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What the tracking API is made with.
pub struct IngestOptions {
    /// The limits.
    pub limits: Limits,
    /// analytics.js, if it was built in.
    pub client: Option<ClientBundle>,
    /// Believe `X-Forwarded-For`, `-Host` and `-Proto`: only behind a proxy of one's own.
    pub trust_proxy: bool,
}

/// The tracking API; cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Inner>);

struct Inner {
    log: SharedLog,
    clock: Arc<dyn Clock>,
    catalogue: Arc<ArcSwapOption<Catalogue>>,
    options: IngestOptions,
    budget: Budget,
    rates: Rates,
    kept: Rates,
    metrics: Arc<Metrics>,
}

impl Ingest {
    /// The tracking API over `log`, with the sources of `catalogue`; while that is empty, every call is answered 503.
    #[must_use]
    pub fn new(
        log: SharedLog,
        clock: Arc<dyn Clock>,
        catalogue: Arc<ArcSwapOption<Catalogue>>,
        options: IngestOptions,
    ) -> Self {
        let budget = Budget::new(options.limits.in_flight_bytes);
        Self(Arc::new(Inner {
            log,
            clock,
            catalogue,
            budget,
            options,
            rates: Rates::per(Duration::from_secs(1)),
            kept: Rates::per(Duration::from_secs(60)),
            metrics: Arc::default(),
        }))
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.0.metrics.clone()
    }

    fn catalogue(&self) -> Result<Arc<Catalogue>, Refusal> {
        self.0.catalogue.load_full().ok_or_else(|| {
            let detail =
                "no workspace is loaded yet: start with `--workspace FILE` or run `onefold apply FILE`";
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "not_ready", 2, detail)
        })
    }

    /// Takes a request: answers when what it holds is durable.
    async fn take(
        &self,
        call: Call,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Accepted, Refusal> {
        let limits = &self.0.options.limits;
        let catalogue = self.catalogue()?;
        let limit = if call.is_batch() { limits.batch_bytes } else { limits.single_bytes };
        let received = body::read(headers, body, limit, limits.body_timeout, &self.0.budget).await?;
        let text = std::str::from_utf8(&received.bytes).map_err(|_| {
            Refusal::final_(StatusCode::BAD_REQUEST, "invalid_json", "the body is not UTF-8; expected JSON")
        })?;
        self.take_text(call, &catalogue, auth::header_key(headers), self.address(peer, headers), text).await
    }

    async fn take_text(
        &self,
        call: Call,
        catalogue: &Catalogue,
        header_key: Option<String>,
        ip: Option<String>,
        text: &str,
    ) -> Result<Accepted, Refusal> {
        let limits = &self.0.options.limits;
        let request = match Request::read(text) {
            Ok(request) => request,
            Err(refusal) => {
                // Bad JSON of a known sender is kept; of an unknown one it is nobody's.
                if let Ok(source) = auth::source(catalogue, &[header_key.as_deref()]) {
                    let mut kept = text.as_bytes().to_vec();
                    kept.truncate(limits.rejected_bytes);
                    let kept = Rejected {
                        source: source.key.clone(),
                        code: refusal.code.to_owned(),
                        detail: refusal.detail.clone(),
                        body: kept,
                    };
                    self.keep(vec![kept]).await;
                }
                return Err(refusal);
            }
        };
        let body_key = request.write_key();
        let source = auth::source(catalogue, &[header_key.as_deref(), body_key.as_deref()])?;
        let origin = decode::Origin { source, ip, received_at: self.0.clock.now() };
        let decoded = match call {
            Call::One(call) => decode::single(text, &request, call, &origin, limits),
            Call::Batch => decode::batch(&request, &origin, limits)?,
        };
        if let Some(per_second) = source.rate_limit {
            let count = decoded.messages.len() + decoded.rejected.len();
            self.0.rates.take(&source.key, per_second, count, Instant::now()).map_err(|seconds| {
                let detail = format!("source {} may send {per_second} messages a second", source.key);
                Refusal::later(StatusCode::TOO_MANY_REQUESTS, "rate_limited", seconds, detail)
            })?;
        }
        self.store(call, decoded).await
    }

    /// Takes an item of source `source` that was refused before; `message_id` is given to one that has none.
    ///
    /// # Errors
    /// Why it is refused again; nothing more is kept of it.
    pub async fn send_again(&self, source: &str, item: &str, message_id: &str) -> Result<(), Refusal> {
        let catalogue = self.catalogue()?;
        let known = catalogue.workspace.sources.iter().find(|known| known.key == source);
        let source = known.ok_or_else(|| {
            let detail = format!("the source `{source}` is not in the workspace any more");
            Refusal::final_(StatusCode::BAD_REQUEST, "unknown_source", detail)
        })?;
        let origin = decode::Origin { source, ip: None, received_at: self.0.clock.now() };
        let mut decoded = decode::again(item, message_id, &origin, &self.0.options.limits);
        if let Some((Rejection { code, detail, .. }, _)) = decoded.rejected.pop() {
            return Err(Refusal::final_(StatusCode::BAD_REQUEST, code_of(&code), detail));
        }
        self.store(Call::Batch, decoded).await.map(drop)
    }

    async fn store(&self, call: Call, decoded: Decoded) -> Result<Accepted, Refusal> {
        let (rejections, kept): (Vec<Rejection>, Vec<Rejected>) = decoded.rejected.into_iter().unzip();
        for rejection in &rejections {
            self.0.metrics.count_rejected(&rejection.code);
        }
        let count = decoded.messages.len();
        if count > 0 {
            let bytes: usize = decoded.messages.iter().map(|message| message.body.len()).sum();
            self.append(Record::Messages(decoded.messages).encode()).await?;
            self.0.metrics.accepted.fetch_add(count as u64, Ordering::Relaxed);
            self.0.metrics.accepted_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if !kept.is_empty() {
            self.keep(kept).await;
        }
        match (call, rejections) {
            (_, rejections) if rejections.is_empty() || count > 0 => Ok(Accepted::new(rejections)),
            (Call::One(_), mut rejections) => {
                let Rejection { code, detail, .. } = rejections.remove(0);
                let status =
                    if code == "too_large" { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                Err(Refusal { rejected: Vec::new(), ..Refusal::final_(status, code_of(&code), detail) })
            }
            (Call::Batch, rejected) => {
                let detail = "no item of the batch could be taken; `rejected` says why of each".to_owned();
                Err(Refusal { rejected, ..Refusal::final_(StatusCode::BAD_REQUEST, "all_rejected", detail) })
            }
        }
    }

    /// Keeps rejected items in the log. Their sender is told the reason either way, so a log that does not take them
    /// is counted and changes no answer.
    async fn keep(&self, kept: Vec<Rejected>) {
        let per_minute = self.0.options.limits.rejected_per_minute;
        let count = kept.len() as u64;
        let source = kept.first().map(|item| item.source.clone()).unwrap_or_default();
        let allowed = self.0.kept.take(&source, per_minute, kept.len(), Instant::now()).is_ok();
        if !allowed || self.append(Record::Rejected(kept).encode()).await.is_err() {
            self.0.metrics.rejected_unkept.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Appends and waits until it is durable (INGEST-1).
    async fn append(&self, payload: Vec<u8>) -> Result<(), Refusal> {
        let (done, durable) = tokio::sync::oneshot::channel();
        self.0.log.append(payload, Box::new(move |outcome| drop(done.send(outcome))));
        let unavailable = |code, seconds, detail: String| {
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, code, seconds, detail)
        };
        match durable.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(onefold_log::Error::Busy { .. })) => {
                Err(unavailable("busy", 1, "the disk is behind; send again shortly".to_owned()))
            }
            Ok(Err(error @ onefold_log::Error::DiskFull)) => {
                Err(unavailable("disk_full", 10, error.to_string()))
            }
            Ok(Err(error)) => Err(unavailable("log_failed", 10, error.to_string())),
            Err(_) => Err(unavailable("stopping", 2, "the server is stopping".to_owned())),
        }
    }

    fn address(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<String> {
        let forwarded = || {
            let value = headers.get("x-forwarded-for")?.to_str().ok()?;
            // The proxy has put its own at the end; what stands before it the client may have made up.
            let last = value.rsplit(',').next()?.trim();
            last.parse::<std::net::IpAddr>().ok()
        };
        let trusted = self.0.options.trust_proxy.then(forwarded).flatten();
        trusted.or_else(|| peer.map(|peer| peer.ip())).map(|ip| ip.to_string())
    }

    /// Where the client finds this server.
    fn origin(&self, headers: &HeaderMap) -> Origin {
        if self.0.options.trust_proxy { Origin::forwarded(headers) } else { Origin::direct(headers) }
    }
}

/// Codes are few and static; a rejection carries its own as text.
fn code_of(code: &str) -> &'static str {
    const CODES: &[&str] = &[
        "too_large",
        "too_deep",
        "too_many_properties",
        "not_an_object",
        "invalid_json",
        "missing_type",
        "unknown_type",
        "missing_event",
        "missing_group_id",
        "missing_previous_id",
        "no_identifier",
        "message_id_too_long",
        "invalid_field",
    ];
    CODES.iter().find(|known| **known == code).copied().unwrap_or("rejected")
}

/// What an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    One(MessageType),
    Batch,
}

impl Call {
    const fn is_batch(self) -> bool {
        matches!(self, Self::Batch)
    }
}

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
        .layer(middleware::from_fn_with_state(ingest.clone(), around))
        .with_state(ingest)
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
        ingest.0.metrics.count_answer(response.status().as_u16());
    }
    response
}

/// The clients' counters of themselves: taken, so that they go on, and of no use here.
async fn performance(body: Body) -> Response {
    drop(axum::body::to_bytes(body, 64 << 10).await);
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

/// Always an image: a mail program shows nothing else. What is wrong is kept and counted like everywhere.
async fn pixel(
    State(ingest): State<Ingest>,
    Path(call): Path<String>,
    query: Result<Query<Pixel>, axum::extract::rejection::QueryRejection>,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    if let (Ok(call), Ok(Query(Pixel { data })), Ok(catalogue)) = (call.parse(), query, ingest.catalogue()) {
        let text = decode_data(&data);
        let ip = ingest.address(peer.map(|peer| peer.0.0), &headers);
        if text.len() <= ingest.0.options.limits.single_bytes {
            // A refusal is counted where it arises; an image has no place for it.
            if let Err(refusal) =
                ingest.take_text(Call::One(call), &catalogue, auth::header_key(&headers), ip, &text).await
            {
                tracing::debug!(code = refusal.code, "a pixel's message was not taken");
            }
        } else {
            ingest.0.metrics.count_rejected("too_large");
        }
    } else {
        ingest.0.metrics.count_rejected("invalid_pixel");
    }
    ([(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")], GIF).into_response()
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
    match &ingest.0.options.client {
        Some(client) => (JAVASCRIPT, client.script(&key, &ingest.origin(&headers).url())).into_response(),
        None => (StatusCode::NOT_FOUND, NO_CLIENT).into_response(),
    }
}

async fn licence(State(ingest): State<Ingest>) -> Response {
    match &ingest.0.options.client {
        Some(client) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], client.licence).into_response()
        }
        None => (StatusCode::NOT_FOUND, NO_CLIENT).into_response(),
    }
}

async fn chunk(State(ingest): State<Ingest>, Path(file): Path<String>) -> Response {
    match ingest.0.options.client.as_ref().and_then(|client| client.chunk(&file)) {
        Some(bytes) => (JAVASCRIPT, bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
