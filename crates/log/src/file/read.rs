//! Reading what is synced. Each read takes a segment's file lock once, so that a redaction waits for at most one read.

use super::Shared;
use super::segment::Segment;
use crate::Entry;
use crate::error::Error;
use crate::frame::{HEADER, Header};
use onefold_types::Position;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes that a read fetches at least, and at most unless one record is longer.
const FETCH_MIN: u64 = 64 << 10;
const FETCH_MAX: u64 = 16 << 20;

impl Shared {
    pub(super) fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        let first = super::lock(&self.state).segments.first().map_or(0, |segment| segment.base);
        let mut position = from.max(first);
        let mut entries: Vec<Entry> = Vec::new();
        let mut left = max_bytes;
        while let Some((segment, end)) = self.segment_at(position) {
            let (next, full) = read_segment(&segment, position, end, &mut left, &mut entries)?;
            position = next;
            if full {
                break;
            }
        }
        Ok(entries)
    }

    pub(super) fn get(&self, position: u64) -> Result<Entry, Error> {
        let not_found = Error::NotFound { position: Position(position) };
        let (segment, end) = self.segment_at(position).ok_or(not_found.clone())?;
        let mut entries = Vec::new();
        read_segment(&segment, position, end, &mut 0, &mut entries)?;
        entries.into_iter().next().ok_or(not_found)
    }

    /// The header of the frame at `position`.
    pub(super) fn header(&self, segment: &Segment, position: u64, end: u64) -> Result<Header, Error> {
        let file = segment.file();
        let bytes = fetch(segment, &file, position, (end - position).min(HEADER as u64))?;
        match Header::read(&bytes, segment.salt, position) {
            Some(header) => Ok(header),
            None => Err(explain(segment, &file, position, end)),
        }
    }
}

/// Adds records from `position` on; returns where it stopped and whether `left` ran out. Takes at least one record if
/// `entries` is empty.
fn read_segment(
    segment: &Segment,
    from: u64,
    end: u64,
    left: &mut usize,
    entries: &mut Vec<Entry>,
) -> Result<(u64, bool), Error> {
    let file = segment.file();
    let mut position = from;
    let mut want = (*left as u64).clamp(FETCH_MIN, FETCH_MAX);
    if *left == 0 {
        want = HEADER as u64;
    }
    while position < end {
        let bytes = fetch(segment, &file, position, want.min(end - position))?;
        let mut at = 0usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.len() < HEADER && position + (rest.len() as u64) < end {
                break;
            }
            let Some(header) = Header::read(rest, segment.salt, position) else {
                return Err(explain(segment, &file, position, end));
            };
            let span = u64::from(header.span);
            if position + span > end {
                return Err(
                    segment.corrupt(position, "a record that ends before the next segment or the tail")
                );
            }
            if header.length as usize > *left && !entries.is_empty() {
                return Ok((position, true));
            }
            if rest.len() < header.span as usize {
                // Fetch from here again, all of it.
                want = want.max(span);
                break;
            }
            let payload = header
                .payload(rest)
                .ok_or_else(|| segment.corrupt(position, "a payload that matches its checksum"))?;
            entries.push(Entry {
                position: Position(position),
                next: Position(position + span),
                rt: header.rt,
                payload: payload.to_vec(),
            });
            *left = left.saturating_sub(payload.len());
            position += span;
            at += header.span as usize;
            if *left == 0 {
                return Ok((position, true));
            }
        }
    }
    Ok((position, false))
}

fn fetch(segment: &Segment, file: &File, position: u64, count: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0u8; count as usize];
    match file.read_exact_at(&mut bytes, segment.offset(position)) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(segment.corrupt(position, "the file to go on: it was shortened"))
        }
        Err(e) => Err(Error::io("read", &segment.path, e)),
    }
}

/// Why no frame stands at `position`: walks from the segment's start to see whether one should.
fn explain(segment: &Segment, file: &File, position: u64, end: u64) -> Error {
    let mut at = segment.base;
    while at < position {
        let header = fetch(segment, file, at, (end - at).min(HEADER as u64));
        match header.map(|bytes| Header::read(&bytes, segment.salt, at)) {
            Ok(Some(header)) => at += u64::from(header.span),
            Ok(None) => return segment.corrupt(at, "the header of a record"),
            Err(error) => return error,
        }
    }
    if at == position {
        segment.corrupt(position, "the header of a record")
    } else {
        Error::NotFound { position: Position(position) }
    }
}
