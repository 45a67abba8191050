//! The embedded store: fjall, an LSM tree in Rust (`docs/adr/0002-fjall.md` says why).
//!
//! One keyspace per table. A commit is one fjall batch, unsynced and behind the caller (`write_behind`): the log is durable,
//! so after a crash the fold goes on from the position that was committed with the state (STORE-6). fjall holds its journal lock while it syncs, so
//! [`FjallStore::sync`] is called about once a second and not with every batch.
//!
//! After a failed write or sync the store is poisoned: what the disk holds is then unknown, and going on could
//! acknowledge a state that is not there (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).

use crate::classify::classify;
use crate::overlay::{Overlay, bounds};
use crate::progress::{self, Advance};
use crate::write_behind::{Waiting, WriteBehind};
use crate::{Bytes, Direction, Error, KEY_BYTES_MAX, KeyRange, Progress, Read, Store, Table, Txn};
use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    PinningPolicy,
};
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Keys from which `get_many` reads on two threads: starting one costs about as much as three reads.
const PARALLEL_KEYS: usize = 64;

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
    /// What can be done about a damaged folder, said with [`Error::Corrupt`]. It depends on what is kept there: a state is
    /// derived, which is what the default says, and other things are not.
    pub remedy: &'static str,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 192 << 20,
            memtable_bytes: 16 << 20,
            journal_bytes: 256 << 20,
            workers: 1,
            remedy: "stop the server, move the folder away and start again: it is rebuilt from what the log has kept",
        }
    }
}

/// See the module.
pub struct FjallStore {
    engine: Arc<Engine>,
    writer: Option<std::thread::JoinHandle<()>>,
}

struct Engine {
    database: Database,
    tables: Vec<Keyspace>,
    path: PathBuf,
    remedy: &'static str,
    /// Serialises the check and write of progress.
    advancing: Mutex<()>,
    poison: RwLock<Option<Arc<str>>>,
    /// The next sync fails.
    fail_next: AtomicBool,
    behind: WriteBehind,
}

impl FjallStore {
    /// Whether there is a store in folder `path`, whole or damaged. The engine takes a folder without its marker, which is the
    /// last thing that it makes, or without its tables for one in which nothing is yet.
    #[must_use]
    pub fn is_in(path: &Path) -> bool {
        path.join("version").exists() && path.join("keyspaces").exists()
    }

    /// Opens the store in folder `path`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if what is there cannot be read; nothing is deleted.
    pub fn open(path: &Path, options: &FjallOptions) -> Result<Self, Error> {
        let failed = |error: fjall::Error| classify("open the store", (path, options.remedy), &error);
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
        let engine = Arc::new(Engine {
            database,
            tables,
            path: path.to_owned(),
            remedy: options.remedy,
            advancing: Mutex::new(()),
            poison: RwLock::new(None),
            fail_next: AtomicBool::new(false),
            behind: WriteBehind::new(),
        });
        let behind = engine.clone();
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || behind.behind.run(|overlay| behind.write(overlay), |why| behind.broke(why)))
            .map_err(|error| Error::Engine { operation: "start the writer", detail: error.to_string() })?;
        Ok(Self { engine, writer: Some(writer) })
    }
}

impl FjallStore {
    /// The next sync fails, which poisons the store until it is opened again: for tests.
    #[doc(hidden)]
    pub fn fail_next_sync(&self) {
        self.engine.fail_next.store(true, Ordering::SeqCst);
    }
}

impl Drop for FjallStore {
    fn drop(&mut self) {
        self.engine.behind.close();
        if let Some(writer) = self.writer.take() {
            // A writer that ended early has left its reason in the poison.
            drop(writer.join());
        }
    }
}

impl Engine {
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
        let error = self.classify(operation, error);
        let mut poison = self.poison.write().unwrap_or_else(PoisonError::into_inner);
        poison.get_or_insert_with(|| Arc::from(error.to_string()));
        error
    }

    /// The writer panicked: what the engine has of its last commit is unknown.
    fn broke(&self, why: &str) {
        let mut poison = self.poison.write().unwrap_or_else(PoisonError::into_inner);
        poison.get_or_insert_with(|| Arc::from(format!("the engine panicked in a commit: {why}")));
    }

    fn classify(&self, operation: &'static str, error: &fjall::Error) -> Error {
        classify(operation, (&self.path, self.remedy), error)
    }

    /// What is committed at `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let waiting = self
            .behind
            .look(|waiting| waiting.iter().rev().find_map(|overlay| overlay.get(table, key).cloned()));
        if let Some(waiting) = waiting {
            return Ok(waiting);
        }
        if key.len() > KEY_BYTES_MAX {
            // The engine panics at it, and cannot have it.
            return Ok(None);
        }
        let value = self.table(table).get(key).map_err(|e| self.classify("read", &e))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(
        &self,
        overlay: &Overlay,
        found: fjall::Iter,
        (table, range, direction): (Table, &KeyRange, Direction),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let base = ordered(found, direction).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|e| self.classify("scan", &e))?;
            Ok((Bytes::from(key), Bytes::from(value)))
        });
        overlay.scan(table, range, direction, base, visit)
    }

    /// Writes one commit; `false` if the engine failed: then the store is poisoned.
    fn write(&self, overlay: &Overlay) -> bool {
        let mut batch = self.database.batch();
        for (table, key, value) in overlay.writes() {
            match value {
                Some(value) => batch.insert(self.table(table), key.clone(), value.clone()),
                None => batch.remove(self.table(table), key.clone()),
            }
        }
        batch.commit().map_err(|e| self.poisoned("commit", &e)).is_ok()
    }

    fn held(&self, partition: u32) -> Result<Progress, Error> {
        progress::decode(self.get(Table::Meta, &progress::key(partition))?.as_deref())
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
        // The filter and the index of a file in the upper levels are one block each, of up to megabytes. Unpinned, a state
        // larger than the cache reads them again for nearly every look-up. From level 3 on they are cut into small blocks.
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .data_block_size_policy(BlockSizePolicy::all(4_096))
        .data_block_compression_policy(CompressionPolicy::all(compression))
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
    engine: &'a Engine,
    waiting: Waiting,
    at: fjall::Snapshot,
}

impl Read for Snapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(waiting) = self.waiting.iter().rev().find_map(|overlay| overlay.get(table, key)) {
            return Ok(waiting.clone());
        }
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let found = self.at.get(self.engine.table(table), key);
        Ok(found.map_err(|e| self.engine.classify("read", &e))?.map(Bytes::from))
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
        let found = self.at.range::<&[u8], _>(self.engine.table(table), bounds(range));
        let overlay = Overlay::new().over(&self.waiting, table, range);
        self.engine.scan(&overlay, found, (table, range, direction), visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        progress::decode(self.get(Table::Meta, &progress::key(partition))?.as_deref())
    }
}

struct FjallTxn<'a> {
    engine: &'a Engine,
    overlay: Overlay,
    advances: Vec<Advance>,
}

impl Read for FjallTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.overlay.get(table, key) {
            Some(own) => Ok(own.clone()),
            None => self.engine.get(table, key),
        }
    }

    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Error> {
        // Blocks come from files: on more than one core two readers are nearly twice as fast as one.
        if keys.len() < PARALLEL_KEYS || !self.overlay.is_empty(table) {
            return keys.iter().map(|key| self.get(table, key)).collect();
        }
        let engine = self.engine;
        let read = |keys: &[Bytes]| keys.iter().map(|key| engine.get(table, key)).collect::<Vec<_>>();
        let (near, far) = keys.split_at(keys.len() / 2);
        let found = std::thread::scope(|scope| {
            let far = scope.spawn(|| read(far));
            let near = read(near);
            far.join().map(|far| near.into_iter().chain(far).collect())
        });
        found.unwrap_or_else(|_| {
            Err(Error::Engine { operation: "read", detail: "a reader's thread ended early".to_owned() })
        })
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
        let (waiting, found) =
            self.engine.behind.together(|| self.engine.table(table).range::<&[u8], _>(bounds(range)));
        let overlay = self.overlay.over(&waiting, table, range);
        self.engine.scan(&overlay, found, (table, range, direction), visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        self.engine.held(partition)
    }
}

impl Txn for FjallTxn<'_> {
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.overlay.set(table, key, value);
    }

    fn advance(&mut self, partition: u32, from: Progress, to: Progress) {
        self.advances.push((partition, from, to));
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let Self { engine, mut overlay, advances } = *self;
        engine.check_poison()?;
        overlay.check()?;
        let _advancing = engine.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        for advance in &advances {
            progress::check(engine.held(advance.0)?, advance)?;
            overlay.set(Table::Meta, progress::key(advance.0), Some(progress::encode(advance.2)));
        }
        engine.behind.push(overlay);
        engine.check_poison()
    }
}

impl Store for FjallStore {
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error> {
        self.engine.check_poison()?;
        Ok(Box::new(FjallTxn { engine: &self.engine, overlay: Overlay::new(), advances: Vec::new() }))
    }

    fn snapshot(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        let (waiting, at) = self.engine.behind.together(|| self.engine.database.snapshot());
        Ok(Box::new(Snapshot { engine: &self.engine, waiting, at }))
    }

    fn take_over(&self, partition: u32) -> Result<Progress, Error> {
        let mut txn = Overlay::new();
        self.engine.check_poison()?;
        let advancing = self.engine.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.engine.held(partition)?;
        held.epoch += 1;
        txn.set(Table::Meta, progress::key(partition), Some(progress::encode(held)));
        self.engine.behind.push(txn);
        drop(advancing);
        self.sync()?;
        Ok(held)
    }

    fn sync(&self) -> Result<(), Error> {
        self.engine.behind.drain();
        self.engine.check_poison()?;
        let synced = if self.engine.fail_next.swap(false, Ordering::SeqCst) {
            Err(fjall::Error::Io(std::io::Error::other("it failed, as it was told to")))
        } else {
            self.engine.database.persist(PersistMode::SyncAll)
        };
        synced.map_err(|e| self.engine.poisoned("sync", &e))
    }

    fn disk_bytes(&self) -> u64 {
        self.engine.database.disk_space().unwrap_or(0)
    }
}
