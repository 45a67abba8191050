//! Acknowledged records per second: callers that each wait, and callers that keep many in flight.
//!
//! `cargo run --release -p onefold-log --example append_rate [DIRECTORY]`; the directory's disk is what is measured.

use onefold_log::suite::append;
use onefold_log::{FileLog, FileLogOptions, Log};
use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const RECORD_BYTES: usize = 1024;
const WAITING_CALLERS: usize = 64;
const IN_FLIGHT: usize = 1024;
const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("append-rate-{}", std::process::id()));
    let log = FileLog::open(FileLogOptions::new(&directory))?;
    let waiting = waiting(&log);
    let in_flight = in_flight(&log);
    drop(log);
    std::fs::remove_dir_all(&directory)?;
    println!("{WAITING_CALLERS} callers that each wait   {waiting:>9.0} records/s of {RECORD_BYTES} bytes");
    println!("{IN_FLIGHT} in flight              {in_flight:>9.0} records/s of {RECORD_BYTES} bytes");
    Ok(())
}

fn waiting(log: &FileLog) -> f64 {
    let start = Instant::now();
    let count: usize = std::thread::scope(|scope| {
        let caller = || {
            let mut count = 0;
            while start.elapsed() < RUN && append(log, &[7; RECORD_BYTES]).is_ok() {
                count += 1;
            }
            count
        };
        let callers: Vec<_> = (0..WAITING_CALLERS).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap_or(0)).sum()
    });
    count as f64 / start.elapsed().as_secs_f64()
}

fn in_flight(log: &FileLog) -> f64 {
    let start = Instant::now();
    let (done, outcomes) = mpsc::channel();
    let send = || {
        let done = done.clone();
        log.append(
            vec![7; RECORD_BYTES],
            Box::new(move |outcome| {
                // The receiver goes first when the time is up.
                let _ = done.send(outcome.is_ok());
            }),
        );
    };
    (0..IN_FLIGHT).for_each(|_| send());
    let mut count = 0;
    while start.elapsed() < RUN && outcomes.recv() == Ok(true) {
        count += 1;
        send();
    }
    count as f64 / start.elapsed().as_secs_f64()
}
