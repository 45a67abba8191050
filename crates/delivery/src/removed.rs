//! What removed destinations leave behind: rows of the outbox that nobody will send, marks of the journal, letters that
//! nobody can ask for any more. All of it goes, once nothing of the destination is under way; a disabled one keeps its own.
//!
//! Ids are given once, in order, so an id below the catalogue's next one that the catalogue does not have is that of a
//! removed destination. One above is of a later catalogue (the state is being rebuilt), and is let be.
//!
//! The fold tells of a catalogue after it has committed all that it wrote under the one before, and routes nothing to a
//! removed destination afterwards: what is found once it has told is all there will be. Whatever a kill leaves is found at
//! the next start, which tells of the catalogue in force.

use crate::fault::Fault;
use crate::journal::Journal;
use crate::journal::removed::{Cleared, destinations_in};
use crate::reading::delete_rows;
use crate::service::blocking;
use onefold_store::{Direction, Error, KeyRange, Store, Table};
use onefold_types::{Catalogue, CatalogueVersion, DestinationId, outbox};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Rows removed in one transaction.
const ROWS: usize = 1_000;

/// Rows of removed destinations that went since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovedRows {
    /// Effects that were still to be sent.
    pub outbox: u64,
    /// Marks and bodies of the journal.
    pub journal: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Comes when a runner has ended: its other half is dropped then.
pub(crate) type Ended = watch::Receiver<()>;

/// Clears away; one destination at a time, whoever asks.
#[derive(Default)]
pub(crate) struct Sweeper {
    alone: Arc<tokio::sync::Mutex<()>>,
    counts: Arc<[AtomicU64; 3]>,
    stop: Arc<AtomicBool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Sweeper {
    /// What went since start.
    pub(crate) fn counts(&self) -> RemovedRows {
        let [outbox, journal, dead_letters] =
            [0, 1, 2].map(|at: usize| self.counts[at].load(Ordering::Relaxed));
        RemovedRows { outbox, journal, dead_letters }
    }

    /// Looks, beside everything else, for what `catalogue` has removed, and clears it away once its runner has `ended`, if
    /// that is there with the key that it had.
    pub(crate) fn start(
        &self,
        store: Arc<dyn Store>,
        journal: Journal,
        catalogue: &Catalogue,
        ended: BTreeMap<DestinationId, (String, Ended)>,
        fault: Fault,
    ) {
        let sweep = Sweep {
            store,
            journal,
            version: catalogue.version,
            next_id: catalogue.next_id,
            known: catalogue.destinations.values().copied().collect(),
            counts: self.counts.clone(),
            stop: self.stop.clone(),
        };
        let alone = self.alone.clone();
        let task = tokio::spawn(async move {
            let _alone = alone.lock().await;
            if let Err(error) = sweep.run(ended).await {
                fault.look(&error);
                tracing::error!(%error, "what removed destinations left behind cannot be cleared away; it will be at the next start or change of the workspace");
            }
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Ends after the transaction that is under way; runners have to be told by themselves.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            drop(task.await);
        }
    }
}

#[derive(Clone)]
struct Sweep {
    store: Arc<dyn Store>,
    journal: Journal,
    version: CatalogueVersion,
    next_id: u32,
    known: BTreeSet<DestinationId>,
    counts: Arc<[AtomicU64; 3]>,
    stop: Arc<AtomicBool>,
}

impl Sweep {
    async fn run(self, mut ended: BTreeMap<DestinationId, (String, Ended)>) -> Result<(), Error> {
        let this = self.clone();
        for id in blocking(move || this.removed()).await? {
            let mut name = String::new();
            if let Some((key, mut runner)) = ended.remove(&id) {
                name = key;
                // Nothing is ever sent over it: it errs when the runner drops its half.
                while runner.changed().await.is_ok() {}
            }
            let this = self.clone();
            let went = blocking(move || this.clear(id)).await?;
            if went != RemovedRows::default() {
                tracing::warn!(
                    destination = name,
                    id = id.0,
                    effects = went.outbox,
                    journal_rows = went.journal,
                    dead_letters = went.dead_letters,
                    "the destination was removed; what it had to send and its dead letters went with it"
                );
            }
        }
        Ok(())
    }

    fn removed(&self) -> Result<Vec<DestinationId>, Error> {
        let mut found = destinations_in(self.store.snapshot()?.as_ref(), Table::Outbox, &[])?;
        found.extend(self.journal.destinations()?);
        found.retain(|id| id.0 < self.next_id && !self.known.contains(id));
        Ok(found.into_iter().collect())
    }

    fn clear(&self, id: DestinationId) -> Result<RemovedRows, Error> {
        let mut went = RemovedRows::default();
        self.journal.note_removed(id, self.version)?;
        while !self.stop.load(Ordering::SeqCst) {
            let rows = self.clear_outbox(id)?;
            let Cleared { rows: marks, letters } = self.journal.clear(id, ROWS)?;
            let some = [rows, marks, letters];
            if some == [0; 3] {
                break;
            }
            went.outbox += rows;
            went.journal += marks;
            went.dead_letters += letters;
            for (count, rows) in self.counts.iter().zip(some) {
                count.fetch_add(rows, Ordering::Relaxed);
            }
        }
        Ok(went)
    }

    fn clear_outbox(&self, id: DestinationId) -> Result<u64, Error> {
        let mut rows = Vec::new();
        let range = KeyRange::prefix(&id.0.to_be_bytes());
        self.store.snapshot()?.scan(Table::Outbox, &range, Direction::Forward, &mut |key, _| {
            rows.extend(outbox::parse_key(key).map(|(_, sequence)| sequence));
            rows.len() < ROWS
        })?;
        delete_rows(self.store.as_ref(), id, &rows)?;
        Ok(rows.len() as u64)
    }
}
