//! Event names and their numbers: a stream row has the number, a message the name.
//!
//! Two rows each in table `name`: `type · name` → number, and `0xff · number` → `type · name`. Nothing bounds how many
//! names clients send, so only those that were seen lately are kept in memory.

use crate::batch::Batch;
use crate::error::Error;
use crate::rows;
use onefold_store::{Bytes, Read, Table};
use onefold_types::{MessageType, NameId};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of names kept between batches: 4 MiB, which is some forty thousand of the usual length.
const KEPT_BYTES: usize = 4 << 20;

/// What a kept name takes beside its text.
const OVERHEAD: usize = 64;

/// Names that were seen lately. What is not here is in the table.
#[derive(Default)]
pub(crate) struct Names {
    known: HashMap<(u8, String), NameId>,
    by_number: HashMap<NameId, (MessageType, Arc<str>)>,
    bytes: usize,
}

impl Names {
    fn keep(&mut self, key: (u8, String), id: NameId) {
        let bytes = key.1.len() + OVERHEAD;
        if self.has_room(bytes) && self.known.insert(key, id).is_none() {
            self.bytes += bytes;
        }
    }

    fn keep_number(&mut self, id: NameId, message_type: MessageType, name: Arc<str>) {
        let bytes = name.len() + OVERHEAD;
        if self.has_room(bytes) && self.by_number.insert(id, (message_type, name)).is_none() {
            self.bytes += bytes;
        }
    }

    /// Makes room for so many bytes, if there can be: all at once, for the names in use are back after a few reads, and no
    /// order has to be kept for each event.
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > KEPT_BYTES {
            *self = Self::default();
        }
        bytes <= KEPT_BYTES
    }

    /// About the bytes that the kept names take.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// `type · name`, or the name's hash if it is long.
fn name_key(message_type: MessageType, name: &str) -> Bytes {
    [&[message_type as u8], &*rows::in_key(name)].concat().into()
}

/// `0xff · number`: no message type has that code.
fn number_key(id: NameId) -> Bytes {
    [&[0xff], id.0.to_be_bytes().as_slice()].concat().into()
}

/// The number of a name, if it has one.
pub(crate) fn number_of(
    store: &dyn Read,
    message_type: MessageType,
    name: &str,
) -> Result<Option<NameId>, Error> {
    let Some(bytes) = store.get(Table::Name, &name_key(message_type, name))? else { return Ok(None) };
    let id = bytes.first_chunk::<4>().ok_or(Error::Decode { what: "name", source: None })?;
    Ok(Some(NameId(u32::from_be_bytes(*id))))
}

impl Batch<'_> {
    /// The number of an event name, given at its first sight.
    pub(crate) fn name(&mut self, message_type: MessageType, name: &str) -> Result<NameId, Error> {
        if let Some(id) = self.known_name(message_type, name)? {
            return Ok(id);
        }
        let id = NameId(self.memory.counters.next_name);
        self.memory.counters.next_name += 1;
        let text = [&[message_type as u8], name.as_bytes()].concat();
        self.txn.put(Table::Name, name_key(message_type, name), id.0.to_be_bytes().to_vec());
        self.txn.put(Table::Name, number_key(id), text);
        self.memory.names.keep((message_type as u8, name.to_owned()), id);
        Ok(id)
    }

    /// The number of an event name, if it has one.
    pub(crate) fn known_name(
        &mut self,
        message_type: MessageType,
        name: &str,
    ) -> Result<Option<NameId>, Error> {
        let key = (message_type as u8, name.to_owned());
        if let Some(id) = self.memory.names.known.get(&key) {
            return Ok(Some(*id));
        }
        let id = number_of(self.txn.as_ref(), message_type, name)?;
        if let Some(id) = id {
            self.memory.names.keep(key, id);
        }
        Ok(id)
    }

    /// As [`Self::name_of`], for those who ask of each row of a stream: what was asked for lately is at hand.
    pub(crate) fn name_at_hand(&mut self, id: NameId) -> Result<Option<(MessageType, Arc<str>)>, Error> {
        if let Some((message_type, name)) = self.memory.names.by_number.get(&id) {
            return Ok(Some((*message_type, name.clone())));
        }
        let Some((message_type, name)) = self.name_of(id)? else { return Ok(None) };
        let name: Arc<str> = name.into();
        self.memory.names.keep_number(id, message_type, name.clone());
        Ok(Some((message_type, name)))
    }

    /// The message type and name that a number stands for; `None` for one that was never given.
    pub(crate) fn name_of(&self, id: NameId) -> Result<Option<(MessageType, String)>, Error> {
        let Some(bytes) = self.txn.get(Table::Name, &number_key(id))? else { return Ok(None) };
        let wrong = || Error::Decode { what: "name", source: None };
        let (code, name) = bytes.split_first().ok_or_else(wrong)?;
        let message_type = MessageType::ALL.iter().find(|known| **known as u8 == *code).ok_or_else(wrong)?;
        let name = std::str::from_utf8(name).map_err(|_| wrong())?;
        Ok(Some((*message_type, name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_names_is_bounded() {
        let mut names = Names::default();
        for number in 0..20_000u32 {
            names.keep((1, format!("{number:01000}")), NameId(number));
            names.keep_number(NameId(number), MessageType::Track, format!("{number:01000}").into());
            assert!(names.bytes() <= KEPT_BYTES);
        }
        assert!(names.bytes() > KEPT_BYTES / 2 || names.known.len() > 100, "something is kept");
        names.keep((1, "x".repeat(KEPT_BYTES)), NameId(7));
        names.keep_number(NameId(7), MessageType::Track, "x".repeat(KEPT_BYTES).into());
        assert!(names.bytes() <= KEPT_BYTES);
    }

    #[test]
    fn long_names_have_keys_of_their_own() {
        let (one, other) = ("x".repeat(70_000), format!("{}y", "x".repeat(69_999)));
        let keys = [&one, &other].map(|name| name_key(MessageType::Track, name));
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.len() < 64));
        assert_eq!(name_key(MessageType::Page, "Home")[1..], *b"Home");
    }
}
