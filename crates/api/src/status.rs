//! How far the fold is.

use schemars::JsonSchema;
use serde::Serialize;

/// How far the fold is, and what it counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// Everything before this position of the log is folded.
    pub folded_position: u64,
    /// Where the log ends: the fold stands still when it has come here.
    pub log_tail: u64,
    /// The engine time, in milliseconds since 1970.
    pub engine_time: i64,
    /// Profiles that own an event.
    pub persons: i64,
    /// Messages folded.
    pub folded: u64,
    /// Messages whose id was known, with the same content.
    pub duplicates: u64,
    /// Messages whose id was known, with other content; quarantined.
    pub conflicts: u64,
    /// Merges, splits and moves so far.
    pub transitions: u64,
    /// Effects for destinations so far.
    pub effects: u64,
}
