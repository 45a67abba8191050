//! What can go wrong with a log, classified once, where it is born.

use onefold_types::Position;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a caller does about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Send the same again later.
    Retryable,
    /// The same call fails again.
    Permanent,
    /// What was stored is damaged: a person must act.
    Corrupt,
}

/// A log operation that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Appends come faster than the disk takes them.
    #[error("the log's queue holds {queued} bytes of the {limit} it may hold; send again shortly")]
    Busy {
        /// Bytes that wait.
        queued: usize,
        /// Bytes that may wait.
        limit: usize,
    },
    /// Nothing of the append was kept; the log accepts again when there is room.
    #[error("the disk that holds the log is full: expected room for the next write")]
    DiskFull,
    /// A write or sync failed, so what the disk holds is unknown until the log is opened again.
    #[error("the log accepts nothing until it is opened again: {reason}")]
    Poisoned {
        /// The failure that did it.
        reason: Arc<str>,
    },
    /// More bytes than fit.
    #[error("{length} bytes of payload: expected at most {limit}")]
    TooLarge {
        /// How many came.
        length: usize,
        /// How many fit.
        limit: usize,
    },
    /// No record starts there, or it was trimmed.
    #[error(
        "no record starts at {position}: expected a position between the log's first and its tail that an append returned"
    )]
    NotFound {
        /// Where.
        position: Position,
    },
    /// A stored record is damaged.
    #[error("{}: damaged at byte {offset}: expected {expected} (position {position})", file.display())]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The same place in the log.
        position: Position,
        /// What should stand there.
        expected: &'static str,
    },
    /// Another process writes this log.
    #[error("{}: another process has this log open: expected to be its only writer", directory.display())]
    Locked {
        /// The log's directory.
        directory: PathBuf,
    },
    /// Options that contradict each other.
    #[error("log options: expected {expected}")]
    Options {
        /// What must hold.
        expected: &'static str,
    },
    /// A file operation failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<io::Error>,
    },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Busy { .. } | Self::DiskFull => Class::Retryable,
            Self::Corrupt { .. } => Class::Corrupt,
            _ => Class::Permanent,
        }
    }

    /// The failure of `operation` on `path`; a full disk or quota is [`Error::DiskFull`].
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { operation, path: path.to_owned(), source: Arc::new(source) },
        }
    }

    /// The error and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        text
    }
}
