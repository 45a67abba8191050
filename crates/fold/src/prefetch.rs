//! What a batch is going to read, in sorted requests instead of one by one: an LSM likes the order, a database with
//! round trips and row locks needs it (STORE-8).

use crate::batch::{Batch, record_error};
use crate::error::Error;
use crate::rows;
use onefold_log::Entry;
use onefold_log::record::{Kind, kind, messages};
use onefold_store::Table;
use onefold_types::EventRef;

impl Batch<'_> {
    /// Reads identifiers, nodes, clusters and profiles of the messages in `entries`. What it misses is read when needed.
    pub(crate) fn prefetch(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let mut idents = Vec::new();
        let mut handles = Vec::new();
        let mut ids = Vec::new();
        for entry in entries {
            if !matches!(kind(&entry.payload), Ok(Kind::Messages)) {
                continue;
            }
            for view in messages(&entry.payload).map_err(|e| record_error(entry, &e))? {
                let Some(view) = view.map_err(|e| record_error(entry, &e))? else { continue };
                ids.push(self.message_hash(view.message_id));
                if let Some(known) = self.memory.memo.get(self.ids_hash(&view), view.ts.min(entry.rt)) {
                    handles.push(known.owner);
                    continue;
                }
                for (id_type, raw) in view.ids() {
                    if let Ok(id) = self.compiled.rules.normalise(id_type, raw) {
                        idents.push((id.id_type, id.value));
                    }
                }
            }
        }
        self.prefetch_seen(ids)?;
        idents.sort_unstable();
        idents.dedup();
        let store = self.txn.as_ref();
        self.memory.idents.prefetch(store, idents.iter().cloned())?;
        let mut nodes = Vec::with_capacity(idents.len());
        for id in &idents {
            nodes.extend(self.memory.idents.get(store, id)?.map(|ident| ident.0));
        }
        self.memory.nodes.prefetch(store, nodes.iter().copied())?;
        let mut clusters = Vec::with_capacity(nodes.len());
        for node in &nodes {
            clusters.extend(self.memory.nodes.get(store, node)?.map(|node| node.cluster));
        }
        clusters.sort_unstable();
        clusters.dedup();
        self.memory.clusters.prefetch(store, clusters.iter().copied())?;
        handles.append(&mut clusters);
        self.memory.profiles.prefetch(store, handles.iter().copied())
    }

    /// Looks message ids up, all at once: nearly every one is new, and a look-up that finds nothing takes as long.
    fn prefetch_seen(&mut self, mut ids: Vec<u128>) -> Result<(), Error> {
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<_> = ids.iter().map(|id| rows::seen_key(*id)).collect();
        let found = self.txn.get_many(Table::Seen, &keys)?;
        self.seen = ids.into_iter().zip(found).collect();
        Ok(())
    }

    /// Where the first copy of a message stands. Whoever writes the row takes it out of what was looked up before.
    pub(crate) fn first_copy(&mut self, id: u128) -> Result<Option<EventRef>, Error> {
        let found = match self.seen.remove(&id) {
            Some(found) => found,
            None => self.txn.get(Table::Seen, &rows::seen_key(id))?,
        };
        found.map(|bytes| rows::seen_from(&bytes)).transpose()
    }
}
