//! What breaks: commits that fail before or after they took effect, writes that are cut short, syncs that fail.
//!
//! Each fault is armed by the world and fires at the next operation, so that the seed alone says where.

use onefold_log::{Faults, Operation, Verdict};
use onefold_store::{Bytes, Direction, Error, KeyRange, Progress, Read, Store, Table, Txn};
use std::io::{Error as IoError, ErrorKind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

/// The next commit: goes through.
pub const RUN: u8 = 0;
/// The next commit: fails, and nothing of it is kept.
pub const FAIL: u8 = 1;
/// The next commit: takes effect, but whoever asked is told that it failed.
pub const LIE: u8 = 2;

/// The next commit: another transaction crossed it, and nothing of it is kept.
pub const CROSS: u8 = 3;

/// A store whose commits can fail.
pub struct BrittleStore {
    inner: Arc<dyn Store>,
    next: Arc<AtomicU8>,
}

impl BrittleStore {
    /// Over `inner`; `next` says what becomes of the next commit.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, next: Arc<AtomicU8>) -> Self {
        Self { inner, next }
    }
}

struct BrittleTxn<'a> {
    inner: Box<dyn Txn + 'a>,
    next: &'a AtomicU8,
}

impl Read for BrittleTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.inner.get(table, key)
    }

    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Error> {
        self.inner.get_many(table, keys)
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.inner.scan(table, range, direction, visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        self.inner.progress(partition)
    }
}

impl Txn for BrittleTxn<'_> {
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.inner.set(table, key, value);
    }

    fn advance(&mut self, partition: u32, from: Progress, to: Progress) {
        self.inner.advance(partition, from, to);
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let failed = |detail: &str| Error::Engine { operation: "commit", detail: detail.to_owned() };
        match self.next.swap(RUN, Ordering::SeqCst) {
            FAIL => Err(failed("it failed, as it was told to")),
            CROSS => Err(Error::Conflict),
            LIE => {
                self.inner.commit()?;
                Err(failed("it failed and kept everything, as it was told to"))
            }
            _ => self.inner.commit(),
        }
    }
}

impl Store for BrittleStore {
    fn begin(&self) -> Result<Box<dyn Txn + '_>, Error> {
        Ok(Box::new(BrittleTxn { inner: self.inner.begin()?, next: &self.next }))
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
        self.inner.disk_bytes()
    }
}

/// What a file operation is to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wound {
    /// The write stops after so many bytes: a torn tail.
    Torn(usize),
    /// The bytes are written, the sync fails: nobody knows.
    Unsynced,
    /// The disk is full.
    Full,
}

/// Hurts the next file operation that the wound is for.
#[derive(Debug, Default)]
pub struct BrittleFiles(Mutex<Option<Wound>>);

impl BrittleFiles {
    /// Arms it, or takes the arm back.
    pub fn set(&self, wound: Option<Wound>) {
        *self.0.lock().unwrap() = wound;
    }
}

impl Faults for BrittleFiles {
    fn before(&self, operation: Operation) -> Verdict {
        let mut wound = self.0.lock().unwrap();
        let (verdict, fired) = match (*wound, operation) {
            (Some(Wound::Torn(bytes)), Operation::Write) => {
                (Verdict::Short(bytes, IoError::other("cut short, as it was told to")), true)
            }
            (Some(Wound::Full), Operation::Write) => {
                (Verdict::Fail(IoError::from(ErrorKind::StorageFull)), true)
            }
            (Some(Wound::Unsynced), Operation::Sync) => {
                (Verdict::Fail(IoError::other("not synced, as it was told to")), true)
            }
            _ => (Verdict::Run, false),
        };
        if fired {
            *wound = None;
        }
        verdict
    }
}
