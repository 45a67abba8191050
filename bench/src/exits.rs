//! A hundred thousand windows that end in the same millisecond: when the last profile has left.

use crate::events::{WRITE_KEY, batch, iso, now_ms, track, workspace};
use crate::http::{Connection, closed, get, post};
use crate::server::Place;
use crate::table::Table;
use crate::{Args, Outcome};
use std::time::Duration;

const PROFILES: u64 = 100_000;
const WINDOW_MS: u64 = 30_000;

pub(crate) async fn punctuality(args: &Args, table: &mut Table) -> Outcome<()> {
    let audience = format!(
        "audiences:\n  - {{ key: a0, name: A0, where: 'did(\"W\" in last {}s)' }}\n",
        WINDOW_MS / 1000
    );
    let place = Place::new(args, &workspace(&audience))?;
    let server = place.start().await?;
    let at = now_ms();
    let time = iso(at);
    closed(&server.address, 4, move |i| {
        let users = i * 100..((i + 1) * 100).min(PROFILES);
        (!users.is_empty()).then(|| {
            let events = users.map(|user| track(user, user, "W", &time, ""));
            post("/v1/batch", WRITE_KEY, &batch(events))
        })
    })
    .await?;
    server.drained().await?;
    let mut connection = Connection::open(&server.address).await?;
    let entered = size(&mut connection).await?;
    // An event at `at` is in the window up to `at + window`; from then on it is not.
    let due = at + WINDOW_MS;
    if entered != PROFILES || now_ms() >= due {
        return Err(
            format!("{entered} had entered {} ms before the end", due.saturating_sub(now_ms())).into()
        );
    }
    server.peak();
    let last = loop {
        if size(&mut connection).await? == 0 {
            break now_ms();
        }
        if now_ms() > due + 60_000 {
            return Err("not all had left a minute after the end of their windows".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    table.row(
        "100,000 windows end at once",
        "all exited in 1 s",
        &format!("{:.2} s", last.saturating_sub(due) as f64 / 1e3),
        &server.peak(),
        "committed, from the instant at which the windows end; nothing else comes in",
    );
    server.kill().await
}

/// Members of the audience.
async fn size(connection: &mut Connection) -> Outcome<u64> {
    let audiences = connection.json(&get("/api/audiences")).await?;
    Ok(audiences["data"][0]["size"].as_u64().unwrap_or_default())
}
