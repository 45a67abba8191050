//! What every [`Log`] must do, one function per clause of the contract. `tests/conformance.rs` runs it on each
//! implementation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test suite")]

use crate::{Appended, Error, Log, ManualClock, Record, Retention};
use onefold_types::{Position, Timestamp};
use std::sync::mpsc;
use std::time::Duration;

/// The segment size that a harness is to use, so that a few records fill one.
pub const SEGMENT_BYTES: u64 = 4096;

/// A log under test, and the power over its world.
pub trait Harness {
    /// The log as it is open now.
    fn log(&self) -> &dyn Log;
    /// The clock that the log was given.
    fn clock(&self) -> &ManualClock;
    /// Kills the process and opens the log again.
    fn crash(&mut self);
    /// Kills the process while `payload` is written, before it is synced, and opens the log again.
    fn crash_while_writing(&mut self, payload: Vec<u8>);
    /// The next sync fails.
    fn fail_next_sync(&mut self);
    /// Every byte that is kept, wherever.
    fn kept_bytes(&self) -> Vec<u8>;
}

/// Makes a harness with an empty log of this retention, its clock at 1,000.
pub type Make<'a> = &'a dyn Fn(Retention) -> Box<dyn Harness>;

/// Appends and waits for the outcome.
///
/// # Errors
/// What the log answered.
pub fn append(log: &dyn Log, payload: &[u8]) -> Result<Appended, Error> {
    let (done, outcome) = mpsc::channel();
    log.append(payload.to_vec(), Box::new(move |result| drop(done.send(result))));
    outcome.recv_timeout(Duration::from_secs(60)).expect("an append has an outcome")
}

/// Every record that a reader sees from the start, read in small steps.
#[must_use]
pub fn all(log: &dyn Log) -> Vec<crate::Entry> {
    let mut entries: Vec<crate::Entry> = Vec::new();
    loop {
        let from = entries.last().map_or(Position(0), |entry| entry.next);
        let more = log.read(from, 700).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

fn payload(number: usize) -> Vec<u8> {
    let mut bytes = format!("record {number} ").into_bytes();
    bytes.resize(40 + number * 137 % 900, b'a' + (number % 26) as u8);
    bytes
}

fn fill(log: &dyn Log, count: usize) -> Vec<Appended> {
    (0..count).map(|number| append(log, &payload(number)).unwrap()).collect()
}

/// All clauses.
pub fn check(make: Make<'_>) {
    let clauses =
        [log_1_ack, log_2_order, log_3_time, log_4_watermark, log_5_torn_tail, log_6_poison, log_7_retention];
    for clause in clauses {
        clause(make);
    }
    log_8_redaction(make);
}

/// What was acknowledged is there after a crash, at the same place.
pub fn log_1_ack(make: Make<'_>) {
    let mut harness = make(Retention::default());
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        acknowledged.extend(fill(harness.log(), 9 + round));
        harness.crash();
        let entries = all(harness.log());
        assert_eq!(entries.len(), acknowledged.len());
        for (entry, appended) in entries.iter().zip(&acknowledged) {
            assert_eq!(
                (entry.position, entry.next, entry.rt),
                (appended.position, appended.next, appended.rt)
            );
            assert_eq!(harness.log().get(entry.position).unwrap(), *entry);
        }
    }
}

/// Positions ascend without a gap, over segments too, and a read stops at its limit.
pub fn log_2_order(make: Make<'_>) {
    let harness = make(Retention::default());
    let log = harness.log();
    assert_eq!((log.first(), log.tail()), (Position(0), Position(0)));
    assert!(log.read(Position(0), 1 << 20).unwrap().is_empty());
    fill(log, 60);
    let entries = all(log);
    assert_eq!(entries.len(), 60);
    assert_eq!(entries[0].position, Position(0));
    for (number, pair) in entries.windows(2).enumerate() {
        assert_eq!(pair[0].next, pair[1].position);
        assert_eq!(pair[0].payload, payload(number));
    }
    assert_eq!(entries[59].next, log.tail());
    assert!(log.read(log.tail(), 1 << 20).unwrap().is_empty());
    assert_eq!(log.read(Position(0), 1 << 20).unwrap(), entries);
    assert_eq!(log.read(Position(0), 0).unwrap().len(), 1, "at least one record");
    let two = entries[0].payload.len() + entries[1].payload.len();
    assert_eq!(log.read(Position(0), two).unwrap().len(), 2);
    let between = Position(entries[1].position.0 + 8);
    assert!(matches!(log.get(between), Err(Error::NotFound { .. })), "no record starts between two");
    assert!(matches!(log.get(log.tail()), Err(Error::NotFound { .. })));
    assert_eq!(log.wait(Position(0), Duration::ZERO), log.tail());
    assert_eq!(log.wait(log.tail(), Duration::ZERO), log.tail());
}

/// Receive times never decrease, however the clock moves.
pub fn log_3_time(make: Make<'_>) {
    let mut harness = make(Retention::default());
    let mut last = Timestamp::MIN;
    for now in [5_000, 7_000, 3_000, -1, 7_001, 2] {
        harness.clock().set(Timestamp(now));
        let rt = append(harness.log(), b"x").unwrap().rt;
        assert!(rt >= last && rt.0 >= now);
        last = rt;
        harness.crash();
    }
    assert_eq!(last, Timestamp(7_001));
    harness.log().raise_time(Timestamp(9_000));
    assert_eq!(append(harness.log(), b"x").unwrap().rt, Timestamp(9_000));
}

/// A watermark splits the records before it from those after it.
pub fn log_4_watermark(make: Make<'_>) {
    let harness = make(Retention::default());
    let log = harness.log();
    append(log, b"before").unwrap();
    harness.clock().set(Timestamp(4_000));
    let (tail, watermark) = log.watermark();
    assert_eq!((tail, watermark), (log.tail(), Timestamp(4_000)), "an idle log's time is the clock's");
    harness.clock().set(Timestamp(2_000));
    let after = append(log, b"after").unwrap();
    assert!(after.position >= tail && after.rt >= watermark);
    assert!(all(log).iter().filter(|entry| entry.position < tail).all(|entry| entry.rt <= watermark));
}

/// A record that was being written when the process died is cut; what was acknowledged stays; appends go on.
pub fn log_5_torn_tail(make: Make<'_>) {
    let mut harness = make(Retention::default());
    for round in 1..8 {
        append(harness.log(), &payload(round)).unwrap();
        let tail = harness.log().tail();
        harness.crash_while_writing(payload(100 * round));
        assert_eq!(harness.log().tail(), tail);
        assert_eq!(all(harness.log()).len(), round);
    }
}

/// After a failed sync nothing is accepted until the log is opened again.
pub fn log_6_poison(make: Make<'_>) {
    let mut harness = make(Retention::default());
    append(harness.log(), b"kept").unwrap();
    harness.fail_next_sync();
    assert!(matches!(append(harness.log(), b"lost"), Err(Error::Poisoned { .. })));
    assert!(matches!(append(harness.log(), b"refused"), Err(Error::Poisoned { .. })));
    assert_eq!(all(harness.log()).len(), 1, "what was not acknowledged is not read");
    harness.crash();
    append(harness.log(), b"accepted").unwrap();
    assert_eq!(all(harness.log()).last().unwrap().payload, b"accepted");
}

/// Trimming removes whole segments from the front, no further than told and only what retention gives up.
pub fn log_7_retention(make: Make<'_>) {
    let keep = make(Retention::default());
    fill(keep.log(), 40);
    assert_eq!(keep.log().trims_to(keep.log().tail()), Position(0));
    assert_eq!(keep.log().trim(keep.log().tail()).unwrap(), Position(0), "no rule, nothing removed");

    let mut harness = make(Retention { bytes: Some(2 * SEGMENT_BYTES), age: None });
    let appended = fill(harness.log(), 40);
    let before = appended[20].position;
    let foreseen = harness.log().trims_to(before);
    assert_eq!(harness.log().first(), Position(0), "nothing is removed by asking");
    let first = harness.log().trim(before).unwrap();
    assert_eq!(first, foreseen, "what trimming would do, and what it did");
    assert!(first > Position(0) && first <= before, "{first} is not past {before}");
    assert!(appended.iter().any(|a| a.position == first), "a segment starts with a record");
    assert!(matches!(harness.log().get(Position(0)), Err(Error::NotFound { .. })));
    assert_eq!(
        harness.log().read(Position(0), 1).unwrap()[0].position,
        first,
        "reading starts at the first kept"
    );
    harness.crash();
    assert_eq!(harness.log().first(), first);
    let foreseen = harness.log().trims_to(harness.log().tail());
    assert_eq!(harness.log().trim(harness.log().tail()).unwrap(), foreseen);
    assert!(harness.log().size() <= 3 * SEGMENT_BYTES);

    let aged = make(Retention { bytes: None, age: Some(Duration::from_secs(1)) });
    fill(aged.log(), 40);
    assert_eq!(aged.log().trim(aged.log().tail()).unwrap(), Position(0), "too young");
    aged.clock().set(Timestamp(1_000_000));
    assert!(aged.log().trim(aged.log().tail()).unwrap() > Position(0));
    log_7_age_of_the_last_segment(make);
}

/// A log to which little comes: what is too old goes, though it never fills a segment.
fn log_7_age_of_the_last_segment(make: Make<'_>) {
    let mut harness = make(Retention { bytes: None, age: Some(Duration::from_secs(1)) });
    let trim = |harness: &dyn Harness, now: i64| {
        harness.clock().set(Timestamp(now));
        harness.log().watermark();
        let (log, tail) = (harness.log(), harness.log().tail());
        let foreseen = log.trims_to(tail);
        assert_eq!(log.trim(tail).unwrap(), foreseen, "what trimming would do, and what it did");
        foreseen
    };
    append(harness.log(), b"at 1000").unwrap();
    assert_eq!(trim(harness.as_ref(), 1_900), Position(0));
    append(harness.log(), b"at 1900").unwrap();
    for now in [2_100, 2_800] {
        assert_eq!(trim(harness.as_ref(), now), Position(0), "a segment goes whole, by its youngest record");
    }
    let kept = append(harness.log(), b"at 2800").unwrap();
    assert_eq!(trim(harness.as_ref(), 2_950), kept.position);
    harness.crash();
    assert_eq!(all(harness.log()).len(), 1);
    trim(harness.as_ref(), 9_000);
    for _ in 0..3 {
        assert_eq!(trim(harness.as_ref(), 9_000), harness.log().tail(), "nothing is left to go");
    }
    let last = append(harness.log(), b"at 9000").unwrap();
    assert_eq!((last.position, last.rt), (kept.next, Timestamp(9_000)));
    harness.crash();
    assert_eq!(all(harness.log()).len(), 1);
}

/// Redacting replaces one record, keeps every position and time, and leaves no copy.
pub fn log_8_redaction(make: Make<'_>) {
    let mut harness = make(Retention::default());
    let mut appended = fill(harness.log(), 30);
    let secret = b"ada@example.com was here";
    let old = append(harness.log(), secret).unwrap();
    appended.push(old);
    for target in [old, appended[3]] {
        let longer = vec![0; 2000];
        assert!(matches!(harness.log().redact(target.position, longer), Err(Error::TooLarge { .. })));
        harness.log().redact(target.position, Record::Redacted.encode()).unwrap();
    }
    let between = Position(appended[1].position.0 + 8);
    assert!(matches!(harness.log().redact(between, Vec::new()), Err(Error::NotFound { .. })));
    assert!(matches!(harness.log().redact(harness.log().tail(), Vec::new()), Err(Error::NotFound { .. })));
    let kept = harness.kept_bytes();
    assert!(!kept.windows(secret.len()).any(|bytes| bytes == secret), "the old bytes are kept somewhere");
    for _ in 0..2 {
        appended.push(append(harness.log(), b"the log goes on").unwrap());
        let entries = all(harness.log());
        let places: Vec<_> =
            entries.iter().map(|e| Appended { position: e.position, next: e.next, rt: e.rt }).collect();
        assert_eq!(places, appended);
        assert_eq!(Record::decode(&entries[30].payload), Ok(Record::Redacted));
        assert_eq!(Record::decode(&entries[3].payload), Ok(Record::Redacted));
        assert_eq!(entries[4].payload, payload(4));
        harness.crash();
    }
}
