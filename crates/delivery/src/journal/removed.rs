//! What the journal has of destinations that the catalogue removed: it goes, and one row each stays in its place.
//!
//! **JOURNAL-3:** the row is written, and synced, before any mark goes. A state that is rebuilt from the log comes by the
//! catalogues in which the destination still was, and writes its effects anew; without the marks they would be sent again.
//! The row names the version that removed it: until the state is there again, nothing is sent for it.

use super::{Journal, prefix};
use onefold_store::{Direction, Error, KeyRange, Read, Table};
use onefold_types::{CatalogueVersion, DestinationId};
use std::collections::BTreeSet;

/// Rows that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// Marks and bodies.
    pub(crate) rows: u64,
    pub(crate) letters: u64,
}

impl Journal {
    /// Notes that catalogue `version` removed a destination; durable when this returns.
    pub(crate) fn note_removed(
        &self,
        destination: DestinationId,
        version: CatalogueVersion,
    ) -> Result<(), Error> {
        if self.removed(destination)?.is_some() {
            return Ok(());
        }
        let mut txn = self.0.begin()?;
        txn.put(Table::Journal, prefix(b'g', destination), version.0.to_be_bytes().to_vec());
        txn.commit()?;
        self.0.sync()
    }

    /// The catalogue that removed a destination, if one did.
    pub(crate) fn removed(&self, destination: DestinationId) -> Result<Option<CatalogueVersion>, Error> {
        let found = self.0.snapshot()?.get(Table::Journal, &prefix(b'g', destination))?;
        Ok(found.and_then(|bytes| bytes.first_chunk::<4>().map(|v| CatalogueVersion(u32::from_be_bytes(*v)))))
    }

    /// Destinations of which there is anything but that row.
    pub(crate) fn destinations(&self) -> Result<BTreeSet<DestinationId>, Error> {
        let view = self.0.snapshot()?;
        let mut found = destinations_in(view.as_ref(), Table::DeadLetter, &[])?;
        for kind in [b"d", b"f", b"w"] {
            found.extend(destinations_in(view.as_ref(), Table::Journal, kind)?);
        }
        Ok(found)
    }

    /// Removes at most `rows` rows of a destination; nothing is left when none went.
    pub(crate) fn clear(&self, destination: DestinationId, rows: usize) -> Result<Cleared, Error> {
        let view = self.0.snapshot()?;
        let mut found: Vec<(Table, Vec<u8>)> = Vec::new();
        let of = |kind| (Table::Journal, prefix(kind, destination));
        let letters = (Table::DeadLetter, destination.0.to_be_bytes().to_vec());
        // A wave goes last: the marks that it lists could not be found without it if the log came to be trimmed.
        for (table, start) in [letters, of(b'f'), of(b'd'), of(b'w')] {
            if found.len() >= rows {
                break;
            }
            view.scan(table, &KeyRange::prefix(&start), Direction::Forward, &mut |key, _| {
                found.push((table, key.to_vec()));
                found.len() < rows
            })?;
        }
        drop(view);
        let mut cleared = Cleared::default();
        if found.is_empty() {
            return Ok(cleared);
        }
        let mut txn = self.0.begin()?;
        for (table, key) in found {
            *if table == Table::DeadLetter { &mut cleared.letters } else { &mut cleared.rows } += 1;
            txn.delete(table, key);
        }
        txn.commit()?;
        Ok(cleared)
    }
}

/// The destinations whose number follows `start` in keys of `table`: one look for each of them.
pub(crate) fn destinations_in(
    read: &dyn Read,
    table: Table,
    start: &[u8],
) -> Result<BTreeSet<DestinationId>, Error> {
    let mut found = BTreeSet::new();
    let mut next = Some(0u32);
    while let Some(from) = next.take() {
        let from = [start, &from.to_be_bytes()].concat();
        let range = KeyRange::between(from, KeyRange::prefix(start).to);
        read.scan(table, &range, Direction::Forward, &mut |key, _| {
            let number = key.get(start.len()..).and_then(<[u8]>::first_chunk::<4>);
            if let Some(number) = number.map(|bytes| u32::from_be_bytes(*bytes)) {
                found.insert(DestinationId(number));
                next = number.checked_add(1);
            }
            false
        })?;
    }
    Ok(found)
}
