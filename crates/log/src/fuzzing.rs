//! What the fuzz targets call; no part of the crate's interface.

use crate::file::recover::recover;
use crate::frame::header_of;
use onefold_types::Timestamp;

/// Recovers a segment with these bytes after its header. Whatever they are: no panic, and never more than is there.
pub fn recover_segment(frames: &[u8], salt: u64) {
    if let Ok(recovered) = recover(frames, salt, 0, Timestamp::MIN) {
        assert!(recovered.length <= frames.len() as u64, "LOG-5: recovered more than there is");
    }
}

/// Frames of two groups with `payloads`, for the fuzzer to damage.
#[must_use]
pub fn frames(payloads: &[&[u8]], salt: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let half = payloads.len() / 2;
    let mut group = 0;
    for (index, payload) in payloads.iter().enumerate() {
        if index == half {
            group = out.len();
        }
        let position = out.len();
        let rt = Timestamp(i64::try_from(index).unwrap_or(i64::MAX));
        header_of(payload, rt, (position - group) as u64).put(&mut out, salt, position as u64, payload);
    }
    out
}
