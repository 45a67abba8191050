//! A log in files: segments with checksums, one writer thread, group commit.
//!
//! Reading: [`segment`] (a file), [`crate::frame`] (a record in it), [`writer`] (how it gets there), [`recover`] (where
//! the log ends after a crash), [`maintain`] (trim and redact).
//!
//! ```text
//!   append ──► queue (bytes bounded) ──► writer thread: one write + one sync per group ──► done(…)
//!                                              │
//!   read, get ◄── synced tail ◄────────────────┘      prepare thread: next segment, reserved and zeroed
//! ```
//!
//! Locks, in the order in which they may be held together: `maintenance`, `queue`, `state`, a segment's file.
//! No callback runs under a lock.

mod maintain;
mod options;
mod read;
pub(crate) mod recover;
mod segment;
mod writer;

pub use options::{Faults, FileLogOptions, OnPoisoned, Operation, Retention, Verdict};

use crate::clock;
use crate::error::Error;
use crate::frame::span_of;
use crate::{Entry, Log, OnAppended};
use onefold_types::{Position, Timestamp};
use segment::{HEADER, Segment};
use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A log in the files of one directory. Dropping it completes what is queued.
pub struct FileLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// A payload on its way to the disk.
struct Queued {
    payload: Vec<u8>,
    done: OnAppended,
}

enum Command {
    Append(Queued),
    /// Close the active segment, so that it can be rewritten.
    Roll(Box<dyn FnOnce(Result<(), Error>) + Send>),
}

impl Command {
    /// What it takes in a segment: counting frames, not payloads, bounds many small records too.
    fn bytes(&self) -> usize {
        match self {
            Self::Append(queued) => span_of(queued.payload.len()),
            Self::Roll(_) => 0,
        }
    }
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    /// Bytes of the frames of appends that are not finished, those being written included.
    bytes: usize,
    closed: bool,
    poison: Option<Arc<str>>,
}

struct State {
    /// In order; the last one is active. Never empty.
    segments: Vec<Arc<Segment>>,
    /// The synced tail.
    tail: u64,
    /// The log's time: the next group gets at least this.
    rt: Timestamp,
    /// The receive time of the group that is being written.
    in_flight: Option<Timestamp>,
}

struct Shared {
    options: FileLogOptions,
    queue: Mutex<Queue>,
    queued: Condvar,
    state: Mutex<State>,
    tail_moved: Condvar,
    /// Held by trim and redact: one at a time.
    maintenance: Mutex<()>,
    /// Held for as long as any thread may write.
    _only_writer: File,
}

/// A panic under a lock cannot leave these structures half changed: each is changed in one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Gives the next group its receive time: LOG-3.
    fn begin_group(&self) -> Timestamp {
        let now = self.options.clock.now();
        let mut state = lock(&self.state);
        state.rt = state.rt.max(now);
        state.in_flight = Some(state.rt);
        state.rt
    }

    /// Publishes the synced tail.
    fn end_group(&self, tail: u64) {
        let failed = self.poisoned().is_some();
        let mut state = lock(&self.state);
        state.tail = tail;
        // What a failed sync left in the file is a record after a restart: the watermark must not pass its time.
        if !failed {
            state.in_flight = None;
        }
        drop(state);
        self.tail_moved.notify_all();
    }

    fn poisoned(&self) -> Option<Error> {
        lock(&self.queue).poison.clone().map(|reason| Error::Poisoned { reason })
    }

    /// LOG-6: nothing more is accepted, what waits is told.
    fn poison(&self, reason: &str) -> Error {
        tracing::error!(reason, "the log accepts nothing until it is opened again");
        let mut queue = lock(&self.queue);
        let is_first = queue.poison.is_none();
        let reason = queue.poison.get_or_insert_with(|| reason.into()).clone();
        let waiting = std::mem::take(&mut queue.commands);
        queue.bytes = 0;
        drop(queue);
        if let Some(told) = self.options.on_poisoned.as_ref().filter(|_| is_first) {
            told(&reason);
        }
        let error = Error::Poisoned { reason };
        for command in waiting {
            match command {
                Command::Append(queued) => (queued.done)(Err(error.clone())),
                Command::Roll(done) => done(Err(error.clone())),
            }
        }
        error
    }

    /// The segment that holds `position`, and where its synced frames end.
    fn segment_at(&self, position: u64) -> Option<(Arc<Segment>, u64)> {
        let state = lock(&self.state);
        if position >= state.tail {
            return None;
        }
        let after = state.segments.partition_point(|segment| segment.base <= position);
        let segment = state.segments.get(after.checked_sub(1)?)?.clone();
        let end = state.segments.get(after).map_or(state.tail, |next| next.base);
        Some((segment, end))
    }
}

impl FileLog {
    /// Opens the log in `options.directory`, or makes it, and recovers its end (LOG-5).
    ///
    /// # Errors
    /// Another process has it open, a synced record is damaged, or the disk failed.
    pub fn open(options: FileLogOptions) -> Result<Self, Error> {
        options.check()?;
        let directory = options.directory.clone();
        std::fs::create_dir_all(&directory).map_err(|e| Error::io("create", &directory, e))?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            segment::sync_directory(parent)?;
        }
        let only_writer = lock_directory(&directory)?;
        let mut segments = open_segments(&directory)?;
        let (tail, rt) = match segments.last() {
            Some(last) => recover_end(last, options.segment_bytes)?,
            None => {
                let file = segment::prepare(&directory, options.segment_bytes, options.faults.as_ref())?;
                segments.push(Arc::new(Segment::begin(&directory, file, 0, Timestamp::MIN)?));
                (0, Timestamp::MIN)
            }
        };
        clock::say_if_ahead(rt, options.clock.now());
        let active = segments.last().cloned().ok_or(Error::Options { expected: "a segment" })?;
        let shared = Arc::new(Shared {
            options,
            queue: Mutex::default(),
            queued: Condvar::new(),
            state: Mutex::new(State { segments, tail, rt, in_flight: None }),
            tail_moved: Condvar::new(),
            maintenance: Mutex::default(),
            _only_writer: only_writer,
        });
        let writer = writer::Writer::new(shared.clone(), active, tail, rt);
        let thread = std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run());
        let thread = thread.map_err(|e| Error::io("start the writer of", &directory, e))?;
        Ok(Self { shared, writer: Some(thread) })
    }

    fn enqueue(&self, command: Command) -> Result<(), (Error, Command)> {
        let limit = self.shared.options.record_bytes_max;
        if let Command::Append(Queued { payload, .. }) = &command
            && payload.len() > limit
        {
            return Err((Error::TooLarge { length: payload.len(), limit }, command));
        }
        let length = command.bytes();
        let mut queue = lock(&self.shared.queue);
        if let Some(reason) = queue.poison.clone() {
            return Err((Error::Poisoned { reason }, command));
        }
        let limit = self.shared.options.queue_bytes_max;
        if queue.bytes > 0 && queue.bytes + length > limit {
            return Err((Error::Busy { queued: queue.bytes, limit }, command));
        }
        queue.bytes += length;
        queue.commands.push_back(command);
        drop(queue);
        self.shared.queued.notify_one();
        Ok(())
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.queued.notify_all();
        let Some(writer) = self.writer.take() else { return };
        // The last handle may go in a callback, on the writer thread itself: it ends on its own.
        if writer.thread().id() != std::thread::current().id() {
            let _ = writer.join();
        }
    }
}

impl Log for FileLog {
    fn append(&self, payload: Vec<u8>, done: OnAppended) {
        if let Err((error, Command::Append(refused))) =
            self.enqueue(Command::Append(Queued { payload, done }))
        {
            (refused.done)(Err(error));
        }
    }

    fn read(&self, from: Position, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        self.shared.read(from.0, max_bytes)
    }

    fn get(&self, position: Position) -> Result<Entry, Error> {
        self.shared.get(position.0)
    }

    fn first(&self) -> Position {
        Position(lock(&self.shared.state).segments.first().map_or(0, |segment| segment.base))
    }

    fn tail(&self) -> Position {
        Position(lock(&self.shared.state).tail)
    }

    fn watermark(&self) -> (Position, Timestamp) {
        let now = self.shared.options.clock.now();
        let mut state = lock(&self.shared.state);
        state.rt = state.rt.max(now);
        // What is being written is at or after the tail, and has its time already.
        (Position(state.tail), state.in_flight.unwrap_or(state.rt))
    }

    fn raise_time(&self, at_least: Timestamp) {
        let now = self.shared.options.clock.now();
        let mut state = lock(&self.shared.state);
        if at_least > state.rt {
            clock::say_if_ahead(at_least, now);
            state.rt = at_least;
        }
    }

    fn wait(&self, seen: Position, timeout: Duration) -> Position {
        let until = Instant::now() + timeout;
        let mut state = lock(&self.shared.state);
        while state.tail <= seen.0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.tail_moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Position(state.tail)
    }

    fn trims_to(&self, before: Position) -> Position {
        self.shared.trims_to(before.0)
    }

    fn trim(&self, before: Position) -> Result<Position, Error> {
        maintain::trim(self, before.0)
    }

    fn redact(&self, position: Position, payload: Vec<u8>) -> Result<(), Error> {
        maintain::redact(self, position.0, &payload)
    }

    fn size(&self) -> u64 {
        let segments = lock(&self.shared.state).segments.clone();
        segments.iter().map(|segment| segment.file().metadata().map_or(0, |m| m.len())).sum()
    }
}

/// One writer: a second process must not get as far as reading the tail.
fn lock_directory(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = options.map_err(|e| Error::io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
    }
}

/// Opens every segment, removes what was left half made, and checks that no segment is missing.
fn open_segments(directory: &Path) -> Result<Vec<Arc<Segment>>, Error> {
    let io = |e| Error::io("list", directory, e);
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory).map_err(io)? {
        let path = file.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(base) = segment::base_of(name) {
            found.push((base, path));
        } else if name.ends_with(".tmp") {
            std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    found.sort();
    let opened = found.iter().map(|(base, path)| Segment::open(path, *base).map(Arc::new));
    let segments = opened.collect::<Result<Vec<_>, Error>>()?;
    for pair in segments.windows(2) {
        let [segment, next] = pair else { continue };
        let length = segment.file().metadata().map_err(|e| Error::io("size", &segment.path, e))?.len();
        if HEADER + next.base.saturating_sub(segment.base) != length {
            return Err(segment.corrupt(next.base, "this segment to end where the next one begins"));
        }
    }
    Ok(segments)
}

/// Where the last segment ends. What was torn is zeroed, or a later crash could make it look like records.
fn recover_end(last: &Segment, segment_bytes: u64) -> Result<(u64, Timestamp), Error> {
    let file = last.file();
    let io = |operation| move |e| Error::io(operation, &last.path, e);
    let size = file.metadata().map_err(io("size"))?.len();
    let mut frames = vec![0u8; size.saturating_sub(HEADER) as usize];
    file.read_exact_at(&mut frames, HEADER).map_err(io("read"))?;
    let recovered = recover::recover(&frames, last.salt, last.base, last.floor).map_err(|damage| {
        last.corrupt(last.base + damage.0, "a whole record: later ones prove that it was synced")
    })?;
    let tail = last.base + recovered.length;
    if recovered.torn {
        tracing::warn!(file = %last.path.display(), position = tail, "cut a write that a crash interrupted");
        let zeroes = vec![0u8; frames.len() - recovered.length as usize];
        file.write_all_at(&zeroes, last.offset(tail)).map_err(io("zero the end of"))?;
    }
    if size < segment_bytes {
        file.set_len(segment_bytes).map_err(io("extend"))?;
    }
    // What a killed process had written and not synced is read from now on (LOG-2), so it is synced first. It is
    // written again, because after a failed sync its pages may count as clean without being on the disk (see writer).
    let last_group = frames.get(recovered.group as usize..recovered.length as usize).unwrap_or_default();
    file.write_all_at(last_group, last.offset(last.base + recovered.group)).map_err(io("write again"))?;
    file.sync_all().map_err(io("sync"))?;
    Ok((tail, recovered.rt))
}
