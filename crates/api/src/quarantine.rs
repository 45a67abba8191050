//! What was refused.

use crate::{ByNumber, Time};
use schemars::JsonSchema;
use serde::Serialize;

/// A page of the quarantine.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Quarantine {
    /// The page.
    #[serde(flatten)]
    pub page: ByNumber<Quarantined>,
    /// Items that the cap dropped so far.
    pub dropped: u64,
}

/// A refused item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Quarantined {
    /// Its number.
    pub number: u64,
    /// When it was received.
    pub received_at: Time,
    /// The source's key.
    pub source: String,
    /// The reason, machine-readable.
    pub code: String,
    /// The reason in words.
    pub detail: String,
    /// The item as it came, if bodies are asked for; null if the log has it no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Option<String>>,
    /// Whether only a part of it was kept; with bodies alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
}

/// An item was sent again and accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SentAgain {
    /// Always true: an item that is refused again is a problem.
    pub sent: bool,
}

/// Something was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Discarded {
    /// Always true: what is not there to be given up is a problem.
    pub discarded: bool,
}
