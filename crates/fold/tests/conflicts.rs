//! A batch that another transaction crossed is run again (STORE-5), and one that is crossed for ever stops the fold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::worker::{Observer, Status};
use onefold_fold::{Options, Worker};
use onefold_log::Log;
use onefold_store::{Bytes, Direction, Error, KeyRange, MemoryStore, Progress, Read, Store, Table, Txn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A store in which other transactions cross the next so many.
struct Crossed {
    inner: Arc<MemoryStore>,
    left: AtomicUsize,
}

struct CrossedTxn<'a>(Box<dyn Txn + 'a>, &'a AtomicUsize);

impl Read for CrossedTxn<'_> {
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

impl Txn for CrossedTxn<'_> {
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.0.set(table, key, value);
    }

    fn advance(&mut self, partition: u32, from: Progress, to: Progress) {
        self.0.advance(partition, from, to);
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let crossed = self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if crossed.is_ok() { Err(Error::Conflict) } else { self.0.commit() }
    }
}

impl Store for Crossed {
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error> {
        Ok(Box::new(CrossedTxn(self.inner.begin()?, &self.left)))
    }

    fn snapshot(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
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

struct Nobody;

impl Observer for Nobody {
    fn committed(&mut self, _: &Status, _: onefold_fold::report::Report) {}
}

/// A worker over a log with two messages and a store in which its next `conflicts` commits are crossed.
fn worker(conflicts: usize) -> (Fold, Worker, Arc<Crossed>) {
    let mut fold = Fold::new(workspace(&[("x", "count(\"X\") >= 2")], &[]));
    fold.at(MINUTE).only_append(&[track("X", "u")]);
    fold.only_append(&[track("X", "u")]);
    let store = Arc::new(Crossed { inner: fold.store.clone(), left: AtomicUsize::new(conflicts) });
    let options = Options { secret: [7; 32], batch_bytes: 1, ..Options::default() };
    let worker = Worker::open(fold.log.clone(), store.clone(), options).unwrap();
    (fold, worker, store)
}

#[test]
fn a_batch_that_is_crossed_is_run_again_and_counts_once() {
    let (fold, worker, store) = worker(7);
    let handle = worker.handle();
    let running = std::thread::spawn(move || worker.run(Box::new(Nobody)));
    assert!(handle.wait(fold.log.tail(), Duration::from_secs(60)), "{:?}", handle.status().failed);
    handle.stop();
    running.join().unwrap().unwrap();
    assert_eq!(store.left.load(Ordering::SeqCst), 0, "it was crossed");
    assert_eq!(handle.status().counters.folded, 2);
    assert_eq!(fold.told(), ["+x@60000 user_id:u"]);
}

#[test]
fn one_that_is_crossed_for_ever_stops_the_fold_and_says_so() {
    let (fold, worker, store) = worker(usize::MAX);
    let handle = worker.handle();
    let error = worker.run(Box::new(Nobody)).unwrap_err();
    assert!(matches!(error, onefold_fold::Error::Store(Error::Conflict)), "{error}");
    assert!(handle.status().failed.is_some());
    assert!(usize::MAX - store.left.load(Ordering::SeqCst) > 1, "it was tried again");
    assert_eq!((handle.status().counters.folded, fold.told().len()), (0, 0));
}
