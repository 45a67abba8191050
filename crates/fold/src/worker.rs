//! The worker: reads the log, folds batches, keeps the store synced, tells others how far it is.
//!
//! [`Worker::step`] is the whole of it, without threads or sleeping, so the simulator drives the same code.

use crate::batch::{Batch, Setting};
use crate::catalogue::Compiled;
use crate::error::Error;
use crate::memory::{CacheSizes, Counters, Memory, NEAR_MS};
use crate::report::Report;
use crate::rules_change::Prepared;
use arc_swap::ArcSwap;
use onefold_log::SharedLog;
use onefold_store::{Progress, Store};
use onefold_types::{AudienceId, Position, Timestamp};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The partition it owns.
    pub partition: u32,
    /// Keys profile ids and message-id hashes; kept beside the log, for ever.
    pub secret: [u8; 32],
    /// Bytes of the log that one batch takes at most.
    pub batch_bytes: usize,
    /// Timers that one batch fires at most.
    pub batch_timers: usize,
    /// Profiles that one batch brings up to date at most while messages wait; ten times as many while none do.
    pub backfill_profiles: usize,
    /// Quarantined items kept.
    pub quarantine_cap: u64,
    /// Time between syncs of the store.
    pub sync_every: Duration,
    /// Cached rows.
    pub caches: CacheSizes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partition: 0,
            secret: [0; 32],
            batch_bytes: 4 << 20,
            batch_timers: 10_000,
            backfill_profiles: 200,
            quarantine_cap: 100_000,
            sync_every: Duration::from_secs(1),
            caches: CacheSizes::default(),
        }
    }
}

/// What a step found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something; there may be more.
    Worked,
    /// Nothing until the log grows or the instant named comes.
    Idle {
        /// The next timer, if one is near.
        next_due: Option<Timestamp>,
    },
}

/// How far the fold is, as others see it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Everything before this position is folded and committed.
    pub position: Position,
    /// The engine time.
    pub engine_time: Timestamp,
    /// Everything before this position is folded and synced: the log may be trimmed up to it.
    pub synced: Position,
    /// Where the log has the catalogue in force, last: a log that is trimmed further cannot say any more what it was.
    pub catalogue_at: Position,
    /// What was counted.
    pub counters: Counters,
    /// Profiles done and to do of a running backfill.
    pub backfill: Option<(u64, u64)>,
    /// Why the worker stopped, if it did.
    pub failed: Option<String>,
}

/// Told of every committed batch, on the worker's thread: must be quick.
pub trait Observer: Send {
    /// A batch committed.
    fn committed(&mut self, status: &Status, report: Report);
}

/// Shared with everyone who waits for the fold or reads its catalogue.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    status: Mutex<Status>,
    moved: Condvar,
    catalogue: ArcSwap<Compiled>,
    stop: AtomicBool,
    sizes: RwLock<HashMap<u32, i64>>,
    told: OnceLock<Told>,
    prepared: Prepared,
}

/// Told of each catalogue that comes into force.
type Told = Box<dyn Fn(&Arc<Compiled>) + Send + Sync>;

impl Handle {
    /// The catalogue in force.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Compiled> {
        self.inner.catalogue.load_full()
    }

    /// How far the fold is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The engine time.
    #[must_use]
    pub fn engine_time(&self) -> Timestamp {
        self.inner.status.lock().unwrap_or_else(PoisonError::into_inner).engine_time
    }

    /// Has `told` called with the catalogue in force now, and with each that follows before anyone who waits for its
    /// record goes on; on the worker's thread. Once only: a second call changes nothing.
    pub fn on_catalogue(&self, told: impl Fn(&Arc<Compiled>) + Send + Sync + 'static) {
        told(&self.catalogue());
        let _ = self.inner.told.set(Box::new(told));
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.inner.prepared
    }

    /// Members of an audience.
    #[must_use]
    pub fn audience_size(&self, audience: AudienceId) -> i64 {
        let sizes = self.inner.sizes.read().unwrap_or_else(PoisonError::into_inner);
        sizes.get(&audience.0).copied().unwrap_or_default()
    }

    /// Blocks until everything before `position` is folded and committed, the worker failed, or `timeout` passed;
    /// says whether it is folded.
    #[must_use]
    pub fn wait(&self, position: Position, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut status = self.inner.status.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if status.position >= position {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || status.failed.is_some() {
                return false;
            }
            let waited = self.inner.moved.wait_timeout(status, left);
            status = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks the worker's thread to stop after its batch.
    pub fn stop(&self) {
        self.inner.stop.store(true, Ordering::Release);
    }
}

/// How often one batch is run again because another transaction crossed it: more is no coincidence.
const CONFLICTS_MAX: usize = 100;

/// Folds one partition of the log into the store.
pub struct Worker {
    log: SharedLog,
    store: Arc<dyn Store>,
    options: Options,
    memory: Memory,
    progress: Progress,
    last_sync: Option<Instant>,
    handle: Handle,
}

impl Worker {
    /// Takes over the partition: fences whoever had it, reads where it is.
    ///
    /// # Errors
    /// The store failed, or holds what this version does not read; [`Error::Apart`] if log and state do not belong
    /// together: the fold would pass over records without a word.
    pub fn open(log: SharedLog, store: Arc<dyn Store>, options: Options) -> Result<Self, Error> {
        let progress = store.take_over(options.partition)?;
        let (folded, first, tail) = (progress.position, log.first(), log.tail());
        // A state that is made anew begins at 0, whatever retention has left of the log.
        let is_anew = folded == Position(0);
        if folded > tail || (folded < first && !is_anew) {
            return Err(Error::Apart { folded, first, tail });
        }
        if folded < first {
            tracing::warn!(
                %first,
                "the state is made anew from a log that retention has trimmed: messages and operator decisions before are lost to it"
            );
        }
        log.raise_time(progress.engine_time);
        let memory = Memory::load(store.snapshot()?.as_ref(), options.partition, options.caches)?;
        let handle = Handle {
            inner: Arc::new(Inner {
                status: Mutex::new(Status::default()),
                moved: Condvar::new(),
                catalogue: ArcSwap::new(memory.compiled.clone()),
                stop: AtomicBool::new(false),
                sizes: RwLock::new(memory.sizes.clone()),
                told: OnceLock::new(),
                prepared: memory.prepared.clone(),
            }),
        };
        let worker = Self { log, store, options, memory, progress, last_sync: None, handle };
        worker.publish(None);
        Ok(worker)
    }

    /// For those who wait for the fold.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Folds one batch and commits it.
    ///
    /// # Errors
    /// The log or the store failed; then nothing of the batch is visible, and the worker must be opened again. After
    /// [`onefold_store::Error::Conflict`] it need not be: the next step runs the batch again.
    pub fn step(&mut self) -> Result<(Step, Report), Error> {
        let outcome = self.fold_batch();
        if outcome.is_err() {
            // What the failed batch did to counters, timers and caches is not in the store.
            let prepared = self.memory.prepared.clone();
            self.memory =
                Memory::load(self.store.snapshot()?.as_ref(), self.options.partition, self.options.caches)?;
            self.memory.prepared = prepared;
        }
        outcome
    }

    fn fold_batch(&mut self) -> Result<(Step, Report), Error> {
        let entries = self.log.read(self.progress.position, self.options.batch_bytes)?;
        let (tail, watermark) = self.log.watermark();
        self.memory.prepared.expire(watermark);
        let setting = Setting {
            log: self.log.as_ref(),
            partition: self.options.partition,
            secret: &self.options.secret,
            quarantine_cap: self.options.quarantine_cap,
            timers_max: self.options.batch_timers,
        };
        let txn = self.store.begin()?;
        let mut batch = Batch::new(txn, &mut self.memory, &setting, self.progress.engine_time);
        let mut position = self.progress.position;
        let mut interrupted = false;
        batch.prefetch(&entries)?;
        for entry in &entries {
            if !batch.fold(entry)? {
                interrupted = true;
                break;
            }
            position = entry.next;
        }
        if !interrupted && position >= tail {
            batch.fire_timers(watermark)?;
        }
        let share = if entries.is_empty() { 10 } else { 1 };
        batch.backfill_some(self.options.backfill_profiles * share)?;
        let idle = position == self.progress.position && batch.is_idle();
        if idle {
            let next_due = batch.next_due(watermark.plus(NEAR_MS));
            return Ok((Step::Idle { next_due }, Report::default()));
        }
        let (progress, report) = batch.commit(self.options.partition, self.progress, position)?;
        self.progress = progress;
        let inner = &self.handle.inner;
        let before = inner.catalogue.swap(self.memory.compiled.clone());
        if let Some(told) = inner.told.get().filter(|_| !Arc::ptr_eq(&before, &self.memory.compiled)) {
            told(&self.memory.compiled);
        }
        self.publish_sizes();
        self.publish(None);
        Ok((Step::Worked, report))
    }

    /// Makes the state survive a power cut; afterwards the log may be trimmed up to the folded position.
    ///
    /// # Errors
    /// The store failed.
    pub fn sync(&mut self) -> Result<(), Error> {
        let position = self.progress.position;
        self.store.sync()?;
        let mut status = self.handle.inner.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.synced = position;
        self.last_sync = Some(Instant::now());
        Ok(())
    }

    fn publish(&self, failed: Option<String>) {
        let mut status = self.handle.inner.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.position = self.progress.position;
        status.engine_time = self.progress.engine_time;
        status.catalogue_at = self.memory.catalogue_at;
        status.counters.clone_from(&self.memory.counters);
        status.backfill = self.memory.backfill.as_ref().map(|backfill| (backfill.next, backfill.end));
        status.failed = failed;
        drop(status);
        self.handle.inner.moved.notify_all();
    }

    fn publish_sizes(&mut self) {
        let resized = std::mem::take(&mut self.memory.resized);
        if resized.is_empty() {
            return;
        }
        let mut sizes = self.handle.inner.sizes.write().unwrap_or_else(PoisonError::into_inner);
        for audience in resized {
            sizes.insert(audience, self.memory.sizes.get(&audience).copied().unwrap_or_default());
        }
    }

    /// Works until [`Handle::stop`]; on a thread of its own.
    ///
    /// # Errors
    /// What stopped it: the log or the store failed, or it panicked. The state is as of the last committed batch.
    pub fn run(mut self, mut observer: Box<dyn Observer>) -> Result<(), Error> {
        // Nobody would know otherwise: events would be accepted, and never folded.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work(observer.as_mut())));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Error::Panic { detail: text.unwrap_or_else(|| "it said nothing".to_owned()) })
        });
        if let Err(error) = &outcome {
            self.publish(Some(error.to_string()));
        }
        outcome
    }

    fn work(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let syncing = Arc::new(Syncing::default());
        let thread = {
            let (syncing, store, handle) = (syncing.clone(), self.store.clone(), self.handle.clone());
            std::thread::spawn(move || syncing.run(store.as_ref(), &handle))
        };
        let outcome = self.work_until_stopped(observer, &syncing, &thread);
        syncing.ask(None);
        // Its error, if any, has poisoned the store and comes up in the sync below.
        drop(thread.join());
        outcome?;
        self.sync()
    }

    /// A step. A batch that another transaction crossed is run again (STORE-5), but not for ever.
    fn step_past_conflicts(&mut self) -> Result<(Step, Report), Error> {
        for conflicts in 1..=CONFLICTS_MAX {
            match self.step() {
                Err(Error::Store(onefold_store::Error::Conflict)) => {
                    tracing::warn!(
                        conflicts,
                        "another transaction changed what this batch read; it is run again"
                    );
                }
                outcome => return outcome,
            }
        }
        self.step()
    }

    fn work_until_stopped(
        &mut self,
        observer: &mut dyn Observer,
        syncing: &Syncing,
        thread: &JoinHandle<()>,
    ) -> Result<(), Error> {
        let mut dirty = false;
        while !self.handle.inner.stop.load(Ordering::Acquire) {
            let (step, report) = self.step_past_conflicts()?;
            match step {
                Step::Worked => {
                    dirty = true;
                    observer.committed(&self.handle.status(), report);
                }
                Step::Idle { next_due } => {
                    let (_, now) = self.log.watermark();
                    let until_due = next_due.map_or(100, |due| (due.0 - now.0 + 1).clamp(1, 100));
                    self.log.wait(self.progress.position, Duration::from_millis(until_due.unsigned_abs()));
                }
            }
            if thread.is_finished() {
                // A sync failed, and says so again; or its thread panicked.
                self.sync()?;
                return Err(Error::Panic { detail: "the thread that syncs the state ended".to_owned() });
            }
            if dirty && self.last_sync.is_none_or(|last| last.elapsed() >= self.options.sync_every) {
                syncing.ask(Some(self.progress.position));
                self.last_sync = Some(Instant::now());
                dirty = false;
            }
        }
        Ok(())
    }
}

/// Syncs the store on a thread of its own: the fold goes on while the disk works.
#[derive(Default)]
struct Syncing {
    wanted: Mutex<Wanted>,
    asked: Condvar,
}

#[derive(Default)]
struct Wanted {
    position: Option<Position>,
    stop: bool,
}

impl Syncing {
    /// Asks for a sync of what is committed up to `position`; `None` ends the thread.
    fn ask(&self, position: Option<Position>) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.stop |= position.is_none();
        wanted.position = position.or(wanted.position);
        self.asked.notify_all();
    }

    fn run(&self, store: &dyn Store, handle: &Handle) {
        loop {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            let position = loop {
                if wanted.stop {
                    return;
                }
                match wanted.position.take() {
                    Some(position) => break position,
                    None => wanted = self.asked.wait(wanted).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(wanted);
            if let Err(error) = store.sync() {
                // The store is poisoned now, so the fold's next commit fails and says why.
                tracing::error!(%error, "the state could not be synced");
                return;
            }
            let mut status = handle.inner.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.synced = status.synced.max(position);
        }
    }
}
