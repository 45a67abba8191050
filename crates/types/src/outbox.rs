//! The outbox's rows: key layout and codec, shared by the fold (which writes) and delivery (which drains).

use crate::effect::Effect;
use crate::ids::DestinationId;

/// The version byte of a row's value.
const VERSION: u8 = 1;

/// `destination u32 · sequence u64`, big-endian: one destination's rows in order.
#[must_use]
pub fn key(destination: DestinationId, sequence: u64) -> Vec<u8> {
    let mut key = destination.0.to_be_bytes().to_vec();
    key.extend(sequence.to_be_bytes());
    key
}

/// Inverse of [`key`].
#[must_use]
pub fn parse_key(key: &[u8]) -> Option<(DestinationId, u64)> {
    match (key.first_chunk::<4>(), key.last_chunk::<8>(), key.len()) {
        (Some(destination), Some(sequence), 12) => {
            Some((DestinationId(u32::from_be_bytes(*destination)), u64::from_be_bytes(*sequence)))
        }
        _ => None,
    }
}

/// An effect as a row's value.
#[must_use]
pub fn encode(effect: &Effect) -> Vec<u8> {
    // Serialising plain data into memory cannot fail; an empty row would be refused by `decode`.
    postcard::to_extend(effect, vec![VERSION]).unwrap_or_default()
}

/// Inverse of [`encode`]; `None` if the bytes are none.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Effect> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
        _ => None,
    }
}

/// `audience u32 · profile`, big-endian: a row of the index of members.
#[must_use]
pub fn member_key(audience: u32, profile: crate::ids::ProfileHandle) -> Vec<u8> {
    let mut key = audience.to_be_bytes().to_vec();
    key.extend(profile.0.to_be_bytes());
    key
}
