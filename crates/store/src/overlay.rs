//! A transaction's own writes, over what is committed (STORE-2).

use crate::{Bytes, Direction, Error, KEY_BYTES_MAX, KeyRange, Table};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A range as the standard library's maps and the engine take it: without a bound that is longer than keys are (STORE-9).
pub(crate) fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    // No key lies between a longer bound and its beginning.
    let lower = match range.from.get(..KEY_BYTES_MAX) {
        Some(beginning) if beginning.len() < range.from.len() => Bound::Excluded(beginning),
        _ => Bound::Included(&*range.from),
    };
    let upper = match range.to.get(..KEY_BYTES_MAX) {
        Some(beginning) if beginning.len() < range.to.len() => Bound::Included(beginning),
        _ if range.to.is_empty() => Bound::Unbounded,
        _ => Bound::Excluded(&*range.to),
    };
    (lower, upper)
}

type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// Puts (`Some`) and deletes (`None`) by table and key.
#[derive(Debug)]
pub(crate) struct Overlay {
    rows: Vec<Rows>,
    /// The first key that was too long: the engine panics at one, and by then the commit was answered.
    too_long: Option<(Table, usize)>,
}

impl Overlay {
    pub(crate) fn new() -> Self {
        Self { rows: Table::ALL.iter().map(|_| Rows::new()).collect(), too_long: None }
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<&Option<Bytes>> {
        self.rows.get(table as usize).and_then(|rows| rows.get(key))
    }

    /// Rows written.
    pub(crate) fn len(&self) -> usize {
        self.rows.iter().map(BTreeMap::len).sum()
    }

    pub(crate) fn is_empty(&self, table: Table) -> bool {
        self.rows.get(table as usize).is_none_or(BTreeMap::is_empty)
    }

    pub(crate) fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        if key.len() > KEY_BYTES_MAX {
            self.too_long.get_or_insert((table, key.len()));
            return;
        }
        if let Some(rows) = self.rows.get_mut(table as usize) {
            rows.insert(key, value);
        }
    }

    /// Whether every key that was set can be kept (STORE-9).
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.too_long
            .map_or(Ok(()), |(table, length)| Err(Error::KeyTooLong { table, length, limit: KEY_BYTES_MAX }))
    }

    /// Every write, table by table, in order of key, without giving them up.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (Table, &Bytes, Option<&Bytes>)> {
        Table::ALL
            .iter()
            .copied()
            .zip(&self.rows)
            .flat_map(|(table, rows)| rows.iter().map(move |(key, value)| (table, key, value.as_ref())))
    }

    /// This overlay's writes in a range over those of `older` ones, oldest first, as one overlay.
    pub(crate) fn over(&self, older: &[Arc<Self>], table: Table, range: &KeyRange) -> Self {
        let mut merged = Self::new();
        for overlay in older.iter().map(Arc::as_ref).chain([self]) {
            let Some(rows) = overlay.rows.get(table as usize) else { continue };
            for (key, value) in rows.range::<[u8], _>(bounds(range)) {
                merged.set(table, key.clone(), value.clone());
            }
        }
        merged
    }

    /// Every write, table by table, in order of key.
    pub(crate) fn into_writes(self) -> impl Iterator<Item = (Table, Bytes, Option<Bytes>)> {
        let tables = Table::ALL.iter().copied();
        tables
            .zip(self.rows)
            .flat_map(|(table, rows)| rows.into_iter().map(move |(key, value)| (table, key, value)))
    }

    /// Shows the pairs of `base`, which come in `direction`, with this overlay's writes merged in.
    pub(crate) fn scan<E>(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        base: impl Iterator<Item = Result<(Bytes, Bytes), E>>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), E> {
        let empty = Rows::new();
        let rows = self.rows.get(table as usize).unwrap_or(&empty);
        if !range.to.is_empty() && range.from >= range.to {
            return Ok(());
        }
        let own = rows.range::<[u8], _>(bounds(range));
        let mut own: Box<dyn Iterator<Item = (&Bytes, &Option<Bytes>)>> = match direction {
            Direction::Forward => Box::new(own),
            Direction::Reverse => Box::new(own.rev()),
        };
        let before = |a: &[u8], b: &[u8]| match direction {
            Direction::Forward => a < b,
            Direction::Reverse => a > b,
        };
        let mut next_own = own.next();
        for pair in base {
            let (key, value) = pair?;
            while let Some((own_key, own_value)) = next_own.filter(|(own_key, _)| before(own_key, &key)) {
                next_own = own.next();
                if own_value.as_ref().is_some_and(|own_value| !visit(own_key, own_value)) {
                    return Ok(());
                }
            }
            match next_own.filter(|(own_key, _)| **own_key == key) {
                Some((own_key, own_value)) => {
                    next_own = own.next();
                    if own_value.as_ref().is_some_and(|own_value| !visit(own_key, own_value)) {
                        return Ok(());
                    }
                }
                None => {
                    if !visit(&key, &value) {
                        return Ok(());
                    }
                }
            }
        }
        while let Some((own_key, own_value)) = next_own {
            next_own = own.next();
            if own_value.as_ref().is_some_and(|own_value| !visit(own_key, own_value)) {
                return Ok(());
            }
        }
        Ok(())
    }
}
