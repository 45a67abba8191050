//! A limit on everything, each with a name and a default; reference/segment.md 1.3 says what clients count on.

use std::time::Duration;

/// What a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a single call's body: 32 KiB.
    pub single_bytes: usize,
    /// Bytes of a batch's body, inflated: 500 KiB.
    pub batch_bytes: usize,
    /// Bytes of one item of a batch: 32 KiB.
    pub item_bytes: usize,
    /// Items of a batch: 2,500.
    pub batch_items: usize,
    /// Nested arrays and objects of an item: 64.
    pub depth: usize,
    /// Properties or traits of an item: 10,000.
    pub properties: usize,
    /// Bytes of a rejected item that are kept: 32 KiB.
    pub rejected_bytes: usize,
    /// Rejected items that are kept per minute and source; more are counted and not kept.
    pub rejected_per_minute: u32,
    /// Bytes of all bodies being read or decoded: 256 MiB.
    pub in_flight_bytes: usize,
    /// Time for a body to arrive.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            single_bytes: 32 << 10,
            batch_bytes: 500 << 10,
            item_bytes: 32 << 10,
            batch_items: 2_500,
            depth: 64,
            properties: 10_000,
            rejected_bytes: 32 << 10,
            rejected_per_minute: 10_000,
            in_flight_bytes: 256 << 20,
            body_timeout: Duration::from_secs(30),
        }
    }
}
