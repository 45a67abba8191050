//! The writer thread: group commit without a timer. It writes what has queued while the last sync ran.
//!
//! A failed sync poisons the log: the kernel may have dropped the dirty pages and report success the next time
//! (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). A full disk does not: the write
//! returned before anything was acknowledged, so the tail is cut back and the log accepts again when there is room.

use super::options::{FileLogOptions, Operation, Verdict};
use super::segment::{self, HEADER, Segment, allow};
use super::{Command, Queued, Shared, lock};
use crate::Appended;
use crate::error::Error;
use crate::frame;
use onefold_types::{Position, Timestamp};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A buffer above this is given back after the group.
const BUFFER_KEPT_MAX: usize = 16 << 20;

pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Arc<Segment>,
    /// The position that the next frame gets.
    end: u64,
    /// The receive time of the last record.
    last: Timestamp,
    buffer: Vec<u8>,
    /// Reserves the next segment.
    preparing: Option<JoinHandle<Result<File, Error>>>,
}

/// Reserves the next segment. Zeroing one until the disk refuses would leave nobody else there any room meanwhile, so
/// where somebody knows of room, they are asked first.
fn reserve(options: &FileLogOptions) -> Result<File, Error> {
    if options.room.as_ref().is_some_and(|room| !room(options.segment_bytes)) {
        return Err(Error::DiskFull);
    }
    segment::prepare(&options.directory, options.segment_bytes, options.faults.as_ref())
}

/// Poisons the log if the writer thread unwinds (a callback panicked), so that no caller waits for ever.
struct PoisonOnUnwind(Arc<Shared>);

impl Drop for PoisonOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the writer thread panicked");
        }
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, active: Arc<Segment>, end: u64, last: Timestamp) -> Self {
        Self { shared, active, end, last, buffer: Vec::new(), preparing: None }
    }

    /// Serves the queue until the log closes or is poisoned.
    pub(super) fn run(mut self) {
        let _guard = PoisonOnUnwind(self.shared.clone());
        self.start_preparing();
        while let Some(group) = self.next_group() {
            self.serve(group);
        }
        if let Some(preparing) = self.preparing.take() {
            let _ = preparing.join();
            // Reserved for nothing: the next open makes its own.
            let _ = std::fs::remove_file(segment::prepared(&self.shared.options.directory));
        }
    }

    /// Waits for work; `None` when there will be no more.
    fn next_group(&self) -> Option<Vec<Command>> {
        let mut queue = lock(&self.shared.queue);
        while queue.commands.is_empty() {
            if queue.closed || queue.poison.is_some() {
                return None;
            }
            queue = self.shared.queued.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(command) = queue.commands.pop_front() {
            bytes += command.bytes();
            group.push(command);
            let next = queue.commands.front().map_or(0, Command::bytes);
            if bytes + next > self.shared.options.group_bytes_max {
                break;
            }
        }
        Some(group)
    }

    fn serve(&mut self, group: Vec<Command>) {
        let mut ready: Vec<Queued> = Vec::new();
        let mut room = self.room();
        for command in group {
            match command {
                Command::Append(queued) => {
                    let span = frame::span_of(queued.payload.len()) as u64;
                    if span > room {
                        self.commit(std::mem::take(&mut ready));
                        if let Err(error) = self.roll() {
                            self.finish(vec![queued], &Err(error));
                            // Room may be left for a shorter one.
                            room = self.room();
                            continue;
                        }
                        room = self.room();
                    }
                    room = room.saturating_sub(span);
                    ready.push(queued);
                }
                Command::Roll(done) => {
                    self.commit(std::mem::take(&mut ready));
                    let empty = self.end == self.active.base;
                    done(if empty { Ok(()) } else { self.roll() });
                    room = self.room();
                }
            }
        }
        self.commit(ready);
    }

    /// Bytes of frames that the active segment still takes.
    fn room(&self) -> u64 {
        let used = HEADER + (self.end - self.active.base);
        self.shared.options.segment_bytes.saturating_sub(used)
    }

    /// Writes and syncs `group`, which fits into the active segment, with one write and one sync.
    fn commit(&mut self, group: Vec<Queued>) {
        if group.is_empty() {
            return;
        }
        if let Some(error) = self.shared.poisoned() {
            return self.finish(group, &Err(error));
        }
        let rt = self.shared.begin_group();
        self.buffer.clear();
        for queued in &group {
            let back = self.buffer.len() as u64;
            let header = frame::header_of(&queued.payload, rt, back);
            header.put(&mut self.buffer, self.active.salt, self.end + back, &queued.payload);
        }
        let outcome = self.write_and_sync();
        if outcome.is_ok() {
            self.end += self.buffer.len() as u64;
            self.last = rt;
        }
        self.shared.end_group(self.end);
        if self.buffer.capacity() > BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
        self.finish(group, &outcome.map(|()| rt));
    }

    fn write_and_sync(&mut self) -> Result<(), Error> {
        let faults = self.shared.options.faults.clone();
        let offset = self.active.offset(self.end);
        let file = self.active.file();
        let written = match faults.as_ref().map_or(Verdict::Run, |faults| faults.before(Operation::Write)) {
            Verdict::Run => file.write_all_at(&self.buffer, offset),
            Verdict::Fail(error) => Err(error),
            Verdict::Short(count, error) => {
                let count = count.min(self.buffer.len());
                file.write_all_at(&self.buffer[..count], offset).and(Err(error))
            }
        };
        drop(file);
        match written.map_err(|e| Error::io("write", &self.active.path, e)) {
            Ok(()) => {}
            Err(Error::DiskFull) => return Err(self.cut_back()),
            Err(error) => return Err(self.poison(&error)),
        }
        let synced = allow(faults.as_ref(), Operation::Sync).and_then(|()| self.active.file().sync_data());
        // Not through `Error::io`: even "disk full" is final when it is a sync that reports it.
        synced.map_err(|e| self.poison_with(&format!("sync {}: {e}", self.active.path.display())))
    }

    /// After a write that found no room: removes what was written of it. What is left there could otherwise be taken
    /// for records after a later crash.
    fn cut_back(&mut self) -> Error {
        let offset = self.active.offset(self.end);
        let file = self.active.file();
        let cut = file.set_len(offset).and_then(|()| file.set_len(self.shared.options.segment_bytes));
        let cut = cut.and_then(|()| file.sync_all());
        drop(file);
        match cut {
            Ok(()) => Error::DiskFull,
            Err(error) => self.poison_with(&format!("cut back {}: {error}", self.active.path.display())),
        }
    }

    /// Closes the active segment and opens the next. If there is no room for that, nothing has changed.
    fn roll(&mut self) -> Result<(), Error> {
        if let Some(error) = self.shared.poisoned() {
            return Err(error);
        }
        let prepared = match self.take_prepared() {
            Ok(file) => file,
            Err(Error::DiskFull) => return Err(Error::DiskFull),
            Err(error) => return Err(self.poison(&error)),
        };
        match self.exchange(prepared) {
            Ok(()) => {
                self.start_preparing();
                Ok(())
            }
            Err(error) => Err(self.poison(&error)),
        }
    }

    fn exchange(&mut self, prepared: File) -> Result<(), Error> {
        let path = &self.active.path;
        allow(self.shared.options.faults.as_ref(), Operation::Roll)
            .map_err(|e| Error::io("close", path, e))?;
        // First the old one's exact length, then the new one's name: recovery checks that they meet.
        let file = self.active.file();
        file.set_len(self.active.offset(self.end)).map_err(|e| Error::io("cut", path, e))?;
        file.sync_all().map_err(|e| Error::io("sync", path, e))?;
        drop(file);
        // Not the log's time, which may be later: retention goes by the youngest record.
        let segment = Segment::begin(&self.shared.options.directory, prepared, self.end, self.last)?;
        self.active = Arc::new(segment);
        lock(&self.shared.state).segments.push(self.active.clone());
        Ok(())
    }

    fn start_preparing(&mut self) {
        let options = self.shared.options.clone();
        let prepare = move || reserve(&options);
        // Without a thread the roll reserves it itself.
        self.preparing = std::thread::Builder::new().name("log-prepare".into()).spawn(prepare).ok();
    }

    fn take_prepared(&mut self) -> Result<File, Error> {
        if let Some(Ok(Ok(file))) = self.preparing.take().map(JoinHandle::join) {
            return Ok(file);
        }
        // It failed a while ago, perhaps for want of room: that may have passed.
        reserve(&self.shared.options)
    }

    fn poison(&self, error: &Error) -> Error {
        self.poison_with(&error.chain())
    }

    fn poison_with(&self, reason: &str) -> Error {
        self.shared.poison(reason)
    }

    /// Tells the callers, in the order of their positions.
    fn finish(&self, group: Vec<Queued>, outcome: &Result<Timestamp, Error>) {
        let bytes: usize = group.iter().map(|queued| frame::span_of(queued.payload.len())).sum();
        {
            let mut queue = lock(&self.shared.queue);
            queue.bytes = queue.bytes.saturating_sub(bytes);
        }
        let mut position = self.end.saturating_sub(bytes as u64);
        for Queued { payload, done } in group {
            let next = position + frame::span_of(payload.len()) as u64;
            let appended = |rt| Appended { position: Position(position), next: Position(next), rt };
            done(outcome.clone().map(appended));
            position = next;
        }
    }
}
