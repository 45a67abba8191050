//! What the outside answered: not derivable from the log, so kept in a store of its own, synced before anything that
//! relies on it (DELIVERY-1).

use onefold_connector::Answer;
use onefold_store::{Direction, Error, KeyRange, Store, Table};
use onefold_types::effect::Effect;
use onefold_types::{DestinationId, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An effect that could not be delivered, with the answer that put it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number: the outbox's.
    pub sequence: u64,
    /// The effect.
    pub effect: Effect,
    /// The request's body, as it was sent.
    pub body: Vec<u8>,
    /// Attempts made.
    pub attempts: u32,
    /// The last answer.
    pub answer: Answer,
    /// When it was given up.
    pub at: Timestamp,
}

/// The journal.
#[derive(Clone)]
pub struct Journal(Arc<dyn Store>);

fn done_key(destination: DestinationId, id: u128) -> Vec<u8> {
    let mut key = vec![b'd'];
    key.extend(destination.0.to_be_bytes());
    key.extend(id.to_be_bytes());
    key
}

fn dead_key(destination: DestinationId, sequence: u64) -> Vec<u8> {
    onefold_types::outbox::key(destination, sequence)
}

fn frozen_key(destination: DestinationId, id: u128) -> Vec<u8> {
    let mut key = vec![b'f'];
    key.extend(destination.0.to_be_bytes());
    key.extend(id.to_be_bytes());
    key
}

impl Journal {
    /// The journal in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Whether an effect is through: delivered, or a dead letter.
    ///
    /// # Errors
    /// The store failed.
    pub fn is_done(&self, destination: DestinationId, id: u128) -> Result<bool, Error> {
        Ok(self.0.snapshot()?.get(Table::Journal, &done_key(destination, id))?.is_some())
    }

    /// The body of an effect whose first attempt failed.
    ///
    /// # Errors
    /// The store failed.
    pub fn frozen(&self, destination: DestinationId, id: u128) -> Result<Option<Vec<u8>>, Error> {
        self.0.snapshot()?.get(Table::Journal, &frozen_key(destination, id))
    }

    /// Keeps the body of an effect whose first attempt failed: later attempts send the same.
    ///
    /// # Errors
    /// The store failed.
    pub fn freeze(&self, destination: DestinationId, id: u128, body: &[u8]) -> Result<(), Error> {
        let mut txn = self.0.begin()?;
        txn.put(Table::Journal, frozen_key(destination, id), body.to_vec());
        txn.commit()
    }

    /// Notes a wave of outcomes, durably.
    ///
    /// # Errors
    /// The store failed; then nothing of the wave may be taken for done.
    pub fn note(
        &self,
        destination: DestinationId,
        delivered: &[u128],
        dead: &[DeadLetter],
    ) -> Result<(), Error> {
        let mut txn = self.0.begin()?;
        for id in delivered.iter().copied().chain(dead.iter().map(|letter| letter.effect.id)) {
            txn.put(Table::Journal, done_key(destination, id), Vec::new());
            txn.delete(Table::Journal, frozen_key(destination, id));
        }
        for letter in dead {
            let value = postcard::to_allocvec(letter).map_err(|error| Error::Engine {
                operation: "encode a dead letter",
                detail: error.to_string(),
            })?;
            txn.put(Table::DeadLetter, dead_key(destination, letter.sequence), value);
        }
        txn.commit()?;
        self.0.sync()
    }

    /// Dead letters of a destination from number `from`, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub fn dead_letters(
        &self,
        destination: DestinationId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let range =
            KeyRange::between(dead_key(destination, from), (destination.0 + 1).to_be_bytes().to_vec());
        let mut found = Vec::new();
        self.0.snapshot()?.scan(Table::DeadLetter, &range, Direction::Forward, &mut |_, value| {
            if let Ok(letter) = postcard::from_bytes(value) {
                found.push(letter);
            }
            found.len() < limit
        })?;
        Ok(found)
    }

    /// Removes a dead letter: it was delivered after all, or given up for good.
    ///
    /// # Errors
    /// The store failed.
    pub fn bury(&self, destination: DestinationId, sequence: u64) -> Result<(), Error> {
        let mut txn = self.0.begin()?;
        txn.delete(Table::DeadLetter, dead_key(destination, sequence));
        txn.commit()?;
        self.0.sync()
    }
}
