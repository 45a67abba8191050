//! A log in memory, for tests and the simulator: the contract of [`Log`] without a disk.
//!
//! By default an append is "synced" at once and its callback runs before `append` returns. With
//! [`MemoryLog::hold`], appends queue until [`MemoryLog::sync`], and [`MemoryLog::crash`] loses them, as a killed
//! process loses what was not synced.

use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::file::Retention;
use crate::frame::span_of;
use crate::{Appended, Entry, Log, OnAppended};
use onefold_types::{Position, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The limits of a [`MemoryLog`].
#[derive(Clone)]
pub struct MemoryLogOptions {
    /// Bytes of a segment: what `trim` removes at once.
    pub segment_bytes: u64,
    /// The longest payload.
    pub record_bytes_max: usize,
    /// Bytes that may wait while it holds, each record's frame included.
    pub queue_bytes_max: usize,
    /// What `trim` removes.
    pub retention: Retention,
    /// Gives receive times.
    pub clock: Arc<dyn Clock>,
}

impl Default for MemoryLogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 20,
            record_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            retention: Retention::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// A log that a process keeps for itself.
pub struct MemoryLog {
    options: MemoryLogOptions,
    inner: Mutex<Inner>,
    tail_moved: Condvar,
}

struct Stored {
    next: u64,
    rt: Timestamp,
    payload: Vec<u8>,
}

struct Inner {
    records: BTreeMap<u64, Stored>,
    /// Where each segment starts, and the receive time of the record before. Never empty.
    segments: Vec<(u64, Timestamp)>,
    tail: u64,
    rt: Timestamp,
    queue: Vec<(Vec<u8>, OnAppended)>,
    queue_bytes: usize,
    holding: bool,
    fail_next: bool,
    poison: Option<Arc<str>>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new(MemoryLogOptions::default())
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(options: MemoryLogOptions) -> Self {
        let inner = Inner {
            records: BTreeMap::new(),
            segments: vec![(0, Timestamp::MIN)],
            tail: 0,
            rt: Timestamp::MIN,
            queue: Vec::new(),
            queue_bytes: 0,
            holding: false,
            fail_next: false,
            poison: None,
        };
        Self { options, inner: Mutex::new(inner), tail_moved: Condvar::new() }
    }

    /// From now on appends wait for [`MemoryLog::sync`].
    pub fn hold(&self) {
        self.inner().holding = true;
    }

    /// Makes everything queued durable, calls the callbacks, and goes back to syncing at once.
    pub fn sync(&self) {
        let mut inner = self.inner();
        inner.holding = false;
        let queue = std::mem::take(&mut inner.queue);
        inner.queue_bytes = 0;
        let now = self.options.clock.now();
        let finished: Vec<_> = queue
            .into_iter()
            .map(|(payload, done)| {
                let outcome = inner.store(payload, now, self.options.segment_bytes);
                (done, outcome)
            })
            .collect();
        drop(inner);
        self.tail_moved.notify_all();
        for (done, outcome) in finished {
            done(outcome);
        }
    }

    /// The next sync fails, which poisons the log (LOG-6).
    pub fn fail_next_sync(&self) {
        self.inner().fail_next = true;
    }

    /// Dies and starts again: what was not synced is gone, its callbacks are never called, and the log's time is that
    /// of its last record.
    pub fn crash(&self) {
        let mut inner = self.inner();
        let queue = std::mem::take(&mut inner.queue);
        inner.queue_bytes = 0;
        inner.holding = false;
        inner.fail_next = false;
        inner.poison = None;
        let floor = inner.segments.last().map_or(Timestamp::MIN, |segment| segment.1);
        inner.rt = inner.records.last_key_value().map_or(floor, |(_, stored)| stored.rt.max(floor));
        drop(inner);
        drop(queue);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was received before this is too old.
    fn oldest(&self) -> Option<Timestamp> {
        let age = i64::try_from(self.options.retention.age?.as_millis()).unwrap_or(i64::MAX);
        Some(self.options.clock.now().minus(age))
    }

    /// How many segments, counted from the front, end at or before `before` and are given up by the retention rule.
    fn given_up(&self, inner: &Inner, before: Position) -> usize {
        let (bytes, oldest) = (self.options.retention.bytes, self.oldest());
        let pairs = inner.segments.windows(2).take_while(|pair| {
            let [(first, _), (second, floor)] = **pair else { return false };
            let too_old = oldest.is_some_and(|oldest| floor < oldest);
            let too_much = bytes.is_some_and(|bytes| inner.tail - first > bytes);
            second <= before.0 && (too_old || too_much)
        });
        pairs.count()
    }

    fn refuse(&self, inner: &Inner, length: usize) -> Option<Error> {
        if let Some(reason) = &inner.poison {
            return Some(Error::Poisoned { reason: reason.clone() });
        }
        let limit = self.options.record_bytes_max;
        if length > limit {
            return Some(Error::TooLarge { length, limit });
        }
        let (queued, limit) = (inner.queue_bytes, self.options.queue_bytes_max);
        (queued > 0 && queued + span_of(length) > limit).then_some(Error::Busy { queued, limit })
    }
}

impl Inner {
    fn store(&mut self, payload: Vec<u8>, now: Timestamp, segment_bytes: u64) -> Result<Appended, Error> {
        if std::mem::take(&mut self.fail_next) {
            self.poison = Some("the sync failed, as it was told to".into());
        }
        if let Some(reason) = self.poison.clone() {
            return Err(Error::Poisoned { reason });
        }
        let span = span_of(payload.len()) as u64;
        let base = self.segments.last().map_or(0, |segment| segment.0);
        if self.tail > base && self.tail + span > base + segment_bytes {
            self.roll();
        }
        self.rt = self.rt.max(now);
        let (position, next, rt) = (self.tail, self.tail + span, self.rt);
        self.records.insert(position, Stored { next, rt, payload });
        self.tail = next;
        Ok(Appended { position: Position(position), next: Position(next), rt })
    }

    /// Begins a segment.
    fn roll(&mut self) {
        let floor = self.records.last_key_value().map_or(self.rt, |(_, stored)| stored.rt);
        self.segments.push((self.tail, floor));
    }

    /// The receive time of the first record of the last segment, if it has one.
    fn last_segment_since(&self) -> Option<Timestamp> {
        let (base, _) = self.segments.last()?;
        self.records.get(base).map(|stored| stored.rt)
    }

    fn first(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.0)
    }

    fn size(&self) -> u64 {
        self.tail - self.first()
    }
}

fn entry(position: u64, stored: &Stored) -> Entry {
    let payload = stored.payload.clone();
    Entry { position: Position(position), next: Position(stored.next), rt: stored.rt, payload }
}

impl Log for MemoryLog {
    fn append(&self, payload: Vec<u8>, done: OnAppended) {
        let mut inner = self.inner();
        if let Some(error) = self.refuse(&inner, payload.len()) {
            drop(inner);
            return done(Err(error));
        }
        inner.queue_bytes += span_of(payload.len());
        inner.queue.push((payload, done));
        let holding = inner.holding;
        drop(inner);
        if !holding {
            self.sync();
        }
    }

    fn read(&self, from: Position, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        let inner = self.inner();
        let from = from.0.max(inner.first());
        if from < inner.tail && !inner.records.contains_key(&from) {
            return Err(Error::NotFound { position: Position(from) });
        }
        let mut entries = Vec::new();
        let mut left = max_bytes;
        for (position, stored) in inner.records.range(from..) {
            if !entries.is_empty() && stored.payload.len() > left {
                break;
            }
            left = left.saturating_sub(stored.payload.len());
            entries.push(entry(*position, stored));
            if left == 0 {
                break;
            }
        }
        Ok(entries)
    }

    fn get(&self, position: Position) -> Result<Entry, Error> {
        let inner = self.inner();
        inner
            .records
            .get(&position.0)
            .map(|stored| entry(position.0, stored))
            .ok_or(Error::NotFound { position })
    }

    fn first(&self) -> Position {
        Position(self.inner().first())
    }

    fn tail(&self) -> Position {
        Position(self.inner().tail)
    }

    fn watermark(&self) -> (Position, Timestamp) {
        let mut inner = self.inner();
        inner.rt = inner.rt.max(self.options.clock.now());
        (Position(inner.tail), inner.rt)
    }

    fn raise_time(&self, at_least: Timestamp) {
        let mut inner = self.inner();
        inner.rt = inner.rt.max(at_least);
    }

    fn wait(&self, seen: Position, timeout: Duration) -> Position {
        let until = Instant::now() + timeout;
        let mut inner = self.inner();
        while inner.tail <= seen.0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.tail_moved.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Position(inner.tail)
    }

    fn trims_to(&self, before: Position) -> Position {
        let inner = self.inner();
        let given_up = self.given_up(&inner, before);
        Position(inner.segments.get(given_up).map_or(0, |segment| segment.0))
    }

    fn trim(&self, before: Position) -> Result<Position, Error> {
        let mut inner = self.inner();
        let given_up = self.given_up(&inner, before);
        inner.segments.drain(..given_up);
        let first = inner.first();
        inner.records = inner.records.split_off(&first);
        if inner.last_segment_since().is_some_and(|since| self.oldest().is_some_and(|oldest| since < oldest))
        {
            inner.roll();
        }
        Ok(Position(first))
    }

    fn redact(&self, position: Position, payload: Vec<u8>) -> Result<(), Error> {
        let mut inner = self.inner();
        let stored = inner.records.get_mut(&position.0).ok_or(Error::NotFound { position })?;
        if payload.len() > stored.payload.len() {
            return Err(Error::TooLarge { length: payload.len(), limit: stored.payload.len() });
        }
        stored.payload = payload;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.inner().size()
    }
}
