//! What is happening now.

use crate::{Identifier, Time};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The data of a server-sent event. Profiles are named by the numbers that the state has for them.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "LiveEvent")]
pub enum Live {
    /// Of `folded`: a message was folded.
    Folded(Folded),
    /// Of `merged`: two profiles became one.
    Merged {
        /// The one that went.
        from: u64,
        /// The one that stays.
        into: u64,
    },
    /// Of `split`: a profile became several.
    Split {
        /// The one it was.
        from: u64,
        /// The ones that came out.
        into: Vec<u64>,
    },
    /// Of `entered` and `exited`: someone came into an audience, or left it.
    Membership {
        /// The audience's key; null if it was removed since.
        audience: Option<String>,
        /// Who.
        profile: u64,
        /// When it became true, in milliseconds since 1970.
        effective: i64,
    },
    /// Of `near_duplicate`: a new identifier differs from others in nothing but case.
    NearDuplicate {
        /// The new one.
        id: Identifier,
        /// The values that were known.
        others: Vec<String>,
    },
    /// Of `quarantined`: a message or item was refused.
    Quarantined {
        /// The reason, machine-readable.
        code: String,
    },
    /// Of `missed`: this reader fell behind, and some were not told.
    Missed {
        /// How many.
        count: u64,
    },
}

/// A message that was folded.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Folded {
    /// The type of the call: `track`, `page`, `screen`, `identify`, `group`, `alias`.
    #[serde(rename = "type")]
    pub message_type: String,
    /// The event's or page's name; may be empty.
    pub name: String,
    /// Its id.
    pub message_id: String,
    /// When it happened.
    pub timestamp: Time,
    /// Whose it is; null if no one's.
    pub profile: Option<u64>,
    /// The message as it was sent: any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// Why the stored message cannot be read, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}
