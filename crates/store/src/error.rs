//! What can go wrong with a store, classified where it is born.

use crate::Table;
use std::path::PathBuf;
use std::sync::Arc;

/// A store operation that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another worker has taken the partition over, or has advanced it: this one must stop.
    #[error(
        "partition {partition} was advanced by another worker (epoch {found}, expected {expected}); this worker must stop"
    )]
    Fenced {
        /// Which.
        partition: u32,
        /// The epoch that the store holds.
        found: u64,
        /// The epoch that the transaction named.
        expected: u64,
    },
    /// Another transaction changed what this one read: run the batch again.
    #[error("another transaction changed a row that this one read; run the batch again")]
    Conflict,
    /// A key that no engine has to take; nothing of the transaction was kept (STORE-9).
    #[error("a key of table {} has {length} bytes; expected at most {limit}", table.as_str())]
    KeyTooLong {
        /// Whose.
        table: Table,
        /// Its bytes.
        length: usize,
        /// [`crate::KEY_BYTES_MAX`].
        limit: usize,
    },
    /// The disk is full; nothing of the transaction was kept.
    #[error("the disk that holds the state is full: expected room for the next write")]
    DiskFull,
    /// A stored table is damaged.
    #[error("{} is damaged: {detail}; {remedy}", path.display())]
    Corrupt {
        /// The folder.
        path: PathBuf,
        /// What the engine said.
        detail: String,
        /// What can be done: [`crate::FjallOptions::remedy`].
        remedy: &'static str,
    },
    /// An earlier write or sync failed, so what the disk holds is unknown until the store is opened again.
    #[error("the store accepts nothing until it is opened again: {reason}")]
    Poisoned {
        /// The failure that did it.
        reason: Arc<str>,
    },
    /// The engine failed otherwise.
    #[error("{operation}: {detail}")]
    Engine {
        /// What was tried.
        operation: &'static str,
        /// What the engine said.
        detail: String,
    },
}
