//! What the worker keeps between batches: caches, counters, the near timers, the catalogue in force.
//!
//! Everything here can be dropped at any moment and read again from the store; nothing here is ahead of it.

use crate::cache::{Row, Tier};
use crate::catalogue::Compiled;
use crate::error::Error;
use crate::memo::Memo;
use crate::names::Names;
use crate::profile::{Over, Profile};
use crate::rows::{self, SetKey, SetRow};
use crate::rules_change::Prepared;
use onefold_identity::graph::{Cluster, Node};
use onefold_store::{Bytes, Direction, KeyRange, Read, Table};
use onefold_types::{NodeId, Position, ProfileHandle, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How far ahead timers are kept in memory: one hour.
pub(crate) const NEAR_MS: i64 = 3_600_000;

/// Bytes of rows kept between batches, per table.
#[derive(Clone, Copy, Debug)]
pub struct CacheSizes {
    /// Identifiers → nodes.
    pub idents: u64,
    /// Nodes.
    pub nodes: u64,
    /// Evidence sets.
    pub evidence: u64,
    /// Clusters.
    pub clusters: u64,
    /// Profiles.
    pub profiles: u64,
    /// Answers of identity.
    pub answers: u64,
}

impl CacheSizes {
    /// Sizes that come to `bytes` together.
    #[must_use]
    pub const fn of(bytes: u64) -> Self {
        // Profiles are read for every event; with an answer at hand identity reads nothing.
        let part = bytes / 16;
        Self {
            answers: part * 3,
            profiles: part * 9,
            idents: part,
            nodes: part,
            evidence: part,
            clusters: part,
        }
    }
}

impl Default for CacheSizes {
    fn default() -> Self {
        Self::of(64 << 20)
    }
}

/// The numbers that the next rows get, and what was counted; one row per partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// The next node.
    pub next_node: u64,
    /// The next set; 0 is taken.
    pub next_set: u64,
    /// The next profile handle.
    pub next_profile: u64,
    /// The next event name.
    pub next_name: u32,
    /// The next operator decision.
    pub next_decision: u64,
    /// The next transition.
    pub next_transition: u64,
    /// The next outbox row.
    pub next_outbox: u64,
    /// The next quarantined item.
    pub next_quarantine: u64,
    /// The oldest quarantined item kept.
    pub first_quarantine: u64,
    /// Quarantined items that the cap dropped.
    pub quarantine_dropped: u64,
    /// Messages folded (LOSS: folded + duplicates + conflicts + deleted = messages read).
    pub folded: u64,
    /// Messages whose id was known and whose content was the same.
    pub duplicates: u64,
    /// Messages whose id was known and whose content was not; quarantined.
    pub conflicts: u64,
    /// Folded messages without a usable identifier.
    pub no_usable_id: u64,
    /// Folded messages whose only identifiers are hubs.
    pub hub_only: u64,
    /// Identifiers of messages that did not count, for their message had more than may.
    pub identifiers_over: u64,
    /// Traits that a profile or an account let go of, for it had more than are kept.
    pub traits_over: u64,
    /// Accounts that a profile let go of, for it had more than are kept.
    pub accounts_over: u64,
    /// Messages that a rebuild or a backfill could not read any more, for retention had trimmed them.
    pub trimmed: u64,
    /// Persons: profiles that own an event.
    pub persons: i64,
}

impl Counters {
    pub(crate) fn note_over(&mut self, over: &Over) {
        self.traits_over += over.traits.len() as u64;
        self.accounts_over += over.accounts.len() as u64;
    }
}

/// A running backfill: every profile below `next` is complete for catalogue `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The catalogue version.
    pub version: u32,
    /// The instant at which that catalogue was cut over.
    pub cut: Timestamp,
    /// The next profile handle to look at.
    pub next: u64,
    /// Handles at or above this one were born after the cut.
    pub end: u64,
}

macro_rules! row {
    ($type:ty, $key:ty, $table:ident, |$name:ident| $make:expr) => {
        impl Row for $type {
            type Key = $key;
            const TABLE: Table = Table::$table;
            fn key($name: &Self::Key) -> Bytes {
                $make
            }
        }
    };
}

/// The node of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ident(pub(crate) NodeId);

row!(Ident, (String, String), Ident, |id| rows::ident_key(&id.0, &id.1));
row!(Node, NodeId, Node, |node| rows::number_key(node.0));
row!(SetRow, SetKey, Evidence, |set| (*set).into());
row!(Cluster, ProfileHandle, Cluster, |profile| rows::number_key(profile.0));
row!(Profile, ProfileHandle, Profile, |profile| rows::number_key(profile.0));

/// See the module.
pub(crate) struct Memory {
    pub(crate) idents: Tier<Ident>,
    pub(crate) nodes: Tier<Node>,
    pub(crate) evidence: Tier<SetRow>,
    pub(crate) clusters: Tier<Cluster>,
    pub(crate) profiles: Tier<Profile>,
    pub(crate) memo: Memo,
    pub(crate) names: Names,
    pub(crate) counters: Counters,
    /// Members by audience; a row each, for there can be thousands and a batch changes a few.
    pub(crate) sizes: HashMap<u32, i64>,
    /// Those that the batch changed.
    pub(crate) resized: BTreeSet<u32>,
    pub(crate) timers: BTreeSet<(Timestamp, ProfileHandle)>,
    /// Timers before this instant are in `timers`.
    pub(crate) horizon: Timestamp,
    pub(crate) compiled: Arc<Compiled>,
    /// Where the log has the catalogue in force, last: a log that is trimmed up to here still says it.
    pub(crate) catalogue_at: Position,
    /// Whether a user id with a capital was ever seen.
    pub(crate) capitals: bool,
    pub(crate) backfill: Option<Backfill>,
    /// The graph under other rules, if a preview made one.
    pub(crate) prepared: Prepared,
}

const COUNTERS: &[u8] = b"counters/";
const SIZE: &[u8] = b"size/";
const BACKFILL: &[u8] = b"backfill/";
pub(crate) const CATALOGUE: &[u8] = b"catalogue";
/// The Meta key of the version of that catalogue, for those who only compare.
pub(crate) const CATALOGUE_VERSION: &[u8] = b"catalogue_version";

/// The Meta key of where the log has that catalogue.
pub(crate) const CATALOGUE_AT: &[u8] = b"catalogue_at";

/// The Meta key of this partition's counters.
pub(crate) fn counters_key(partition: u32) -> Bytes {
    [COUNTERS, &partition.to_be_bytes()].concat().into()
}

/// The Meta key of the number of an audience's members in this partition.
pub(crate) fn size_key(partition: u32, audience: u32) -> Bytes {
    [SIZE, &partition.to_be_bytes(), &audience.to_be_bytes()].concat().into()
}

fn load_sizes(store: &dyn Read, partition: u32) -> Result<HashMap<u32, i64>, Error> {
    let mut sizes = HashMap::new();
    let prefix = [SIZE, &partition.to_be_bytes()].concat();
    let mut failed = None;
    store.scan(Table::Meta, &KeyRange::prefix(&prefix), Direction::Forward, &mut |key, value| {
        match (key.last_chunk::<4>(), rows::decode("size", value)) {
            (Some(audience), Ok(size)) => drop(sizes.insert(u32::from_be_bytes(*audience), size)),
            (_, Err(error)) => failed = Some(error),
            (None, _) => {}
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(sizes), Err)
}

/// The Meta key of this partition's backfill.
pub(crate) fn backfill_key(partition: u32) -> Bytes {
    [BACKFILL, &partition.to_be_bytes()].concat().into()
}

impl Memory {
    /// Reads what a worker needs to begin; no profile is read.
    pub(crate) fn load(store: &dyn Read, partition: u32, sizes: CacheSizes) -> Result<Self, Error> {
        let counters = match store.get(Table::Meta, &counters_key(partition))? {
            Some(bytes) => rows::decode("meta", &bytes)?,
            None => Counters { next_set: 1, next_decision: 1, ..Counters::default() },
        };
        let backfill = store.get(Table::Meta, &backfill_key(partition))?;
        let backfill =
            backfill.map(|bytes| rows::decode::<Option<Backfill>>("meta", &bytes)).transpose()?.flatten();
        let compiled = match store.get(Table::Meta, CATALOGUE)? {
            Some(json) => compile(&json)?,
            None => Compiled::empty(),
        };
        let catalogue_at = match store.get(Table::Meta, CATALOGUE_AT)? {
            Some(bytes) => Position(rows::number_from("meta", &bytes)?),
            None => Position::default(),
        };
        Ok(Self {
            idents: Tier::new(sizes.idents),
            nodes: Tier::new(sizes.nodes),
            evidence: Tier::new(sizes.evidence),
            clusters: Tier::new(sizes.clusters),
            profiles: Tier::new(sizes.profiles),
            memo: Memo::new(sizes.answers),
            names: Names::default(),
            counters,
            sizes: load_sizes(store, partition)?,
            resized: BTreeSet::new(),
            timers: BTreeSet::new(),
            horizon: Timestamp::MIN,
            compiled: Arc::new(compiled),
            catalogue_at,
            capitals: crate::spelling::has_any(store)?,
            backfill,
            prepared: Prepared::default(),
        })
    }

    /// What a query needs: small caches, and nothing read.
    pub(crate) fn bare(compiled: Arc<Compiled>, sizes: CacheSizes) -> Self {
        Self {
            idents: Tier::new(sizes.idents),
            nodes: Tier::new(sizes.nodes),
            evidence: Tier::new(sizes.evidence),
            clusters: Tier::new(sizes.clusters),
            profiles: Tier::new(sizes.profiles),
            memo: Memo::new(sizes.answers),
            names: Names::default(),
            counters: Counters::default(),
            sizes: HashMap::new(),
            resized: BTreeSet::new(),
            timers: BTreeSet::new(),
            horizon: Timestamp::MIN,
            compiled,
            catalogue_at: Position::default(),
            capitals: false,
            backfill: None,
            prepared: Prepared::default(),
        }
    }

    /// Reads the timers before `until` that are not at hand.
    pub(crate) fn load_timers(&mut self, store: &dyn Read, until: Timestamp) -> Result<(), Error> {
        if until <= self.horizon {
            return Ok(());
        }
        let range = KeyRange::between(self.horizon.to_key().to_vec(), until.to_key().to_vec());
        let mut found = Vec::new();
        store.scan(Table::Timer, &range, Direction::Forward, &mut |key, _| {
            found.push(rows::timer_from(key));
            true
        })?;
        for timer in found {
            self.timers.insert(timer?);
        }
        self.horizon = until;
        Ok(())
    }

    /// Writes the batch's changes of identity into its transaction.
    pub(crate) fn flush_graph(&mut self, txn: &mut dyn onefold_store::Txn) -> Result<(), Error> {
        self.idents.flush(txn)?;
        self.nodes.flush(txn)?;
        self.evidence.flush(txn)?;
        self.clusters.flush(txn)
    }

    /// Forgets every row of identity: the tables were written around the tiers.
    pub(crate) fn clear_graph(&mut self) {
        self.idents.clear();
        self.nodes.clear();
        self.evidence.clear();
        self.clusters.clear();
        self.memo.clear();
    }

    /// Lets go of rows of identity that were only read, if they are many.
    pub(crate) fn relax(&mut self) {
        const ROWS: usize = 50_000;
        self.idents.relax(ROWS);
        self.nodes.relax(ROWS);
        self.evidence.relax(ROWS);
        self.clusters.relax(ROWS);
    }

    /// The transaction committed.
    pub(crate) fn committed(&mut self) {
        self.idents.committed();
        self.nodes.committed();
        self.evidence.committed();
        self.clusters.committed();
        self.profiles.committed();
    }
}

/// Compiles the catalogue that the state or the log holds.
pub(crate) fn compile(json: &[u8]) -> Result<Compiled, Error> {
    let catalogue: onefold_types::Catalogue = serde_json::from_slice(json)
        .map_err(|error| Error::Catalogue { version: 0, detail: error.to_string() })?;
    let version = catalogue.version.0;
    Compiled::new(catalogue).map_err(|problems| Error::Catalogue {
        version,
        detail: problems
            .into_iter()
            .map(|p| format!("{}: {}", p.place, p.detail))
            .collect::<Vec<_>>()
            .join("; "),
    })
}
