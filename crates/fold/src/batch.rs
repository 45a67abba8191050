//! One batch of records → one transaction → effects.
//!
//! **ATOM:** state, outbox rows, position and engine time of a batch commit together.
//! **BOUND:** before a record received at `rt` is folded, every timer due before `rt` has fired, in order; a timer due
//! at `rt` fires together with the first record of that profile at `rt`, or when the log's time is past it.

use crate::catalogue::Compiled;
use crate::effects::Who;
use crate::error::Error;
use crate::memo::Trace;
use crate::memory::{Backfill, CATALOGUE_AT, Memory, backfill_key, counters_key, size_key};
use crate::rename::Renames;
use crate::report::Report;
use crate::rows;
use crate::touch::Touch;
use onefold_identity::graph::Cluster;
use onefold_log::record::MessageView;
use onefold_log::{Entry, Log, Record};
use onefold_store::{Bytes, Progress, Table, Txn};
use onefold_types::{EventRef, Position, ProfileHandle, Timestamp};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

/// What a batch is folded with that is not state.
pub(crate) struct Setting<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) partition: u32,
    /// Keys profile ids and message-id hashes, so that neither can be guessed.
    pub(crate) secret: &'a [u8; 32],
    /// Quarantined items kept.
    pub(crate) quarantine_cap: u64,
    /// Timers that one batch fires at most.
    pub(crate) timers_max: usize,
}

/// A batch in the making.
pub(crate) struct Batch<'a> {
    pub(crate) txn: Box<dyn Txn + 'a>,
    pub(crate) memory: &'a mut Memory,
    pub(crate) setting: &'a Setting<'a>,
    pub(crate) compiled: Arc<Compiled>,
    /// The instant that is being folded.
    pub(crate) now: Timestamp,
    /// The engine time up to which timers are fired: when what they change is found.
    pub(crate) observed: Timestamp,
    /// Profiles that the current instant touched, in order of handle.
    pub(crate) touched: BTreeMap<ProfileHandle, Touch>,
    /// Clusters that the current step removed: who they were.
    pub(crate) removed: HashMap<ProfileHandle, Arc<Cluster>>,
    /// What it did to names.
    pub(crate) renames: Renames,
    pub(crate) report: Report,
    pub(crate) timers_left: usize,
    /// Every timer before this instant has fired.
    pub(crate) fired_before: Timestamp,
    /// A backfill went on, or ended.
    pub(crate) backfilled: bool,
    /// Message ids that were looked up ahead, with their rows.
    pub(crate) seen: HashMap<u128, Option<Bytes>>,
    /// What identity reads and writes for the message that is being folded.
    pub(crate) trace: Trace,
    /// Who the profile is that is being settled, once an effect asked.
    pub(crate) named: Option<(ProfileHandle, Arc<Who>)>,
    /// The record read last from the log, so that neighbours in one record are read once.
    pub(crate) last_read: Option<Arc<Entry>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        txn: Box<dyn Txn + 'a>,
        memory: &'a mut Memory,
        setting: &'a Setting<'a>,
        now: Timestamp,
    ) -> Self {
        let compiled = memory.compiled.clone();
        let timers_left = setting.timers_max;
        Self {
            txn,
            memory,
            setting,
            compiled,
            now,
            observed: now,
            touched: BTreeMap::new(),
            removed: HashMap::new(),
            renames: Renames::default(),
            report: Report::default(),
            timers_left,
            fired_before: now,
            backfilled: false,
            seen: HashMap::new(),
            trace: Trace::default(),
            named: None,
            last_read: None,
        }
    }

    /// Folds one record; `false` if the batch's share of timers, or of a running backfill that the record must wait
    /// for, ran out first: then nothing of the record is folded.
    pub(crate) fn fold(&mut self, entry: &Entry) -> Result<bool, Error> {
        let kind = onefold_log::record::kind(&entry.payload).map_err(|e| record_error(entry, &e))?;
        if !self.finish_backfill_before(entry, kind)? || !self.fire_timers(entry.rt)? {
            return Ok(false);
        }
        self.now = self.now.max(entry.rt);
        match kind {
            onefold_log::record::Kind::Messages => self.fold_messages(entry)?,
            onefold_log::record::Kind::Redacted => {}
            _ => match Record::decode(&entry.payload).map_err(|e| record_error(entry, &e))? {
                Record::Rejected(items) => self.fold_rejected(entry, &items)?,
                Record::Catalogue(json) => self.fold_catalogue(entry, &json)?,
                Record::Decision(json) => self.fold_decision(entry, &json)?,
                Record::Messages(_) | Record::Redacted => {}
            },
        }
        self.settle_touched()?;
        self.report.records += 1;
        Ok(true)
    }

    /// Writes everything into the transaction and commits it.
    pub(crate) fn commit(
        mut self,
        partition: u32,
        from: Progress,
        position: Position,
    ) -> Result<(Progress, Report), Error> {
        let engine_time = self.now.max(self.fired_before).max(from.engine_time);
        let to = Progress { position, engine_time, epoch: from.epoch };
        let txn = self.txn.as_mut();
        self.memory.flush_graph(txn)?;
        self.memory.profiles.flush(txn)?;
        txn.put(Table::Meta, counters_key(partition), rows::encode(&self.memory.counters)?);
        for audience in &self.memory.resized {
            let size = self.memory.sizes.get(audience).copied().unwrap_or_default();
            txn.put(Table::Meta, size_key(partition, *audience), rows::encode(&size)?);
        }
        txn.advance(partition, from, to);
        self.txn.commit()?;
        self.memory.committed();
        Ok((to, self.report))
    }

    /// Whether there is nothing to commit.
    pub(crate) const fn is_idle(&self) -> bool {
        self.report.records == 0 && self.report.timers == 0 && !self.backfilled
    }

    /// The next timer before `horizon`.
    pub(crate) fn next_due(&self, horizon: Timestamp) -> Option<Timestamp> {
        self.memory.timers.first().map(|(due, _)| *due).filter(|due| *due < horizon)
    }

    /// The 128-bit hash under which a message id is remembered: keyed, so that no one can make two ids collide.
    pub(crate) fn message_hash(&self, message_id: &str) -> u128 {
        let (key, _) = self.setting.secret.split_at(16);
        let mut hasher = key.first_chunk::<16>().map_or_else(SipHasher13::new, SipHasher13::new_with_key);
        hasher.write(message_id.as_bytes());
        hasher.finish128().as_u128()
    }

    /// The hash of what identifiers a message has, as it has them.
    pub(crate) fn ids_hash(&self, view: &MessageView<'_>) -> u128 {
        let (_, key) = self.setting.secret.split_at(16);
        let mut hasher = key.first_chunk::<16>().map_or_else(SipHasher13::new, SipHasher13::new_with_key);
        for (id_type, value) in view.ids() {
            // Lengths, so that no two lists give the same bytes.
            hasher.write_usize(id_type.len());
            hasher.write(id_type.as_bytes());
            hasher.write_usize(value.len());
            hasher.write(value.as_bytes());
        }
        hasher.finish128().as_u128()
    }

    /// The record that holds message `at`; `None` if retention has trimmed it.
    pub(crate) fn read_kept(&mut self, at: EventRef) -> Result<Option<Arc<Entry>>, Error> {
        match self.read_record(at) {
            Err(Error::Log(onefold_log::Error::NotFound { .. }))
                if at.position < self.setting.log.first() =>
            {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// The record that holds message `at`.
    pub(crate) fn read_record(&mut self, at: EventRef) -> Result<Arc<Entry>, Error> {
        if let Some(entry) = self.last_read.as_ref().filter(|entry| entry.position == at.position) {
            return Ok(entry.clone());
        }
        let entry = Arc::new(self.setting.log.get(at.position)?);
        self.last_read = Some(entry.clone());
        Ok(entry)
    }

    /// The log has the catalogue in force at `position`.
    pub(crate) fn catalogue_stands_at(&mut self, position: Position) {
        self.txn.put(Table::Meta, CATALOGUE_AT, rows::number_key(position.0));
        self.memory.catalogue_at = position;
    }

    pub(crate) fn save_backfill(&mut self, backfill: Option<Backfill>) -> Result<(), Error> {
        self.txn.put(Table::Meta, backfill_key(self.setting.partition), rows::encode(&backfill)?);
        self.memory.backfill = backfill;
        self.backfilled = true;
        Ok(())
    }
}

pub(crate) fn record_error(entry: &Entry, error: &onefold_log::record::DecodeError) -> Error {
    Error::Record { position: entry.position, detail: error.to_string() }
}
