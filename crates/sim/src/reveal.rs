//! A finished log shown record by record: what the calm fold reads.
//!
//! **Never here:** a change to the log. What is past the limit does not exist for the reader (LOG-2), and the watermark is
//! the time that whoever reveals says it is (LOG-4).

use onefold_log::{Entry, Error, Log, OnAppended, SharedLog};
use onefold_types::{Position, Timestamp};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// See the module.
pub struct Reveal {
    inner: SharedLog,
    limit: AtomicU64,
    time: AtomicI64,
}

impl Reveal {
    /// Shows nothing of `inner` yet.
    #[must_use]
    pub fn new(inner: SharedLog) -> Self {
        Self { inner, limit: AtomicU64::new(0), time: AtomicI64::new(i64::MIN) }
    }

    /// Shows everything before `limit`, at the log's time `time`.
    pub fn show(&self, limit: Position, time: Timestamp) {
        self.limit.store(limit.0, Ordering::SeqCst);
        self.time.store(time.0, Ordering::SeqCst);
    }
}

impl Log for Reveal {
    fn append(&self, _: Vec<u8>, done: OnAppended) {
        done(Err(Error::Poisoned { reason: "this log is only read".into() }));
    }

    fn read(&self, from: Position, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        let limit = self.limit.load(Ordering::SeqCst);
        if from.0 >= limit {
            return Ok(Vec::new());
        }
        let mut entries = self.inner.read(from, max_bytes)?;
        entries.retain(|entry| entry.position.0 < limit);
        Ok(entries)
    }

    fn get(&self, position: Position) -> Result<Entry, Error> {
        if position.0 >= self.limit.load(Ordering::SeqCst) {
            return Err(Error::NotFound { position });
        }
        self.inner.get(position)
    }

    fn first(&self) -> Position {
        self.inner.first()
    }

    fn tail(&self) -> Position {
        Position(self.limit.load(Ordering::SeqCst))
    }

    fn watermark(&self) -> (Position, Timestamp) {
        (self.tail(), Timestamp(self.time.load(Ordering::SeqCst)))
    }

    fn raise_time(&self, _: Timestamp) {}

    fn wait(&self, _: Position, _: Duration) -> Position {
        self.tail()
    }

    fn trims_to(&self, _: Position) -> Position {
        self.first()
    }

    fn trim(&self, _: Position) -> Result<Position, Error> {
        Ok(self.first())
    }

    fn redact(&self, position: Position, _: Vec<u8>) -> Result<(), Error> {
        Err(Error::NotFound { position })
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }
}
