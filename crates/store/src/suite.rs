//! What every store must do: one check per clause of the contract, run by each implementation's tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test suite: a failure is a failed test"
)]

use crate::{Bytes, Direction, Error, KEY_BYTES_MAX, KeyRange, Progress, Read, Store, Table};
use onefold_types::{Position, Timestamp};

/// Runs every clause, each on a store of its own.
pub fn check(make: &dyn Fn() -> Box<dyn Store>) {
    atomic(make().as_ref());
    read_your_writes(make().as_ref());
    order(make().as_ref());
    fence(make().as_ref());
    conflict(make().as_ref());
    snapshot(make().as_ref());
    get_many(make().as_ref());
    keys(make().as_ref());
}

/// A store under test, and the power over its world.
pub trait Harness {
    /// The store as it is open now.
    fn store(&self) -> &dyn Store;
    /// Cuts the power and opens the store again.
    fn crash(&mut self);
    /// The next sync fails.
    fn fail_next_sync(&mut self);
}

/// Runs every clause about what survives, each on a store of its own.
pub fn check_crashes(make: &dyn Fn() -> Box<dyn Harness>) {
    durable_prefix(make().as_mut());
    durable_epoch(make().as_mut());
    poison(make().as_mut());
}

pub fn put(store: &dyn Store, rows: &[(&str, &str)]) {
    let mut txn = store.begin().unwrap();
    for (key, value) in rows {
        txn.put(Table::Ident, key.as_bytes(), value.as_bytes());
    }
    txn.commit().unwrap();
}

pub fn scan(read: &dyn Read, range: &KeyRange, direction: Direction) -> Vec<String> {
    let mut found = Vec::new();
    read.scan(Table::Ident, range, direction, &mut |key, value| {
        found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        true
    })
    .unwrap();
    found
}

/// STORE-1: nothing of an abandoned transaction is seen, all of a committed one is.
fn atomic(store: &dyn Store) {
    let mut txn = store.begin().unwrap();
    txn.put(Table::Ident, b"a", b"1");
    txn.put(Table::Node, b"a", b"2");
    drop(txn);
    assert_eq!(store.snapshot().unwrap().get(Table::Ident, b"a").unwrap(), None);
    let mut txn = store.begin().unwrap();
    txn.put(Table::Ident, b"a", b"1");
    txn.put(Table::Node, b"a", b"2");
    txn.commit().unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.get(Table::Ident, b"a").unwrap().unwrap(), Bytes::from(b"1"));
    assert_eq!(snapshot.get(Table::Node, b"a").unwrap().unwrap(), Bytes::from(b"2"));
}

/// STORE-2: own puts and deletes are seen by get and by scans in both directions.
fn read_your_writes(store: &dyn Store) {
    put(store, &[("b", "old"), ("d", "old"), ("f", "old")]);
    let mut txn = store.begin().unwrap();
    txn.put(Table::Ident, b"a", b"new");
    txn.put(Table::Ident, b"b", b"new");
    txn.delete(Table::Ident, b"d");
    txn.put(Table::Ident, b"e", b"new");
    txn.put(Table::Ident, b"g", b"new");
    txn.delete(Table::Ident, b"g");
    assert_eq!(txn.get(Table::Ident, b"d").unwrap(), None);
    assert_eq!(txn.get(Table::Ident, b"e").unwrap().unwrap(), Bytes::from(b"new"));
    let all = KeyRange::prefix(b"");
    let expected = ["a=new", "b=new", "e=new", "f=old"];
    assert_eq!(scan(txn.as_ref(), &all, Direction::Forward), expected);
    let mut reversed = scan(txn.as_ref(), &all, Direction::Reverse);
    reversed.reverse();
    assert_eq!(reversed, expected);
}

/// STORE-3: ranges are half-open, ordered, cut short when the visitor says so.
fn order(store: &dyn Store) {
    put(store, &[("a", "1"), ("b", "2"), ("ba", "3"), ("c", "4"), ("d", "5")]);
    let snapshot = store.snapshot().unwrap();
    let range = KeyRange::between(b"b", b"d");
    assert_eq!(scan(snapshot.as_ref(), &range, Direction::Forward), ["b=2", "ba=3", "c=4"]);
    assert_eq!(scan(snapshot.as_ref(), &range, Direction::Reverse), ["c=4", "ba=3", "b=2"]);
    assert_eq!(scan(snapshot.as_ref(), &KeyRange::prefix(b"b"), Direction::Forward), ["b=2", "ba=3"]);
    assert_eq!(scan(snapshot.as_ref(), &KeyRange::between(b"d", b"b".to_vec()), Direction::Forward), [""; 0]);
    let mut seen = 0;
    snapshot
        .scan(Table::Ident, &KeyRange::prefix(b""), Direction::Forward, &mut |_, _| {
            seen += 1;
            seen < 2
        })
        .unwrap();
    assert_eq!(seen, 2);
}

/// STORE-4: only the worker with the current epoch and position advances; a fenced one changes nothing.
fn fence(store: &dyn Store) {
    let old = store.take_over(3).unwrap();
    let new = store.take_over(3).unwrap();
    assert_eq!(new.epoch, old.epoch + 1);
    let to = Progress { position: Position(10), engine_time: Timestamp(99), epoch: new.epoch };
    let mut txn = store.begin().unwrap();
    txn.put(Table::Ident, b"stale", b"1");
    txn.advance(3, old, Progress { epoch: old.epoch, ..to });
    assert!(matches!(txn.commit(), Err(Error::Fenced { partition: 3, .. })));
    assert_eq!(store.snapshot().unwrap().get(Table::Ident, b"stale").unwrap(), None);
    let mut txn = store.begin().unwrap();
    txn.advance(3, new, to);
    txn.commit().unwrap();
    assert_eq!(store.snapshot().unwrap().progress(3).unwrap(), to);
    let mut txn = store.begin().unwrap();
    txn.advance(3, new, to);
    assert!(matches!(txn.commit(), Err(Error::Fenced { .. })), "the position was advanced already");
    assert_eq!(store.snapshot().unwrap().progress(4).unwrap(), Progress::default());
}

/// STORE-5: a transaction that another crossed is written or refused as one that can be run again; never in part.
fn conflict(store: &dyn Store) {
    put(store, &[("a", "1")]);
    let mut txn = store.begin().unwrap();
    let keys = [Bytes::from(b"a")];
    assert_eq!(txn.get_many(Table::Ident, &keys).unwrap(), [Some(Bytes::from(b"1"))]);
    txn.put(Table::Ident, b"b", b"of 1");
    txn.put(Table::Node, b"b", b"of 1");
    put(store, &[("a", "2")]);
    let expected = match txn.commit() {
        Ok(()) => "of 1",
        Err(Error::Conflict) => {
            let snapshot = store.snapshot().unwrap();
            assert_eq!(snapshot.get(Table::Ident, b"b").unwrap(), None);
            assert_eq!(snapshot.get(Table::Node, b"b").unwrap(), None);
            let mut txn = store.begin().unwrap();
            assert_eq!(txn.get(Table::Ident, b"a").unwrap().unwrap(), Bytes::from(b"2"));
            txn.put(Table::Ident, b"b", b"of 2");
            txn.put(Table::Node, b"b", b"of 2");
            txn.commit().unwrap();
            "of 2"
        }
        Err(error) => panic!("neither written nor a conflict: {error}"),
    };
    let snapshot = store.snapshot().unwrap();
    for table in [Table::Ident, Table::Node] {
        assert_eq!(snapshot.get(table, b"b").unwrap().unwrap(), Bytes::from(expected.as_bytes()));
    }
}

/// STORE-6: a crash leaves a prefix of the commits, whole ones, with all that was synced; and the store goes on.
fn durable_prefix(harness: &mut dyn Harness) {
    let mut kept = 0;
    for round in 0..6 {
        let (synced, committed) = (kept + 2, kept + 2 + round);
        for number in kept..committed {
            if number == synced {
                harness.store().sync().unwrap();
            }
            let mut txn = harness.store().begin().unwrap();
            // In two tables, and the same row in each commit: what is there says how far it got.
            txn.put(Table::Ident, format!("{number:03}").as_bytes(), b"1");
            txn.put(Table::Node, b"last", format!("{number:03}").as_bytes());
            txn.commit().unwrap();
        }
        if committed == synced {
            harness.store().sync().unwrap();
        }
        harness.crash();
        let snapshot = harness.store().snapshot().unwrap();
        let found = scan(snapshot.as_ref(), &KeyRange::prefix(b""), Direction::Forward);
        kept = found.len();
        assert!((synced..=committed).contains(&kept), "{kept} of {committed}, {synced} of them synced");
        assert_eq!(found, (0..kept).map(|number| format!("{number:03}=1")).collect::<Vec<_>>());
        let last = format!("{:03}", kept - 1);
        assert_eq!(snapshot.get(Table::Node, b"last").unwrap().unwrap(), Bytes::from(last.as_bytes()));
    }
}

/// STORE-4 over a crash: who was fenced stays fenced.
fn durable_epoch(harness: &mut dyn Harness) {
    let old = harness.store().take_over(0).unwrap();
    let new = harness.store().take_over(0).unwrap();
    harness.crash();
    assert_eq!(harness.store().snapshot().unwrap().progress(0).unwrap().epoch, new.epoch);
    let mut txn = harness.store().begin().unwrap();
    txn.advance(0, old, Progress { position: Position(1), ..old });
    assert!(matches!(txn.commit(), Err(Error::Fenced { .. })));
}

/// After a failed sync nothing is accepted until the store is opened again; then what was synced before is there.
fn poison(harness: &mut dyn Harness) {
    put(harness.store(), &[("a", "1")]);
    harness.store().sync().unwrap();
    put(harness.store(), &[("b", "1")]);
    harness.fail_next_sync();
    let mut begun = harness.store().begin().unwrap();
    begun.put(Table::Ident, b"c", b"1");
    assert!(harness.store().sync().is_err());
    let begun = begun.commit();
    assert!(matches!(begun, Err(Error::Poisoned { .. })), "what began before: {begun:?}");
    assert!(matches!(harness.store().begin().err(), Some(Error::Poisoned { .. })));
    assert!(matches!(harness.store().take_over(0), Err(Error::Poisoned { .. })));
    assert!(matches!(harness.store().sync(), Err(Error::Poisoned { .. })), "a sync is not tried again");
    harness.crash();
    put(harness.store(), &[("d", "1")]);
    harness.store().sync().unwrap();
    let found =
        scan(harness.store().snapshot().unwrap().as_ref(), &KeyRange::prefix(b""), Direction::Forward);
    assert!(found == ["a=1", "d=1"] || found == ["a=1", "b=1", "d=1"], "{found:?}");
}

/// STORE-7: a snapshot does not see later commits.
fn snapshot(store: &dyn Store) {
    put(store, &[("a", "1")]);
    let before = store.snapshot().unwrap();
    put(store, &[("a", "2"), ("b", "1")]);
    assert_eq!(before.get(Table::Ident, b"a").unwrap().unwrap(), Bytes::from(b"1"));
    assert_eq!(scan(before.as_ref(), &KeyRange::prefix(b""), Direction::Forward), ["a=1"]);
    assert_eq!(
        scan(store.snapshot().unwrap().as_ref(), &KeyRange::prefix(b""), Direction::Forward),
        ["a=2", "b=1"]
    );
}

/// STORE-8: many keys at once, each answered in its place.
fn get_many(store: &dyn Store) {
    put(store, &[("a", "1"), ("c", "3")]);
    let txn = store.begin().unwrap();
    let keys = [Bytes::from(b"a"), Bytes::from(b"b"), Bytes::from(b"c")];
    let found = txn.get_many(Table::Ident, &keys).unwrap();
    assert_eq!(found, [Some(Bytes::from(b"1")), None, Some(Bytes::from(b"3"))]);
}

/// STORE-9: the longest key is kept; a longer one is refused with its transaction, and the store goes on.
fn keys(store: &dyn Store) {
    let (longest, longer) = (vec![7; KEY_BYTES_MAX], vec![7; KEY_BYTES_MAX + 1]);
    let mut txn = store.begin().unwrap();
    txn.put(Table::Ident, longest.as_slice(), b"kept");
    txn.commit().unwrap();
    let mut txn = store.begin().unwrap();
    assert_eq!(txn.get(Table::Ident, &longer).unwrap(), None);
    txn.put(Table::Ident, b"beside", b"not kept");
    txn.put(Table::Ident, longer.as_slice(), b"not kept");
    let refused = txn.commit();
    assert!(
        matches!(refused, Err(Error::KeyTooLong { table: Table::Ident, length: 65_536, limit: 65_535 })),
        "{refused:?}"
    );
    put(store, &[("after", "kept")]);
    store.sync().unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.get(Table::Ident, &longest).unwrap().unwrap(), Bytes::from(b"kept"));
    assert_eq!(snapshot.get(Table::Ident, b"beside").unwrap(), None);
    assert_eq!(snapshot.get(Table::Ident, &longer).unwrap(), None);
    let txn = store.begin().unwrap();
    for read in [snapshot.as_ref() as &dyn Read, txn.as_ref()] {
        for direction in [Direction::Forward, Direction::Reverse] {
            let (short, end) = (Bytes::from(b"\x06"), Bytes::from(b"\x08"));
            let count = |from: &[u8], to: &[u8]| scan(read, &KeyRange::between(from, to), direction).len();
            assert_eq!(count(&short, &longer), 1, "the longest is before a longer one");
            assert_eq!(count(&longer, &end), 0);
            assert_eq!(count(&short, &longest), 0);
            assert_eq!(count(&longest, &end), 1);
        }
    }
    assert_eq!(snapshot.get(Table::Ident, b"after").unwrap().unwrap(), Bytes::from(b"kept"));
}
