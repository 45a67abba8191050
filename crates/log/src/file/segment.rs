//! One file of the log.
//!
//! ```text
//!  name    first position as 16 hex digits, `.log`
//!   0 magic "onefold" and the format's version, 1
//!   8 first position u64       16 salt u64
//!  24 floor i64                no record before this segment has a later receive time
//!  32 crc32c u32 of the above  36 zeros
//!  40 frames (see frame.rs), then zeros that are reserved for more
//! ```
//!
//! A position is a file offset less the header, counted on from segment to segment. Only the last segment has
//! reserved zeros; the others are cut to their frames when the next one is opened.

use super::options::{Faults, Operation, Verdict};
use crate::error::Error;
use onefold_types::{Position, Timestamp};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Bytes before the first frame.
pub(super) const HEADER: u64 = 40;
const MAGIC: [u8; 8] = *b"onefold\x01";
/// What is zeroed in one write.
const ZEROES: usize = 1 << 20;

/// An open segment. The file is behind a lock so that a redaction can exchange it between two reads.
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) salt: u64,
    pub(super) floor: Timestamp,
    pub(super) path: PathBuf,
    pub(super) file: RwLock<File>,
}

impl Segment {
    pub(super) fn file(&self) -> RwLockReadGuard<'_, File> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `position` stands in the file.
    pub(super) fn offset(&self, position: u64) -> u64 {
        HEADER + (position - self.base)
    }

    pub(super) fn corrupt(&self, position: u64, expected: &'static str) -> Error {
        Error::Corrupt {
            file: self.path.clone(),
            offset: self.offset(position),
            position: Position(position),
            expected,
        }
    }

    /// Opens an existing segment and checks its header against its name.
    pub(super) fn open(path: &Path, base: u64) -> Result<Self, Error> {
        let io = |e| Error::io("open", path, e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let damaged = |expected| Error::Corrupt {
            file: path.to_owned(),
            offset: 0,
            position: Position(base),
            expected,
        };
        if file.metadata().map_err(io)?.len() < HEADER {
            return Err(damaged("a segment header of 40 bytes"));
        }
        let mut bytes = [0u8; HEADER as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io("read", path, e))?;
        let header = parse_header(&bytes).ok_or_else(|| damaged("a whole segment header of format 1"))?;
        if header.base != base {
            return Err(damaged("the first position that the file's name says"));
        }
        Ok(Self {
            base,
            salt: header.salt,
            floor: header.floor,
            path: path.to_owned(),
            file: RwLock::new(file),
        })
    }

    /// Makes `file`, which is zeroed, the segment that starts at `base`. Durable when this returns.
    pub(super) fn begin(directory: &Path, file: File, base: u64, floor: Timestamp) -> Result<Self, Error> {
        let path = directory.join(name_of(base));
        // Unpredictable enough to keep a payload from posing as a frame; nothing secret hangs on it.
        let salt = RandomState::new().hash_one(base);
        file.write_all_at(&header_bytes(base, salt, floor), 0).map_err(|e| Error::io("write", &path, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &path, e))?;
        std::fs::rename(prepared(directory), &path).map_err(|e| Error::io("rename to", &path, e))?;
        sync_directory(directory)?;
        Ok(Self { base, salt, floor, path, file: RwLock::new(file) })
    }
}

/// A segment header's fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentHeader {
    pub(super) base: u64,
    pub(super) salt: u64,
    pub(super) floor: Timestamp,
}

pub(super) fn parse_header(bytes: &[u8]) -> Option<SegmentHeader> {
    let bytes: &[u8; HEADER as usize] = bytes.first_chunk()?;
    let u64_at = |at: usize| bytes[at..].first_chunk().copied().map(u64::from_le_bytes);
    let crc = bytes[32..].first_chunk().copied().map(u32::from_le_bytes)?;
    if bytes[..8] != MAGIC || crc != crc32c::crc32c(&bytes[..32]) {
        return None;
    }
    Some(SegmentHeader { base: u64_at(8)?, salt: u64_at(16)?, floor: Timestamp(u64_at(24)? as i64) })
}

fn header_bytes(base: u64, salt: u64, floor: Timestamp) -> [u8; HEADER as usize] {
    let mut bytes = [0u8; HEADER as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&base.to_le_bytes());
    bytes[16..24].copy_from_slice(&salt.to_le_bytes());
    bytes[24..32].copy_from_slice(&floor.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn name_of(base: u64) -> String {
    format!("{base:016x}.log")
}

/// The first position that a segment's file name says; `None` for any other file.
pub(super) fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    let base = u64::from_str_radix(digits, 16).ok()?;
    (name_of(base) == name).then_some(base)
}

/// The file that becomes the next segment.
pub(super) fn prepared(directory: &Path) -> PathBuf {
    directory.join("prepared.tmp")
}

/// Reserves and zeroes the next segment: a sync into it then writes data only, no metadata.
pub(super) fn prepare(directory: &Path, bytes: u64, faults: Option<&Arc<dyn Faults>>) -> Result<File, Error> {
    let path = prepared(directory);
    let made = allow(faults, Operation::Prepare).and_then(|()| zeroed(&path, bytes));
    made.map_err(|e| {
        // Give back what was reserved, so that a full disk is not fuller for it.
        let _ = std::fs::remove_file(&path);
        Error::io("reserve", &path, e)
    })
}

fn zeroed(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeroes = vec![0u8; ZEROES];
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(ZEROES as u64);
        file.write_all_at(zeroes.get(..count as usize).unwrap_or(&zeroes), at)?;
        at += count;
    }
    file.sync_all()?;
    Ok(file)
}

/// The outcome that the tests' [`Faults`] choose; without them, success.
pub(super) fn allow(faults: Option<&Arc<dyn Faults>>, operation: Operation) -> io::Result<()> {
    match faults.map_or(Verdict::Run, |faults| faults.before(operation)) {
        Verdict::Run => Ok(()),
        Verdict::Fail(error) | Verdict::Short(_, error) => Err(error),
    }
}

/// Makes the directory's entries durable: a synced file whose name is lost is lost.
pub(super) fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|d| d.sync_all()).map_err(|e| Error::io("sync directory", directory, e))
}
