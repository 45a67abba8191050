//! Decoded rows: what this batch has changed, over what earlier batches have read.
//!
//! Most of an LSM's time in this workload is point reads, so a hot row is decoded once and kept. A batch's own changes
//! live in its overlay until its transaction has committed; only then do they reach the cache (ATOM holds for the
//! cache as for the store).

use crate::error::Error;
use crate::rows;
use onefold_store::{Bytes, Read, Table, Txn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// How a decoded row is stored.
pub(crate) trait Row: Clone + Serialize + DeserializeOwned {
    /// Its key as the fold speaks of it.
    type Key: Clone + Eq + Hash;
    /// Its table.
    const TABLE: Table;
    /// Its key in the store.
    fn key(key: &Self::Key) -> Bytes;
}

enum Slot<V> {
    Read(Option<Arc<V>>),
    Changed(Option<Arc<V>>),
}

impl<V> Slot<V> {
    const fn value(&self) -> Option<&Arc<V>> {
        match self {
            Self::Read(value) | Self::Changed(value) => value.as_ref(),
        }
    }
}

/// One table's overlay and cache.
pub(crate) struct Tier<R: Row> {
    overlay: HashMap<R::Key, Slot<R>, foldhash::fast::FixedState>,
    cache: quick_cache::unsync::Cache<R::Key, Arc<R>>,
}

impl<R: Row> Tier<R> {
    /// A tier that keeps about `rows` decoded rows between batches.
    #[must_use]
    pub(crate) fn new(rows: usize) -> Self {
        Self { overlay: HashMap::default(), cache: quick_cache::unsync::Cache::new(rows) }
    }

    /// The row at `key`: changed by this batch, cached, or read now.
    pub(crate) fn get(&mut self, store: &dyn Read, key: &R::Key) -> Result<Option<Arc<R>>, Error> {
        if let Some(slot) = self.overlay.get(key) {
            return Ok(slot.value().cloned());
        }
        if let Some(value) = self.cache.get(key) {
            return Ok(Some(value.clone()));
        }
        let bytes = store.get(R::TABLE, &R::key(key))?;
        let value =
            bytes.map(|bytes| rows::decode::<R>(R::TABLE.as_str(), &bytes)).transpose()?.map(Arc::new);
        self.overlay.insert(key.clone(), Slot::Read(value.clone()));
        Ok(value)
    }

    /// Reads those of `keys` that are not at hand, in one sorted request.
    pub(crate) fn prefetch(
        &mut self,
        store: &dyn Read,
        keys: impl Iterator<Item = R::Key>,
    ) -> Result<(), Error> {
        let mut wanted: Vec<(Bytes, R::Key)> = keys
            .filter(|key| !self.overlay.contains_key(key) && self.cache.get(key).is_none())
            .map(|key| (R::key(&key), key))
            .collect();
        wanted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        wanted.dedup_by(|a, b| a.0 == b.0);
        if wanted.is_empty() {
            return Ok(());
        }
        let (keys, names): (Vec<Bytes>, Vec<R::Key>) = wanted.into_iter().unzip();
        for (name, bytes) in names.into_iter().zip(store.get_many(R::TABLE, &keys)?) {
            let value =
                bytes.map(|bytes| rows::decode::<R>(R::TABLE.as_str(), &bytes)).transpose()?.map(Arc::new);
            self.overlay.insert(name, Slot::Read(value));
        }
        Ok(())
    }

    /// Sets the row at `key`.
    pub(crate) fn put(&mut self, key: R::Key, value: R) {
        self.put_shared(key, Arc::new(value));
    }

    /// Sets the row at `key` to a value that is shared already.
    pub(crate) fn put_shared(&mut self, key: R::Key, value: Arc<R>) {
        self.cache.remove(&key);
        self.overlay.insert(key, Slot::Changed(Some(value)));
    }

    /// Takes the row out to be changed; the caller puts it back. Saves the copy that a shared row would cost.
    pub(crate) fn take(&mut self, store: &dyn Read, key: &R::Key) -> Result<Option<R>, Error> {
        let value = match self.overlay.remove(key) {
            Some(Slot::Read(value) | Slot::Changed(value)) => value,
            None => match self.cache.remove(key) {
                Some((_, value)) => Some(value),
                None => {
                    let bytes = store.get(R::TABLE, &R::key(key))?;
                    return bytes.map(|bytes| rows::decode::<R>(R::TABLE.as_str(), &bytes)).transpose();
                }
            },
        };
        Ok(value.map(Arc::unwrap_or_clone))
    }

    /// Removes the row at `key`.
    pub(crate) fn delete(&mut self, key: R::Key) {
        self.cache.remove(&key);
        self.overlay.insert(key, Slot::Changed(None));
    }

    /// Writes this batch's changes into its transaction.
    pub(crate) fn flush(&self, txn: &mut dyn Txn) -> Result<(), Error> {
        for (key, slot) in &self.overlay {
            match slot {
                Slot::Read(_) => {}
                Slot::Changed(Some(value)) => txn.put(R::TABLE, R::key(key), rows::encode(value.as_ref())?),
                Slot::Changed(None) => txn.delete(R::TABLE, R::key(key)),
            }
        }
        Ok(())
    }

    /// The transaction committed: what the batch read and changed is what the store holds.
    pub(crate) fn committed(&mut self) {
        for (key, slot) in self.overlay.drain() {
            match slot {
                Slot::Read(Some(value)) | Slot::Changed(Some(value)) => self.cache.insert(key, value),
                Slot::Read(None) | Slot::Changed(None) => {}
            }
        }
    }
}
