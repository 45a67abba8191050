//! A store in memory, for tests and the simulator: the contract of [`Store`] without a disk, and a crash that loses
//! what was not synced (STORE-6).

use crate::overlay::Overlay;
use crate::progress::{self, Advance};
use crate::{Bytes, Direction, Error, KeyRange, Progress, Read, Store, Table, Txn};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Tables = Vec<Arc<BTreeMap<Bytes, Bytes>>>;

/// Tables in memory; snapshots share them until they change.
#[derive(Debug)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    live: Tables,
    /// The state of the last sync and of every commit since: what a crash may leave.
    prefixes: Vec<Tables>,
    /// Whether commits since the last sync are kept for [`MemoryStore::crash`].
    crashable: bool,
    fail_next: bool,
    poison: Option<Arc<str>>,
}

impl Inner {
    fn check_poison(&self) -> Result<(), Error> {
        self.poison.clone().map_or(Ok(()), |reason| Err(Error::Poisoned { reason }))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let empty: Tables = Table::ALL.iter().map(|_| Arc::default()).collect();
        let inner = Inner {
            prefixes: vec![empty.clone()],
            live: empty,
            crashable: false,
            fail_next: false,
            poison: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    /// An empty store that remembers every unsynced commit, so that it can crash.
    #[must_use]
    pub fn crashable() -> Self {
        let store = Self::new();
        store.inner().crashable = true;
        store
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many commits a crash now could lose.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.inner().prefixes.len() - 1
    }

    /// The next sync fails, which poisons the store until it crashes.
    pub fn fail_next_sync(&self) {
        self.inner().fail_next = true;
    }

    /// Loses all but the first `keep` of the commits since the last sync, as a power cut does.
    pub fn crash(&self, keep: usize) {
        let mut inner = self.inner();
        inner.fail_next = false;
        inner.poison = None;
        inner.prefixes.truncate(keep + 1);
        if let Some(last) = inner.prefixes.last().cloned() {
            inner.live = last;
        }
    }

    /// Every pair of every table: what SAME compares.
    #[must_use]
    pub fn dump(&self) -> Vec<(Table, Bytes, Bytes)> {
        let live = self.inner().live.clone();
        let tables = Table::ALL.iter().zip(live);
        tables
            .flat_map(|(table, rows)| {
                rows.iter().map(|(k, v)| (*table, k.clone(), v.clone())).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn rows(tables: &Tables, table: Table) -> &BTreeMap<Bytes, Bytes> {
    &tables[table as usize]
}

fn pairs<'a>(
    tables: &'a Tables,
    table: Table,
    range: &KeyRange,
    direction: Direction,
) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), Error>> + 'a> {
    if !range.to.is_empty() && range.from >= range.to {
        return Box::new(std::iter::empty());
    }
    let upper = if range.to.is_empty() { Bound::Unbounded } else { Bound::Excluded(&*range.to) };
    let found = rows(tables, table).range::<[u8], _>((Bound::Included(&*range.from), upper));
    let copied = |(key, value): (&Bytes, &Bytes)| Ok((key.clone(), value.clone()));
    match direction {
        Direction::Forward => Box::new(found.map(copied)),
        Direction::Reverse => Box::new(found.rev().map(copied)),
    }
}

struct Snapshot(Tables);

impl Read for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(rows(&self.0, table).get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        for pair in pairs(&self.0, table, range, direction) {
            let (key, value) = pair?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        progress::decode(rows(&self.0, Table::Meta).get(&progress::key(partition)).map(AsRef::as_ref))
    }
}

struct MemoryTxn<'a> {
    store: &'a MemoryStore,
    base: Tables,
    overlay: Overlay,
    advances: Vec<Advance>,
}

impl Read for MemoryTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.overlay.get(table, key) {
            Some(own) => Ok(own.clone()),
            None => Ok(rows(&self.base, table).get(key).cloned()),
        }
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.overlay.scan(table, range, direction, pairs(&self.base, table, range, direction), visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        progress::decode(rows(&self.base, Table::Meta).get(&progress::key(partition)).map(AsRef::as_ref))
    }
}

impl Txn for MemoryTxn<'_> {
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.overlay.set(table, key, value);
    }

    fn advance(&mut self, partition: u32, from: Progress, to: Progress) {
        self.advances.push((partition, from, to));
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let this = *self;
        this.overlay.check()?;
        let mut inner = this.store.inner();
        inner.check_poison()?;
        for advance in &this.advances {
            let held = rows(&inner.live, Table::Meta).get(&progress::key(advance.0)).map(AsRef::as_ref);
            progress::check(progress::decode(held)?, advance)?;
        }
        // The base is this transaction's share of the rows: while it is held, a write would copy them.
        drop(this.base);
        let advances = this
            .advances
            .into_iter()
            .map(|(p, _, to)| (Table::Meta, progress::key(p), Some(progress::encode(to))));
        for (table, key, value) in this.overlay.into_writes().chain(advances) {
            let rows = Arc::make_mut(&mut inner.live[table as usize]);
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        if inner.crashable {
            let prefix = inner.live.clone();
            inner.prefixes.push(prefix);
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error> {
        let inner = self.inner();
        inner.check_poison()?;
        let base = inner.live.clone();
        drop(inner);
        Ok(Box::new(MemoryTxn { store: self, base, overlay: Overlay::new(), advances: Vec::new() }))
    }

    fn snapshot(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        Ok(Box::new(Snapshot(self.inner().live.clone())))
    }

    fn take_over(&self, partition: u32) -> Result<Progress, Error> {
        let mut inner = self.inner();
        inner.check_poison()?;
        let key = progress::key(partition);
        let mut held = progress::decode(rows(&inner.live, Table::Meta).get(&key).map(AsRef::as_ref))?;
        held.epoch += 1;
        Arc::make_mut(&mut inner.live[Table::Meta as usize]).insert(key, progress::encode(held));
        inner.prefixes = vec![inner.live.clone()];
        Ok(held)
    }

    fn sync(&self) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.check_poison()?;
        if std::mem::take(&mut inner.fail_next) {
            inner.poison = Some("the sync failed, as it was told to".into());
            return inner.check_poison();
        }
        inner.prefixes = vec![inner.live.clone()];
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
