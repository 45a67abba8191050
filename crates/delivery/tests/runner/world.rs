//! An outbox, a journal, a log and a receiver, all of which do what a test says.

pub use crate::stood::Stood;
use onefold_connector::{Answer, Connector, Outcome, Outcomes, Rendered};
use onefold_delivery::{Connect, Delivery, Options, Status};
use onefold_log::{Clock, ManualClock, MemoryLog};
use onefold_store::{Bytes, Direction, Error, KeyRange, MemoryStore, Progress, Read, Store, Table, Txn};
use onefold_types::effect::{Cause, Change, Effect};
use onefold_types::{AudienceId, Catalogue, DestinationId, Identifier, ProfileHandle, Timestamp, outbox};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The wall clock at the start: 2023-11-14.
pub const WALL: i64 = 1_700_000_000_000;

/// A store whose commits fail, as on a full disk, while it is told to.
#[derive(Default)]
pub struct Disk {
    pub inner: MemoryStore,
    pub is_full: AtomicBool,
    pub is_unreadable: AtomicBool,
    pub is_poisoned: AtomicBool,
}

impl Disk {
    pub fn fill(&self, full: bool) {
        self.is_full.store(full, Ordering::SeqCst);
    }

    /// A write failed: what is there is unknown, so nothing more is accepted, for good.
    pub fn poison(&self) {
        self.is_poisoned.store(true, Ordering::SeqCst);
    }

    pub fn hide(&self, hidden: bool) {
        self.is_unreadable.store(hidden, Ordering::SeqCst);
    }
}

struct DiskTxn<'a>(Box<dyn Txn + 'a>, &'a Disk);

impl Read for DiskTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.0.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.0.scan(table, range, direction, visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        self.0.progress(partition)
    }
}

impl Txn for DiskTxn<'_> {
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.0.set(table, key, value);
    }

    fn advance(&mut self, partition: u32, from: Progress, to: Progress) {
        self.0.advance(partition, from, to);
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        if self.1.is_poisoned.load(Ordering::SeqCst) {
            return Err(Error::Poisoned { reason: "the disk was full for a moment".into() });
        }
        if self.1.is_full.load(Ordering::SeqCst) { Err(Error::DiskFull) } else { self.0.commit() }
    }
}

impl Store for Disk {
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error> {
        Ok(Box::new(DiskTxn(self.inner.begin()?, self)))
    }

    fn snapshot(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        if self.is_unreadable.load(Ordering::SeqCst) {
            return Err(Error::Engine { operation: "read", detail: "input/output error".to_owned() });
        }
        self.inner.snapshot()
    }

    fn take_over(&self, partition: u32) -> Result<Progress, Error> {
        self.inner.take_over(partition)
    }

    fn sync(&self) -> Result<(), Error> {
        self.inner.sync()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// What the receiver does with a request.
pub enum Deed {
    /// Answers at once.
    Say(Outcome),
    /// Answers when it is told to.
    Hold(Arc<Notify>, Outcome),
    /// Answers after a while.
    After(Duration, Outcome),
    /// Never answers.
    Hang,
    /// Has a bug.
    Panic,
}

pub fn took() -> Deed {
    Deed::Say(Outcome::Delivered(answer(204)))
}

/// Takes it, and says so after a while.
pub fn took_after(pause: Duration) -> Deed {
    Deed::After(pause, Outcome::Delivered(answer(204)))
}

pub fn down() -> Deed {
    later(None)
}

pub fn later(after: Option<Duration>) -> Deed {
    Deed::Say(Outcome::Retry { after, answer: answer(503) })
}

pub fn refused() -> Deed {
    Deed::Say(Outcome::Refused(answer(422)))
}

/// Refused for one of those that came together, without saying for which.
pub fn refused_together() -> Deed {
    Deed::Say(Outcome::RefusedTogether(answer(400)))
}

pub fn answer(status: u16) -> Answer {
    Answer { status, text: String::new() }
}

/// A request that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub destination: String,
    /// Which config it was sent under.
    pub tag: Value,
    /// Time since the receiver was made.
    pub at: Duration,
    pub items: Vec<Rendered>,
}

impl Call {
    /// The effects in it.
    pub fn effects(&self) -> Vec<u64> {
        self.items.iter().map(|item| effect_number(&item.id)).collect()
    }
}

pub fn effect_number(id: &str) -> u64 {
    u64::from_str_radix(id.rsplit('_').next().unwrap(), 16).unwrap()
}

type Plan = Box<dyn FnMut(&Call) -> Deed + Send>;

/// The receiver of all destinations.
pub struct Receiver {
    calls: Mutex<Vec<Call>>,
    plan: Mutex<Plan>,
    start: Instant,
}

struct Hook {
    receiver: Arc<Receiver>,
    destination: String,
    tag: Value,
    batch: usize,
}

impl Connector for Hook {
    fn batch_items(&self) -> usize {
        self.batch
    }

    fn deliver<'a>(&'a self, items: &'a [Rendered], _: i64) -> Outcomes<'a> {
        Box::pin(async move {
            let call = Call {
                destination: self.destination.clone(),
                tag: self.tag.clone(),
                at: self.receiver.start.elapsed(),
                items: items.to_vec(),
            };
            let deed = (self.receiver.plan.lock().unwrap())(&call);
            self.receiver.calls.lock().unwrap().push(call);
            let outcome = match deed {
                Deed::Say(outcome) => outcome,
                Deed::Hold(gate, outcome) => {
                    gate.notified().await;
                    outcome
                }
                Deed::After(pause, outcome) => {
                    tokio::time::sleep(pause).await;
                    outcome
                }
                Deed::Hang => std::future::pending().await,
                Deed::Panic => panic!("a bug in a connector"),
            };
            vec![outcome; items.len()]
        })
    }
}

pub struct World {
    pub store: Arc<Disk>,
    pub journal: Arc<Disk>,
    pub log: Arc<MemoryLog>,
    pub standing: Arc<Stood>,
    pub clock: Arc<ManualClock>,
    pub receiver: Arc<Receiver>,
    pub options: Options,
}

impl World {
    /// A world whose receiver takes everything.
    pub fn new() -> Self {
        let receiver = Receiver {
            calls: Mutex::default(),
            plan: Mutex::new(Box::new(|_| took())),
            start: Instant::now(),
        };
        Self {
            store: Arc::default(),
            journal: Arc::default(),
            log: Arc::default(),
            standing: Arc::default(),
            clock: Arc::new(ManualClock::at(Timestamp(WALL))),
            receiver: Arc::new(receiver),
            options: Options::default(),
        }
    }

    pub fn plan(&self, plan: impl FnMut(&Call) -> Deed + Send + 'static) {
        *self.receiver.plan.lock().unwrap() = Box::new(plan);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.receiver.calls.lock().unwrap().clone()
    }

    /// The effects that came, in order, one entry for each time.
    pub fn came(&self) -> Vec<u64> {
        self.calls().iter().flat_map(Call::effects).collect()
    }

    /// Destination `hook` with id 1, and others by key with the ids that follow.
    pub fn catalogue(&self, config: &Value, others: &[&str]) -> Catalogue {
        let keys: Vec<&str> = ["hook"].iter().chain(others).copied().collect();
        let destinations: Vec<Value> = keys
            .iter()
            .map(|key| {
                let config = if *key == "hook" { config.clone() } else { json!({}) };
                let enabled = config["enabled"] != json!(false);
                json!({ "key": key, "kind": "test", "audiences": "*", "config": config, "enabled": enabled })
            })
            .collect();
        let ids: serde_json::Map<String, Value> =
            keys.iter().zip(1..).map(|(key, id)| ((*key).to_owned(), json!(id))).collect();
        serde_json::from_value(json!({
            "version": 1, "rules_version": 1, "next_id": 9, "sources": {}, "traits": { "orders": 2 }, "primitives": {},
            "workspace": { "version": 1, "workspace": "acme", "destinations": destinations },
            "audiences": { "vip": 1 }, "destinations": ids, "audience_versions": {}, "trait_versions": {},
        }))
        .unwrap()
    }

    pub fn delivery(&self) -> Delivery {
        self.delivery_by(self.clock.clone())
    }

    /// The same by another clock.
    pub fn delivery_by(&self, clock: Arc<dyn Clock>) -> Delivery {
        let receiver = self.receiver.clone();
        let connect: Connect = Arc::new(move |destination| {
            let batch = destination.config["batch"].as_u64().unwrap_or(1);
            Ok(Arc::new(Hook {
                receiver: receiver.clone(),
                destination: destination.key.clone(),
                tag: destination.config["tag"].clone(),
                batch: usize::try_from(batch).unwrap(),
            }))
        });
        Delivery::new(
            self.store.clone(),
            self.journal.clone(),
            self.log.clone(),
            self.standing.clone(),
            clock,
            self.options,
        )
        .with_connectors(connect)
    }

    pub fn start(&self) -> Delivery {
        let delivery = self.delivery();
        delivery.configure(&self.catalogue(&json!({}), &[]));
        delivery
    }

    pub fn effect(number: u64, profile: u64, after: &[u64]) -> Effect {
        Effect {
            id: u128::from(number),
            destination: DestinationId(1),
            profile: ProfileHandle(profile),
            after: after.iter().copied().map(ProfileHandle).collect(),
            effective: Timestamp(1_000),
            observed: Timestamp(1_000),
            change: Change::Entered { audience: AudienceId(1), initial: false },
            cause: Cause::Time,
            ids: vec![Identifier::new("user_id", format!("u{profile}"))],
            profile_id: "p".to_owned(),
            customer_key: None,
        }
    }

    pub fn put(&self, destination: u32, sequence: u64, effect: &Effect) {
        let effect = Effect { destination: DestinationId(destination), ..effect.clone() };
        let mut txn = self.store.inner.begin().unwrap();
        txn.put(Table::Outbox, outbox::key(DestinationId(destination), sequence), outbox::encode(&effect));
        txn.commit().unwrap();
    }

    /// Puts effect `number` of `profile` for destination 1, its sequence its number.
    pub fn emit(&self, number: u64, profile: u64) {
        self.put(1, number, &Self::effect(number, profile, &[]));
    }

    /// What the wall clock shows.
    pub fn now(&self) -> i64 {
        onefold_log::Clock::now(self.clock.as_ref()).0
    }

    /// Rows of the outbox.
    pub fn left(&self) -> usize {
        let mut left = 0;
        let all = KeyRange::between(Vec::new(), Vec::new());
        let view = self.store.inner.snapshot().unwrap();
        view.scan(Table::Outbox, &all, Direction::Forward, &mut |_, _| {
            left += 1;
            true
        })
        .unwrap();
        left
    }
}

/// Waits, in steps of the test's own time, until `holds`.
pub async fn until(step: Duration, mut holds: impl FnMut() -> bool) {
    for _ in 0..50_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(step).await;
    }
    panic!("it never came to hold");
}

pub async fn soon(holds: impl FnMut() -> bool) {
    until(Duration::from_millis(10), holds).await;
}

/// Lets everything happen that is to happen within a while.
pub async fn a_while() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

pub fn status(delivery: &Delivery) -> Status {
    delivery.status().into_iter().find(|status| status.key == "hook").unwrap()
}

/// A runtime whose time is paused. To drop it is to kill what runs in it.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}
