//! From POST to the webhook's arrival: each event is forwarded, and carries the instant at which it was sent.

use crate::events::{WRITE_KEY, scatter, track, workspace};
use crate::http::{at_rate, post};
use crate::sample::Sample;
use crate::server::Place;
use crate::table::Table;
use crate::{Args, Outcome};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const USERS: u64 = 20_000;
const RATE: u64 = 2_000;

pub(crate) async fn latency(args: &Args, table: &mut Table) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let hook = listener.local_addr()?;
    let (epoch, arrived) = (Instant::now(), Arc::new(Mutex::new(Sample::default())));
    let receiver = tokio::spawn(receive(listener, epoch, arrived.clone()));
    let destination = format!(
        "destinations:\n  - key: hook\n    kind: webhook\n    config: {{ url: \"http://{hook}/\", secret: \
         \"whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=\", allow_private: true }}\n    events: ['\"Sent\"']\n"
    );
    let place = Place::new(args, &workspace(&destination))?;
    let server = place.start().await?;
    let make = move |i| {
        let sent = format!("\"sent_us\":{},", epoch.elapsed().as_micros());
        let at = crate::events::iso(crate::events::now_ms());
        post("/v1/track", WRITE_KEY, track(i, scatter(i) % USERS, "Sent", &at, &sent).as_bytes())
    };
    at_rate(&server.address, RATE, args.load(), 64, make).await?;
    let sent = usize::try_from(RATE * args.seconds)?;
    let began = Instant::now();
    let count = || arrived.lock().unwrap_or_else(PoisonError::into_inner).len();
    while count() < sent && began.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.abort();
    let mut sample = arrived.lock().unwrap_or_else(PoisonError::into_inner).clone();
    table.row(
        "POST to webhook received",
        "p50 ≤ 10 ms, p99 ≤ 50 ms",
        &sample.describe(),
        &server.peak(),
        &format!(
            "{RATE} events/s of {USERS} users, each signed and sent; {} of {sent} arrived",
            sample.len()
        ),
    );
    server.kill().await
}

async fn receive(listener: TcpListener, epoch: Instant, arrived: Arc<Mutex<Sample>>) -> Outcome<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let arrived = arrived.clone();
        tokio::spawn(async move { drop(answer(stream, epoch, &arrived).await) });
    }
}

/// Answers 200 to each request of a connection and notes how long its event was under way.
async fn answer(mut stream: TcpStream, epoch: Instant, arrived: &Mutex<Sample>) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.ok_or("no length")?;
        while buffer.len() < head + length {
            stream.read_buf(&mut buffer).await?;
        }
        let now = epoch.elapsed();
        let marker = b"\"sent_us\":";
        if let Some(at) = buffer.windows(marker.len()).position(|window| window == marker) {
            let digits = buffer[at + marker.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            let sent = digits.fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
            let under_way = now.saturating_sub(Duration::from_micros(sent));
            arrived.lock().unwrap_or_else(PoisonError::into_inner).add(under_way);
        }
        buffer.drain(..head + length);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    }
}
