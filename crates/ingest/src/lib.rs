//! The tracking API: what existing Segment clients send, durable before it is acknowledged.
//!
//! **Never here:** the store, the fold, a delivery. Nothing downstream is asked before a message is accepted.
//!
//! - **INGEST-1 (ACK):** 200 is sent after the log said that the record is durable, never before.
//! - **INGEST-2 (LOSS):** every item of a request ends in the log: accepted, or rejected with a code and kept. A request
//!   that is refused whole is counted by its code.
//! - **INGEST-3:** a client is told to drop (400, 401, 413) only what would be refused again; all else is 429 or 5xx. A
//!   body that was too slow or broke off is 503: the mobile clients take every 4xx but 429 for final, 408 too.
//! - **INGEST-4:** memory is bounded: bodies in flight share a budget, with what a batch's `context` adds to its items,
//!   which has a limit too; a compressed body is inflated up to its limit. What is made of a body is a small multiple of
//!   it. A body takes of the budget what has come of it and nothing for what it announces: connections that say little
//!   hold up nobody.
//!
//! One request's way: `router` (paths) → `body` (read, inflate, within limits) → `auth` (whose write key) →
//! `decode` (items to messages and rejections) → `records` → `Log::append` → `answer`; `take` leads it through.

mod answer;
mod auth;
mod body;
mod client;
mod decode;
mod limits;
mod merge;
mod metrics;
mod rate;
mod records;
mod rewrite;
mod router;
mod serve;
mod settings;
mod surrogates;
mod take;

pub use answer::{Refusal, Rejection};
pub use client::ClientBundle;
pub use limits::Limits;
pub use metrics::{Metrics, MetricsSnapshot};
pub use router::router;
pub use serve::{ServeOptions, serve};
pub use take::{Ingest, IngestOptions};
