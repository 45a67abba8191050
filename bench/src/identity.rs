//! The worst shapes for identity, through the whole fold on the embedded store, one event a batch: every event's own
//! time, its commit and what it rebuilds included.

use crate::sample::Sample;
use crate::table::Table;
use crate::{Args, Outcome};
use onefold_fold::catalogue::next;
use onefold_fold::{CacheSizes, Options, Step, Worker};
use onefold_log::record::Record;
use onefold_log::{Log, ManualClock, MemoryLog, MemoryLogOptions, SharedLog};
use onefold_store::{FjallOptions, FjallStore};
use onefold_types::{Message, MessageType, Timestamp};
use std::sync::Arc;
use std::time::Instant;

const USERS: usize = 100_000;

type Ids = Vec<(&'static str, String)>;

fn user(n: usize) -> (&'static str, String) {
    ("user_id", format!("u{n}"))
}

fn address(n: usize) -> (&'static str, String) {
    ("email", format!("e{n}@shop.example"))
}

/// Each user shares an address with the next.
fn chain(n: usize) -> [Ids; 2] {
    [vec![user(n), address(n)], vec![user(n + 1), address(n)]]
}

/// Everyone has the same address, and one of their own.
fn hub(n: usize) -> [Ids; 2] {
    [vec![user(n), ("email", "team@shop.example".to_owned())], vec![user(n), address(n)]]
}

/// Everyone logs in on one browser, which is used in between.
fn kiosk(n: usize) -> [Ids; 2] {
    let device = ("anonymous_id", "kiosk".to_owned());
    [vec![user(n), address(n), device.clone()], vec![device]]
}

pub(crate) fn worst_cases(args: &Args, table: &mut Table) -> Outcome<()> {
    for (name, shape) in [("chain", chain as fn(usize) -> [Ids; 2]), ("hub", hub), ("kiosk", kiosk)] {
        let (mut first, mut last) = measure(args, shape)?;
        table.row(
            &format!("identity, {name}"),
            "p99 ≤ 5 ms",
            &last.describe(),
            "not measured",
            &format!(
                "{USERS} users, two events each, a batch each, through the fold; the last tenth of them (the first: {})",
                first.describe()
            ),
        );
    }
    Ok(())
}

/// Times of the first and of the last tenth of the events.
fn measure(args: &Args, shape: fn(usize) -> [Ids; 2]) -> Outcome<(Sample, Sample)> {
    let folder = tempfile::TempDir::new_in(&args.data)?;
    let clock = Arc::new(ManualClock::at(Timestamp(0)));
    let log =
        Arc::new(MemoryLog::new(MemoryLogOptions { clock: clock.clone(), ..MemoryLogOptions::default() }));
    let store = Arc::new(FjallStore::open(&folder.path().join("state"), &FjallOptions::default())?);
    let shared: SharedLog = log.clone();
    let options = Options { caches: CacheSizes::of(256 << 20), ..Options::default() };
    let mut worker = Worker::open(shared, store, options)?;
    let workspace = serde_json::json!({
        "version": 1, "workspace": "bench",
        "sources": [{ "key": "web", "kind": "browser", "write_key": "wk" }],
        "audiences": [{ "key": "a", "where": "count(\"X\" in last 7d) >= 2" }],
    });
    let catalogue = next(None, serde_json::from_value(workspace)?, "bench")
        .map_err(|problems| format!("the workspace cannot be used: {problems:?}"))?;
    log.append(Record::Catalogue(serde_json::to_vec(&catalogue)?).encode(), Box::new(|_| {}));
    while worker.step()?.0 == Step::Worked {}
    let (mut first, mut last) = (Sample::default(), Sample::default());
    for n in 0..USERS {
        for (half, ids) in shape(n).into_iter().enumerate() {
            let ts = (n * 2 + half) as i64 * 1_000;
            clock.set(Timestamp(ts));
            log.append(Record::Messages(vec![message(ts, ids)]).encode(), Box::new(|_| {}));
            let began = Instant::now();
            while worker.step()?.0 == Step::Worked {}
            if n < USERS / 10 {
                first.add(began.elapsed());
            } else if n >= USERS / 10 * 9 {
                last.add(began.elapsed());
            }
        }
    }
    Ok((first, last))
}

fn message(ts: i64, ids: Ids) -> Message {
    Message {
        message_type: MessageType::Track,
        ts: Timestamp(ts),
        message_id: format!("m{ts}"),
        source: "web".to_owned(),
        name: "X".to_owned(),
        ids: ids.into_iter().map(|(id_type, value)| (id_type.to_owned(), value)).collect(),
        group_id: String::new(),
        body: br#"{"type":"track","event":"X"}"#.to_vec(),
    }
}
