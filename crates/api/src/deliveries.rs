//! How destinations are doing, and what could not be delivered.

use crate::Time;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// How a destination is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DestinationStatus {
    /// The destination's key.
    pub key: String,
    /// Whether it is enabled. One that is not keeps what it had to send, and is sent nothing.
    pub enabled: bool,
    /// Effects that are to be sent, those under way included.
    pub queued: u64,
    /// When the effect was found that has waited longest; null if none waits.
    pub oldest: Option<Time>,
    /// Requests under way.
    pub in_flight: usize,
    /// Effects delivered since start.
    pub delivered: u64,
    /// Attempts that failed since start.
    pub failed: u64,
    /// Effects that became dead letters since start.
    pub dead: u64,
    /// The last failure, of an attempt that is made again too; null if there was none.
    pub last_error: Option<Reply>,
    /// `closed`: it is sent to. `open`: it is left alone for now. `half_open`: one attempt finds out.
    pub breaker: String,
    /// Why nothing goes on: the outbox or the journal cannot be read or written. Null if they can.
    pub trouble: Option<String>,
    /// Effects that are to be sent and that this release cannot read; they stay.
    pub unreadable: u64,
}

/// What a destination said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reply {
    /// The HTTP status; 0 if none came.
    pub status: u16,
    /// The beginning of the body, or what went wrong instead.
    pub text: String,
}

/// An effect that could not be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// Its number.
    pub number: u64,
    /// The effect's id: the `messageId` that the destination was sent.
    pub id: String,
    /// When it was given up.
    pub at: Time,
    /// Attempts made.
    pub attempts: u32,
    /// The last answer.
    pub answer: Reply,
    /// The message as it was sent, any JSON; null if there was none to send.
    pub body: Value,
}

/// What became of a dead letter that was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Retried {
    /// Whether it was delivered; if not it stays a dead letter.
    pub delivered: bool,
    /// What the destination said.
    pub answer: Reply,
}

/// What became of the dead letters that were sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RetriedAll {
    /// How many were delivered.
    pub delivered: u64,
    /// How many were not. They stay.
    pub failed: usize,
    /// Those.
    pub failures: Vec<NotDelivered>,
    /// Where to go on: the `cursor` of the next request; null if no further letter is there.
    pub cursor: Option<u64>,
    /// What the destination said when it took nothing more; null if it took all.
    pub stopped: Option<Reply>,
}

/// A dead letter that was not delivered this time either.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NotDelivered {
    /// Its number.
    pub number: u64,
    /// What the destination said.
    pub answer: Reply,
}
