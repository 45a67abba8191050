//! A catalogue behind a backfill that has not come to its end (B12): it waits, and time does not wait for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::catalogue::next;
use onefold_fold::{Options, Step, Worker};
use onefold_log::record::Record;
use onefold_types::Timestamp;
use serde_json::Value;

const PEOPLE: usize = 40;

/// A fold of people whose window ends at minute 11, with a worker that brings few of them up to date at once.
fn slow() -> Fold {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\" in last 10m)")], &[]);
    let people: Vec<Value> = (0..PEOPLE).map(|number| track("X", &format!("u{number}"))).collect();
    fold.at(MINUTE).receive(&people);
    let options = Options { secret: [7; 32], backfill_profiles: 1, batch_timers: 4, ..Options::default() };
    fold.worker = Worker::open(fold.log.clone(), fold.store.clone(), options).unwrap();
    fold
}

/// Appends the catalogue of `workspace` at minute `at`, and folds nothing.
fn only_apply(fold: &mut Fold, at: i64, workspace: Value) {
    fold.clock.set(Timestamp(at * MINUTE));
    let workspace = serde_json::from_value(workspace).unwrap();
    let catalogue = next(fold.catalogue.as_ref(), workspace, "test").unwrap();
    fold.append(Record::Catalogue(serde_json::to_vec(&catalogue).unwrap()));
    fold.catalogue = Some(catalogue);
}

fn exits(fold: &Fold) -> usize {
    fold.told().iter().filter(|told| told.starts_with("-a@")).count()
}

#[test]
fn what_is_due_before_a_catalogue_that_waits_is_told_while_it_waits() {
    let mut fold = slow();
    only_apply(&mut fold, 5, workspace(&[("a", "did(\"X\" in last 10m)"), ("b", "did(\"Y\")")], &[]));
    while fold.worker.handle().catalogue().catalogue.version.0 < 2 {
        fold.worker.step().unwrap();
    }
    assert!(fold.worker.handle().status().backfill.is_some());
    only_apply(&mut fold, 20, workspace(&[("a", "did(\"X\" in last 10m)"), ("b", "did(\"Z\")")], &[]));
    let mut told = 0;
    while fold.worker.handle().catalogue().catalogue.version.0 < 3 {
        told = exits(&fold);
        assert_eq!(fold.worker.step().unwrap().0, Step::Worked);
    }
    assert_eq!(told, PEOPLE, "{:#?}", fold.told());
    fold.run();
    assert_eq!(exits(&fold), PEOPLE);
    let ends = format!("@{} ", 11 * MINUTE);
    assert!(fold.told().iter().filter(|told| told.starts_with("-a@")).all(|told| told.contains(&ends)));
}

#[test]
fn a_catalogue_that_is_said_once_more_waits_for_no_backfill() {
    let mut fold = slow();
    only_apply(&mut fold, 5, workspace(&[("a", "did(\"X\" in last 10m)"), ("b", "did(\"Y\")")], &[]));
    fold.append(Record::Catalogue(serde_json::to_vec(fold.catalogue.as_ref().unwrap()).unwrap()));
    fold.only_append(&[track("Y", "new")]);
    assert_eq!(fold.worker.step().unwrap().0, Step::Worked);
    assert!(fold.worker.handle().status().backfill.is_some());
    assert!(fold.told().iter().any(|told| told.starts_with("+b@")), "{:#?}", fold.told());
}
