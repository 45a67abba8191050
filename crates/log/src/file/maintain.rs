//! What changes a log behind its tail: retention and redaction.

use super::segment::{self, Segment};
use super::{Command, FileLog, Shared, lock};
use crate::error::Error;
use onefold_types::{Position, Timestamp};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, mpsc};

/// Bytes copied at a time.
const COPY: u64 = 1 << 20;

/// LOG-7. From the front, one by one, each durable before the next: a crash leaves no gap. A segment leaves the list when
/// its file is surely gone: one whose file could not be removed is tried again, and none behind it goes before.
pub(super) fn trim(log: &FileLog, before: u64) -> Result<Position, Error> {
    let shared = &log.shared;
    let _one = lock(&shared.maintenance);
    for _ in 0..shared.given_up(before) {
        let Some(first) = lock(&shared.state).segments.first().cloned() else { break };
        match std::fs::remove_file(&first.path) {
            // Removed by an earlier trim that failed behind it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(|e| Error::io("remove", &first.path, e))?,
        }
        segment::sync_directory(&shared.options.directory)?;
        lock(&shared.state).segments.remove(0);
    }
    // The one that is written to never goes: closed now, it goes when all of it is too old. A log that little comes to
    // would keep its records for ever.
    if shared.is_active_too_old()? {
        roll(log)?;
    }
    Ok(shared.first())
}

/// Has the writer, whose the active segment is, close it and go on in the next.
fn roll(log: &FileLog) -> Result<(), Error> {
    let (done, rolled) = mpsc::channel();
    let roll = Command::Roll(Box::new(move |outcome| drop(done.send(outcome))));
    log.enqueue(roll).map_err(|(error, _)| error)?;
    let gone = |_| Error::Poisoned { reason: "the writer thread ended".into() };
    rolled.recv().map_err(gone)?
}

impl Shared {
    /// Where the log would begin after `trim(before)`.
    pub(super) fn trims_to(&self, before: u64) -> Position {
        let given_up = self.given_up(before);
        lock(&self.state).segments.get(given_up).map_or(Position(0), |segment| Position(segment.base))
    }

    fn first(&self) -> Position {
        Position(lock(&self.state).segments.first().map_or(0, |segment| segment.base))
    }

    /// What was received before this is too old.
    fn oldest(&self) -> Option<Timestamp> {
        let age = i64::try_from(self.options.retention.age?.as_millis()).unwrap_or(i64::MAX);
        Some(self.options.clock.now().minus(age))
    }

    /// Whether the first record of the active segment, if there is one, is too old.
    fn is_active_too_old(&self) -> Result<bool, Error> {
        let Some(oldest) = self.oldest() else { return Ok(false) };
        let state = lock(&self.state);
        let (active, tail) = (state.segments.last().cloned(), state.tail);
        drop(state);
        let Some(active) = active.filter(|active| active.base < tail) else { return Ok(false) };
        Ok(self.header(&active, active.base, tail)?.rt < oldest)
    }

    /// How many segments, counted from the front, end at or before `before` and are given up by the retention rule.
    fn given_up(&self, before: u64) -> usize {
        let (bytes, oldest) = (self.options.retention.bytes, self.oldest());
        let segments = lock(&self.state).segments.clone();
        let sizes: Vec<u64> =
            segments.iter().map(|segment| segment.file().metadata().map_or(0, |m| m.len())).collect();
        let mut size: u64 = sizes.iter().sum();
        // The last one is active and stays.
        let followed = segments.windows(2).zip(sizes);
        let given_up = followed.take_while(|(pair, length)| {
            let [_, second] = pair else { return false };
            let too_old = oldest.is_some_and(|oldest| second.floor < oldest);
            let too_much = bytes.is_some_and(|bytes| size > bytes);
            size -= length;
            second.base <= before && (too_old || too_much)
        });
        given_up.count()
    }
}

/// LOG-8. Writes the segment anew with the record replaced, gives it the old one's name, and overwrites the record in
/// the old file before it goes.
pub(super) fn redact(log: &FileLog, position: u64, payload: &[u8]) -> Result<(), Error> {
    let shared = &log.shared;
    let _one = lock(&shared.maintenance);
    let not_found = || Error::NotFound { position: Position(position) };
    let (segment, end) = shared.segment_at(position).ok_or_else(not_found)?;
    let header = shared.header(&segment, position, end)?;
    if payload.len() > header.length as usize {
        return Err(Error::TooLarge { length: payload.len(), limit: header.length as usize });
    }
    if lock(&shared.state).segments.last().is_some_and(|active| active.base == segment.base) {
        roll(log)?;
    }
    let (segment, end) = shared.segment_at(position).ok_or_else(not_found)?;
    let mut frame = Vec::new();
    header.redacted(payload).put(&mut frame, segment.salt, position, payload);
    let temporary = shared.options.directory.join("redact.tmp");
    let rewritten = rewrite(&segment, end, position, &frame, &temporary).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })?;
    exchange(&segment, &shared.options.directory, &temporary, rewritten, position, frame.len())
}

/// Copies `segment` to `temporary`, but for the frame at `position`: the old bytes are never written again.
fn rewrite(
    segment: &Segment,
    end: u64,
    position: u64,
    frame: &[u8],
    temporary: &Path,
) -> Result<File, Error> {
    let io = |e| Error::io("rewrite", temporary, e);
    let new =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(temporary).map_err(io)?;
    let old = segment.file();
    let at = segment.offset(position);
    copy(&old, &new, 0, at).map_err(io)?;
    new.write_all_at(frame, at).map_err(io)?;
    copy(&old, &new, at + frame.len() as u64, segment.offset(end)).map_err(io)?;
    new.sync_all().map_err(io)?;
    Ok(new)
}

fn copy(old: &File, new: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut at = from;
    while at < to {
        let mut bytes = vec![0u8; (to - at).min(COPY) as usize];
        old.read_exact_at(&mut bytes, at)?;
        new.write_all_at(&bytes, at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Lets `new` take the old file's place, on the disk and for readers.
fn exchange(
    segment: &Arc<Segment>,
    directory: &Path,
    temporary: &Path,
    new: File,
    position: u64,
    span: usize,
) -> Result<(), Error> {
    // Waits for reads that are under way; from here to the end none can meet the old bytes.
    let mut file = segment.file.write().unwrap_or_else(PoisonError::into_inner);
    std::fs::rename(temporary, &segment.path).map_err(|e| Error::io("rename to", &segment.path, e))?;
    let old = std::mem::replace(&mut *file, new);
    drop(file);
    segment::sync_directory(directory)?;
    // Its blocks are free once it is closed, but their content would stay on the disk.
    let zeroes = vec![0u8; span];
    let zeroed = old.write_all_at(&zeroes, segment.offset(position)).and_then(|()| old.sync_data());
    zeroed.map_err(|e| Error::io("overwrite the old file of", &segment.path, e))
}
