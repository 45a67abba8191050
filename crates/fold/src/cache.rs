//! Rows at hand: what this batch has read and changed, decoded, over what earlier batches have, as bytes.
//!
//! Most of an LSM's time in this workload is point reads, so hot rows are kept. A kept row is its bytes: a fourth of what
//! it takes decoded, and decoding it costs a tenth of reading it. A batch's own changes live in its overlay until its
//! transaction has committed; only then do they reach the cache (ATOM holds for the cache as for the store).

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

/// What the cache's own bookkeeping takes for a row, with its key and the allocator's rounding.
const ROW_OVERHEAD: u64 = 96;

#[derive(Clone)]
struct ByBytes;

impl<K> quick_cache::Weighter<K, Bytes> for ByBytes {
    fn weight(&self, _: &K, bytes: &Bytes) -> u64 {
        bytes.len() as u64 + ROW_OVERHEAD
    }
}

/// A row in this batch. Without a value there is no such row.
struct Slot<R> {
    value: Option<Arc<R>>,
    /// Its bytes, if they are known to be the value's.
    bytes: Option<Bytes>,
    changed: bool,
}

/// One table's overlay and cache.
pub(crate) struct Tier<R: Row> {
    overlay: HashMap<R::Key, Slot<R>, foldhash::fast::FixedState>,
    cache: quick_cache::unsync::Cache<R::Key, Bytes, ByBytes>,
    /// Where rows are encoded before they get memory of their size.
    scratch: Vec<u8>,
}

fn decoded<R: Row>(bytes: &[u8]) -> Result<R, Error> {
    rows::decode::<R>(R::TABLE.as_str(), bytes)
}

impl<R: Row> Tier<R> {
    /// A tier that keeps rows of about `bytes` together between batches.
    #[must_use]
    pub(crate) fn new(bytes: u64) -> Self {
        let rows = usize::try_from(bytes / (ROW_OVERHEAD + 200)).unwrap_or(usize::MAX);
        Self {
            overlay: HashMap::default(),
            cache: quick_cache::unsync::Cache::with_weighter(rows, bytes, ByBytes),
            scratch: Vec::new(),
        }
    }

    /// The row at `key`: changed by this batch, cached, or read now.
    pub(crate) fn get(&mut self, store: &dyn Read, key: &R::Key) -> Result<Option<Arc<R>>, Error> {
        if let Some(slot) = self.overlay.get(key) {
            return Ok(slot.value.clone());
        }
        let bytes = match self.cache.get(key) {
            Some(bytes) => Some(bytes.clone()),
            None => store.get(R::TABLE, &R::key(key))?,
        };
        let value = bytes.as_deref().map(decoded::<R>).transpose()?.map(Arc::new);
        self.overlay.insert(key.clone(), Slot { value: value.clone(), bytes, changed: false });
        Ok(value)
    }

    /// Reads those of `keys` that are not at hand, in one sorted request.
    pub(crate) fn prefetch(
        &mut self,
        store: &dyn Read,
        keys: impl Iterator<Item = R::Key>,
    ) -> Result<(), Error> {
        let mut wanted: Vec<(Bytes, R::Key)> = keys
            .filter(|key| !self.overlay.contains_key(key) && self.cache.peek(key).is_none())
            .map(|key| (R::key(&key), key))
            .collect();
        wanted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        wanted.dedup_by(|a, b| a.0 == b.0);
        if wanted.is_empty() {
            return Ok(());
        }
        let (keys, names): (Vec<Bytes>, Vec<R::Key>) = wanted.into_iter().unzip();
        for (name, bytes) in names.into_iter().zip(store.get_many(R::TABLE, &keys)?) {
            let value = bytes.as_deref().map(decoded::<R>).transpose()?.map(Arc::new);
            self.overlay.insert(name, Slot { value, bytes, changed: false });
        }
        Ok(())
    }

    /// Sets the row at `key`.
    pub(crate) fn put(&mut self, key: R::Key, value: R) {
        self.put_shared(key, Arc::new(value));
    }

    /// Sets the row at `key` to a value that is shared already.
    pub(crate) fn put_shared(&mut self, key: R::Key, value: Arc<R>) {
        self.overlay.insert(key, Slot { value: Some(value), bytes: None, changed: true });
    }

    /// Takes the row out to be changed; the caller puts it back. Saves the copy that a shared row would cost.
    pub(crate) fn take(&mut self, store: &dyn Read, key: &R::Key) -> Result<Option<R>, Error> {
        match self.overlay.remove(key) {
            Some(Slot { value: Some(value), .. }) => return Ok(Some(Arc::unwrap_or_clone(value))),
            // That there is none stays said: the store may have one until the batch commits.
            Some(none) => {
                self.overlay.insert(key.clone(), none);
                return Ok(None);
            }
            None => {}
        }
        if let Some(bytes) = self.cache.get(key) {
            return decoded(bytes).map(Some);
        }
        store.get(R::TABLE, &R::key(key))?.map(|bytes| decoded(&bytes)).transpose()
    }

    /// Removes the row at `key`.
    pub(crate) fn delete(&mut self, key: R::Key) {
        self.overlay.insert(key, Slot { value: None, bytes: None, changed: true });
    }

    /// Writes this batch's changes into its transaction, those that a flush has written already left out.
    pub(crate) fn flush(&mut self, txn: &mut dyn Txn) -> Result<(), Error> {
        for (key, slot) in self.overlay.iter_mut().filter(|(_, slot)| slot.changed) {
            match &slot.value {
                Some(_) if slot.bytes.is_some() => {}
                Some(value) => {
                    let bytes = rows::encode_in(&mut self.scratch, value.as_ref())?;
                    slot.bytes = Some(bytes.clone());
                    txn.put(R::TABLE, R::key(key), bytes);
                }
                None => txn.delete(R::TABLE, R::key(key)),
            }
        }
        Ok(())
    }

    /// Lets go of rows that were only read, if they are many: for a reader that walks over everything.
    pub(crate) fn relax(&mut self, rows: usize) {
        if self.overlay.len() > rows {
            self.overlay.retain(|_, slot| slot.changed);
        }
    }

    /// Forgets all rows: what was changed is in the transaction, and something else wrote the table.
    pub(crate) fn clear(&mut self) {
        self.overlay.clear();
        self.cache.clear();
    }

    /// The transaction committed: what the batch read and changed is what the store holds.
    pub(crate) fn committed(&mut self) {
        for (key, slot) in self.overlay.drain() {
            match slot.bytes {
                // What the engine gave may hold on to a block.
                Some(bytes) if !slot.changed => self.cache.insert(key, bytes.to_detached()),
                Some(bytes) => self.cache.insert(key, bytes),
                None => drop(self.cache.remove(&key)),
            }
        }
        // A large batch must not leave its table behind for all the small ones after it.
        self.overlay.shrink_to(8_192);
    }
}

#[cfg(test)]
mod tests {
    use super::Tier;
    use crate::memory::Ident;
    use onefold_store::{MemoryStore, Store, Table};
    use onefold_types::NodeId;

    #[test]
    fn a_removed_row_that_is_asked_for_again_stays_removed() {
        let store = MemoryStore::new();
        let key = ("user_id".to_owned(), "u".to_owned());
        let mut tier = Tier::<Ident>::new(1 << 16);
        let mut txn = store.begin().unwrap();
        tier.put(key.clone(), Ident(NodeId(7)));
        tier.flush(txn.as_mut()).unwrap();
        txn.commit().unwrap();
        tier.committed();

        let mut txn = store.begin().unwrap();
        tier.delete(key.clone());
        assert_eq!(tier.take(txn.as_ref(), &key).unwrap(), None);
        assert_eq!(tier.get(txn.as_ref(), &key).unwrap(), None);
        tier.flush(txn.as_mut()).unwrap();
        txn.commit().unwrap();
        tier.committed();
        let row = crate::rows::ident_key(&key.0, &key.1);
        assert_eq!(store.snapshot().unwrap().get(Table::Ident, &row).unwrap(), None);
    }
}
