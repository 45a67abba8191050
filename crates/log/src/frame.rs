//! How one record stands in a segment.
//!
//! ```text
//!   0 header crc u32    crc32c of: segment salt · position · the rest of this header
//!   4 payload crc u32   crc32c of the payload
//!   8 span u32          bytes from this frame to the next, a multiple of 8
//!  12 length u32        bytes of payload, at most span - 32
//!  16 rt i64            receive time
//!  24 flags u32         bit 0: redacted
//!  28 back u32          bytes back to the first frame of the group that was synced together with this one
//!  32 payload, then zeros up to span
//! ```
//!
//! All integers are little-endian. A redacted payload may be shorter; the span stays, and so does every position.
//!
//! The header has a checksum of its own so that recovery can tell a frame from a payload that looks like one without
//! summing payloads at every offset; the random salt keeps a client from writing such a payload. `back` tells a torn
//! group (pages of the last, unsynced write may reach the disk in any order) from damage to a synced record: a group is
//! written only after the one before it was synced, so a frame whose group starts after the damage proves it.

use onefold_types::Timestamp;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 32;
/// Frames start at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// The payload was replaced.
pub(crate) const REDACTED: u32 = 1;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) span: u32,
    pub(crate) length: u32,
    pub(crate) rt: Timestamp,
    pub(crate) flags: u32,
    pub(crate) back: u32,
    payload_crc: u32,
}

/// The bytes that a payload of `length` takes in a segment.
pub(crate) const fn span_of(length: usize) -> usize {
    (HEADER + length).next_multiple_of(ALIGN)
}

/// A new frame's header; the payload is at most 1 GiB, which the log's options see to.
pub(crate) fn header_of(payload: &[u8], rt: Timestamp, back: u64) -> Header {
    Header {
        span: span_of(payload.len()) as u32,
        length: payload.len() as u32,
        rt,
        flags: 0,
        back: back as u32,
        payload_crc: crc32c::crc32c(payload),
    }
}

impl Header {
    /// The same frame with another payload, which is not longer.
    pub(crate) fn redacted(self, payload: &[u8]) -> Self {
        let payload_crc = crc32c::crc32c(payload);
        Self { length: payload.len() as u32, flags: self.flags | REDACTED, payload_crc, ..self }
    }

    /// Appends the frame to `out`.
    pub(crate) fn put(&self, out: &mut Vec<u8>, salt: u64, position: u64, payload: &[u8]) {
        let start = out.len();
        let mut bytes = [0u8; HEADER];
        let fields = [self.payload_crc, self.span, self.length];
        for (slot, field) in bytes[4..16].chunks_exact_mut(4).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        bytes[16..24].copy_from_slice(&self.rt.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.flags.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.back.to_le_bytes());
        let crc = header_crc(salt, position, &bytes);
        bytes[0..4].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(payload);
        out.resize(start + self.span as usize, 0);
    }

    /// The header at the start of `bytes`, if one for this segment and position stands there.
    pub(crate) fn read(bytes: &[u8], salt: u64, position: u64) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let span = u32_at(8);
        let length = u32_at(12);
        let plausible = span as usize >= HEADER
            && (span as usize).is_multiple_of(ALIGN)
            && length as usize <= span as usize - HEADER
            && u64::from(u32_at(28)) <= position;
        if !plausible || u32_at(0) != header_crc(salt, position, bytes) {
            return None;
        }
        let rt = Timestamp(i64::from_le_bytes(*bytes[16..24].first_chunk()?));
        Some(Self { span, length, rt, flags: u32_at(24), back: u32_at(28), payload_crc: u32_at(4) })
    }

    /// The payload of the frame that starts at `frame`, if it is whole.
    pub(crate) fn payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let payload = frame.get(HEADER..HEADER + self.length as usize)?;
        (frame.len() >= self.span as usize && crc32c::crc32c(payload) == self.payload_crc).then_some(payload)
    }
}

fn header_crc(salt: u64, position: u64, header: &[u8; HEADER]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &position.to_le_bytes());
    crc32c::crc32c_append(crc, &header[4..])
}
