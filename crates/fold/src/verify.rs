//! Holds a log and the state beside it against the invariants: what `onefold verify` does with a stopped data folder.
//!
//! Nothing is believed that can be computed again: every record is read and decoded, the graph is made anew from the log
//! and compared, every profile is rebuilt from its streams and compared, and each index is held against what it indexes.

mod names;
mod profiles;

use crate::batch::{Batch, Setting, record_error};
use crate::error::Error;
use crate::memory::{CacheSizes, Memory};
use crate::rows;
use onefold_log::record::{Kind, messages};
use onefold_log::{Entry, Log, Record};
use onefold_store::{Direction, KeyRange, Store, Table, frozen};
use onefold_types::{EventRef, Position, Timestamp, outbox};
use serde::Serialize;

/// Findings that are kept with their words; further ones are counted.
const FINDINGS: usize = 100;

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 4 << 20;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The invariant, by its name in `ARCHITECTURE.md`.
    pub invariant: &'static str,
    /// What was found, and what was expected.
    pub detail: String,
}

/// What was looked at, and what does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Records of the log that are kept.
    pub records: u64,
    /// Messages in them.
    pub messages: u64,
    /// Records that the state has not folded yet; they are when the server starts.
    pub waiting: u64,
    /// Profiles that were rebuilt and compared.
    pub profiles: u64,
    /// Profiles that a running backfill has not come to, so that their audiences were not compared.
    pub behind: u64,
    /// Profiles that own messages which retention has trimmed, so that they were not compared.
    pub trimmed: u64,
    /// Effects that wait to be delivered.
    pub effects: u64,
    /// What does not hold; at most a hundred.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub found: u64,
}

impl Verification {
    /// Adds something that does not hold.
    pub fn find(&mut self, invariant: &'static str, detail: impl Into<String>) {
        self.found += 1;
        if self.findings.len() < FINDINGS {
            self.findings.push(Finding { invariant, detail: detail.into() });
        }
    }

    /// Whether everything holds.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.found == 0
    }
}

/// Checks everything by frozen views; nothing is written; nobody else may write the two meanwhile.
///
/// # Errors
/// The log or the store could not be read so far that going on would say anything.
pub fn verify(
    log: &dyn Log,
    store: &dyn Store,
    secret: &[u8; 32],
    caches: CacheSizes,
) -> Result<Verification, Error> {
    let mut memory = Memory::load(store.snapshot()?.as_ref(), 0, caches)?;
    let setting = Setting { log, partition: 0, secret, quarantine_cap: u64::MAX, timers_max: 0 };
    let txn = frozen(store.snapshot()?);
    let progress = txn.progress(0)?;
    let mut batch = Batch::new(txn, &mut memory, &setting, progress.engine_time);
    let mut found = Verification::default();
    batch.verify_log(progress.position, &mut found)?;
    batch.verify_graph(progress.position, &mut found)?;
    batch.wrong_spellings()?.into_iter().for_each(|detail| found.find("ATOM", detail));
    batch.verify_names(&mut found)?;
    batch.verify_profiles(&mut found)?;
    batch.verify_outbox(&mut found)?;
    Ok(found)
}

impl Batch<'_> {
    /// LOG, ONCE, LOSS: every record is whole and in order, every folded message is known, and the counts add up.
    fn verify_log(&mut self, folded: Position, found: &mut Verification) -> Result<(), Error> {
        let first = self.setting.log.first();
        let tail = self.setting.log.tail();
        if folded > tail {
            found.find("ATOM", format!("the state has folded up to {folded}, and the log ends at {tail}"));
        }
        let (mut position, mut time) = (first, Timestamp::MIN);
        let mut read = 0;
        while position < tail {
            let entries = match self.setting.log.read(position, READ_BYTES) {
                Ok(entries) if entries.is_empty() => break,
                Ok(entries) => entries,
                Err(error) => {
                    found.find("ACK", format!("the log cannot be read at {position}: {error}"));
                    break;
                }
            };
            for entry in entries {
                if entry.position != position || entry.rt < time {
                    let place = entry.position;
                    found.find("SAME", format!("the record at {place} is out of order: expected {position}"));
                }
                (position, time) = (entry.next, entry.rt);
                found.records += 1;
                found.waiting += u64::from(entry.position >= folded);
                match self.verify_record(&entry, folded, found) {
                    Ok(messages) => read += messages,
                    Err(error @ Error::Record { .. }) => found.find("ACK", error.to_string()),
                    Err(error) => return Err(error),
                }
            }
        }
        let counters = &self.memory.counters;
        let counted = counters.folded + counters.duplicates + counters.conflicts;
        if first == Position::default() && counted != read {
            let detail = format!(
                "{read} messages were read: expected as many as were folded, were copies and were in conflict, {counted}"
            );
            found.find("LOSS", detail);
        }
        Ok(())
    }

    /// Answers how many folded messages the record has.
    fn verify_record(
        &mut self,
        entry: &Entry,
        folded: Position,
        found: &mut Verification,
    ) -> Result<u64, Error> {
        let kind = onefold_log::record::kind(&entry.payload).map_err(|e| record_error(entry, &e))?;
        if kind != Kind::Messages {
            Record::decode(&entry.payload).map_err(|e| record_error(entry, &e))?;
            return Ok(0);
        }
        let mut read = 0;
        for view in messages(&entry.payload).map_err(|e| record_error(entry, &e))? {
            let Some(view) = view.map_err(|e| record_error(entry, &e))? else { continue };
            found.messages += 1;
            if entry.position >= folded {
                continue;
            }
            read += 1;
            let key = rows::seen_key(self.message_hash(view.message_id));
            if self.txn.get(Table::Seen, &key)?.is_none() {
                let detail =
                    format!("message {} at {} is not known as folded", view.message_id, entry.position);
                found.find("ONCE", detail);
            }
        }
        Ok(read)
    }

    /// ORACLE for identity: the graph of the state is the one that the log gives.
    fn verify_graph(&mut self, folded: Position, found: &mut Verification) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        let identity = &compiled.catalogue.workspace.identity;
        let mut shadow = self.shadow(identity, &compiled.rules, None, folded)?;
        let preview = self.preview(&mut shadow)?;
        let people = [
            (preview.merges, "profiles that should be one"),
            (preview.splits, "profiles that should be several"),
            (preview.dropped_identifiers, "identifiers that should be nobody's"),
            (preview.gained_identifiers, "identifiers that should be somebody's"),
            (preview.moved_messages, "messages that should be another profile's"),
        ];
        for (count, what) in people.into_iter().filter(|(count, _)| *count > 0) {
            let examples: Vec<String> = preview
                .merge_examples
                .iter()
                .chain(&preview.split_examples)
                .take(3)
                .map(|example| format!("{:?} -> {:?}", example.from, example.into))
                .collect();
            found.find("ORACLE", format!("{count} {what} by the log {}", examples.join("; ")));
        }
        Ok(())
    }

    /// OUT: every effect that waits can be read, under a number that was given.
    fn verify_outbox(&mut self, found: &mut Verification) -> Result<(), Error> {
        let next = self.memory.counters.next_outbox;
        let first = self.setting.log.first();
        let mut wrong = Vec::new();
        let mut effects = 0;
        self.txn.scan(Table::Outbox, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            effects += 1;
            match (outbox::parse_key(key), outbox::decode(value)) {
                (Some((_, number)), Some(_)) if number >= next => {
                    wrong.push(format!("effect {number} waits: expected numbers below {next}"));
                }
                (Some((_, number)), Some(effect)) => {
                    if let onefold_types::effect::Change::Event { at: EventRef { position, .. } } =
                        effect.change
                        && position < first
                    {
                        wrong.push(format!("effect {number} forwards a message that retention has trimmed"));
                    }
                }
                (Some((_, number)), None) => wrong.push(format!("effect {number} does not decode")),
                (None, _) => wrong.push("a row of the outbox has no number".to_owned()),
            }
            true
        })?;
        found.effects = effects;
        wrong.into_iter().for_each(|detail| found.find("OUT", detail));
        Ok(())
    }
}
