//! Both stores keep the contract; the embedded one does whatever the one in memory does, across restarts.

#![allow(clippy::unwrap_used, reason = "a failure in a test's own helper is a failed test")]

use onefold_store::suite::Harness;
use onefold_store::{Direction, Error, FjallOptions, FjallStore, KeyRange, MemoryStore, Store, Table, suite};
use proptest::prelude::*;
use std::path::Path;

fn small() -> FjallOptions {
    FjallOptions {
        cache_bytes: 1 << 20,
        memtable_bytes: 1 << 20,
        journal_bytes: 64 << 20,
        ..FjallOptions::default()
    }
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

/// Tables in memory; each crash keeps another share of what is not synced.
struct InMemory {
    store: MemoryStore,
    crashes: usize,
}

impl Harness for InMemory {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.store.crash(self.crashes % (self.store.unsynced() + 1));
    }

    fn fail_next_sync(&mut self) {
        self.store.fail_next_sync();
    }
}

/// What a power cut leaves behind is what the files say at that moment.
struct InFiles {
    store: FjallStore,
    folder: tempfile::TempDir,
}

impl Harness for InFiles {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn crash(&mut self) {
        let after = tempfile::tempdir().unwrap();
        copy(self.folder.path(), after.path());
        self.store = FjallStore::open(after.path(), &small()).unwrap();
        self.folder = after;
    }

    fn fail_next_sync(&mut self) {
        self.store.fail_next_sync();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

#[test]
fn the_store_in_memory_survives_crashes() {
    suite::check_crashes(&|| Box::new(InMemory { store: MemoryStore::crashable(), crashes: 0 }));
}

#[test]
fn the_embedded_store_survives_crashes() {
    suite::check_crashes(&|| {
        let folder = tempfile::tempdir().unwrap();
        Box::new(InFiles { store: FjallStore::open(folder.path(), &small()).unwrap(), folder })
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

/// What can be done about a damaged folder depends on what is kept there: a state is derived, other things are not.
#[test]
fn a_damaged_folder_is_told_with_what_its_owner_says_can_be_done() {
    for (remedy, told) in [("put it back from a backup", "put it back"), (small().remedy, "it is rebuilt")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        assert!(!FjallStore::is_in(&path));
        let options = FjallOptions { remedy, ..small() };
        let store = FjallStore::open(&path, &options).unwrap();
        suite::put(&store, &[("a", "1")]);
        drop(store);
        assert!(FjallStore::is_in(&path));
        std::fs::write(path.join("version"), "no version").unwrap();
        let error = FjallStore::open(&path, &options).err().unwrap();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let (start, text) = (format!("{} is damaged: ", path.display()), error.to_string());
        assert!(text.starts_with(&start) && text.contains(told), "{text}");
    }
}

#[test]
fn a_folder_that_lacks_a_file_is_damaged_and_one_that_lacks_its_tables_is_none() {
    let folder = tempfile::tempdir().unwrap();
    drop(FjallStore::open(folder.path(), &small()).unwrap());
    let tables = std::fs::read_dir(folder.path().join("keyspaces/1")).unwrap();
    let list =
        tables.map(|file| file.unwrap()).find(|file| file.file_name().to_string_lossy().starts_with('v'));
    std::fs::remove_file(list.unwrap().path()).unwrap();
    let error = FjallStore::open(folder.path(), &small()).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(FjallStore::is_in(folder.path()));
    std::fs::remove_dir_all(folder.path().join("keyspaces")).unwrap();
    assert!(!FjallStore::is_in(folder.path()));
}

#[test]
fn a_folder_that_another_has_open_is_named_and_is_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let _open = FjallStore::open(folder.path(), &small()).unwrap();
    let error = FjallStore::open(folder.path(), &small()).err().unwrap();
    let expected = format!("open the store: another process has {} open", folder.path().display());
    assert!(matches!(error, Error::Engine { .. }) && error.to_string().starts_with(&expected), "{error}");
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
