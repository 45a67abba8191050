//! The world of one run: virtual time, the clients, the log, the store and the worker, and everything that happens to them.
//!
//! Time is a [`ManualClock`], the worker is driven by [`Worker::step`]: nothing here waits, and the seed decides the rest.

use crate::client::Client;
use crate::deliver::Deliverer;
use crate::dice::Dice;
use crate::dump;
use crate::faults::{BrittleFiles, BrittleStore, FAIL, LIE, Wound};
use crate::shop::Shop;
use crate::workspace::{Designer, FARTHEST, WINDOWS};
use onefold_fold::query::Reader;
use onefold_fold::{Options as FoldOptions, Step, Worker};
use onefold_log::record::Record;
use onefold_log::{
    Appended, Error, FileLog, FileLogOptions, ManualClock, MemoryLog, MemoryLogOptions, SharedLog,
};
use onefold_store::{FjallOptions, FjallStore, MemoryStore, Store};
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::effect::Effect;
use onefold_types::workspace::Workspace;
use onefold_types::{Catalogue, Identifier, Position, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tempfile::TempDir;

/// Where virtual time starts.
pub const START: i64 = 1_700_000_000_000;

/// Per cent of instants at which the wall clock steps back.
const CLOCK_STEPS_BACK: u32 = 3;

/// Per cent of runs in which a backfill goes on while messages come (else it ends within its batch).
const SLOW_BACKFILL: u32 = 60;

/// Per cent of runs with slow backfills in which operators decide things too.
const DECISIONS_WHILE_BACKFILLING: u32 = 100;

/// Per cent of failed appends to files after which the process lives on, its log poisoned.
const FOLDS_ON_AFTER_POISON: u32 = 50;

/// Per cent of changes of identity rules that were previewed.
const PREVIEWS: u32 = 50;

/// What a run is made of, besides its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// A log in files, which tear; else one in memory, which loses what it holds.
    pub files: bool,
    /// The embedded engine; else tables in memory, which lose what is not synced.
    pub fjall: bool,
}

/// What happened in a run.
pub type Tally = BTreeMap<&'static str, u64>;

enum LogHome {
    Memory(Arc<MemoryLog>),
    Files { folder: TempDir, faults: Arc<BrittleFiles>, log: Option<Arc<FileLog>> },
}

enum StoreHome {
    Memory(Arc<MemoryStore>),
    Fjall { folder: TempDir, generation: u32, store: Option<Arc<FjallStore>> },
}

type Outcome = Arc<Mutex<Option<Result<Appended, Error>>>>;

/// A request under way.
struct Pending {
    client: usize,
    items: Vec<Value>,
    outcomes: Vec<Outcome>,
}

/// See the module.
pub struct World {
    dice: Dice,
    /// Virtual time.
    pub now: i64,
    clock: Arc<ManualClock>,
    log: LogHome,
    store: StoreHome,
    commit: Arc<AtomicU8>,
    /// How the worker works.
    pub options: FoldOptions,
    worker: Option<Worker>,
    shop: Shop,
    clients: Vec<Client>,
    designer: Designer,
    pending: Vec<Pending>,
    /// Ids of messages that some client was told are taken.
    pub acknowledged: BTreeSet<String>,
    instants: Vec<i64>,
    requests: u64,
    decisions: u64,
    /// Every effect that was ever seen committed, by destination and id: it may have been delivered, so a crash may take
    /// the row, but must not change what comes back.
    pub committed: BTreeMap<(u32, u128), Effect>,
    /// What happened.
    pub tally: Tally,
    /// A line for each thing that happened, if asked for.
    pub story: Option<Vec<String>>,
    decided: Vec<u64>,
    /// The log takes nothing until it is opened again.
    hurt: bool,
    /// How far the wall clock was set back.
    behind: i64,
    /// Per cent of rounds in which the workspace changes.
    edits: u32,
    /// Who delivers, if anybody does.
    pub deliverer: Option<Deliverer>,
}

impl World {
    /// The world of a seed, empty, with its first workspace applied.
    #[must_use]
    pub fn new(mut dice: Dice, home: Home, story: bool) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(START)));
        let shop = Shop::new(dice.split());
        let clients = (0..1 + dice.below(4)).map(|_| Client::new(dice.split())).collect();
        let designer = Designer::new(dice.split());
        let log = if home.files { files() } else { memory(&clock) };
        let store = if home.fjall {
            StoreHome::Fjall { folder: tempfile::tempdir().unwrap(), generation: 0, store: None }
        } else {
            StoreHome::Memory(Arc::new(MemoryStore::crashable()))
        };
        let slow = dice.chance(SLOW_BACKFILL);
        let edits = *dice.pick(&[0, 2, 6]);
        let options = FoldOptions {
            secret: [7; 32],
            batch_bytes: if slow || edits == 0 { *dice.pick(&[1, 1, 2_000, 4 << 20]) } else { 1 },
            batch_timers: *dice.pick(&[1, 3, 10_000]),
            backfill_profiles: if slow { *dice.pick(&[1, 1, 2, 200]) } else { 100_000 },
            caches: onefold_fold::CacheSizes::of(*dice.pick(&[1 << 12, 1 << 16, 64 << 20])),
            ..FoldOptions::default()
        };
        let mut world = Self {
            dice,
            now: START,
            clock,
            log,
            store,
            commit: Arc::new(AtomicU8::new(0)),
            options,
            worker: None,
            shop,
            clients,
            designer,
            pending: Vec::new(),
            acknowledged: BTreeSet::new(),
            instants: Vec::new(),
            requests: 0,
            decisions: 0,
            committed: BTreeMap::new(),
            tally: Tally::new(),
            story: story.then(Vec::new),
            decided: Vec::new(),
            hurt: false,
            behind: 0,
            edits,
            deliverer: None,
        };
        world.open();
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>12} {}", self.now - START, line()));
        }
    }

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

    /// The worker.
    pub fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("the worker is there")
    }

    /// The process starts: opens the log, the store, a worker.
    fn open(&mut self) {
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
    fn append(&mut self, record: &Record) -> Outcome {
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

    fn send(&mut self, client: usize) {
        let Some(batch) = self.clients[client].request(self.now) else { return };
        self.requests += 1;
        self.count("requests");
        if self.dice.chance(5) {
            self.count("requests lost");
            self.clients[client].give_back(batch.items);
            return;
        }
        let decoded = batch.decode(self.now);
        self.tell(|| {
            let texts: Vec<String> = batch.items.iter().map(ToString::to_string).collect();
            format!("client {client} sends {}", texts.join("\n               "))
        });
        let mut outcomes = Vec::new();
        *self.tally.entry("messages sent").or_default() += decoded.messages.len() as u64;
        *self.tally.entry("messages rejected").or_default() += decoded.rejected.len() as u64;
        if !decoded.messages.is_empty() {
            outcomes.push(self.append(&Record::Messages(decoded.messages)));
        }
        if !decoded.rejected.is_empty() {
            outcomes.push(self.append(&Record::Rejected(decoded.rejected)));
        }
        self.pending.push(Pending { client, items: batch.items, outcomes });
        self.answer();
    }

    /// Answers whoever can be answered.
    fn answer(&mut self) {
        let mut waiting = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let results: Vec<_> =
                pending.outcomes.iter().map(|outcome| outcome.lock().unwrap().clone()).collect();
            if results.iter().any(Option::is_none) {
                waiting.push(pending);
                continue;
            }
            let taken = results.iter().flatten().all(Result::is_ok);
            self.tell(|| format!("client {} is answered {results:?}", pending.client));
            if !taken {
                self.count("requests failed");
                self.clients[pending.client].give_back(pending.items);
            } else if self.dice.chance(6) {
                self.count("answers lost");
                self.clients[pending.client].give_back(pending.items);
            } else {
                let ids = pending
                    .items
                    .iter()
                    .filter(|item| onefold_types::event::extract(&item.to_string(), None).is_ok());
                let ids = ids.filter_map(|item| item["messageId"].as_str());
                self.acknowledged.extend(ids.map(str::to_owned));
                self.clients[pending.client].acknowledge(pending.items);
            }
        }
        self.pending = waiting;
    }

    /// The catalogue that the log has, as whoever edits it reads it.
    #[must_use]
    pub fn catalogue(&self) -> Option<Catalogue> {
        let log = self.shared_log();
        let mut current: Option<Catalogue> = None;
        for entry in entries(&log) {
            if let Ok(Record::Catalogue(json)) = Record::decode(&entry.payload) {
                let next: Catalogue = serde_json::from_slice(&json).unwrap();
                if next.version.0 == current.as_ref().map_or(0, |c| c.version.0) + 1 {
                    current = Some(next);
                }
            }
        }
        current
    }

    /// Applies the designer's workspace.
    pub fn apply(&mut self) {
        let workspace = self.designer.workspace();
        let written = workspace.to_string();
        let workspace = serde_json::from_value(workspace).unwrap();
        let next = onefold_fold::catalogue::next(self.catalogue().as_ref(), workspace, "sim");
        let next = next.unwrap_or_else(|problems| panic!("the workspace cannot be applied: {problems:#?}"));
        self.count("catalogues");
        self.tell(|| format!("workspace {written}"));
        self.append(&Record::Catalogue(serde_json::to_vec(&next).unwrap()));
    }

    fn edit(&mut self) {
        let said = self.designer.edit();
        if said.starts_with("rules") {
            self.count("changes of rules");
            if self.dice.chance(PREVIEWS) {
                // What is at hand when the record comes, and what came between, changes nothing.
                let rules: Workspace = serde_json::from_value(self.designer.workspace()).unwrap();
                let (store, log, handle) = (self.shared_store(), self.shared_log(), self.worker().handle());
                let reader = Reader::new(store, log, handle, self.options.secret);
                drop(reader.preview(&rules.identity));
            }
        }
        self.tell(|| said);
        self.apply();
    }

    fn decide(&mut self) {
        let id = |dice: &mut Dice, pool: &[(String, String)]| {
            let (id_type, value) = dice.pick(pool);
            Identifier::new(id_type.clone(), value.clone())
        };
        let dice = &mut self.dice;
        let pool = &self.shop.pool;
        let (a, b) = (id(dice, pool), id(dice, pool));
        let ids: Vec<&String> = self.acknowledged.iter().collect();
        let decision = match dice.below(20) {
            0..5 => Decision::Link { a, b },
            5..9 => Decision::Cut { a, b },
            9..11 => Decision::Block { id: a },
            11 => Decision::Unblock { id: a },
            12 => {
                let same: Vec<_> =
                    pool.iter().filter(|(id_type, _)| *id_type == a.id_type).cloned().collect();
                Decision::Force { b: id(dice, &same), a }
            }
            13..16 if !self.decided.is_empty() => Decision::Undo { number: *dice.pick(&self.decided) },
            16..18 if !ids.is_empty() => Decision::DeleteMessage { message_id: (*dice.pick(&ids)).clone() },
            18 => Decision::DeleteProfile { id: a },
            _ => Decision::Cut { a, b },
        };
        self.decisions += 1;
        self.decided.push(self.decisions);
        let record = DecisionRecord {
            request_id: format!("r{}", self.decisions),
            operator: "ada".to_owned(),
            reason: String::new(),
            decision,
        };
        self.count("decisions");
        self.tell(|| format!("{:?}", record.decision));
        let record = Record::Decision(serde_json::to_vec(&record).unwrap());
        self.append(&record);
        if self.dice.chance(5) {
            // The operator's client sends it again.
            self.append(&record);
        }
    }

    /// Time passes: often not at all, often to the very millisecond at which a window changes.
    fn pass(&mut self) {
        let step = match self.dice.below(20) {
            0..5 => 0,
            5..8 => self.dice.between(1, 1_000),
            8..13 => self.dice.between(1_000, 300_000),
            13..15 => self.dice.between(300_000, 3_600_000),
            15..19 => self.until_boundary(),
            _ => self.dice.between(3_600_000, 2 * 86_400_000),
        };
        self.now += step;
        if self.behind > 0 && self.dice.chance(20) {
            self.behind = 0;
        } else if self.dice.chance(CLOCK_STEPS_BACK) {
            self.behind = self.dice.between(1, 120_000);
            self.tell(|| "the wall clock steps back".to_owned());
        }
        self.clock.set(Timestamp(self.now - self.behind));
    }

    fn until_boundary(&mut self) -> i64 {
        if self.instants.is_empty() {
            return 0;
        }
        let last = self.instants.len() - 1;
        let instant = self.instants[last - self.dice.below(8).min(last)];
        let (_, distances) = WINDOWS[1 + self.dice.below(WINDOWS.len() - 1)];
        let at = instant + self.dice.pick(distances) + self.dice.between(-1, 1);
        if at > self.now && at - self.now < 7 * 3_600_000 { at - self.now } else { 0 }
    }

    /// One step of the worker; whatever it runs into, the process is killed and starts again.
    fn step(&mut self) -> bool {
        if self.hurt && !self.dice.chance(FOLDS_ON_AFTER_POISON) {
            self.crash();
        }
        let worked = self.worker().step();
        match worked {
            Ok((step, _)) => {
                self.collect();
                let status = self.worker().handle().status();
                self.tell(|| format!("folded to {} at {}", status.position, status.engine_time.0 - START));
                step == Step::Worked
            }
            Err(error) => {
                self.tell(|| format!("the worker failed: {error:?}"));
                self.count("worker failures");
                let told = format!("{error:?}");
                assert!(told.contains("as it was told to"), "the worker failed for no reason: {told}");
                // A worker whose commit failed can go on; one that does not know what became of it must begin again.
                if told.contains("and kept") || self.dice.chance(50) {
                    self.crash();
                }
                true
            }
        }
    }

    /// Notes the effects that are committed; one that a crash took must come back as it was.
    fn collect(&mut self) {
        for (_, effect) in dump::outbox(self.shared_store().as_ref()) {
            self.committed.entry((effect.destination.0, effect.id)).or_insert(effect);
        }
    }

    /// What else may happen.
    fn mishap(&mut self) {
        match self.dice.below(100) {
            0..8 => self.crash(),
            8..14 => {
                self.commit.store(if self.dice.chance(50) { FAIL } else { LIE }, Ordering::SeqCst);
            }
            14..24 => drop(self.worker().sync()),
            24..34 => {
                if let LogHome::Memory(log) = &self.log {
                    log.hold();
                }
            }
            34..46 => {
                if let LogHome::Memory(log) = &self.log {
                    log.sync();
                }
                self.answer();
            }
            46..54 => {
                let wound = match self.dice.below(4) {
                    0 => Wound::Unsynced,
                    1 => Wound::Full,
                    _ => Wound::Torn(self.dice.below(1_500)),
                };
                if let LogHome::Files { faults, .. } = &self.log {
                    faults.set(Some(wound));
                    self.count("wounds to files");
                }
            }
            _ => {}
        }
    }

    /// Delivers for a while, then the whole process is killed.
    fn deliver(&mut self) {
        let Some(mut deliverer) = self.deliverer.take() else { return };
        if let Some(catalogue) = self.catalogue() {
            let requests = 1 + self.dice.below(40);
            let (store, log) = (self.shared_store(), self.shared_log());
            let outcome = deliverer.phase(&store, &log, &catalogue, Some(requests));
            outcome.unwrap_or_else(|error| panic!("{error}"));
            self.count("deliveries killed");
        }
        self.deliverer = Some(deliverer);
        self.crash();
    }

    /// Delivers until nothing is left to deliver.
    ///
    /// # Errors
    /// It hangs.
    pub fn drain(&mut self) -> Result<(), String> {
        let (Some(mut deliverer), Some(catalogue)) = (self.deliverer.take(), self.catalogue()) else {
            return Ok(());
        };
        let outcome = deliverer.phase(&self.shared_store(), &self.shared_log(), &catalogue, None);
        *self.tally.entry("requests to the receiver").or_default() += deliverer.requests() as u64;
        self.deliverer = Some(deliverer);
        outcome
    }

    /// Runs until about `messages` were noted by clients.
    pub fn run(&mut self, messages: usize) {
        // Ingest takes nothing before the first catalogue is loaded.
        self.apply();
        let mut decisions = *self.dice.pick(&[0, 3, 10]);
        let slow = self.options.backfill_profiles < 100_000;
        if slow && self.edits > 0 && !self.dice.chance(DECISIONS_WHILE_BACKFILLING) {
            decisions = 0;
        }
        let mut noted = 0;
        while noted < messages {
            self.pass();
            for _ in 0..1 + self.dice.below(4) {
                let message = self.shop.message();
                let client = self.dice.below(self.clients.len());
                let happened = self.clients[client].note(message, self.now, FARTHEST + 3_600_000);
                self.instants.push(happened.min(self.now));
                noted += 1;
            }
            for _ in 0..1 + self.dice.below(2) {
                let client = self.dice.below(self.clients.len());
                self.send(client);
            }
            if self.dice.chance(self.edits) {
                self.edit();
            }
            if self.dice.chance(decisions) {
                self.decide();
            }
            self.mishap();
            if self.deliverer.is_some() && self.dice.chance(6) {
                self.deliver();
            }
            for _ in 0..self.dice.below(4) {
                self.step();
            }
        }
        self.quiesce();
    }

    /// Everything heals: clients get everything through, the fold catches up, every window closes.
    fn quiesce(&mut self) {
        self.behind = 0;
        self.crash();
        for client in 0..self.clients.len() {
            let mut rounds = 0;
            while self.clients[client].waiting() > 0 {
                self.now += 1;
                self.clock.set(Timestamp(self.now));
                self.send(client);
                rounds += 1;
                assert!(rounds < 10_000, "a client gets nothing through");
            }
        }
        self.settle();
        if self.dice.chance(50) {
            self.crash();
            self.settle();
        }
        self.now += FARTHEST + FARTHEST;
        self.clock.set(Timestamp(self.now));
        self.settle();
        self.worker().sync().unwrap();
    }

    /// Lets time pass to `end` and every window close.
    pub fn close(&mut self, end: Timestamp) {
        self.now = end.0;
        self.clock.set(end);
        self.settle();
    }

    /// Folds until there is nothing to do.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 100_000, "the fold does not come to rest");
        }
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

fn memory(clock: &Arc<ManualClock>) -> LogHome {
    LogHome::Memory(Arc::new(MemoryLog::new(MemoryLogOptions {
        clock: clock.clone(),
        ..MemoryLogOptions::default()
    })))
}

fn files() -> LogHome {
    LogHome::Files { folder: tempfile::tempdir().unwrap(), faults: Arc::default(), log: None }
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
