//! The tracking API: what existing Segment clients send, durable before it is acknowledged.
//!
//! **Never here:** the store, the fold, a delivery. Nothing downstream is asked before a message is accepted.
//!
//! - **INGEST-1 (ACK):** 200 is sent after the log said that the record is durable, never before.
//! - **INGEST-2 (LOSS):** every item of a request ends in the log: accepted, or rejected with a code and kept.
//! - **INGEST-3:** a client is told to drop (400, 401, 413) only what would be refused again; all else is 429 or 5xx.
//! - **INGEST-4:** memory is bounded: bodies in flight share a budget, a compressed body is inflated up to its limit.
//!
//! One request's way: `router` (paths) → `body` (read, inflate, within limits) → `auth` (whose write key) →
//! `decode` (items to messages and rejections) → `Log::append` → `answer`.

mod answer;
mod auth;
mod body;
mod client;
mod decode;
mod limits;
mod metrics;
mod rate;
mod rewrite;
mod router;
mod serve;
mod settings;

pub use answer::{Refusal, Rejection};
pub use client::ClientBundle;
pub use limits::Limits;
pub use metrics::{Metrics, MetricsSnapshot};
pub use router::{Ingest, IngestOptions, router};
pub use serve::{ServeOptions, serve};
