//! What a batch is going to read, in sorted requests instead of one by one: an LSM likes the order, a database with
//! round trips and row locks needs it (STORE-8).

use crate::batch::{Batch, record_error};
use crate::error::Error;
use onefold_log::Entry;
use onefold_log::record::{Kind, kind, messages};

impl Batch<'_> {
    /// Reads identifiers, nodes, clusters and profiles of the messages in `entries`. What it misses is read when needed.
    pub(crate) fn prefetch(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let mut idents = Vec::new();
        let mut handles = Vec::new();
        for entry in entries {
            if !matches!(kind(&entry.payload), Ok(Kind::Messages)) {
                continue;
            }
            for view in messages(&entry.payload).map_err(|e| record_error(entry, &e))? {
                let Some(view) = view.map_err(|e| record_error(entry, &e))? else { continue };
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
}
