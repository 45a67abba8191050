//! Accepted events per second, each acknowledged when it is on the disk.

use crate::events::{WRITE_KEY, batch, hundred_audiences, iso, now_ms, scatter, track, workspace};
use crate::http::{at_rate, closed, post};
use crate::server::Place;
use crate::table::Table;
use crate::{Args, Outcome};
use std::time::Instant;

const USERS: u64 = 100_000;

fn event(number: u64, at: &str) -> String {
    let spread = scatter(number);
    track(number, spread % USERS, &format!("Event {}", spread % 10), at, "")
}

/// Batches of 100, as many as eight connections get through.
pub(crate) async fn batches(args: &Args, table: &mut Table) -> Outcome<()> {
    let place = Place::new(args, &workspace(&hundred_audiences()))?;
    let server = place.start().await?;
    // What a client serialises is its own cost: the bodies are made beforehand, and only ids change.
    let until = Instant::now() + args.load();
    let (template, ids) = template();
    let cpu = server.cpu();
    let mut load = closed(&server.address, 8, move |i| {
        if Instant::now() > until {
            return None;
        }
        let mut request = template.clone();
        for (index, at) in ids.iter().enumerate() {
            let id = format!("{:012x}", i * 100 + index as u64);
            request[*at..*at + 12].copy_from_slice(id.as_bytes());
        }
        Some(request)
    })
    .await?;
    let (took, events) = (load.took, load.latencies.len() * 100);
    let cpu = (server.cpu() - cpu).as_secs_f64() / events as f64 * 1e6;
    let folded = server.folded().await?;
    table.row(
        "accepted, batches of 100",
        "≥ 100,000 events/s",
        &format!("{:.0} events/s", events as f64 / took.as_secs_f64()),
        &server.peak(),
        &format!(
            "8 connections, {} s; a batch {}; {folded} of {events} folded meanwhile; {cpu:.1} µs of processor each",
            took.as_secs(),
            load.latencies.describe()
        ),
    );
    server.kill().await
}

/// A request with 100 events, and where their numbers are in it.
fn template() -> (Vec<u8>, Vec<usize>) {
    let at = iso(now_ms());
    let body = batch((0..100).map(|number| event(number, &at)));
    let request = post("/v1/batch", WRITE_KEY, &body);
    let marker = b"\",\"timestamp\":\"";
    let ids = request.windows(marker.len()).enumerate().filter(|(_, window)| *window == marker);
    let ids = ids.map(|(at, _)| at - 12).collect();
    (request, ids)
}

/// One event a request, at 2,000 requests a second.
pub(crate) async fn single(args: &Args, table: &mut Table) -> Outcome<()> {
    let place = Place::new(args, &workspace(&hundred_audiences()))?;
    let server = place.start().await?;
    let at = iso(now_ms());
    let make = move |i| post("/v1/track", WRITE_KEY, event(i, &at).as_bytes());
    let mut load = at_rate(&server.address, 2_000, args.load(), 64, make).await?;
    table.row(
        "accepted, singly",
        "p99 ≤ 5 ms",
        &load.latencies.describe(),
        &server.peak(),
        "2,000 requests/s on 64 connections",
    );
    server.kill().await
}
