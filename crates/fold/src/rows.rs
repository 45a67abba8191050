//! Keys and values of the fold's tables: the one place that knows their bytes.
//!
//! Keys are big-endian so that byte order is the order a scan wants. Values are postcard behind a version byte,
//! except the small hot ones (`seen`, `stream`), which are fixed layouts.

use crate::error::Error;
use onefold_identity::graph::{Evidence, Link, Stamp, StreamRow};
use onefold_store::Bytes;
use onefold_types::event::TEXT_BYTES_MAX;
use onefold_types::{EventRef, NameId, NodeId, Position, ProfileHandle, SetId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The version byte of every postcard value; it goes up when a row gets another shape.
const VERSION: u8 = 3;

/// Encodes a row's value.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, Error> {
    encode_in(&mut Vec::new(), value)
}

/// As [`encode`], with memory to work in that is kept for the next row.
pub fn encode_in<T: Serialize>(scratch: &mut Vec<u8>, value: &T) -> Result<Bytes, Error> {
    scratch.clear();
    scratch.push(VERSION);
    postcard::serialize_with_flavor(value, Growing(scratch)).map_err(Error::Encode)?;
    Ok(Bytes::from(scratch.as_slice()))
}

/// postcard's own growing flavours push strings byte by byte, or cannot start behind a version byte.
struct Growing<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Growing<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a row's value; `what` names the table in the error.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|source| Error::Decode { what, source: Some(source) })
        }
        _ => Err(Error::Decode { what, source: None }),
    }
}

/// Parts of a length that is known, one after the other, without memory of their own.
fn joined<const N: usize>(parts: &[&[u8]]) -> Bytes {
    let mut bytes = [0; N];
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    bytes.into()
}

/// Sixteen bytes of a message-id hash.
pub fn seen_key(hash: u128) -> Bytes {
    hash.to_be_bytes().into()
}

/// `position u64 · index u16`: where a message's first copy stands; a tombstone has index `u16::MAX`.
pub fn seen_value(at: EventRef) -> Bytes {
    joined::<10>(&[&at.position.0.to_be_bytes(), &at.index.to_be_bytes()])
}

/// Inverse of [`seen_value`].
pub fn seen_from(bytes: &[u8]) -> Result<EventRef, Error> {
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<2>(), bytes.len()) {
        (Some(position), Some(index), 10) => Ok(EventRef {
            position: Position(u64::from_be_bytes(*position)),
            index: u16::from_be_bytes(*index),
        }),
        _ => Err(Error::Decode { what: "seen", source: None }),
    }
}

/// A text as it stands in a key: itself, or `0xff · SHA-256` if it is longer than clients may send. A log may hold such
/// a text, written under another limit, and no store has to take a key of its length (STORE-9). No text holds `0xff`.
pub fn in_key(text: &str) -> Cow<'_, [u8]> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text.as_bytes());
    }
    Cow::Owned([&[0xff], Sha256::digest(text).as_slice()].concat())
}

/// `type NUL value`; a type never holds a NUL.
pub fn ident_key(id_type: &str, value: &str) -> Bytes {
    [&*in_key(id_type), &[0], &*in_key(value)].concat().into()
}

/// Eight bytes, big-endian.
pub fn number_key(number: u64) -> Bytes {
    number.to_be_bytes().into()
}

/// Inverse of [`number_key`]; also reads a key's first eight bytes.
pub fn number_from(what: &'static str, bytes: &[u8]) -> Result<u64, Error> {
    bytes
        .first_chunk::<8>()
        .map(|chunk| u64::from_be_bytes(*chunk))
        .ok_or(Error::Decode { what, source: None })
}

/// A set of identifiers that were seen together, with what is known of it. Only here do its nodes stand: elsewhere it
/// goes by its key, or a set of many would be as many rows of its whole length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRow {
    /// Its nodes, in order.
    pub nodes: Vec<NodeId>,
    /// Its record.
    pub evidence: Evidence,
}

/// The key of a set, in table `evidence` and in those of its members.
pub type SetKey = [u8; 16];

/// Half the SHA-256 of a set's nodes: no two sets have it in common.
pub fn set_key(nodes: &[NodeId]) -> SetKey {
    let mut hash = Sha256::new();
    nodes.iter().for_each(|node| hash.update(node.0.to_be_bytes()));
    let mut key = SetKey::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

/// `node · key of a set`: the node is in the set.
pub fn member_key(node: NodeId, set: &SetKey) -> Bytes {
    joined::<24>(&[&node.0.to_be_bytes(), set])
}

/// The set of a [`member_key`].
pub fn member_from(key: &[u8]) -> Result<SetKey, Error> {
    match (key.last_chunk::<16>(), key.len()) {
        (Some(set), 24) => Ok(*set),
        _ => Err(Error::Decode { what: "member", source: None }),
    }
}

/// `node · ts · position · index`.
pub fn stream_key(node: NodeId, ts: Timestamp, at: EventRef) -> Bytes {
    let (node, position) = (node.0.to_be_bytes(), at.position.0.to_be_bytes());
    joined::<26>(&[&node, &ts.to_key(), &position, &at.index.to_be_bytes()])
}

/// `name u32 · set u64`.
pub fn stream_value(name: NameId, set: SetId) -> Bytes {
    joined::<12>(&[&name.0.to_be_bytes(), &set.0.to_be_bytes()])
}

/// Reads a stream row.
pub fn stream_from(key: &[u8], value: &[u8]) -> Result<StreamRow, Error> {
    let parts = (|| {
        let ts = key.get(8..16)?.first_chunk::<8>()?;
        let position = key.get(16..24)?.first_chunk::<8>()?;
        let index = key.get(24..26)?.first_chunk::<2>()?;
        let name = value.get(..4)?.first_chunk::<4>()?;
        let set = value.get(4..12)?.first_chunk::<8>()?;
        Some(StreamRow {
            ts: Timestamp::from_key(*ts),
            at: EventRef {
                position: Position(u64::from_be_bytes(*position)),
                index: u16::from_be_bytes(*index),
            },
            name: NameId(u32::from_be_bytes(*name)),
            set: SetId(u64::from_be_bytes(*set)),
        })
    })();
    parts.ok_or(Error::Decode { what: "stream", source: None })
}

/// `due · handle`.
pub fn timer_key(due: Timestamp, profile: ProfileHandle) -> Bytes {
    joined::<16>(&[&due.to_key(), &profile.0.to_be_bytes()])
}

/// Inverse of [`timer_key`].
pub fn timer_from(key: &[u8]) -> Result<(Timestamp, ProfileHandle), Error> {
    match (key.first_chunk::<8>(), key.last_chunk::<8>(), key.len()) {
        (Some(due), Some(profile), 16) => {
            Ok((Timestamp::from_key(*due), ProfileHandle(u64::from_be_bytes(*profile))))
        }
        _ => Err(Error::Decode { what: "timer", source: None }),
    }
}

/// `device · ts · message id`.
pub fn devlink_key(device: NodeId, ts: Timestamp, message_id: &str) -> Bytes {
    [device.0.to_be_bytes().as_slice(), &ts.to_key(), message_id.as_bytes()].concat().into()
}

/// Inverse of [`devlink_key`], with the anchor from the value.
pub fn devlink_from(key: &[u8], value: &[u8]) -> Result<Link, Error> {
    let wrong = || Error::Decode { what: "devlink", source: None };
    let ts = key.get(8..16).and_then(|b| b.first_chunk::<8>()).ok_or_else(wrong)?;
    let message_id = key.get(16..).and_then(|b| std::str::from_utf8(b).ok()).ok_or_else(wrong)?;
    let anchor = NodeId(number_from("devlink", value)?);
    Ok(Link { at: Stamp::new(Timestamp::from_key(*ts), message_id), anchor })
}

/// `c · length of the group id · group id · time · where`: a group call, so that an account can be told again without one
/// that was deleted.
pub fn account_call_key(group_id: &str, ts: Timestamp, at: EventRef) -> Bytes {
    let (calls, position) = (account_calls(group_id), at.position.0.to_be_bytes());
    [&*calls, &ts.to_key(), &position, &at.index.to_be_bytes()].concat().into()
}

/// What the keys of all group calls of an account begin with.
pub fn account_calls(group_id: &str) -> Bytes {
    account_rows(b'c', group_id)
}

/// `m · length of the group id · group id · profile`: who belongs to an account; the value is since when.
pub fn account_member_key(group_id: &str, profile: ProfileHandle) -> Bytes {
    [&*account_members(group_id), &profile.0.to_be_bytes()].concat().into()
}

/// What the keys of all members of an account begin with.
pub fn account_members(group_id: &str) -> Bytes {
    account_rows(b'm', group_id)
}

/// Inverse of [`account_member_key`], with the instant from the value.
pub fn account_member_from(key: &[u8], value: &[u8]) -> Result<(ProfileHandle, Timestamp), Error> {
    let profile = key.last_chunk::<8>().ok_or(Error::Decode { what: "account", source: None })?;
    Ok((ProfileHandle(u64::from_be_bytes(*profile)), instant_from("account", value)?))
}

/// The instant that is a row's whole value.
pub fn instant_from(what: &'static str, value: &[u8]) -> Result<Timestamp, Error> {
    let bytes: &[u8; 8] = value.try_into().map_err(|_| Error::Decode { what, source: None })?;
    Ok(Timestamp::from_key(*bytes))
}

fn account_rows(kind: u8, group_id: &str) -> Bytes {
    let group_id = in_key(group_id);
    let length = u32::try_from(group_id.len()).unwrap_or(u32::MAX).to_be_bytes();
    [[kind].as_slice(), &length, &*group_id].concat().into()
}

/// Inverse of [`account_call_key`].
pub fn account_call_from(key: &[u8]) -> Result<(Timestamp, EventRef), Error> {
    let wrong = || Error::Decode { what: "account", source: None };
    let tail = key.last_chunk::<18>().ok_or_else(wrong)?;
    let (ts, rest) = tail.split_first_chunk::<8>().ok_or_else(wrong)?;
    let (position, index) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let index = index.first_chunk::<2>().ok_or_else(wrong)?;
    let position = onefold_types::Position(u64::from_be_bytes(*position));
    Ok((Timestamp::from_key(*ts), EventRef { position, index: u16::from_be_bytes(*index) }))
}

/// `a · group id`: an account's traits.
pub fn account_key(group_id: &str) -> Bytes {
    [b"a", &*in_key(group_id)].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_rows_read_back_and_sort_by_time() {
        let at = EventRef { position: Position(77), index: 3 };
        let early = stream_key(NodeId(5), Timestamp(-10), at);
        let late = stream_key(NodeId(5), Timestamp(10), at);
        assert!(early < late);
        let row = stream_from(&early, &stream_value(NameId(9), SetId(12))).unwrap();
        assert_eq!(row, StreamRow { ts: Timestamp(-10), at, name: NameId(9), set: SetId(12) });
        assert!(stream_from(&early[..25], &[]).is_err());
    }

    #[test]
    fn a_set_has_a_key_of_one_length_and_of_its_own() {
        let nodes: Vec<NodeId> = (1..2_000).map(NodeId).collect();
        let keys: std::collections::BTreeSet<SetKey> = (2..2_000).map(|n| set_key(&nodes[..n - 1])).collect();
        assert_eq!(keys.len(), 1_998);
        assert_ne!(set_key(&[NodeId(1), NodeId(2)]), set_key(&[NodeId(2), NodeId(1)]));
        let key = member_key(NodeId(7), &set_key(&nodes));
        assert_eq!(key.len(), 24);
        assert_eq!((number_from("member", &key).unwrap(), member_from(&key).unwrap()), (7, set_key(&nodes)));
        assert!(member_from(&key[..23]).is_err());
    }

    #[test]
    fn seen_and_timer_rows_read_back() {
        let at = EventRef { position: Position(u64::MAX), index: 9 };
        assert_eq!(seen_from(&seen_value(at)).unwrap(), at);
        let key = timer_key(Timestamp(1), ProfileHandle(2));
        assert_eq!(timer_from(&key).unwrap(), (Timestamp(1), ProfileHandle(2)));
    }
}
