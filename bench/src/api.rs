//! Profile API and personalise, while events come in.

use crate::events::{WRITE_KEY, batch, hundred_audiences, iso, now_ms, scatter, track, workspace};
use crate::fold::preload;
use crate::http::{at_rate, get, post};
use crate::server::Place;
use crate::table::Table;
use crate::{Args, Outcome};

const PROFILES: u64 = 100_000;

pub(crate) async fn latency(args: &Args, table: &mut Table) -> Outcome<()> {
    let place = Place::new(args, &workspace(&hundred_audiences()))?;
    let server = place.start().await?;
    preload(&server, PROFILES).await?;
    let events = {
        let (address, lasts) = (server.address.clone(), args.load());
        tokio::spawn(async move {
            at_rate(&address, 100, lasts, 8, |i| {
                let at = iso(now_ms());
                let events = (i * 50..(i + 1) * 50).map(|number| {
                    let spread = scatter(number);
                    track((1 << 40) + number, spread % PROFILES, &format!("Event {}", spread % 10), &at, "")
                });
                post("/v1/batch", WRITE_KEY, &batch(events))
            })
            .await
        })
    };
    let profile = |i: u64| {
        let user = scatter(i) % PROFILES;
        get(&format!("/v1/spaces/bench/collections/users/profiles/user_id:u{user:08}/traits"))
    };
    let personalise = |i: u64| {
        let user = scatter(i) % PROFILES;
        let device = format!("{:016x}-{user:08}", scatter(user));
        get(&format!("/v1/personalize?write_key={WRITE_KEY}&anonymous_id={device}"))
    };
    let address = server.address.clone();
    let (profile, personalise) = tokio::join!(
        at_rate(&address, 1_000, args.load(), 32, profile),
        at_rate(&address, 1_000, args.load(), 32, personalise)
    );
    events.await??;
    let load = "1,000 requests/s of each, 5,000 events/s come in in batches of 50";
    table.row("profile API, traits", "p99 ≤ 5 ms", &profile?.latencies.describe(), &server.peak(), load);
    table.row("personalise", "p99 ≤ 5 ms", &personalise?.latencies.describe(), "the same", load);
    server.kill().await
}
