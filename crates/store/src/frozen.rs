//! A transaction on a frozen view, never committed: for code that reads through a transaction and answers a question.

use crate::overlay::Overlay;
use crate::{Bytes, Direction, Error, KeyRange, Progress, Read, Table, Txn};

struct Frozen<'a> {
    view: Box<dyn Read + Send + 'a>,
    overlay: Overlay,
}

/// A transaction that reads `view`, sees its own writes, and refuses to be committed.
#[must_use]
pub fn frozen<'a>(view: Box<dyn Read + Send + 'a>) -> Box<dyn Txn + 'a> {
    Box::new(Frozen { view, overlay: Overlay::new() })
}

impl Read for Frozen<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.overlay.get(table, key) {
            Some(own) => Ok(own.clone()),
            None => self.view.get(table, key),
        }
    }

    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        if self.overlay.is_empty(table) {
            return self.view.scan(table, range, direction, visit);
        }
        let mut base = Vec::new();
        self.view.scan(table, range, direction, &mut |key, value| {
            base.push(Ok((key.into(), value.into())));
            true
        })?;
        self.overlay.scan(table, range, direction, base.into_iter(), visit)
    }

    fn progress(&self, partition: u32) -> Result<Progress, Error> {
        self.view.progress(partition)
    }
}

impl Txn for Frozen<'_> {
    fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.overlay.set(table, key, value);
    }

    fn advance(&mut self, _: u32, _: Progress, _: Progress) {}

    fn commit(self: Box<Self>) -> Result<(), Error> {
        Err(Error::Engine { operation: "commit", detail: "a frozen view takes no writes".to_owned() })
    }
}
