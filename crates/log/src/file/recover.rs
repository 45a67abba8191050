//! Where the last segment ends: LOG-5. Pure, so that a fuzzer can drive it.

use crate::frame::{ALIGN, Header};
use onefold_types::Timestamp;

/// What a segment's bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Bytes of whole frames from the first on.
    pub(crate) length: u64,
    /// Where the group of the last whole frame starts.
    pub(crate) group: u64,
    /// The last frame's receive time, or the segment's floor.
    pub(crate) rt: Timestamp,
    /// Something that is not zero follows: a write that was cut short.
    pub(crate) torn: bool,
}

/// A synced record is damaged, this many bytes after the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) u64);

/// Reads `frames`, the bytes of the last segment after its header.
///
/// The first frame that is not whole ends the log, unless a later frame belongs to a group that starts after it: that
/// group was written when everything before was synced, so what is damaged was acknowledged, and cutting would lose it.
pub(crate) fn recover(frames: &[u8], salt: u64, base: u64, floor: Timestamp) -> Result<Recovered, Damage> {
    let mut length = 0usize;
    let mut group = 0usize;
    let mut rt = floor;
    while let Some(rest) = frames.get(length..) {
        let Some(header) = Header::read(rest, salt, base.saturating_add(length as u64)) else { break };
        if header.payload(rest).is_none() {
            break;
        }
        group = length.saturating_sub(header.back as usize);
        length += header.span as usize;
        rt = rt.max(header.rt);
    }
    let rest = frames.get(length..).unwrap_or_default();
    for (index, candidate) in rest.chunks(ALIGN).enumerate().skip(1) {
        if candidate.iter().all(|byte| *byte == 0) {
            continue;
        }
        let at = length + index * ALIGN;
        let header =
            frames.get(at..).and_then(|bytes| Header::read(bytes, salt, base.saturating_add(at as u64)));
        if header.is_some_and(|header| at.saturating_sub(header.back as usize) > length) {
            return Err(Damage(length as u64));
        }
    }
    Ok(Recovered { length: length as u64, group: group as u64, rt, torn: rest.iter().any(|byte| *byte != 0) })
}
