//! How a partition's progress is stored, and the check that fences (STORE-4).

use crate::{Bytes, Error, Progress};
use onefold_types::{Position, Timestamp};

/// A planned advance: the partition, what the store must hold, what it will hold.
pub(crate) type Advance = (u32, Progress, Progress);

/// The reserved key of a partition's progress in the Meta table; no other Meta key begins with a zero byte.
pub(crate) fn key(partition: u32) -> Bytes {
    [b"\0progress/".as_slice(), &partition.to_be_bytes()].concat().into()
}

pub(crate) fn encode(progress: Progress) -> Bytes {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend(progress.position.0.to_be_bytes());
    bytes.extend(progress.engine_time.0.to_be_bytes());
    bytes.extend(progress.epoch.to_be_bytes());
    bytes.into()
}

pub(crate) fn decode(bytes: Option<&[u8]>) -> Result<Progress, Error> {
    let Some(bytes) = bytes else { return Ok(Progress::default()) };
    let part = |at: usize| bytes.get(at..at + 8).and_then(|b| b.first_chunk::<8>()).copied();
    match (part(0), part(8), part(16)) {
        (Some(position), Some(time), Some(epoch)) => Ok(Progress {
            position: Position(u64::from_be_bytes(position)),
            engine_time: Timestamp(i64::from_be_bytes(time)),
            epoch: u64::from_be_bytes(epoch),
        }),
        _ => Err(Error::Engine {
            operation: "read progress",
            detail: format!("{} bytes; expected 24", bytes.len()),
        }),
    }
}

/// Whether the store holds what the advance expects.
pub(crate) fn check(held: Progress, (partition, from, _): &Advance) -> Result<(), Error> {
    if held.epoch == from.epoch && held.position == from.position {
        Ok(())
    } else {
        Err(Error::Fenced { partition: *partition, found: held.epoch, expected: from.epoch })
    }
}
