//! A replay reads from the log what it must know the words of, and goes by the stream's rows for the rest.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::catalogue::next;
use onefold_fold::query::Reader;
use onefold_fold::{Options, Step, Worker};
use onefold_log::record::Record;
use onefold_log::{Entry, Error, Log, MemoryLog, OnAppended};
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::workspace::Workspace;
use onefold_types::{Position, Timestamp};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts the records that are read by themselves.
struct Counting {
    log: Arc<MemoryLog>,
    read: AtomicUsize,
}

impl Log for Counting {
    fn append(&self, payload: Vec<u8>, done: OnAppended) {
        self.log.append(payload, done);
    }

    fn read(&self, from: Position, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        self.log.read(from, max_bytes)
    }

    fn get(&self, position: Position) -> Result<Entry, Error> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.log.get(position)
    }

    fn first(&self) -> Position {
        self.log.first()
    }

    fn tail(&self) -> Position {
        self.log.tail()
    }

    fn watermark(&self) -> (Position, Timestamp) {
        self.log.watermark()
    }

    fn raise_time(&self, at_least: Timestamp) {
        self.log.raise_time(at_least);
    }

    fn wait(&self, seen: Position, timeout: Duration) -> Position {
        self.log.wait(seen, timeout)
    }

    fn trims_to(&self, before: Position) -> Position {
        self.log.trims_to(before)
    }

    fn trim(&self, before: Position) -> Result<Position, Error> {
        self.log.trim(before)
    }

    fn redact(&self, position: Position, payload: Vec<u8>) -> Result<(), Error> {
        self.log.redact(position, payload)
    }

    fn size(&self) -> u64 {
        self.log.size()
    }
}

/// Somebody's history, a record for each message: 90 of `Other`, 10 of `X` with a price, two calls of identify.
fn history(definitions: &[(&str, &str)]) -> Fold {
    let mut fold = Fold::new(workspace(definitions, &[]));
    for number in 0..100 {
        fold.at((number + 1) * MINUTE);
        if number % 10 == 0 {
            let price = json!({ "price": number });
            fold.receive(&[json!({ "type": "track", "event": "X", "userId": "u", "properties": price })]);
        } else {
            fold.receive(&[track("Other", "u")]);
        }
    }
    for plan in ["free", "pro"] {
        fold.receive(&[json!({ "type": "identify", "userId": "u", "traits": { "plan": plan } })]);
    }
    fold
}

struct Counted {
    fold: Fold,
    log: Arc<Counting>,
    worker: Worker,
}

impl Counted {
    fn of(fold: Fold) -> Self {
        let log = Arc::new(Counting { log: fold.log.clone(), read: AtomicUsize::new(0) });
        let options = Options { secret: [7; 32], ..Options::default() };
        let worker = Worker::open(log.clone(), fold.store.clone(), options).unwrap();
        Self { fold, log, worker }
    }

    /// How many records were read by themselves to fold this one.
    fn reads(&mut self, record: Record) -> usize {
        let before = self.log.read.load(Ordering::Relaxed);
        self.fold.append(record);
        while self.worker.step().unwrap().0 == Step::Worked {}
        self.log.read.load(Ordering::Relaxed) - before
    }

    fn applies(&mut self, definitions: &[(&str, &str)]) -> usize {
        let workspace: Workspace = serde_json::from_value(workspace(definitions, &[])).unwrap();
        let catalogue = next(self.fold.catalogue.as_ref(), workspace, "test").unwrap();
        let record = Record::Catalogue(serde_json::to_vec(&catalogue).unwrap());
        self.fold.catalogue = Some(catalogue);
        self.reads(record)
    }

    fn audiences(&self) -> Vec<String> {
        let reader = Reader::new(self.fold.store.clone(), self.log.clone(), self.worker.handle(), [7; 32]);
        let person = reader.with(|query| match query.find("user_id", "u")? {
            Some(handle) => query.person(handle),
            None => Ok(None),
        });
        person.unwrap().unwrap().audiences.into_iter().map(|(key, _)| key).collect()
    }
}

#[test]
fn a_new_definition_reads_only_what_it_asks_for() {
    let mut counted = Counted::of(history(&[]));
    let often = ("often", "count(\"Other\") >= 90");
    assert_eq!(counted.applies(&[often]), 0, "a count without a condition is in the rows");
    let dear = ("dear", "count(\"X\" where price > 45) >= 5");
    assert_eq!(counted.applies(&[often, dear]), 10, "the price is in ten bodies");
    let never = ("never", "not did(\"Y\" where price > 45)");
    assert_eq!(counted.applies(&[often, dear, never]), 0, "nobody did it");
    let pro = ("pro", "traits.plan = \"pro\"");
    assert_eq!(counted.applies(&[often, dear, never, pro]), 0, "the trait is in the profile");
    let cheap = ("cheap", "did(\"X\" where price < 45)");
    assert_eq!(
        counted.applies(&[often, dear, never, pro, cheap]),
        10,
        "the old condition is not asked again"
    );
    assert_eq!(counted.audiences(), ["cheap", "dear", "never", "often", "pro"]);
}

#[test]
fn a_rebuild_reads_what_sets_traits_and_what_a_definition_asks_for() {
    let definitions = [("often", "count(\"Other\") >= 89"), ("dear", "did(\"X\" where price > 45)")];
    let mut counted = Counted::of(history(&definitions));
    let record = DecisionRecord {
        request_id: "r".to_owned(),
        operator: "ada".into(),
        reason: String::new(),
        // The second message, which is one of `Other`.
        decision: Decision::DeleteMessage { message_id: "m0002".to_owned() },
    };
    let reads = counted.reads(Record::Decision(serde_json::to_vec(&record).unwrap()));
    // Ten of `X`, two of identify, and the message that goes.
    assert_eq!(reads, 13);
    assert_eq!(counted.audiences(), ["dear", "often"]);
}
