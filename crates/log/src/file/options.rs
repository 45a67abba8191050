//! What a [`super::FileLog`] is opened with. Every limit has a name here.

use crate::clock::Clock;
use crate::error::Error;
use crate::frame;
use crate::held::HeldClock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The most that one segment may hold: recovery reads the last one into memory.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// When `trim` gives a segment up. With neither rule set nothing is ever removed; with both, either suffices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments are given up while the log is larger.
    pub bytes: Option<u64>,
    /// Segments whose youngest record is older are given up; the last one is closed when its first record is older.
    pub age: Option<Duration>,
}

/// Told why a log takes nothing more.
pub type OnPoisoned = Arc<dyn Fn(&str) + Send + Sync>;

/// How and where a log is kept.
#[derive(Clone)]
pub struct FileLogOptions {
    /// Holds the log's files and nothing else; made if it is not there.
    pub directory: PathBuf,
    /// The size of a segment, all of it reserved and zeroed ahead.
    pub segment_bytes: u64,
    /// The longest payload.
    pub record_bytes_max: usize,
    /// Bytes that may wait for the disk, each record's frame included; more get [`Error::Busy`].
    pub queue_bytes_max: usize,
    /// Bytes that are written and synced together, frames included; a longer record is a group of its own.
    pub group_bytes_max: usize,
    /// What `trim` removes.
    pub retention: Retention,
    /// Gives receive times.
    pub clock: Arc<dyn Clock>,
    /// Says whether the disk has room for a further segment of so many bytes; without it, only the disk itself says so.
    pub room: Option<Arc<dyn Fn(u64) -> bool + Send + Sync>>,
    /// Told why, once, when the log is poisoned (LOG-6): nothing more is accepted then, so whoever serves has to stop. Called
    /// on the thread that met the failure, before those who wait are told; must be quick and call nothing of the log.
    pub on_poisoned: Option<OnPoisoned>,
    /// Makes file operations fail, for tests.
    pub faults: Option<Arc<dyn Faults>>,
}

impl FileLogOptions {
    /// A log in `directory` with segments of 64 MiB, records of up to 16 MiB and a queue of 64 MiB, which keeps
    /// everything.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            record_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            group_bytes_max: 8 << 20,
            retention: Retention::default(),
            clock: Arc::new(HeldClock::system()),
            room: None,
            on_poisoned: None,
            faults: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let room = self.segment_bytes.saturating_sub(super::segment::HEADER);
        if self.segment_bytes > SEGMENT_BYTES_MAX {
            return Err(Error::Options { expected: "segments of at most 1 GiB" });
        }
        if frame::span_of(self.record_bytes_max.min(1 << 30)) as u64 > room {
            return Err(Error::Options { expected: "the longest record to fit into one segment" });
        }
        if self.group_bytes_max > 1 << 30 || self.group_bytes_max == 0 || self.queue_bytes_max == 0 {
            return Err(Error::Options { expected: "a queue above 0 bytes and groups from 1 byte to 1 GiB" });
        }
        Ok(())
    }
}

/// A file operation that [`Faults`] can make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Records are written.
    Write,
    /// Records are synced.
    Sync,
    /// The next segment is reserved.
    Prepare,
    /// A full segment is closed and the next one opened.
    Roll,
}

/// What becomes of an operation.
#[derive(Debug)]
pub enum Verdict {
    /// It runs.
    Run,
    /// It fails without an effect.
    Fail(std::io::Error),
    /// A write writes only so many bytes, then fails.
    Short(usize, std::io::Error),
}

/// Decides the outcome of file operations, for tests.
pub trait Faults: Send + Sync {
    /// Asked before each operation.
    fn before(&self, operation: Operation) -> Verdict;
}
