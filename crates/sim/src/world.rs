//! The world of one run: virtual time, the clients, the log, the store and the worker, and everything that happens to them.
//!
//! Time is a [`ManualClock`], the worker is driven by [`Worker::step`]: nothing here waits, and the seed decides the rest.
//! What happens is told apart: [`homes`] opens and kills the process, [`requests`] are the clients', [`operator`] decides
//! and edits, [`time`] passes, [`folding`] goes on, [`mishaps`] come between.

mod folding;
mod homes;
mod mishaps;
mod operator;
mod requests;
mod time;

pub use homes::{Home, entries};

use crate::client::Client;
use crate::deliver::Deliverer;
use crate::dice::Dice;
use crate::shop::Shop;
use crate::workspace::{Designer, FARTHEST};
use homes::{LogHome, StoreHome};
use onefold_fold::{Options as FoldOptions, Worker};
use onefold_log::ManualClock;
use onefold_types::Timestamp;
use onefold_types::effect::Effect;
use requests::Pending;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// Where virtual time starts.
pub const START: i64 = 1_700_000_000_000;

/// Per cent of runs in which a backfill goes on while messages come (else it ends within its batch).
const SLOW_BACKFILL: u32 = 60;

/// Per cent of runs with slow backfills in which operators decide things too.
const DECISIONS_WHILE_BACKFILLING: u32 = 100;

/// What happened in a run.
pub type Tally = BTreeMap<&'static str, u64>;

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
        let log = if home.files { LogHome::files() } else { LogHome::memory(&clock) };
        let store = if home.fjall { StoreHome::fjall() } else { StoreHome::memory() };
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
}
