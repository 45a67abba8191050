//! What the outside answered: not derivable from the log, so kept in a store of its own, synced before anything that
//! relies on it (DELIVERY-1).
//!
//! ```text
//! Journal     'd' destination u32 · effect id u128                      nothing: the effect is through
//!             'f' destination u32 · effect id u128                      Tried: body, attempts, since when, when next
//!             'w' destination u32 · observed u64 · sequence u64         the ids of a wave: which marks may go together
//!             'g' destination u32                                       version u32 of the catalogue that removed it
//! DeadLetter  destination u32 · number u64                              DeadLetter
//! ```
//!
//! - **JOURNAL-1:** noting the same wave again changes nothing; a dead letter that was buried in between stays buried.
//! - **JOURNAL-2 (retention):** the mark of an effect may go when neither the state nor a rebuild of it can bring the
//!   effect back. The state cannot once the row's deletion is synced. A rebuild cannot once the log begins behind it: a
//!   fold that starts at the first record kept finds everything at that record's receive time or later, and a forwarded
//!   event's id is that of its place in the log, which is gone. So a wave goes when all in it was observed before the log
//!   begins ([`Journal::forget`]; the runner sees to the sync, and to no row being left that it has not looked up). Marks
//!   are thus bounded by the log: about 60 bytes for each effect of an event that is kept. A state folder restored from a
//!   copy older than the log's beginning is not covered: what was still to be sent in it is sent again.

mod check;
pub(crate) mod removed;

use onefold_connector::Answer;
use onefold_store::{Direction, Error, KeyRange, Read, Store, Table, Txn};
use onefold_types::effect::Effect;
use onefold_types::{DestinationId, Timestamp, outbox};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An effect that could not be delivered, with the answer that put it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number: the outbox's, or the next free one if a letter from before a rebuild has that.
    pub sequence: u64,
    /// The effect.
    pub effect: Effect,
    /// The request's body, as it was sent; empty if there was none to send.
    pub body: Vec<u8>,
    /// Attempts made; batches that were refused with it in them, and sent again in halves, are none.
    pub attempts: u32,
    /// The last answer.
    pub answer: Answer,
    /// When it was given up.
    pub at: Timestamp,
}

/// An effect that was tried and is tried again, across a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Attempts made.
    pub attempts: u32,
    /// When it is given up.
    pub deadline: Timestamp,
    /// When it is tried again.
    pub due: Timestamp,
    /// The body: every attempt sends the same.
    pub body: Vec<u8>,
}

/// An effect that is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its number in the outbox.
    pub sequence: u64,
    /// Its id.
    pub id: u128,
    /// When the fold found it.
    pub observed: Timestamp,
}

/// Outcomes that are noted together.
#[derive(Clone, Debug, Default)]
pub struct Wave {
    /// Delivered, or a dead letter.
    pub done: Vec<Done>,
    /// The dead letters among them.
    pub dead: Vec<DeadLetter>,
    /// To be tried again.
    pub tried: Vec<(u128, Tried)>,
}

/// What the journal knows of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    New,
    /// It failed and is to be tried again.
    Tried(Tried),
    /// It is delivered or a dead letter.
    Done,
}

/// The journal.
#[derive(Clone)]
pub struct Journal(Arc<dyn Store>);

fn prefix(kind: u8, destination: DestinationId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(destination.0.to_be_bytes());
    key
}

fn id_key(kind: u8, destination: DestinationId, id: u128) -> Vec<u8> {
    let mut key = prefix(kind, destination);
    key.extend(id.to_be_bytes());
    key
}

fn wave_key(destination: DestinationId, observed: Timestamp, sequence: u64) -> Vec<u8> {
    let mut key = prefix(b'w', destination);
    key.extend(observed.0.max(0).unsigned_abs().to_be_bytes());
    key.extend(sequence.to_be_bytes());
    key
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_allocvec(value).map_err(|error| Error::Engine {
        operation: "encode a row of the journal",
        detail: error.to_string(),
    })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|error| Error::Engine {
        operation: "decode a row of the journal",
        detail: error.to_string(),
    })
}

/// The letter at `sequence`, if there is one.
fn letter(read: &dyn Read, destination: DestinationId, sequence: u64) -> Result<Option<DeadLetter>, Error> {
    let found = read.get(Table::DeadLetter, &outbox::key(destination, sequence))?;
    found.map(|bytes| decode(&bytes)).transpose()
}

impl Journal {
    /// The journal in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// What is known of each of `ids`.
    ///
    /// # Errors
    /// The store failed.
    pub fn look_up(&self, destination: DestinationId, ids: &[u128]) -> Result<Vec<Known>, Error> {
        let view = self.0.snapshot()?;
        let known = |id: &u128| {
            if view.get(Table::Journal, &id_key(b'd', destination, *id))?.is_some() {
                return Ok(Known::Done);
            }
            let tried = view.get(Table::Journal, &id_key(b'f', destination, *id))?;
            Ok(match tried {
                Some(bytes) => Known::Tried(decode(&bytes)?),
                None => Known::New,
            })
        };
        ids.iter().map(known).collect()
    }

    /// Notes a wave of outcomes; what is done in it is durable when this returns.
    ///
    /// # Errors
    /// The store failed; then nothing of the wave may be taken for done.
    pub fn note(&self, destination: DestinationId, wave: &Wave) -> Result<(), Error> {
        let mut txn = self.0.begin()?;
        for (id, tried) in &wave.tried {
            txn.put(Table::Journal, id_key(b'f', destination, *id), encode(tried)?);
        }
        for dead in &wave.dead {
            put_letter(txn.as_mut(), destination, dead)?;
        }
        for done in &wave.done {
            txn.put(Table::Journal, id_key(b'd', destination, done.id), Vec::new());
            txn.delete(Table::Journal, id_key(b'f', destination, done.id));
        }
        if let Some(observed) = wave.done.iter().map(|done| done.observed).max() {
            let first = wave.done.iter().map(|done| done.sequence).min().unwrap_or_default();
            let ids: Vec<u128> = wave.done.iter().map(|done| done.id).collect();
            txn.put(Table::Journal, wave_key(destination, observed, first), encode(&ids)?);
        }
        txn.commit()?;
        if wave.done.is_empty() {
            // A body that a power cut takes is rendered again, from the same row and the same catalogue.
            return Ok(());
        }
        self.0.sync()
    }

    /// Forgets marks of effects that were all observed before `begin`, up to `waves` waves; whether there are more.
    /// The caller sees to JOURNAL-2.
    ///
    /// # Errors
    /// The store failed.
    pub fn forget(&self, destination: DestinationId, begin: Timestamp, waves: usize) -> Result<bool, Error> {
        let range = KeyRange::between(prefix(b'w', destination), wave_key(destination, begin, 0));
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        self.0.snapshot()?.scan(Table::Journal, &range, Direction::Forward, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            found.len() < waves
        })?;
        let more = found.len() >= waves;
        let mut txn = self.0.begin()?;
        for (key, value) in found {
            for id in decode::<Vec<u128>>(&value)? {
                txn.delete(Table::Journal, id_key(b'd', destination, id));
            }
            txn.delete(Table::Journal, key);
        }
        txn.commit()?;
        Ok(more)
    }

    /// Marks of effects that are through, of all destinations: a scan, for tests and tools.
    ///
    /// # Errors
    /// The store failed.
    pub fn marks(&self) -> Result<usize, Error> {
        let mut found = 0;
        let range = KeyRange::prefix(b"d");
        self.0.snapshot()?.scan(Table::Journal, &range, Direction::Forward, &mut |_, _| {
            found += 1;
            true
        })?;
        Ok(found)
    }

    /// Dead letters of a destination from number `from`, at most `limit`.
    ///
    /// # Errors
    /// The store failed, or a letter is damaged.
    pub fn dead_letters(
        &self,
        destination: DestinationId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut found: Vec<Result<DeadLetter, Error>> = Vec::new();
        let to = KeyRange::prefix(&destination.0.to_be_bytes()).to;
        let range = KeyRange::between(outbox::key(destination, from), to);
        self.0.snapshot()?.scan(Table::DeadLetter, &range, Direction::Forward, &mut |_, value| {
            found.push(decode(value));
            found.len() < limit
        })?;
        found.into_iter().collect()
    }

    /// The dead letter with number `sequence`.
    ///
    /// # Errors
    /// The store failed.
    pub fn dead_letter(
        &self,
        destination: DestinationId,
        sequence: u64,
    ) -> Result<Option<DeadLetter>, Error> {
        letter(self.0.snapshot()?.as_ref(), destination, sequence)
    }

    /// Removes a dead letter: it was delivered after all, or given up for good. Whether there was one.
    ///
    /// # Errors
    /// The store failed.
    pub fn bury(&self, destination: DestinationId, sequence: u64) -> Result<bool, Error> {
        let key = outbox::key(destination, sequence);
        let mut txn = self.0.begin()?;
        if txn.get(Table::DeadLetter, &key)?.is_none() {
            return Ok(false);
        }
        txn.delete(Table::DeadLetter, key);
        txn.commit()?;
        self.0.sync()?;
        Ok(true)
    }
}

/// Writes a letter once: under its number, or the next that no letter of another effect has.
fn put_letter(txn: &mut dyn Txn, destination: DestinationId, dead: &DeadLetter) -> Result<(), Error> {
    if txn.get(Table::Journal, &id_key(b'd', destination, dead.effect.id))?.is_some() {
        return Ok(());
    }
    let mut dead = dead.clone();
    while letter(&*txn, destination, dead.sequence)?.is_some() {
        dead.sequence += 1;
    }
    let value = encode(&dead)?;
    txn.put(Table::DeadLetter, outbox::key(destination, dead.sequence), value);
    Ok(())
}
