//! An event with many identifiers: what is over the limit is counted, and the rest takes rows as there are identifiers.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE};
use onefold_fold::CacheSizes;
use onefold_fold::verify::verify;
use onefold_identity::rules::IDS_MAX;
use onefold_store::{Direction, KeyRange, Store, Table};
use serde_json::{Value, json};

/// An event with so many identifiers, each of a type of its own.
fn wide(event: usize, identifiers: usize) -> Value {
    let ids: Vec<Value> = (0..identifiers)
        .map(|n| json!({ "id": format!("e{event:02}n{n:04}"), "type": format!("t{n:04}"), "collection": "users" }))
        .collect();
    json!({ "type": "track", "event": "X", "context": { "externalIds": ids } })
}

/// Rows and bytes of the tables of identity.
fn taken(fold: &Fold) -> (usize, usize) {
    let snapshot = fold.store.snapshot().unwrap();
    let (mut rows, mut bytes) = (0, 0);
    for table in [Table::Ident, Table::Node, Table::Evidence, Table::Member, Table::Cluster, Table::Stream] {
        snapshot
            .scan(table, &KeyRange::prefix(b""), Direction::Forward, &mut |key, value| {
                rows += 1;
                bytes += key.len() + value.len();
                true
            })
            .unwrap();
    }
    (rows, bytes)
}

/// What ten events of so many identifiers take.
fn of_ten(identifiers: usize) -> (usize, usize) {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE);
    for event in 0..10 {
        fold.receive(&[wide(event, identifiers)]);
    }
    taken(&fold)
}

#[test]
fn what_an_event_takes_grows_with_its_identifiers_and_not_with_their_square() {
    let (eight, sixteen, sixty_four) = (of_ten(8), of_ten(16), of_ten(64));
    // Beside them an event has the same few rows; each identifier has three: itself, its record, its place in the set.
    assert_eq!(sixteen.0 - eight.0, 10 * 8 * 3);
    assert_eq!(sixty_four.0 - sixteen.0, 10 * 48 * 3);
    let each = |more: (usize, usize), fewer: (usize, usize), identifiers: usize| {
        (more.1 - fewer.1) / (10 * identifiers)
    };
    let (few, many) = (each(sixteen, eight, 8), each(sixty_four, sixteen, 48));
    assert!(many <= few + few / 10, "{few} bytes for each of few identifiers, {many} for each of many");
}

#[test]
fn a_row_of_a_member_is_short_however_large_its_set_is() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE).receive(&[wide(0, 64)]);
    let mut rows = 0;
    let snapshot = fold.store.snapshot().unwrap();
    snapshot
        .scan(Table::Member, &KeyRange::prefix(b""), Direction::Forward, &mut |key, value| {
            rows += 1;
            assert_eq!((key.len(), value.len()), (24, 0));
            true
        })
        .unwrap();
    assert_eq!(rows, 64);
}

#[test]
fn identifiers_over_the_limit_are_counted_and_take_no_row() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE).receive(&[wide(0, IDS_MAX)]);
    let within = taken(&fold);
    assert_eq!(fold.worker.handle().status().counters.identifiers_over, 0);

    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE).receive(&[wide(0, 1_100)]);
    assert_eq!(taken(&fold), within);
    assert_eq!(fold.worker.handle().status().counters.identifiers_over, 1_100 - IDS_MAX as u64);
    // A further event that says the same is counted as well.
    fold.receive(&[wide(0, 1_100)]);
    assert_eq!(fold.worker.handle().status().counters.identifiers_over, 2 * (1_100 - IDS_MAX as u64));
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    assert!(found.findings.is_empty(), "{:?}", found.findings);
}
