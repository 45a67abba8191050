//! What only files can do wrong: full disks, failing syncs, torn groups, rotten bytes, a second process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use onefold_log::suite::{all, append};
use onefold_log::{
    Class, Error, Faults, FileLog, FileLogOptions, HeldClock, Log, ManualClock, Operation, Record, Retention,
    Verdict,
};
use onefold_types::{Position, Timestamp};
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Answers with the verdict that is set, for one kind of operation.
#[derive(Default)]
struct Script(Mutex<Option<(Operation, Vec<Verdict>)>>);

impl Script {
    fn set(&self, operation: Operation, mut verdicts: Vec<Verdict>) {
        verdicts.reverse();
        *self.0.lock().unwrap() = Some((operation, verdicts));
    }
}

impl Faults for Script {
    fn before(&self, operation: Operation) -> Verdict {
        match self.0.lock().unwrap().as_mut() {
            Some((when, verdicts)) if *when == operation => verdicts.pop().unwrap_or(Verdict::Run),
            _ => Verdict::Run,
        }
    }
}

fn full() -> IoError {
    IoError::from(ErrorKind::StorageFull)
}

fn small(directory: &Path) -> FileLogOptions {
    let mut options = FileLogOptions::new(directory);
    options.segment_bytes = 4096;
    options.record_bytes_max = 2048;
    options.clock = Arc::new(ManualClock::at(Timestamp(1_000)));
    options
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

/// Changes a segment's bytes while no one has it open.
fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn full_disk_fails_the_append_and_the_log_accepts_again() {
    let directory = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let mut options = small(directory.path());
    options.faults = Some(script.clone());
    let log = FileLog::open(options.clone()).unwrap();
    append(&log, b"first").unwrap();
    script.set(Operation::Write, vec![Verdict::Short(50, full()), Verdict::Fail(full())]);
    for _ in 0..2 {
        let error = append(&log, &[7; 500]).unwrap_err();
        assert!(matches!(error, Error::DiskFull));
        assert_eq!(error.class(), Class::Retryable);
    }
    let second = append(&log, b"second").unwrap();
    assert_eq!(second.position, log.read(Position(0), 1).unwrap()[0].next);
    drop(log);
    let written = std::fs::read(&segments(directory.path())[0]).unwrap();
    assert!(!written.windows(16).any(|bytes| bytes == [7; 16]), "what was cut back is gone from the file");
    assert_eq!(all(&FileLog::open(options).unwrap()).len(), 2);
}

#[test]
fn no_room_for_the_next_segment_is_a_full_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let mut options = small(directory.path());
    options.faults = Some(script.clone());
    let log = FileLog::open(options).unwrap();
    script.set(Operation::Prepare, (0..3).map(|_| Verdict::Fail(full())).collect());
    let mut refused = 0;
    for _ in 0..30 {
        match append(&log, &[1; 1000]) {
            Ok(_) => {}
            Err(Error::DiskFull) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
    assert_eq!(all(&log).len(), 30 - refused);
}

#[test]
fn failed_write_poisons_and_a_reopened_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let mut options = small(directory.path());
    options.faults = Some(script.clone());
    let log = FileLog::open(options.clone()).unwrap();
    append(&log, b"first").unwrap();
    script.set(Operation::Write, vec![Verdict::Short(45, IoError::other("a write that fails"))]);
    assert!(matches!(append(&log, &[7; 500]), Err(Error::Poisoned { .. })));
    let error = append(&log, b"refused").unwrap_err();
    assert!(error.to_string().contains("a write that fails"), "{error}");
    assert_eq!(log.get(Position(0)).unwrap().payload, b"first", "reading goes on");
    drop(log);
    let log = FileLog::open(options).unwrap();
    append(&log, b"second").unwrap();
    assert_eq!(all(&log).len(), 2);
}

#[test]
fn whoever_serves_is_told_once_that_the_log_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let mut options = small(directory.path());
    options.faults = Some(script.clone());
    let (tell, told) = mpsc::channel();
    options.on_poisoned = Some(Arc::new(move |why: &str| tell.send(why.to_owned()).unwrap()));
    let log = FileLog::open(options).unwrap();
    script.set(Operation::Write, vec![Verdict::Fail(full())]);
    assert!(matches!(append(&log, b"no room"), Err(Error::DiskFull)));
    append(&log, b"first").unwrap();
    assert!(told.try_recv().is_err(), "a full disk is no poison");
    script.set(Operation::Sync, vec![Verdict::Fail(IoError::other("a sync that fails"))]);
    for _ in 0..3 {
        assert!(matches!(append(&log, b"lost"), Err(Error::Poisoned { .. })));
    }
    // Before those who wait are told: it is there by now.
    let why = told.try_recv().unwrap();
    assert!(why.contains("a sync that fails") && why.contains(".log"), "{why}");
    assert!(told.try_recv().is_err(), "once");
}

/// Whoever has the next segment begun: an append that does not fit, a redaction, retention.
#[test]
fn a_segment_that_cannot_be_closed_poisons_and_a_reopened_log_has_everything() {
    type Ask<'a> = &'a dyn Fn(&FileLog, &ManualClock) -> Result<(), Error>;
    let by_appending: Ask<'_> = &|log, _| append(log, &[7; 2000]).map(drop);
    let by_redacting: Ask<'_> = &|log, _| log.redact(Position(0), Record::Redacted.encode());
    let by_age: Ask<'_> = &|log, clock| {
        clock.set(Timestamp(9_000));
        log.trim(log.tail()).map(drop)
    };
    for ask in [by_appending, by_redacting, by_age] {
        for error in [|| IoError::other("a roll that fails"), full] {
            let directory = tempfile::tempdir().unwrap();
            let (script, clock) = (Arc::new(Script::default()), Arc::new(ManualClock::at(Timestamp(1_000))));
            let mut options = small(directory.path());
            options.retention.age = Some(Duration::from_secs(1));
            options.faults = Some(script.clone());
            options.clock = clock.clone();
            let log = FileLog::open(options.clone()).unwrap();
            let kept = [append(&log, &[1; 1500]).unwrap(), append(&log, &[2; 1500]).unwrap()];
            script.set(Operation::Roll, vec![Verdict::Fail(error())]);
            assert!(matches!(ask(&log, &clock), Err(Error::Poisoned { .. })));
            assert!(matches!(append(&log, b"refused"), Err(Error::Poisoned { .. })));
            assert_eq!(all(&log).len(), 2, "reading goes on");
            drop(log);
            let log = FileLog::open(options).unwrap();
            let entries = all(&log);
            assert_eq!(
                entries.iter().map(|entry| entry.position).collect::<Vec<_>>(),
                kept.map(|a| a.position)
            );
            assert!(entries[0].payload == [1; 1500] && entries[1].payload == [2; 1500]);
            append(&log, &[3; 2000]).unwrap();
            assert_eq!(segments(directory.path()).len(), 2, "the next segment is begun after all");
        }
    }
}

#[test]
fn a_clock_that_is_a_year_ahead_for_a_moment_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (wall, steady) = (Arc::new(ManualClock::at(Timestamp(1_000))), Arc::new(ManualClock::default()));
    let mut options = small(directory.path());
    options.clock = Arc::new(HeldClock::new(wall.clone(), steady.clone()));
    let log = FileLog::open(options).unwrap();
    assert_eq!(append(&log, b"before").unwrap().rt, Timestamp(1_000));
    wall.set(Timestamp(1_000 + 365 * 86_400_000));
    steady.set(Timestamp(500));
    assert_eq!(log.watermark().1, Timestamp(1_500));
    assert_eq!(append(&log, b"meanwhile").unwrap().rt, Timestamp(1_500));
    wall.set(Timestamp(2_000));
    steady.set(Timestamp(1_000));
    assert_eq!(append(&log, b"after").unwrap().rt, Timestamp(2_000));
}

/// The smallest log that failed: one removal that fails, then one that goes well, left a gap that no open accepted.
#[test]
fn a_segment_that_cannot_be_removed_is_tried_again_before_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small(directory.path());
    options.retention = Retention { bytes: Some(0), age: None };
    let log = FileLog::open(options.clone()).unwrap();
    while segments(directory.path()).len() < 5 {
        append(&log, &[7; 500]).unwrap();
    }
    let second = log.read(Position(0), 1 << 20).unwrap().into_iter().map(|entry| entry.position);
    let second = second.skip(1).find(|position| log.trims_to(*position) == *position).unwrap();
    let first = segments(directory.path()).remove(0);
    let aside = directory.path().join("aside");
    std::fs::rename(&first, &aside).unwrap();
    // A folder cannot be removed as a file, not even by root.
    std::fs::create_dir(&first).unwrap();
    assert!(matches!(log.trim(second), Err(Error::Io { .. })));
    assert_eq!(log.first(), Position(0), "what could not be removed is still there");
    std::fs::remove_dir(&first).unwrap();
    std::fs::rename(&aside, &first).unwrap();
    let kept = log.trim(log.tail()).unwrap();
    assert!(kept > second);
    drop(log);
    assert_eq!(FileLog::open(options.clone()).unwrap().first(), kept);

    // A file that is gone already is no failure.
    let log = FileLog::open(options.clone()).unwrap();
    while segments(directory.path()).len() < 4 {
        append(&log, &[7; 500]).unwrap();
    }
    std::fs::remove_file(&segments(directory.path())[0]).unwrap();
    let kept = log.trim(log.tail()).unwrap();
    drop(log);
    assert_eq!(FileLog::open(options).unwrap().first(), kept);
}

#[test]
fn damaged_synced_record_is_named_at_open_and_not_cut() {
    let directory = tempfile::tempdir().unwrap();
    let log = FileLog::open(small(directory.path())).unwrap();
    let second = [b"one", b"two", b"six"].map(|payload| append(&log, payload).unwrap().position)[1];
    drop(log);
    let path = &segments(directory.path())[0];
    for offset in [0, 5, 9, 17, 32] {
        let pristine = std::fs::read(path).unwrap();
        edit(path, |bytes| bytes[40 + second.0 as usize + offset] ^= 0x10);
        let damage = FileLog::open(small(directory.path())).err();
        let Some(Error::Corrupt { file, offset, position, .. }) = damage else { panic!("{damage:?}") };
        assert_eq!((&file, offset, position), (path, 40 + second.0, second));
        std::fs::write(path, pristine).unwrap();
    }
}

#[test]
fn damaged_record_of_the_last_unsynced_group_is_cut_with_what_follows_it() {
    let directory = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let mut options = small(directory.path());
    options.faults = Some(script.clone());
    let log = FileLog::open(options.clone()).unwrap();
    // The first append's callback blocks the writer, so that the next three form one group; their sync fails.
    let (blocked, release) = mpsc::channel::<()>();
    let (started, start) = mpsc::channel();
    log.append(
        b"first".to_vec(),
        Box::new(move |_| {
            started.send(()).unwrap();
            release.recv().unwrap();
        }),
    );
    start.recv().unwrap();
    let failed = Arc::new(AtomicUsize::new(0));
    for payload in [b"two", b"six", b"ten"] {
        let failed = failed.clone();
        log.append(
            payload.to_vec(),
            Box::new(move |outcome| {
                failed.fetch_add(usize::from(outcome.is_err()), Ordering::SeqCst);
            }),
        );
    }
    script.set(Operation::Sync, vec![Verdict::Fail(IoError::other("power loss"))]);
    let tail = log.tail();
    blocked.send(()).unwrap();
    drop(log);
    assert_eq!(failed.load(Ordering::SeqCst), 3);
    // The page with the group's first record did not reach the disk, the others did.
    edit(&segments(directory.path())[0], |bytes| bytes[40 + tail.0 as usize..][..40].fill(0));
    let log = FileLog::open(options).unwrap();
    assert_eq!((all(&log).len(), log.tail()), (1, tail));
    append(&log, b"ten").unwrap();
    assert_eq!(all(&log).len(), 2);
}

#[test]
fn damage_in_a_closed_segment_is_an_error_of_the_read_that_meets_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = FileLog::open(small(directory.path())).unwrap();
    let places: Vec<_> = (0..20).map(|_| append(&log, &[3; 700]).unwrap().position).collect();
    drop(log);
    edit(&segments(directory.path())[0], |bytes| bytes[40 + places[1].0 as usize + 100] ^= 1);
    let log = FileLog::open(small(directory.path())).unwrap();
    assert!(log.get(places[0]).is_ok() && log.get(places[2]).is_ok());
    assert!(matches!(log.get(places[1]), Err(Error::Corrupt { position, .. }) if position == places[1]));
    drop(log);
    std::fs::remove_file(&segments(directory.path())[1]).unwrap();
    assert!(
        matches!(FileLog::open(small(directory.path())), Err(Error::Corrupt { .. })),
        "a segment is missing"
    );
}

#[test]
fn second_writer_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = FileLog::open(small(directory.path())).unwrap();
    assert!(matches!(FileLog::open(small(directory.path())), Err(Error::Locked { .. })));
    drop(log);
    FileLog::open(small(directory.path())).unwrap();
}

#[test]
fn full_queue_answers_busy_at_once_and_a_drop_completes_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = small(directory.path());
    options.queue_bytes_max = 3200;
    let log = FileLog::open(options).unwrap();
    let (blocked, release) = mpsc::channel::<()>();
    let (started, start) = mpsc::channel();
    log.append(
        vec![0; 10],
        Box::new(move |_| {
            started.send(()).unwrap();
            release.recv().unwrap();
        }),
    );
    start.recv().unwrap();
    let (done, outcomes) = mpsc::channel();
    for _ in 0..5 {
        let done = done.clone();
        log.append(vec![0; 1000], Box::new(move |outcome| done.send(outcome).unwrap()));
    }
    for _ in 0..2 {
        assert!(matches!(outcomes.recv().unwrap(), Err(Error::Busy { .. })));
    }
    assert!(matches!(append(&log, &[0; 2049]), Err(Error::TooLarge { .. })));
    blocked.send(()).unwrap();
    drop(log);
    assert_eq!(outcomes.try_iter().filter(Result::is_ok).count(), 3);
}

#[test]
fn redaction_goes_on_beside_readers_and_writers() {
    let directory = tempfile::tempdir().unwrap();
    let log = Arc::new(FileLog::open(small(directory.path())).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (log, stop) = (log.clone(), stop.clone());
        move || {
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                append(log.as_ref(), format!("secret {count} {}", "x".repeat(count % 300)).as_bytes())
                    .unwrap();
                count += 1;
            }
            count
        }
    });
    let mut redacted = Vec::new();
    let mut seen = Position(0);
    for _ in 0..25 {
        seen = log.wait(seen, Duration::from_secs(10));
        let entries = all(log.as_ref());
        let target = entries.last().unwrap().position;
        if !redacted.contains(&target) {
            log.redact(target, Record::Redacted.encode()).unwrap();
            redacted.push(target);
        }
    }
    stop.store(true, Ordering::SeqCst);
    let count = writer.join().unwrap();
    drop(Arc::into_inner(log));
    let log = FileLog::open(small(directory.path())).unwrap();
    let entries = all(&log);
    assert_eq!(entries.len(), count);
    for entry in entries {
        assert_eq!(redacted.contains(&entry.position), entry.payload == Record::Redacted.encode());
    }
}

#[test]
fn watermark_holds_while_groups_are_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp(1)));
    let mut options = small(directory.path());
    options.clock = clock.clone();
    let log = FileLog::open(options).unwrap();
    let mut marks = Vec::new();
    for now in 0..300 {
        clock.set(Timestamp(now * 7 % 500));
        log.append(vec![0; 20], Box::new(|_| {}));
        marks.push(log.watermark());
    }
    append(&log, b"last").unwrap();
    for entry in all(&log) {
        for (tail, watermark) in &marks {
            assert!(if entry.position < *tail { entry.rt <= *watermark } else { entry.rt >= *watermark });
        }
    }
}
