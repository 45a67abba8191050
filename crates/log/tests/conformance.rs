//! Every implementation of `Log` keeps every clause of the contract.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use onefold_log::suite::{self, Harness, SEGMENT_BYTES};
use onefold_log::{
    Faults, FileLog, FileLogOptions, Log, ManualClock, MemoryLog, MemoryLogOptions, Operation, Retention,
    Verdict,
};
use onefold_types::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct InMemory {
    log: MemoryLog,
    clock: Arc<ManualClock>,
}

impl Harness for InMemory {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn crash(&mut self) {
        self.log.crash();
    }

    fn crash_while_writing(&mut self, payload: Vec<u8>) {
        self.log.hold();
        self.log.append(payload, Box::new(|_| panic!("it was lost")));
        self.log.crash();
    }

    fn fail_next_sync(&mut self) {
        self.log.fail_next_sync();
    }

    fn kept_bytes(&self) -> Vec<u8> {
        suite::all(&self.log).into_iter().flat_map(|entry| entry.payload).collect()
    }
}

fn in_memory(retention: Retention) -> Box<dyn Harness> {
    let clock = Arc::new(ManualClock::at(Timestamp(1_000)));
    let options = MemoryLogOptions {
        segment_bytes: SEGMENT_BYTES,
        retention,
        clock: clock.clone(),
        ..Default::default()
    };
    Box::new(InMemory { log: MemoryLog::new(options), clock })
}

#[derive(Default)]
struct FailSync(AtomicBool);

impl Faults for FailSync {
    fn before(&self, operation: Operation) -> Verdict {
        if operation == Operation::Sync && self.0.swap(false, Ordering::SeqCst) {
            return Verdict::Fail(std::io::Error::other("a sync that fails"));
        }
        Verdict::Run
    }
}

struct InFiles {
    log: FileLog,
    options: FileLogOptions,
    clock: Arc<ManualClock>,
    faults: Arc<FailSync>,
    directory: tempfile::TempDir,
}

impl InFiles {
    /// What a killed process leaves behind is what its files say at that moment.
    fn reopen(&mut self, damage: impl FnOnce(&Path)) {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.directory.path()).unwrap() {
            let file = file.unwrap();
            // The writer's helper may be making or renaming it right now; it is removed at open anyway.
            if !file.file_name().to_string_lossy().ends_with(".tmp") {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        damage(copy.path());
        self.options.directory = copy.path().to_owned();
        self.log = FileLog::open(self.options.clone()).unwrap();
        self.directory = copy;
    }
}

impl Harness for InFiles {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    fn crash(&mut self) {
        self.reopen(|_| {});
    }

    fn crash_while_writing(&mut self, payload: Vec<u8>) {
        let tail = self.log.tail().0;
        self.reopen(|directory| {
            let mut names: Vec<_> =
                std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
            names.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
            let last = names.iter().max().unwrap();
            let base = u64::from_str_radix(last.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
            let mut bytes = std::fs::read(last).unwrap();
            let offset = 40 + (tail - base) as usize;
            // Pages of one write reach the disk in any order: here the header did not.
            for (slot, byte) in bytes[offset..].iter_mut().skip(32).zip(&payload) {
                *slot = *byte;
            }
            std::fs::write(last, bytes).unwrap();
        });
    }

    fn fail_next_sync(&mut self) {
        self.faults.0.store(true, Ordering::SeqCst);
    }

    fn kept_bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.directory.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default()).collect()
    }
}

fn in_files(retention: Retention) -> Box<dyn Harness> {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp(1_000)));
    let faults = Arc::new(FailSync::default());
    let mut options = FileLogOptions::new(directory.path());
    options.segment_bytes = SEGMENT_BYTES;
    options.record_bytes_max = 2048;
    options.retention = retention;
    options.clock = clock.clone();
    options.faults = Some(faults.clone());
    let log = FileLog::open(options.clone()).unwrap();
    Box::new(InFiles { log, options, clock, faults, directory })
}

macro_rules! conformance {
    ($module:ident, $make:path, [$($clause:ident),* $(,)?]) => {
        mod $module {
            $(#[test]
            fn $clause() {
                onefold_log::suite::$clause(&$make);
            })*
        }
    };
}

conformance!(
    memory,
    super::in_memory,
    [
        log_1_ack,
        log_2_order,
        log_3_time,
        log_4_watermark,
        log_5_torn_tail,
        log_6_poison,
        log_7_retention,
        log_8_redaction,
    ]
);
conformance!(
    file,
    super::in_files,
    [
        log_1_ack,
        log_2_order,
        log_3_time,
        log_4_watermark,
        log_5_torn_tail,
        log_6_poison,
        log_7_retention,
        log_8_redaction,
    ]
);
