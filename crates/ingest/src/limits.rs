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
    /// Bytes of an event's name, an account's id and an identifier: 1 KiB.
    pub name_bytes: usize,
    /// Characters of a `messageId`: 100.
    pub message_id_chars: usize,
    /// Bytes of a rejected item that are kept; a longer one is cut, and marked: 500 KiB.
    pub rejected_bytes: usize,
    /// Rejected items that are kept per minute and source; more are counted and not kept.
    pub rejected_per_minute: u32,
    /// Bytes of a record of the log: 16 MiB.
    pub record_bytes: usize,
    /// Bytes of all bodies being read or decoded, with what a batch's `context` adds to its items: 256 MiB.
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
            name_bytes: 1 << 10,
            message_id_chars: 100,
            rejected_bytes: 500 << 10,
            rejected_per_minute: 10_000,
            record_bytes: 16 << 20,
            in_flight_bytes: 256 << 20,
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// How many batches' bytes a batch's `context` and `integrations` may add to its items.
const ADDED: usize = 8;

/// What an item costs beside its bytes: its message, or its rejection with the reason.
const ITEM_BYTES: usize = 512;

/// What the reason of a rejection and the names beside it can take of a record.
const REASON_BYTES: usize = 4 << 10;

impl Limits {
    /// Bytes that a batch's `context` and `integrations` may come to over all its items: what each gets, times the items.
    #[must_use]
    pub fn added_bytes(&self) -> usize {
        self.batch_bytes.saturating_mul(ADDED).min(self.record_bytes)
    }

    /// What the largest request takes of [`Limits::in_flight_bytes`], which has to be as much.
    #[must_use]
    pub fn request_bytes_max(&self) -> usize {
        let batch = self.batch_bytes.saturating_add(Self::share(self.added_bytes(), self.batch_items));
        batch.max(self.single_bytes)
    }

    /// Bytes of a rejected item that are kept: one has to fit into a record, with the reason.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.rejected_bytes.min(self.record_bytes.saturating_sub(REASON_BYTES))
    }

    /// What a batch of `items` takes of the budget beside its body, if what they share adds `added` bytes to them.
    pub(crate) const fn share(added: usize, items: usize) -> usize {
        added.saturating_add(items.saturating_mul(ITEM_BYTES))
    }
}
