//! Both stores keep the contract; the embedded one does whatever the one in memory does, across restarts.

use onefold_store::{Direction, FjallOptions, FjallStore, KeyRange, MemoryStore, Store, Table, suite};
use proptest::prelude::*;

fn small() -> FjallOptions {
    FjallOptions { cache_bytes: 1 << 20, memtable_bytes: 1 << 20, journal_bytes: 64 << 20, workers: 1 }
}

#[test]
fn the_store_in_memory_conforms() {
    suite::check(&|| Box::new(MemoryStore::new()));
}

#[test]
fn the_embedded_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    suite::check(&|| {
        number.set(number.get() + 1);
        Box::new(FjallStore::open(&folder.path().join(number.get().to_string()), &small()).unwrap())
    });
}

#[test]
fn a_crash_keeps_a_prefix_of_the_commits() {
    let store = MemoryStore::crashable();
    suite::put(&store, &[("a", "1")]);
    store.sync().unwrap();
    suite::put(&store, &[("b", "1")]);
    suite::put(&store, &[("c", "1")]);
    assert_eq!(store.unsynced(), 2);
    store.crash(1);
    let found = suite::scan(store.snapshot().unwrap().as_ref(), &KeyRange::prefix(b""), Direction::Forward);
    assert_eq!(found, ["a=1", "b=1"]);
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, Option<u8>)>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write =
        proptest::collection::vec((0u8..20, proptest::option::of(any::<u8>())), 1..8).prop_map(Step::Write);
    proptest::collection::vec(prop_oneof![6 => write, 1 => Just(Step::Reopen)], 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_embedded_store_does_what_the_one_in_memory_does(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut embedded = FjallStore::open(folder.path(), &small()).unwrap();
        let memory = MemoryStore::new();
        for step in steps {
            match step {
                Step::Reopen => {
                    embedded.sync().unwrap();
                    drop(embedded);
                    embedded = FjallStore::open(folder.path(), &small()).unwrap();
                }
                Step::Write(rows) => {
                    for store in [&embedded as &dyn Store, &memory] {
                        let mut txn = store.begin().unwrap();
                        for (key, value) in &rows {
                            match value {
                                Some(value) => txn.put(Table::Ident, vec![*key], vec![*value]),
                                None => txn.delete(Table::Ident, vec![*key]),
                            }
                        }
                        txn.commit().unwrap();
                    }
                }
            }
            let range = KeyRange::between(vec![3], vec![15]);
            for direction in [Direction::Forward, Direction::Reverse] {
                let found = suite::scan(embedded.snapshot().unwrap().as_ref(), &range, direction);
                prop_assert_eq!(found, suite::scan(memory.snapshot().unwrap().as_ref(), &range, direction));
            }
        }
    }
}
