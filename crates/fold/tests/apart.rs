//! Log and state that do not belong together are refused, and a fold that panics says that it stopped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, track, workspace};
use onefold_fold::report::Report;
use onefold_fold::{Error, Observer, Options, Status, Worker};
use onefold_log::{Log, SharedLog};
use onefold_store::{MemoryStore, Store};
use std::sync::Arc;

fn folded(messages: usize) -> Fold {
    let mut fold = Fold::forgetting(workspace(&[], &[]));
    for number in 0..messages {
        fold.receive(&[track(&format!("E{number}"), "ada")]);
    }
    fold
}

fn open(log: &Fold, state: &Fold) -> Result<Worker, Error> {
    Worker::open(log.log.clone() as SharedLog, state.store.clone() as Arc<dyn Store>, Options::default())
}

#[test]
fn a_log_that_is_older_than_the_state_is_refused() {
    let (old, new) = (folded(1), folded(3));
    let Err(error) = open(&old, &new) else {
        panic!("records below the state's position would be passed over")
    };
    assert!(matches!(error, Error::Apart { folded, tail, .. } if folded > tail), "{error}");
    assert!(open(&new, &old).is_ok(), "a state that is behind catches up");
}

#[test]
fn a_state_that_is_older_than_what_is_left_of_the_log_is_refused() {
    let (old, mut new) = (folded(1), folded(3));
    new.worker.sync().unwrap();
    new.log.trim(new.worker.handle().status().synced).unwrap();
    let Err(error) = open(&new, &old) else { panic!("the trimmed records would be passed over") };
    assert!(matches!(error, Error::Apart { folded, first, .. } if folded < first), "{error}");
    let empty: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert!(Worker::open(new.log.clone(), empty, Options::default()).is_ok(), "made anew of what is left");
}

#[test]
fn a_fold_that_panics_says_so() {
    struct Breaks;
    impl Observer for Breaks {
        fn committed(&mut self, _: &Status, _: Report) {
            panic!("of no use");
        }
    }
    let mut fold = folded(1);
    fold.only_append(&[track("X", "ada")]);
    let worker = open(&fold, &fold).unwrap();
    let handle = worker.handle();
    let Err(error) = worker.run(Box::new(Breaks)) else { panic!("it went on") };
    assert!(matches!(&error, Error::Panic { detail } if detail == "of no use"), "{error}");
    assert!(handle.status().failed.is_some_and(|why| why.contains("of no use")));
}
