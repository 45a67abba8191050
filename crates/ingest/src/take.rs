//! A request's way from its bytes to the log, whatever path it came by.

use crate::answer::{Accepted, Refusal, Rejection};
use crate::auth;
use crate::body::{self, Budget, Share};
use crate::client::ClientBundle;
use crate::decode::{self, Batch, Decoded, Request};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::rate::Rates;
use crate::settings::Origin;
use crate::{records, rewrite, surrogates};
use arc_swap::ArcSwapOption;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use onefold_log::record::Rejected;
use onefold_log::{Clock, SharedLog};
use onefold_types::{Catalogue, MessageType, Timestamp, rejected};
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

/// What an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    One(MessageType),
    Batch,
}

impl Call {
    const fn is_batch(self) -> bool {
        matches!(self, Self::Batch)
    }
}

/// A request as it came.
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) catalogue: Arc<Catalogue>,
    /// The write key that its header names.
    pub(crate) header_key: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) bytes: Vec<u8>,
    /// The budget's part that `bytes` have.
    pub(crate) share: Option<Share>,
}

/// A request that was taken apart.
struct Apart {
    call: Call,
    source: String,
    rate_limit: Option<u32>,
    decoded: Decoded,
    _shares: [Option<Share>; 2],
}

/// A request that was refused whole, and what is kept of it.
struct Whole {
    refusal: Refusal,
    kept: Option<Box<Rejected>>,
}

impl From<Refusal> for Whole {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, kept: None }
    }
}

/// Bytes that are taken apart on the thread that reads requests, in about a millisecond; more goes to another, lest
/// everyone else wait for it.
const AT_HAND_BYTES: usize = 256 << 10;

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

    pub(crate) fn counters(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.options.limits
    }

    pub(crate) fn client(&self) -> Option<&ClientBundle> {
        self.0.options.client.as_ref()
    }

    pub(crate) fn catalogue(&self) -> Result<Arc<Catalogue>, Refusal> {
        self.0.catalogue.load_full().ok_or_else(|| {
            let detail =
                "no workspace is loaded yet: start with `--workspace FILE` or run `onefold apply FILE`";
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "not_ready", 2, detail)
        })
    }

    /// Takes a request: answers when what it holds is durable.
    pub(crate) async fn take(
        &self,
        call: Call,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Accepted, Refusal> {
        let limits = self.limits();
        let catalogue = self.catalogue()?;
        let limit = if call.is_batch() { limits.batch_bytes } else { limits.single_bytes };
        let received = body::read(headers, body, limit, limits.body_timeout, &self.0.budget).await;
        let received = received.inspect_err(|refusal| self.count(refusal))?;
        let (header_key, ip) = (auth::header_key(headers), self.address(peer, headers));
        let (bytes, share) = (received.bytes, Some(received.share));
        self.take_asked(Asked { call, catalogue, header_key, ip, bytes, share }).await
    }

    /// Takes a request whose body is there.
    pub(crate) async fn take_asked(&self, asked: Asked) -> Result<Accepted, Refusal> {
        let apart = match self.apart(asked).await {
            Ok(apart) => apart,
            Err(Whole { refusal, kept }) => {
                self.count(&refusal);
                if let Some(kept) = kept {
                    self.keep(vec![*kept]).await;
                }
                return Err(refusal);
            }
        };
        let count = apart.decoded.messages.len() + apart.decoded.rejected.len();
        self.allow(&apart.source, apart.rate_limit, count)?;
        // Its shares go when it is in the log.
        self.store(apart.call, apart.decoded).await
    }

    /// Takes `count` messages off what `source` may send now.
    fn allow(&self, source: &str, rate_limit: Option<u32>, count: usize) -> Result<(), Refusal> {
        let Some(per_second) = rate_limit else { return Ok(()) };
        self.0.rates.take(source, per_second, count, Instant::now()).map_err(|seconds| {
            let detail = format!("source {source} may send {per_second} messages a second");
            Refusal::later(StatusCode::TOO_MANY_REQUESTS, "rate_limited", seconds, detail)
        })
    }

    /// Counts a request that is refused whole.
    fn count(&self, refusal: &Refusal) {
        if refusal.is_counted() {
            self.0.metrics.count_rejected(refusal.code);
        }
    }

    /// Takes a request apart, beside the threads that read requests if there is much of it.
    async fn apart(&self, asked: Asked) -> Result<Apart, Whole> {
        let text = String::from_utf8(asked.bytes).map_err(|_| {
            Refusal::final_(StatusCode::BAD_REQUEST, "invalid_json", "the body is not UTF-8; expected JSON")
        })?;
        let mut asked = Asked { bytes: Vec::new(), ..asked };
        let text = surrogates::mended(text);
        if text.len() <= AT_HAND_BYTES
            && let Some(apart) = self.apart_within(&mut asked, &text, AT_HAND_BYTES)?
        {
            return Ok(apart);
        }
        let ingest = self.clone();
        let work = move || ingest.apart_within(&mut asked, &text, usize::MAX);
        let stopping = || {
            let detail = "the server is stopping";
            Whole::from(Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "stopping", 2, detail))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| stopping())??.ok_or_else(stopping)
    }

    /// Takes a request apart unless that comes to more than `ceiling` bytes: then nothing.
    fn apart_within(&self, asked: &mut Asked, text: &str, ceiling: usize) -> Result<Option<Apart>, Whole> {
        let limits = self.limits();
        let (catalogue, header_key) = (&asked.catalogue, asked.header_key.as_deref());
        let request = match Request::read(text) {
            Ok(request) => request,
            Err(refusal) => {
                // Bad JSON of a known sender counts as a message and is kept; of an unknown one it is nobody's.
                let Ok(source) = auth::source(catalogue, &[header_key]) else { return Err(refusal.into()) };
                self.allow(&source.key, source.rate_limit, 1)?;
                let body = rewrite::without_keys(text, &catalogue.workspace.sources);
                let kept = Rejected {
                    source: source.key.clone(),
                    code: refusal.code.to_owned(),
                    detail: refusal.detail.clone(),
                    body: rejected::kept(&body, limits.kept_bytes()),
                };
                return Err(Whole { refusal, kept: Some(Box::new(kept)) });
            }
        };
        let body_key = request.write_key();
        let source = auth::source(catalogue, &[header_key, body_key.as_deref()])?;
        let origin = decode::Origin { source, ip: asked.ip.clone(), received_at: self.0.clock.now() };
        let (decoded, added) = match asked.call {
            Call::One(call) => (decode::single(text, &request, call, &origin, limits), None),
            Call::Batch => {
                let read = Batch::read(&request, limits);
                if read.is_err() {
                    // Refused whole, it counts as one.
                    self.allow(&source.key, source.rate_limit, 1)?;
                }
                let batch = read?;
                let added = batch.added();
                if text.len().saturating_add(added) > ceiling {
                    return Ok(None);
                }
                // Before it is made.
                let share = self.0.budget.take(Limits::share(added, batch.len()))?;
                (batch.decode(&origin, limits), Some(share))
            }
        };
        Ok(Some(Apart {
            call: asked.call,
            source: source.key.clone(),
            rate_limit: source.rate_limit,
            decoded,
            _shares: [asked.share.take(), added],
        }))
    }

    /// Takes an item of source `source` that was refused before, when it came at `received_at`; `message_id` is given to one
    /// that has none. Its record is of now, its event time as it would have been.
    ///
    /// # Errors
    /// Why it is refused again; nothing more is kept of it.
    pub async fn send_again(
        &self,
        source: &str,
        item: &str,
        message_id: &str,
        received_at: Timestamp,
    ) -> Result<(), Refusal> {
        let catalogue = self.catalogue()?;
        let known = catalogue.workspace.sources.iter().find(|known| known.key == source);
        let source = known.ok_or_else(|| {
            let detail = format!("the source `{source}` is not in the workspace any more");
            Refusal::final_(StatusCode::BAD_REQUEST, "unknown_source", detail)
        })?;
        if rejected::is_cut(item.as_bytes()) {
            let detail =
                "only the beginning of the item was kept; send it with its whole body, or discard it";
            return Err(Refusal::final_(StatusCode::BAD_REQUEST, "truncated", detail));
        }
        let item = surrogates::mended(item.to_owned());
        let origin = decode::Origin { source, ip: None, received_at };
        let mut decoded = decode::again(&item, message_id, &origin, self.limits());
        if let Some((Rejection { code, detail, .. }, _)) = decoded.rejected.pop() {
            return Err(Refusal::final_(StatusCode::BAD_REQUEST, code, detail));
        }
        self.store(Call::Batch, decoded).await.map(drop)
    }

    async fn store(&self, call: Call, decoded: Decoded) -> Result<Accepted, Refusal> {
        let (rejections, kept): (Vec<Rejection>, Vec<Rejected>) = decoded.rejected.into_iter().unzip();
        for rejection in &rejections {
            self.0.metrics.count_rejected(rejection.code);
        }
        let count = decoded.messages.len();
        if count > 0 {
            let bytes: usize = decoded.messages.iter().map(|message| message.body.len()).sum();
            self.append(records::of_messages(decoded.messages, self.limits().record_bytes)).await?;
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
                Err(Refusal { rejected: Vec::new(), ..Refusal::final_(status, code, detail) })
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
        let limits = self.limits();
        let count = kept.len() as u64;
        let source = kept.first().map(|item| item.source.clone()).unwrap_or_default();
        let allowed =
            self.0.kept.take(&source, limits.rejected_per_minute, kept.len(), Instant::now()).is_ok();
        if !allowed || self.append(records::of_rejected(kept, limits.record_bytes)).await.is_err() {
            self.0.metrics.rejected_unkept.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Appends and waits until all of it is durable (INGEST-1).
    async fn append(&self, payloads: Vec<Vec<u8>>) -> Result<(), Refusal> {
        let queued: Vec<_> = payloads
            .into_iter()
            .map(|payload| {
                let (done, durable) = tokio::sync::oneshot::channel();
                self.0.log.append(payload, Box::new(move |outcome| drop(done.send(outcome))));
                durable
            })
            .collect();
        let unavailable = |code, seconds, detail: String| {
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, code, seconds, detail)
        };
        for durable in queued {
            match durable.await {
                Ok(Ok(_)) => {}
                Ok(Err(onefold_log::Error::Busy { .. })) => {
                    return Err(unavailable("busy", 1, "the disk is behind; send again shortly".to_owned()));
                }
                Ok(Err(error @ onefold_log::Error::DiskFull)) => {
                    return Err(unavailable("disk_full", 10, error.to_string()));
                }
                Ok(Err(error)) => return Err(unavailable("log_failed", 10, error.to_string())),
                Err(_) => return Err(unavailable("stopping", 2, "the server is stopping".to_owned())),
            }
        }
        Ok(())
    }

    pub(crate) fn address(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<String> {
        let forwarded = || {
            // The proxy has put its own at the end, in a line of its own or not; what stands before it the client may
            // have made up.
            let line = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
            let last = line.rsplit(',').next()?.trim();
            last.parse::<std::net::IpAddr>().ok()
        };
        let trusted = self.0.options.trust_proxy.then(forwarded).flatten();
        trusted.or_else(|| peer.map(|peer| peer.ip())).map(|ip| ip.to_string())
    }

    /// Where the client finds this server.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> Origin {
        if self.0.options.trust_proxy { Origin::forwarded(headers) } else { Origin::direct(headers) }
    }
}
