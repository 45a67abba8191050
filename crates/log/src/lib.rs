//! The log: what is durable before it is acknowledged, and from which all state can be rebuilt.
//!
//! **Never here:** a domain rule; a decision about what a record means.
//!
//! # Contract of [`Log`]
//!
//! ```text
//!   first          synced tail = what readers see          (queued, not yet acknowledged)
//!     │                    │                                   │
//!     ▼                    ▼                                   ▼
//!   ──┬──┬────┬──┬─────────┬──┬──┬─────────────────────────────
//!     r0 r1   r2 r3        r4 r5 …
//! ```
//!
//! - **LOG-1 (ACK):** `append` returns only when the record survives `kill -9` and power loss.
//! - **LOG-2 (order):** records are read in the order of their positions; a reader sees a gapless prefix; only synced records.
//! - **LOG-3 (time):** `rt` never decreases with position, nor across a restart, however the wall clock moves.
//! - **LOG-4 (watermark):** after `watermark()` returned `(tail, w)`, every record at or after `tail` gets `rt >= w`,
//!   and every record before `tail` has `rt <= w`.
//! - **LOG-5 (torn tail):** after a crash, recovery keeps every acknowledged record and cuts at the first
//!   that is incomplete *at the end* of the last segment; a damaged record elsewhere is an error that names it.
//!   Behind the last synced group nothing proves that it was synced: damage in it cannot be told from a torn write
//!   and is cut too.
//! - **LOG-6 (poison):** after a failed write or sync nothing more is accepted until reopened. A full disk is no such
//!   failure: the append gets [`Error::DiskFull`], nothing of it is kept, and later ones are tried again.
//! - **LOG-7 (retention):** trimming removes whole segments from the front, never past the position it is given. An age
//!   counts for the last segment too: trimming closes it when its first record is too old, so that it can go in its turn.
//! - **LOG-8 (redaction):** redacting replaces one record's payload; every position stays; no file holds the old bytes after it returns.

mod clock;
mod error;
mod file;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod memory;
pub mod record;
#[doc(hidden)]
pub mod suite;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Class, Error};
pub use file::{Faults, FileLog, FileLogOptions, OnPoisoned, Operation, Retention, Verdict};
pub use held::HeldClock;
pub use memory::{MemoryLog, MemoryLogOptions};
pub use record::Record;

use onefold_types::{Position, Timestamp};
use std::sync::Arc;

/// A record as read: where, when, what, and where the next one starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it starts.
    pub position: Position,
    /// Where the next one starts.
    pub next: Position,
    /// Its receive time.
    pub rt: Timestamp,
    /// Its encoded [`Record`]; empty kind-0 record if redacted whole.
    pub payload: Vec<u8>,
}

/// What `append` returns once the record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the record starts.
    pub position: Position,
    /// Where the next one starts: "folded up to here" includes it.
    pub next: Position,
    /// Its receive time.
    pub rt: Timestamp,
}

/// Called once, from the log's writer thread, with the outcome of an append. It must be quick, must not panic (that
/// poisons the log), and must not call [`Log::redact`], which waits for the writer thread. `append` refuses
/// ([`Error::Busy`], [`Error::TooLarge`], [`Error::Poisoned`]) on the caller's thread.
pub type OnAppended = Box<dyn FnOnce(Result<Appended, Error>) + Send>;

/// A durable, ordered sequence of records.
pub trait Log: Send + Sync + 'static {
    /// Queues `payload` and calls `done` when it is durable or failed. Never blocks on the disk.
    /// If the queue's byte limit is reached, `done` gets [`Error::Busy`] at once.
    fn append(&self, payload: Vec<u8>, done: OnAppended);

    /// Up to `max_bytes` of payload (at least one record if there is one) from `from`, which is 0 or a `next`.
    /// Reading from before `first()` starts at `first()`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the position, or the disk failed.
    fn read(&self, from: Position, max_bytes: usize) -> Result<Vec<Entry>, Error>;

    /// The record that starts at `position`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was trimmed or none starts there; [`Error::Corrupt`].
    fn get(&self, position: Position) -> Result<Entry, Error>;

    /// The first position that is kept.
    fn first(&self) -> Position;

    /// The synced tail: the position that the next record gets, once nothing is queued.
    fn tail(&self) -> Position;

    /// LOG-4. Advances the log's time to the wall clock.
    fn watermark(&self) -> (Position, Timestamp);

    /// From now on `rt >= at_least` (a restored state's engine time).
    fn raise_time(&self, at_least: Timestamp);

    /// Blocks until `tail() > seen` or `timeout`; returns the tail.
    fn wait(&self, seen: Position, timeout: std::time::Duration) -> Position;

    /// Where the log would begin after [`Log::trim`] with the same `before`, now; nothing is removed.
    fn trims_to(&self, before: Position) -> Position;

    /// Removes whole segments that end at or before `before` (a synced checkpoint) and that the retention rule
    /// (size, age) gives up; returns the new `first()`. Then it closes the last segment if its first record is older than
    /// the rule's age.
    ///
    /// # Errors
    /// The disk failed, or has no room for a further segment; what was removed by then stays so.
    fn trim(&self, before: Position) -> Result<Position, Error>;

    /// LOG-8: replaces the payload of the record at `position` by `payload`, which must not be longer.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLarge`] if `payload` is longer than the record's.
    fn redact(&self, position: Position, payload: Vec<u8>) -> Result<(), Error>;

    /// Bytes on disk (or in memory).
    fn size(&self) -> u64;
}

/// A log shared between threads.
pub type SharedLog = Arc<dyn Log>;
