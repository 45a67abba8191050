//! The contract of a destination: a batch in, an outcome per item out.
//!
//! **Never here:** the store, the log, a queue, a retry. A connector says what happened; delivery decides what follows.
//!
//! A connector MUST answer one [`Outcome`] per item, in order; MUST send only through [`Client`]; MUST NOT put a
//! [`Secret`] into an answer, an error or a log; SHOULD send the same bytes for the same item at every attempt; MUST NOT
//! send a request that was refused in parts by itself: it answers [`Outcome::RefusedTogether`], and delivery does that.

mod client;
mod guard;
mod retry_after;
mod secret;

pub use client::{Client, ClientError, Lookup, Reply, Request};
pub use guard::is_public;
pub use retry_after::retry_after;
pub use secret::Secret;

use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// One item to deliver: its stable id and its body, the same at every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The effect id as text.
    pub id: String,
    /// The message as JSON.
    pub body: Vec<u8>,
}

/// What the other side said, kept for whoever asks why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status; 0 if none came.
    pub status: u16,
    /// The beginning of the body, or what went wrong instead.
    pub text: String,
}

/// What became of an item. Decided once, where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has it.
    Delivered(Answer),
    /// Later may do: after the time that the other side named, or as delivery sees fit. So is everything that would be the
    /// same for any other item: the other side is down or busy, does not know us, is not where it was, may not be called.
    Retry {
        /// The time it named.
        after: Option<Duration>,
        /// What it said.
        answer: Answer,
    },
    /// The other side will never take this item, and may well take others.
    Refused(Answer),
    /// The other side refused the request that the item shared with others, took none of them, and did not say which of
    /// them it will never take: sent in parts, some may be taken. A refusal of the sender or of the address as a whole is
    /// [`Outcome::Retry`] for each item; the refusal of a request with one item is [`Outcome::Refused`].
    RefusedTogether(Answer),
}

/// The outcomes of a batch, in order.
pub type Outcomes<'a> = Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + 'a>>;

/// A destination, ready to be sent to.
pub trait Connector: Send + Sync + 'static {
    /// Items in one request at most.
    fn batch_items(&self) -> usize;

    /// Sends `items`, at most [`Connector::batch_items`], at `now` (seconds since 1970, for signatures).
    fn deliver<'a>(&'a self, items: &'a [Rendered], now: i64) -> Outcomes<'a>;
}

/// A destination's config that cannot be used: which key, what was found, what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.{key}: {detail}")]
pub struct ConfigError {
    /// The key.
    pub key: String,
    /// What is wrong and what was expected; never a secret.
    pub detail: String,
}

impl ConfigError {
    /// Pairs the two.
    pub fn new(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { key: key.into(), detail: detail.into() }
    }
}
