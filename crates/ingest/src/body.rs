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

/// One permit stands for this many bytes.
const PERMIT_BYTES: usize = 1024;

/// The budget that all bodies in flight share.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS))))
    }

    pub(crate) fn take(&self, bytes: usize) -> Result<Share, Refusal> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        self.0.clone().try_acquire_many_owned(permits).map(|permit| Share { _permit: permit }).map_err(|_| {
            Refusal::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                1,
                "too many requests at once; send again shortly",
            )
        })
    }
}

/// A part of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _permit: OwnedSemaphorePermit,
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
    let share = budget.take(match announced {
        Some(length) if !gzip => length,
        _ => limit,
    })?;
    let bytes = tokio::time::timeout(timeout, collect(body, limit, announced.unwrap_or(0))).await.map_err(
        |_| {
            Refusal::later(
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                1,
                format!("the body did not arrive within {timeout:?}"),
            )
        },
    )??;
    let bytes = if gzip { inflate(&bytes, limit)? } else { bytes };
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

async fn collect(mut body: Body, limit: usize, expected: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(expected.min(limit));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::later(
                StatusCode::REQUEST_TIMEOUT,
                "incomplete",
                1,
                format!("the body broke off: {error}"),
            )
        })?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
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
