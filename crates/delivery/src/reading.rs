//! Reading the outbox ahead: rows that the journal knows as through go unsent, rows that were tried before go on where
//! they were.

use crate::journal::{Journal, Known};
use crate::lanes::Item;
use onefold_log::{Clock, SharedLog};
use onefold_store::{Bytes, Direction, Error, KeyRange, Store, Table};
use onefold_types::effect::Effect;
use onefold_types::{DestinationId, Position, Timestamp, outbox};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of rows read at once.
const READ_BYTES: usize = 8 << 20;

/// Bytes of rows counted at once.
const COUNT_BYTES: usize = 64 << 20;

/// Which rows to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// From where reading has got to.
    Ahead { from: u64 },
    /// Rows that were read before and left out.
    Again { from: u64, to: u64 },
    /// Only how many there are, from where counting has got to.
    Count { from: u64 },
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) ask: Ask,
    pub(crate) items: Vec<Item>,
    /// Rows that were looked at, whatever they are.
    pub(crate) rows: u64,
    /// The first sequence that was not looked at.
    pub(crate) next: u64,
    /// The end was reached: of the outbox, or of what was asked for.
    pub(crate) end: bool,
    /// Rows that are none.
    pub(crate) unreadable: u64,
    /// When the log began, before this was read; `None` if it holds nothing.
    pub(crate) begin: Option<(Position, Timestamp)>,
}

/// What reading needs.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) id: DestinationId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    pub(crate) log: SharedLog,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Reader {
    /// Reads at most `room` rows. `now` is the time since start; `known` is where the log began when it was last looked at.
    pub(crate) fn read(
        &self,
        ask: Ask,
        room: usize,
        now: Duration,
        known: Option<(Position, Timestamp)>,
    ) -> Result<Read, Error> {
        let begin = self.begin(known);
        let upper = KeyRange::prefix(&self.id.0.to_be_bytes()).to;
        let (from, to) = match ask {
            Ask::Ahead { from } => (from, upper),
            Ask::Again { from, to } => (from, outbox::key(self.id, to).into()),
            Ask::Count { from } => return self.count(from, upper),
        };
        let mut rows: Vec<(u64, Effect)> = Vec::new();
        let (mut next, mut end, mut bytes, mut unreadable, mut looked_at) = (from, true, 0, 0, 0);
        let range = KeyRange::between(outbox::key(self.id, from), to);
        self.store.snapshot()?.scan(Table::Outbox, &range, Direction::Forward, &mut |key, value| {
            let Some((_, sequence)) = outbox::parse_key(key) else { return true };
            next = sequence + 1;
            looked_at += 1;
            match outbox::decode(value) {
                Some(effect) => rows.push((sequence, effect)),
                // It stays where it is: another release may read it.
                None => unreadable += 1,
            }
            bytes += value.len();
            end = rows.len() < room && bytes < READ_BYTES;
            end
        })?;
        let ids: Vec<u128> = rows.iter().map(|(_, effect)| effect.id).collect();
        let wall = self.clock.now();
        let mut items = Vec::new();
        let mut stale = Vec::new();
        for ((sequence, effect), known) in rows.into_iter().zip(self.journal.look_up(self.id, &ids)?) {
            let mut item = Item::new(sequence, effect, now);
            match known {
                Known::Done => {
                    stale.push(sequence);
                    continue;
                }
                Known::New => {}
                Known::Tried(tried) => {
                    let in_ms = |at: Timestamp| {
                        Duration::from_millis(at.0.saturating_sub(wall.0).max(0).unsigned_abs())
                    };
                    item.attempts = tried.attempts;
                    // A clock that was set back must not make it wait for longer than any wait is.
                    item.not_before = now + in_ms(tried.due).min(crate::backoff::NAMED_MAX);
                    item.deadline = Some(now + in_ms(tried.deadline));
                    item.frozen = true;
                }
            }
            items.push(item);
        }
        delete_rows(self.store.as_ref(), self.id, &stale)?;
        Ok(Read { ask, items, rows: looked_at, next, end, unreadable, begin })
    }

    /// Counts rows from `from` on.
    fn count(&self, from: u64, upper: Bytes) -> Result<Read, Error> {
        let (mut rows, mut next, mut bytes, mut end) = (0, from, 0, true);
        let range = KeyRange::between(outbox::key(self.id, from), upper);
        self.store.snapshot()?.scan(Table::Outbox, &range, Direction::Forward, &mut |key, value| {
            let Some((_, sequence)) = outbox::parse_key(key) else { return true };
            next = sequence + 1;
            rows += 1;
            bytes += key.len() + value.len();
            end = bytes < COUNT_BYTES;
            end
        })?;
        Ok(Read { ask: Ask::Count { from }, items: Vec::new(), rows, next, end, unreadable: 0, begin: None })
    }

    /// Where the log begins, and when; as it was known if that has not moved.
    fn begin(&self, known: Option<(Position, Timestamp)>) -> Option<(Position, Timestamp)> {
        let first = self.log.first();
        if known.is_some_and(|(position, _)| position == first) {
            return known;
        }
        // That the log cannot be read is told by whoever needs it; here it only means that nothing is forgotten.
        let entries = self.log.read(first, 1).unwrap_or_default();
        entries.first().map(|entry| (first, entry.rt))
    }
}

/// How often a deletion is run again because another transaction crossed it: more is no coincidence.
const CONFLICTS_MAX: usize = 100;

/// Deletes rows of the outbox in one transaction.
pub(crate) fn delete_rows(store: &dyn Store, id: DestinationId, sequences: &[u64]) -> Result<(), Error> {
    if sequences.is_empty() {
        return Ok(());
    }
    let mut conflicts = 0;
    loop {
        let mut txn = store.begin()?;
        for sequence in sequences {
            txn.delete(Table::Outbox, outbox::key(id, *sequence));
        }
        match txn.commit() {
            // STORE-5: what crossed it is through by now.
            Err(Error::Conflict) if conflicts < CONFLICTS_MAX => {
                conflicts += 1;
                tracing::warn!(
                    conflicts,
                    "another transaction crossed a deletion from the outbox; it is run again"
                );
            }
            outcome => return outcome,
        }
    }
}
