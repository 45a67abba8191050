//! The `Store` trait: ordered tables in transactions, and its implementations.
//!
//! **Never here:** a domain rule, a clock, async. A caller on an async thread goes through `spawn_blocking`.
//!
//! # Contract
//!
//! - **STORE-1 (atomic):** the writes of a transaction become visible together at `commit`, or never.
//! - **STORE-2 (read your writes):** a transaction sees its own puts and deletes in `get`, `get_many` and `scan`.
//! - **STORE-3 (order):** `scan` yields keys of one table in ascending byte order (descending with `reverse`), each once.
//! - **STORE-4 (fence):** [`Txn::advance`] must name the position and epoch that the store holds for the partition,
//!   or `commit` fails with [`Error::Fenced`] and changes nothing: a worker that was paused and woke up writes nothing.
//! - **STORE-5 (conflict):** if another transaction changed a key this one read with `get`/`get_many`, `commit` may
//!   fail with [`Error::Conflict`]; the caller runs the batch again. An engine with one writer never does.
//! - **STORE-6 (prefix durability):** after a crash the store holds the effects of a prefix of the committed
//!   transactions; after [`Store::sync`] returned, of at least all that were committed before the call.
//! - **STORE-7 (snapshot):** [`Store::snapshot`] sees one committed state for as long as it lives.
//! - **STORE-8 (locks in order):** `get_many` takes keys in ascending order; an engine with row locks takes them in
//!   that order, so two batches cannot deadlock.
//! - **STORE-9 (keys):** a key has at most [`KEY_BYTES_MAX`] bytes. A transaction that set a longer one fails at `commit`
//!   with [`Error::KeyTooLong`] and changes nothing; reading one finds nothing. A domain that has longer names hashes them.

mod classify;
mod error;
mod fjall_store;
mod frozen;
mod memory;
mod overlay;
mod progress;
#[doc(hidden)]
pub mod suite;
mod table;
mod write_behind;

pub use error::Error;
pub use fjall_store::{FjallOptions, FjallStore};
pub use frozen::frozen;
pub use memory::MemoryStore;
pub use table::Table;

use onefold_types::{Position, Timestamp};

/// Bytes that a key has at most (STORE-9).
pub const KEY_BYTES_MAX: usize = 65_535;

/// Bytes of a key or value: shared, so that a row on its way from the fold to its cache, the queue and the engine is one
/// piece of memory; up to twenty bytes take none. What a read gives may hold on to a whole block of the engine:
/// whoever keeps it for long calls [`Bytes::to_detached`].
pub use byteview::ByteView as Bytes;

/// A half-open key range within one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub from: Bytes,
    /// First key after the range; empty means to the end of the table.
    pub to: Bytes,
}

impl KeyRange {
    /// All keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while let Some(last) = to.pop() {
            if last < 0xff {
                to.push(last + 1);
                break;
            }
        }
        Self { from: prefix.into(), to: to.into() }
    }

    /// From `from` (included) to `to` (excluded).
    #[must_use]
    pub fn between(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Self {
        Self { from: from.into(), to: to.into() }
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &*self.from && (self.to.is_empty() || key < &*self.to)
    }
}

/// Which end of a range a scan begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// What a partition's worker has folded: commits with the state it led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything before this log position is folded.
    pub position: Position,
    /// The engine time of that state.
    pub engine_time: Timestamp,
    /// The epoch of the worker that may advance the partition.
    pub epoch: u64,
}

/// Reads, common to transactions and snapshots.
pub trait Read {
    /// The value at `key`.
    ///
    /// # Errors
    /// The engine failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// The values at `keys`, which are in ascending order without repetition; one result per key, in that order.
    ///
    /// # Errors
    /// The engine failed.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Error> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// Calls `visit` with each pair of `range` until it returns `false`.
    ///
    /// # Errors
    /// The engine failed.
    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;

    /// What partition `partition` has folded; default if nothing.
    ///
    /// # Errors
    /// The engine failed.
    fn progress(&self, partition: u32) -> Result<Progress, Error>;
}

/// A read-write transaction.
pub trait Txn: Read {
    /// Sets `key`, of at most [`KEY_BYTES_MAX`] bytes, to `value`, or removes it.
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>);

    /// Moves partition `partition` from `from` (position and epoch must be what the store holds) to `to`.
    /// Checked at commit (STORE-4).
    fn advance(&mut self, partition: u32, from: Progress, to: Progress);

    /// Makes all writes visible together. `Ok` says nothing about a power cut: see [`Store::sync`].
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::Conflict`], [`Error::KeyTooLong`], or the engine failed; then nothing was written. An engine may take a commit
    /// after this returns: if it fails then, the store is poisoned and nothing later commits either.
    fn commit(self: Box<Self>) -> Result<(), Error>;
}

impl dyn Txn + '_ {
    /// Sets `key` to `value`.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.set(table, key.into(), Some(value.into()));
    }

    /// Removes `key`.
    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.set(table, key.into(), None);
    }
}

/// Ordered tables in transactions.
pub trait Store: Send + Sync + 'static {
    /// Begins a transaction.
    ///
    /// # Errors
    /// The engine failed, or is poisoned after an earlier failed write.
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error>;

    /// A frozen view of the committed state.
    ///
    /// # Errors
    /// The engine failed.
    fn snapshot(&self) -> Result<Box<dyn Read + Send + '_>, Error>;

    /// Takes over partition `partition`: raises its epoch by one and returns the progress with the new epoch. Any
    /// worker with an older epoch is fenced from now on.
    ///
    /// # Errors
    /// The engine failed.
    fn take_over(&self, partition: u32) -> Result<Progress, Error>;

    /// Makes everything committed so far survive a power cut.
    ///
    /// # Errors
    /// The sync failed: the store is poisoned and accepts no more writes.
    fn sync(&self) -> Result<(), Error>;

    /// Bytes on disk, for metrics; 0 in memory.
    fn disk_bytes(&self) -> u64;
}
