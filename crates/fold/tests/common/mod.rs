//! A fold over a log and a store in memory, driven record by record on a clock that the test sets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]
#![allow(dead_code, reason = "each test file uses a part")]

use onefold_fold::catalogue::next;
use onefold_fold::{CacheSizes, Options, Step, Worker};
use onefold_log::record::Record;
use onefold_log::{Log, ManualClock, MemoryLog, MemoryLogOptions, Retention, SharedLog};
use onefold_store::{Direction, KeyRange, MemoryStore, Store, Table};
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::effect::{Change, Effect};
use onefold_types::event::extract;
use onefold_types::workspace::Workspace;
use onefold_types::{Catalogue, Message, Timestamp, outbox};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Minutes in milliseconds.
pub const MINUTE: i64 = 60_000;

pub struct Fold {
    pub log: Arc<MemoryLog>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    pub worker: Worker,
    pub catalogue: Option<Catalogue>,
    numbered: u64,
}

impl Fold {
    /// A fold with this workspace in force at instant 0.
    pub fn new(workspace: Value) -> Self {
        Self::with_log(workspace, MemoryLogOptions::default())
    }

    /// A fold whose log gives up every record that it may.
    pub fn forgetting(workspace: Value) -> Self {
        let retention = Retention { bytes: Some(0), age: None };
        Self::with_log(
            workspace,
            MemoryLogOptions { segment_bytes: 1, retention, ..MemoryLogOptions::default() },
        )
    }

    fn with_log(workspace: Value, options: MemoryLogOptions) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        let log = Arc::new(MemoryLog::new(MemoryLogOptions { clock: clock.clone(), ..options }));
        let store = Arc::new(MemoryStore::new());
        let worker = open(&log, &store, CacheSizes::default());
        let mut fold = Self { log, store, clock, worker, catalogue: None, numbered: 0 };
        fold.apply(workspace);
        fold
    }

    /// A workspace with one webhook that gets everything about audiences and traits.
    pub fn with_audiences(audiences: &[(&str, &str)], traits: &[(&str, &str)]) -> Self {
        Self::new(workspace(audiences, traits))
    }

    pub fn apply(&mut self, workspace: Value) {
        let workspace: Workspace = serde_json::from_value(workspace).unwrap();
        let catalogue = next(self.catalogue.as_ref(), workspace, "test")
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        self.append(Record::Catalogue(serde_json::to_vec(&catalogue).unwrap()));
        self.catalogue = Some(catalogue);
        self.run();
    }

    pub fn append(&self, record: Record) {
        self.log.append(record.encode(), Box::new(|outcome| assert!(outcome.is_ok())));
    }

    /// Moves the clock to `ms` and lets time pass.
    pub fn at(&mut self, ms: i64) -> &mut Self {
        self.clock.set(Timestamp(ms));
        self.run();
        self
    }

    /// Folds until there is nothing to do.
    pub fn run(&mut self) {
        while self.worker.step().unwrap().0 == Step::Worked {}
    }

    /// A fresh worker over the same log and store, as after a restart.
    pub fn restart(&mut self) {
        self.restart_with(CacheSizes::default());
    }

    /// The same with other caches.
    pub fn restart_with(&mut self, caches: CacheSizes) {
        self.worker = open(&self.log, &self.store, caches);
        self.run();
    }

    /// Receives messages as one record at the clock's instant, and folds it.
    pub fn receive(&mut self, messages: &[Value]) -> &mut Self {
        let messages = messages.iter().map(|body| self.message(body)).collect();
        self.append(Record::Messages(messages));
        self.run();
        self
    }

    /// Appends messages as one record and folds nothing yet.
    pub fn only_append(&mut self, messages: &[Value]) {
        let messages = messages.iter().map(|body| self.message(body)).collect();
        self.append(Record::Messages(messages));
    }

    fn message(&mut self, body: &Value) -> Message {
        self.numbered += 1;
        let text = body.to_string();
        let extracted = extract(&text, None).unwrap();
        Message {
            message_type: extracted.message_type,
            ts: body["ts"].as_i64().map_or(Timestamp::MAX, Timestamp),
            message_id: extracted.message_id.unwrap_or_else(|| format!("m{:04}", self.numbered)),
            source: "web".to_owned(),
            name: extracted.name,
            ids: extracted.ids,
            group_id: extracted.group_id,
            body: text.into_bytes(),
        }
    }

    pub fn decide(&mut self, decision: Decision) -> &mut Self {
        self.numbered += 1;
        let record = DecisionRecord {
            request_id: format!("r{}", self.numbered),
            operator: "ada".into(),
            reason: String::new(),
            decision,
        };
        self.append(Record::Decision(serde_json::to_vec(&record).unwrap()));
        self.run();
        self
    }

    pub fn effects(&self) -> Vec<Effect> {
        let mut found = Vec::new();
        let snapshot = self.store.snapshot().unwrap();
        snapshot
            .scan(Table::Outbox, &KeyRange::prefix(b""), Direction::Forward, &mut |_, value| {
                found.push(outbox::decode(value).unwrap());
                true
            })
            .unwrap();
        found
    }

    /// Effects in words: `+a@5m user_id:u`, in order.
    pub fn told(&self) -> Vec<String> {
        let catalogue = self.catalogue.as_ref().unwrap();
        let mut audiences: BTreeMap<_, _> = catalogue.audiences.iter().map(|(key, id)| (*id, key)).collect();
        audiences.extend(catalogue.removed_audiences.iter().map(|(id, key)| (*id, key)));
        let traits: BTreeMap<_, _> = catalogue.traits.iter().map(|(key, id)| (*id, key)).collect();
        let word = |effect: Effect| {
            let what = match &effect.change {
                Change::Entered { audience, initial } => {
                    format!("+{}{}", audiences[audience], if *initial { "!" } else { "" })
                }
                Change::Exited { audience } => format!("-{}", audiences[audience]),
                Change::TraitComputed { computed_trait, value } => {
                    format!("{}={value}", traits[computed_trait])
                }
                Change::TraitChanged { key, value } => format!("{key}={value}"),
                Change::Event { .. } => "event".to_owned(),
            };
            let who = effect.ids.first().map_or_else(|| "nobody".to_owned(), ToString::to_string);
            format!("{what}@{} {who}", effect.effective.0)
        };
        self.effects().into_iter().map(word).collect()
    }
}

fn open(log: &Arc<MemoryLog>, store: &Arc<MemoryStore>, caches: CacheSizes) -> Worker {
    let log: SharedLog = log.clone();
    Worker::open(log, store.clone(), Options { secret: [7; 32], caches, ..Options::default() }).unwrap()
}

pub fn workspace(audiences: &[(&str, &str)], traits: &[(&str, &str)]) -> Value {
    json!({
        "version": 1, "workspace": "acme",
        "sources": [{ "key": "web", "kind": "browser", "write_key": "wk" }],
        "audiences": audiences.iter().map(|(k, w)| json!({ "key": k, "where": w })).collect::<Vec<_>>(),
        "computed_traits": traits.iter().map(|(k, v)| json!({ "key": k, "value": v })).collect::<Vec<_>>(),
        "destinations": [{ "key": "hook", "kind": "webhook", "audiences": "*", "traits": "*" }],
    })
}

pub fn track(event: &str, user: &str) -> Value {
    json!({ "type": "track", "event": event, "userId": user })
}
