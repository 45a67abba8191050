//! Reading a body within its limit, its time and the budget of all bodies (INGEST-4).

use crate::answer::Refusal;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for this many bytes. A body that has brought a few costs one permit, so that as many connections as
/// the server takes do not use the budget up by saying little.
const PERMIT_BYTES: usize = 1024;

/// Bytes for which a body's place is made before they came, at most: what is announced costs nothing to announce.
const EXPECTED_BYTES_MAX: usize = 16 << 10;

/// The budget that all bodies in flight share.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// A share of `bytes`, if that much is left.
    pub(crate) fn take(&self, bytes: usize) -> Result<Share, Refusal> {
        let permits = u32::try_from(permits(bytes)).unwrap_or(u32::MAX);
        self.0.clone().try_acquire_many_owned(permits).map(Share).map_err(|_| {
            Refusal::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                1,
                "too many requests at once; send again shortly",
            )
        })
    }
}

const fn permits(bytes: usize) -> usize {
    bytes.div_ceil(PERMIT_BYTES)
}

/// A part of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    /// Makes it a share of `bytes`: takes what it lacks, gives back what it has more.
    fn resize(&mut self, bytes: usize, budget: &Budget) -> Result<(), Refusal> {
        let (has, wanted) = (self.0.num_permits(), permits(bytes));
        if wanted > has {
            let more = budget.take((wanted - has).saturating_mul(PERMIT_BYTES))?;
            self.0.merge(more.0);
        } else {
            drop(self.0.split(has - wanted));
        }
        Ok(())
    }
}

/// A body that was read whole, and its share of the budget.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Share,
}

fn too_large(limit: usize) -> Refusal {
    Refusal::final_(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body is larger than {limit} bytes"),
    )
}

/// Reads `body`, inflating it if it says that it is gzip.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    timeout: Duration,
    budget: &Budget,
) -> Result<Received, Refusal> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let gzip = is_gzip(headers)?;
    let collecting = collect(body, limit, announced.unwrap_or(0), budget);
    let received = tokio::time::timeout(timeout, collecting).await;
    let Received { bytes, mut share } = received.map_err(|_| {
        let detail = format!("the body did not arrive within {timeout:?}");
        Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "too_slow", 1, detail)
    })??;
    if !gzip {
        return Ok(Received { bytes, share });
    }
    // Before it is made; how long it gets nobody knows.
    share.resize(limit, budget)?;
    let bytes = inflate(&bytes, limit)?;
    share.resize(bytes.len(), budget)?;
    Ok(Received { bytes, share })
}

/// Reads what comes of a body that is of no use: at most `limit` bytes, and no longer than `timeout`.
pub(crate) async fn discard(mut body: Body, limit: usize, timeout: Duration) {
    let read = async {
        let mut left = limit;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) else { return };
            left = rest;
        }
    };
    // Whatever came, the answer is the same.
    drop(tokio::time::timeout(timeout, read).await);
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()) {
        None => Ok(false),
        Some(value) if value == b"identity" || value.is_empty() => Ok(false),
        Some(value) if value == b"gzip" || value == b"x-gzip" => Ok(true),
        Some(_) => Err(Refusal::final_(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            "the body's content-encoding is unknown here; expected gzip or none",
        )),
    }
}

/// Reads a body and takes of the budget what came: a body that is slow to come, or never comes, holds nobody up.
async fn collect(
    mut body: Body,
    limit: usize,
    expected: usize,
    budget: &Budget,
) -> Result<Received, Refusal> {
    let mut share = budget.take(0)?;
    let mut bytes = Vec::with_capacity(expected.min(limit).min(EXPECTED_BYTES_MAX));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let detail = format!("the body broke off: {error}");
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "incomplete", 1, detail)
        })?;
        if let Some(data) = frame.data_ref() {
            let length = bytes.len() + data.len();
            if length > limit {
                return Err(too_large(limit));
            }
            share.resize(length, budget)?;
            bytes.extend_from_slice(data);
        }
    }
    Ok(Received { bytes, share })
}

/// Inflates at most `limit` bytes: a bomb costs what an honest body of that size costs.
fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::new();
    let ceiling = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes).take(ceiling).read_to_end(&mut inflated).map_err(|error| {
        Refusal::final_(
            StatusCode::BAD_REQUEST,
            "invalid_gzip",
            format!("the body says it is gzip and is not: {error}"),
        )
    })?;
    if inflated.len() > limit { Err(too_large(limit)) } else { Ok(inflated) }
}
