//! A message as the log keeps it: what ingest resolved once, and the client's own bytes.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The six calls of the Segment specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum MessageType {
    /// Who someone is: ids and traits.
    Identify = 1,
    /// What someone did.
    Track = 2,
    /// A web page was seen.
    Page = 3,
    /// A mobile screen was seen.
    Screen = 4,
    /// Someone belongs to an account.
    Group = 5,
    /// A user id replaces an earlier id.
    Alias = 6,
}

impl MessageType {
    /// All six, in code order.
    pub const ALL: [Self; 6] =
        [Self::Identify, Self::Track, Self::Page, Self::Screen, Self::Group, Self::Alias];

    /// The word that stands in a message's `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Track => "track",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
        }
    }

    /// The type with this code in the log.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MessageType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// One accepted message, as it stands in a log record. Everything but `body` was resolved once, at ingest, from
/// `body` (see [`crate::event::extract`]), so that the fold reads JSON only where something mentions a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which call.
    pub message_type: MessageType,
    /// Event time after clock correction (audiences.md 1.1). Stored unclamped: readers use
    /// [`Message::event_time`]; [`Timestamp::MAX`] means "none was readable".
    pub ts: Timestamp,
    /// The client's message id, or the one that ingest gave; at most 100 characters.
    pub message_id: String,
    /// The key of the source whose write key sent it.
    pub source: String,
    /// A track's event, a page's or screen's name; empty if there is none.
    pub name: String,
    /// Raw identifiers `(type, value)` in order of extraction, not normalised, not filtered: rules may change, bytes not.
    pub ids: Vec<(String, String)>,
    /// `groupId` of a group call, else `context.groupId`; empty if there is none.
    pub group_id: String,
    /// The message as JSON, `writeKey` removed, batch-level `context` and `integrations` merged in.
    pub body: Vec<u8>,
}

impl Message {
    /// Event time of this message in a record received at `rt`: never after it.
    #[must_use]
    pub fn event_time(&self, rt: Timestamp) -> Timestamp {
        self.ts.min(rt)
    }
}
