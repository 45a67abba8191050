//! **ACK** for real: a child process appends from several threads and is killed with SIGKILL in the middle of it.
//! Whatever it had reported as durable must be there, once, in order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use onefold_log::suite::{all, append};
use onefold_log::{FileLog, FileLogOptions, Log};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the child, to the log's directory.
const CHILD: &str = "ONEFOLD_LOG_KILL_CHILD";

fn options(directory: &Path) -> FileLogOptions {
    let mut options = FileLogOptions::new(directory);
    options.segment_bytes = 64 << 10;
    options.record_bytes_max = 16 << 10;
    options
}

/// Appends until it is killed; a line per acknowledged record.
fn child(directory: &Path) {
    let log = FileLog::open(options(directory)).unwrap();
    let pid = std::process::id();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for number in 0u32.. {
                    let text = format!("{pid} {thread} {number} {}", "x".repeat(number as usize % 700));
                    let position = append(log, text.as_bytes()).unwrap().position.0;
                    // One write per line: a torn line would look like a record that was never acknowledged.
                    std::io::stderr().write_all(format!("ack {position} {text}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn kill_9_keeps_every_acknowledged_record() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return child(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for lines in [1, 60, 333] {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill_9_keeps_every_acknowledged_record", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut read: Vec<String> = output.by_ref().take(lines).collect();
        process.kill().unwrap();
        process.wait().unwrap();
        read.extend(output);
        for line in read {
            let mut words = line.splitn(3, ' ');
            if let (Some("ack"), Some(position), Some(text)) = (words.next(), words.next(), words.next()) {
                acknowledged.insert(position.parse::<u64>().unwrap(), text.to_owned());
            }
        }
        let log = FileLog::open(options(directory.path())).unwrap();
        let kept: BTreeMap<u64, Vec<u8>> = all(&log).into_iter().map(|e| (e.position.0, e.payload)).collect();
        for (position, text) in &acknowledged {
            assert_eq!(kept.get(position).map(Vec::as_slice), Some(text.as_bytes()));
        }
        assert!(log.tail().0 > 0 && acknowledged.len() >= lines);
    }
}
