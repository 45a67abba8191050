//! Events per second through the whole fold: with a million known profiles, after a kill, and with a cold state.

use crate::events::{
    WRITE_KEY, batch, first_track, hundred_audiences, identify, iso, now_ms, scatter, track, workspace,
};
use crate::http::{Connection, closed, post};
use crate::server::{Place, Server};
use crate::table::Table;
use crate::{Args, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What may wait to be folded: enough that the fold never waits, little enough that nothing else grows.
const BACKLOG_BYTES: u64 = 64 << 20;

/// Makes `profiles` people known, two events each, and waits until they are folded.
pub(crate) async fn preload(server: &Server, profiles: u64) -> Outcome<()> {
    let at = iso(now_ms());
    closed(&server.address, 4, move |i| {
        let users = i * 200..((i + 1) * 200).min(profiles);
        (!users.is_empty()).then(|| {
            let body = batch(users.flat_map(|user| [identify(user, &at), first_track(user, &at)]));
            post("/v1/batch", WRITE_KEY, &body)
        })
    })
    .await?;
    server.drained().await
}

/// What a saturating load came to.
pub(crate) struct Saturated {
    pub(crate) rate: f64,
    /// Microseconds of the server's processor time an event, ingest included.
    pub(crate) cpu: f64,
}

/// Keeps the fold busy for `lasts` with events that `make` gives, and counts what it folded.
pub(crate) async fn saturate(
    server: &Server,
    lasts: Duration,
    first: u64,
    make: impl Fn(u64, &str) -> String + Send + Sync + 'static,
) -> Outcome<Saturated> {
    let stop = Arc::new(AtomicBool::new(false));
    let (before, cpu, began) = (server.folded().await?, server.cpu(), Instant::now());
    let sender = {
        let (stop, address, make) = (stop.clone(), server.address.clone(), Arc::new(make));
        let mut control = Connection::open(&address).await?;
        tokio::spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let mut number = first;
            while !stop.load(Ordering::Relaxed) {
                let status = control.json(&crate::http::get("/api/status")).await?;
                let at = |name: &str| status[name].as_u64().unwrap_or_default();
                if at("log_tail").saturating_sub(at("folded_position")) > BACKLOG_BYTES {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                for _ in 0..20 {
                    let now = iso(now_ms());
                    let body = batch((number..number + 100).map(|n| make(n, &now)));
                    let (status, _) = connection.call(&post("/v1/batch", WRITE_KEY, &body)).await?;
                    if status != 200 {
                        return Outcome::Err(format!("a batch got {status}").into());
                    }
                    number += 100;
                }
            }
            Ok(())
        })
    };
    tokio::time::sleep(lasts).await;
    let (folded, took) = (server.folded().await? - before, began.elapsed());
    let cpu = (server.cpu() - cpu).as_secs_f64() / folded as f64 * 1e6;
    stop.store(true, Ordering::Relaxed);
    sender.await??;
    Ok(Saturated { rate: folded as f64 / took.as_secs_f64(), cpu })
}

/// The events of a shop with `profiles` people, all as likely.
pub(crate) fn anyone(profiles: u64) -> impl Fn(u64, &str) -> String + Send + Sync + 'static {
    move |number, at| {
        let spread = scatter(number);
        track(number, spread % profiles, &format!("Event {}", (spread >> 32) % 10), at, "")
    }
}

/// Of 100 events 95 are of people drawn by Zipf's law (exponent 1) from the first twentieth, five of anyone.
fn zipf(profiles: u64) -> impl Fn(u64, &str) -> String + Send + Sync + 'static {
    let hot = (profiles / 20).max(2) as f64;
    move |number, at| {
        let spread = scatter(number);
        let user = if spread % 100 < 5 {
            scatter(spread) % profiles
        } else {
            let even = (spread >> 11) as f64 / (1u64 << 53) as f64;
            // The inverse of the distribution function, near enough: H(n) ~ ln n.
            (hot.powf(even) as u64).saturating_sub(1) * 19 % profiles
        };
        track(number, user, &format!("Event {}", (spread >> 32) % 10), at, "")
    }
}

pub(crate) async fn throughput(
    args: &Args,
    table: &mut Table,
    fold: bool,
    restart: bool,
    cold: bool,
) -> Outcome<()> {
    let profiles = args.profiles;
    let place = Place::new(args, &workspace(&hundred_audiences()))?;
    let server = place.start().await?;
    let began = Instant::now();
    preload(&server, profiles).await?;
    let took = began.elapsed();
    let (log, state) =
        (server.metric("onefold_log_bytes").await?, server.metric("onefold_store_bytes").await?);
    table.row(
        "new profiles",
        "-",
        &format!("{:.0} profiles/s", profiles as f64 / took.as_secs_f64()),
        &server.peak(),
        &format!(
            "{profiles} times an identify call with user id, device and e-mail, and a track event; {} bytes of log, {} of state a profile",
            log / profiles,
            state / profiles
        ),
    );
    if fold {
        let saturated = saturate(&server, args.load(), 1 << 40, anyone(profiles)).await?;
        let events = server.folded().await? - 2 * profiles;
        let grown = server.metric("onefold_log_bytes").await?.saturating_sub(log);
        let state_grown = server.metric("onefold_store_bytes").await?.saturating_sub(state);
        table.row(
            "through the fold",
            "≥ 30,000 events/s, < 2 GiB",
            &format!("{:.0} events/s", saturated.rate),
            &server.peak(),
            &format!(
                "{profiles} profiles, 100 audiences of which 10 look, {} s; {:.1} µs of processor, {} bytes of log, {} of \
                 state an event",
                args.seconds,
                saturated.cpu,
                grown / events,
                state_grown / events
            ),
        );
    }
    server.kill().await?;
    if restart {
        let server = place.start().await?;
        let ready = server.ready;
        server.drained().await?;
        table.row(
            "restart after kill -9",
            "≤ 5 s",
            &format!("{:.2} s", ready.as_secs_f64()),
            &server.peak(),
            &format!("{profiles} profiles; until /readyz says so"),
        );
        server.kill().await?;
    }
    if cold {
        let place = place.with(&["--cache-mib", COLD_CACHE_MIB]);
        let server = place.start().await?;
        server.drained().await?;
        let state = server.metric("onefold_store_bytes").await?;
        let saturated = saturate(&server, args.load(), 1 << 41, zipf(profiles)).await?;
        table.row(
            "cold state",
            "≥ 15,000 events/s",
            &format!("{:.0} events/s", saturated.rate),
            &server.peak(),
            &format!(
                "{} MiB of state on {COLD_CACHE_MIB} MiB of caches, zipf with 5 % cold, {} s; {:.1} µs of processor an event",
                state >> 20,
                args.seconds,
                saturated.cpu
            ),
        );
        server.kill().await?;
    }
    Ok(())
}

/// All caches together, for the cold run.
const COLD_CACHE_MIB: &str = "64";
