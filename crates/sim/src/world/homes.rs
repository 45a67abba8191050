//! Where log and store are: opening them, killing the process that has them open, appending.

use super::World;
use crate::faults::{BrittleFiles, BrittleStore};
use onefold_fold::Worker;
use onefold_log::record::Record;
use onefold_log::{
    Appended, Error, FileLog, FileLogOptions, ManualClock, MemoryLog, MemoryLogOptions, SharedLog,
};
use onefold_store::{FjallOptions, FjallStore, MemoryStore, Store};
use onefold_types::Position;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tempfile::TempDir;

/// What a run is made of, besides its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// A log in files, which tear; else one in memory, which loses what it holds.
    pub files: bool,
    /// The embedded engine; else tables in memory, which lose what is not synced.
    pub fjall: bool,
}

pub(super) enum LogHome {
    Memory(Arc<MemoryLog>),
    Files { folder: TempDir, faults: Arc<BrittleFiles>, log: Option<Arc<FileLog>> },
}

pub(super) enum StoreHome {
    Memory(Arc<MemoryStore>),
    Fjall { folder: TempDir, generation: u32, store: Option<Arc<FjallStore>> },
}

/// What becomes of an append, once it is known.
pub(super) type Outcome = Arc<Mutex<Option<Result<Appended, Error>>>>;

impl LogHome {
    pub(super) fn memory(clock: &Arc<ManualClock>) -> Self {
        Self::Memory(Arc::new(MemoryLog::new(MemoryLogOptions {
            clock: clock.clone(),
            ..MemoryLogOptions::default()
        })))
    }

    pub(super) fn files() -> Self {
        Self::Files { folder: tempfile::tempdir().unwrap(), faults: Arc::default(), log: None }
    }
}

impl StoreHome {
    pub(super) fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::crashable()))
    }

    pub(super) fn fjall() -> Self {
        Self::Fjall { folder: tempfile::tempdir().unwrap(), generation: 0, store: None }
    }
}

impl World {
    /// The log as it is open now.
    #[must_use]
    pub fn shared_log(&self) -> SharedLog {
        match &self.log {
            LogHome::Memory(log) => log.clone(),
            LogHome::Files { log, .. } => log.clone().expect("the log is open"),
        }
    }

    /// The store as it is open now.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn Store> {
        match &self.store {
            StoreHome::Memory(store) => store.clone(),
            StoreHome::Fjall { store, .. } => store.clone().expect("the store is open"),
        }
    }

    /// The process starts: opens the log, the store, a worker.
    pub(super) fn open(&mut self) {
        if let LogHome::Files { folder, faults, log } = &mut self.log {
            let mut options = FileLogOptions::new(folder.path());
            options.segment_bytes = 32 << 10;
            options.record_bytes_max = 24 << 10;
            options.clock = self.clock.clone();
            options.faults = Some(faults.clone());
            *log = Some(Arc::new(FileLog::open(options).expect("the log opens after any crash")));
        }
        if let StoreHome::Fjall { folder, generation, store } = &mut self.store {
            let options =
                FjallOptions { cache_bytes: 1 << 20, memtable_bytes: 1 << 20, ..FjallOptions::default() };
            let path = folder.path().join(generation.to_string());
            *store =
                Some(Arc::new(FjallStore::open(&path, &options).expect("the store opens after any crash")));
        }
        let store = Arc::new(BrittleStore::new(self.shared_store(), self.commit.clone()));
        let worker = Worker::open(self.shared_log(), store, self.options.clone());
        self.worker = Some(worker.expect("a worker opens after any crash"));
    }

    /// The process is killed, perhaps with the power, and starts again.
    pub fn crash(&mut self) {
        self.count("crashes");
        self.worker = None;
        self.hurt = false;
        self.commit.store(0, Ordering::SeqCst);
        let mut lost = 0;
        match &mut self.log {
            LogHome::Memory(log) => log.crash(),
            LogHome::Files { faults, log, .. } => {
                faults.set(None);
                *log = None;
            }
        }
        match &mut self.store {
            StoreHome::Memory(store) => {
                let unsynced = store.unsynced();
                let keep = if self.dice.chance(40) { unsynced } else { self.dice.below(unsynced + 1) };
                lost = unsynced - keep;
                store.crash(keep);
            }
            StoreHome::Fjall { folder, generation, store } => {
                // What a killed process leaves: the files as they are, while the engine still has them open.
                let from = folder.path().join(generation.to_string());
                *generation += 1;
                copy(&from, &folder.path().join(generation.to_string()));
                *store = None;
                drop(std::fs::remove_dir_all(from));
            }
        }
        *self.tally.entry("commits lost").or_default() += lost as u64;
        for pending in std::mem::take(&mut self.pending) {
            self.clients[pending.client].give_back(pending.items);
        }
        self.tell(|| format!("crash, {lost} commits lost"));
        self.open();
    }

    /// Appends; the outcome may come at once, later or never.
    pub(super) fn append(&mut self, record: &Record) -> Outcome {
        let outcome = Outcome::default();
        let payload = record.encode();
        match &self.log {
            LogHome::Memory(log) => {
                use onefold_log::Log as _;
                let told = outcome.clone();
                log.append(payload, Box::new(move |result| *told.lock().unwrap() = Some(result)));
            }
            LogHome::Files { log, .. } => {
                use onefold_log::Log as _;
                let (done, result) = mpsc::channel();
                let log = log.as_ref().expect("the log is open");
                log.append(payload, Box::new(move |result| drop(done.send(result))));
                let result = result.recv_timeout(Duration::from_secs(60)).expect("an append has an outcome");
                self.hurt |= matches!(result, Err(Error::Poisoned { .. }));
                *outcome.lock().unwrap() = Some(result);
            }
        }
        outcome
    }
}

/// Every record of a log.
#[must_use]
pub fn entries(log: &SharedLog) -> Vec<onefold_log::Entry> {
    let mut found: Vec<onefold_log::Entry> = Vec::new();
    loop {
        let from = found.last().map_or(Position(0), |entry| entry.next);
        let more = log.read(from, 1 << 20).unwrap();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn copy(from: &Path, to: &PathBuf) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}
