//! The embedded store: fjall, an LSM tree in Rust (`docs/adr/0002-fjall.md` says why).
//!
//! One keyspace per table. A commit is one fjall batch, unsynced: the log is durable, so after a crash the fold goes on
//! from the position that was committed with the state (STORE-6). fjall holds its journal lock while it syncs, so
//! [`FjallStore::sync`] is called about once a second and not with every batch.
//!
//! After a failed write or sync the store is poisoned: what the disk holds is then unknown, and going on could
//! acknowledge a state that is not there (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).

use crate::overlay::Overlay;
use crate::progress::{self, Advance};
use crate::{Bytes, Direction, Error, KeyRange, Progress, Read, Store, Table, Txn};
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How a [`FjallStore`] uses memory and disk.
#[derive(Clone, Debug)]
pub struct FjallOptions {
    /// Blocks of tables kept decompressed: 192 MiB.
    pub cache_bytes: u64,
    /// Writes of one table kept in memory before they become a file: 16 MiB; the large hot tables get up to four times as much.
    pub memtable_bytes: u64,
    /// Journal bytes before memtables are flushed to let it go: 256 MiB.
    pub journal_bytes: u64,
    /// Threads that flush and compact: 1 on a small machine.
    pub workers: usize,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self { cache_bytes: 192 << 20, memtable_bytes: 16 << 20, journal_bytes: 256 << 20, workers: 1 }
    }
}

/// See the module.
pub struct FjallStore {
    database: Database,
    tables: Vec<Keyspace>,
    path: PathBuf,
    /// Serialises the check and write of progress.
    advancing: Mutex<()>,
    poison: RwLock<Option<Arc<str>>>,
}

impl FjallStore {
    /// Opens the store in folder `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is there cannot be read; nothing is deleted.
    pub fn open(path: &Path, options: &FjallOptions) -> Result<Self, Error> {
        let failed = |error: fjall::Error| classify("open the state", path, &error);
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .manual_journal_persist(true)
            .max_journaling_size(options.journal_bytes.max(64 << 20))
            .worker_threads(options.workers.max(1))
            .open()
            .map_err(failed)?;
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            tables
                .push(database.keyspace(table.as_str(), || table_options(*table, options)).map_err(failed)?);
        }
        Ok(Self {
            database,
            tables,
            path: path.to_owned(),
            advancing: Mutex::new(()),
            poison: RwLock::new(None),
        })
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    fn check_poison(&self) -> Result<(), Error> {
        match self.poison.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// A failed write or sync: nothing more is accepted.
    fn poisoned(&self, operation: &'static str, error: &fjall::Error) -> Error {
        let error = classify(operation, &self.path, error);
        let mut poison = self.poison.write().unwrap_or_else(PoisonError::into_inner);
        poison.get_or_insert_with(|| Arc::from(error.to_string()));
        error
    }

    fn held(&self, partition: u32) -> Result<Progress, Error> {
        let bytes = self
            .table(Table::Meta)
            .get(progress::key(partition))
            .map_err(|e| classify("read progress", &self.path, &e))?;
        progress::decode(bytes.as_deref())
    }
}

/// Settings by what a table's rows are like.
fn table_options(table: Table, options: &FjallOptions) -> KeyspaceCreateOptions {
    let large = matches!(table, Table::Profile | Table::Seen | Table::Stream | Table::Outbox);
    let memtable = if large { options.memtable_bytes * 4 } else { options.memtable_bytes };
    let compression = match table {
        // Hashes and numbers: nothing to gain.
        Table::Seen | Table::Timer | Table::AudienceMember | Table::Member => CompressionType::None,
        _ => CompressionType::Lz4,
    };
    let bloom = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(memtable.max(1 << 20))
        // Most look-ups of a message id or a set find nothing: every level needs its filter.
        .expect_point_read_hits(false)
        .filter_policy(FilterPolicy::all(bloom))
        .data_block_size_policy(BlockSizePolicy::all(4_096))
        .data_block_compression_policy(CompressionPolicy::all(compression))
}

fn classify(operation: &'static str, path: &Path, error: &fjall::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return Error::DiskFull;
        }
        cause = current.source();
    }
    let detail = error.to_string();
    match error {
        fjall::Error::Io(_) | fjall::Error::Poisoned | fjall::Error::Locked => {
            Error::Engine { operation, detail }
        }
        _ => Error::Corrupt { path: path.to_owned(), detail },
    }
}

fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let upper = if range.to.is_empty() { Bound::Unbounded } else { Bound::Excluded(range.to.as_slice()) };
    (Bound::Included(range.from.as_slice()), upper)
}

fn ordered(iter: fjall::Iter, direction: Direction) -> Box<dyn Iterator<Item = Guard>> {
    match direction {
        Direction::Forward => Box::new(iter),
        Direction::Reverse => Box::new(iter.rev()),
    }
}

fn is_empty(range: &KeyRange) -> bool {
    !range.to.is_empty() && range.from >= range.to
}

struct Snapshot<'a> {
    store: &'a FjallStore,
    at: fjall::Snapshot,
}

impl Read for Snapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value =
            self.at.get(self.store.table(table), key).map_err(|e| classify("read", &self.store.path, &e))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        if is_empty(range) {
            return Ok(());
        }
        let found = self.at.range::<&[u8], _>(self.store.table(table), bounds(range));
        for guard in ordered(found, direction) {
            let (key, value) = guard.into_inner().map_err(|e| classify("scan", &self.store.path, &e))?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        progress::decode(self.get(Table::Meta, &progress::key(partition))?.as_deref())
    }
}

struct FjallTxn<'a> {
    store: &'a FjallStore,
    overlay: Overlay,
    advances: Vec<Advance>,
}

impl Read for FjallTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(own) = self.overlay.get(table, key) {
            return Ok(own.clone());
        }
        let value = self.store.table(table).get(key).map_err(|e| classify("read", &self.store.path, &e))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        if is_empty(range) {
            return Ok(());
        }
        let found = self.store.table(table).range::<&[u8], _>(bounds(range));
        let base = ordered(found, direction).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|e| classify("scan", &self.store.path, &e))?;
            Ok((key.to_vec(), value.to_vec()))
        });
        self.overlay.scan(table, range, direction, base, visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        self.store.held(partition)
    }
}

impl Txn for FjallTxn<'_> {
    fn put(&mut self, table: Table, key: Bytes, value: Bytes) {
        self.overlay.set(table, key, Some(value));
    }

    fn delete(&mut self, table: Table, key: Bytes) {
        self.overlay.set(table, key, None);
    }

    fn advance(&mut self, partition: u32, from: Progress, to: Progress) {
        self.advances.push((partition, from, to));
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let this = *self;
        this.store.check_poison()?;
        let mut batch = this.store.database.batch();
        for (table, key, value) in this.overlay.into_writes() {
            match value {
                Some(value) => batch.insert(this.store.table(table), key, value),
                None => batch.remove(this.store.table(table), key),
            }
        }
        let commit =
            |batch: fjall::OwnedWriteBatch| batch.commit().map_err(|e| this.store.poisoned("commit", &e));
        if this.advances.is_empty() {
            return commit(batch);
        }
        let _advancing = this.store.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        for advance in &this.advances {
            progress::check(this.store.held(advance.0)?, advance)?;
            batch.insert(
                this.store.table(Table::Meta),
                progress::key(advance.0),
                progress::encode(advance.2),
            );
        }
        commit(batch)
    }
}

impl Store for FjallStore {
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error> {
        self.check_poison()?;
        Ok(Box::new(FjallTxn { store: self, overlay: Overlay::new(), advances: Vec::new() }))
    }

    fn snapshot(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        Ok(Box::new(Snapshot { store: self, at: self.database.snapshot() }))
    }

    fn take_over(&self, partition: u32) -> Result<Progress, Error> {
        self.check_poison()?;
        let _advancing = self.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.held(partition)?;
        held.epoch += 1;
        let mut batch = self.database.batch();
        batch.insert(self.table(Table::Meta), progress::key(partition), progress::encode(held));
        batch.commit().map_err(|e| self.poisoned("take over", &e))?;
        self.database.persist(PersistMode::SyncAll).map_err(|e| self.poisoned("sync", &e))?;
        Ok(held)
    }

    fn sync(&self) -> Result<(), Error> {
        self.check_poison()?;
        self.database.persist(PersistMode::SyncAll).map_err(|e| self.poisoned("sync", &e))
    }

    fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }
}
