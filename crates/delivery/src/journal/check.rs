//! Reading the whole journal, to say whether all of it can be read: for `onefold verify`.

use super::{DeadLetter, Journal, Tried, decode};
use onefold_store::{Direction, Error, KeyRange, Table};
use onefold_types::outbox;

/// Bytes of a key of a mark: its kind, a destination, the effect's id.
const MARK_BYTES: usize = 1 + 4 + 16;

impl Journal {
    /// Reads every row, and calls `wrong` with what does not decode. How many dead letters there are.
    ///
    /// # Errors
    /// The store failed, or a part of it is damaged so that its rows cannot be told.
    pub fn check(&self, wrong: &mut dyn FnMut(String)) -> Result<u64, Error> {
        let (view, all) = (self.0.snapshot()?, KeyRange::prefix(&[]));
        view.scan(Table::Journal, &all, Direction::Forward, &mut |key, value| {
            if let Err(detail) = row(key, value) {
                wrong(detail);
            }
            true
        })?;
        let mut letters = 0;
        view.scan(Table::DeadLetter, &all, Direction::Forward, &mut |key, value| {
            letters += 1;
            match (outbox::parse_key(key), decode::<DeadLetter>(value)) {
                (None, _) => wrong("a dead letter has no number".to_owned()),
                (Some((_, number)), Err(_)) => wrong(format!("dead letter {number} does not decode")),
                (Some(_), Ok(_)) => {}
            }
            true
        })?;
        Ok(letters)
    }
}

/// What is wrong with a row of [`Table::Journal`].
fn row(key: &[u8], value: &[u8]) -> Result<(), String> {
    let undecoded = |what: &str| Err(format!("{what} of the journal does not decode"));
    match key.first() {
        Some(b'd') if key.len() == MARK_BYTES && value.is_empty() => Ok(()),
        Some(b'd') => undecoded("the mark of an effect that is through"),
        Some(b'f') if key.len() == MARK_BYTES && decode::<Tried>(value).is_ok() => Ok(()),
        Some(b'f') => undecoded("an effect that is tried again"),
        Some(b'w') if decode::<Vec<u128>>(value).is_ok() => Ok(()),
        Some(b'w') => undecoded("a wave"),
        Some(b'g') if value.len() == 4 => Ok(()),
        Some(b'g') => undecoded("a removed destination"),
        _ => Err("the journal has a row of a kind that this version does not know".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use crate::journal::{Done, Wave};
    use onefold_store::{MemoryStore, Store};
    use onefold_types::{DestinationId, Timestamp};
    use std::sync::Arc;

    fn checked(journal: &Journal) -> (u64, Vec<String>) {
        let mut wrong = Vec::new();
        let letters = journal.check(&mut |detail| wrong.push(detail)).unwrap();
        (letters, wrong)
    }

    #[test]
    fn a_journal_reads_as_it_was_written_and_what_does_not_is_named() {
        let store = Arc::new(MemoryStore::new());
        let journal = Journal::new(store.clone());
        let destination = DestinationId(1);
        let tried = Tried { attempts: 1, deadline: Timestamp(5), due: Timestamp(2), body: b"{}".to_vec() };
        let done = Done { sequence: 7, id: 9, observed: Timestamp(3) };
        journal
            .note(destination, &Wave { done: vec![done], tried: vec![(8, tried)], dead: Vec::new() })
            .unwrap();
        journal.note_removed(DestinationId(2), onefold_types::CatalogueVersion(3)).unwrap();
        assert_eq!(checked(&journal), (0, Vec::new()));

        let mut txn = store.begin().unwrap();
        txn.put(Table::DeadLetter, outbox::key(destination, 17), b"torn".to_vec());
        txn.put(Table::Journal, b"w1".to_vec(), vec![0xff]);
        txn.put(Table::Journal, b"x".to_vec(), Vec::new());
        txn.commit().unwrap();
        let expected = [
            "a wave of the journal does not decode",
            "the journal has a row of a kind that this version does not know",
            "dead letter 17 does not decode",
        ];
        assert_eq!(checked(&journal), (1, expected.map(str::to_owned).to_vec()));
    }
}
