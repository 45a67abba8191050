//! A small HTTP/1.1 client: the load generator shares the cores with what it measures, so it does next to nothing.

use crate::Outcome;
use crate::sample::Sample;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The bytes of a POST of JSON.
pub(crate) fn post(path: &str, write_key: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {write_key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The bytes of a GET.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    /// Sends `request`, waits for the answer: its status, and its body in `self`'s buffer from the offset returned.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Outcome<(u16, usize)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.get(9..12).ok_or("no status line")?.parse()?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let length = length.transpose()?.unwrap_or_default();
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok((status, head))
    }

    /// The body of the last answer as JSON.
    pub(crate) async fn json(&mut self, request: &[u8]) -> Outcome<serde_json::Value> {
        let (status, body) = self.call(request).await?;
        if status != 200 {
            return Err(format!("status {status}: {}", String::from_utf8_lossy(&self.buffer[body..])).into());
        }
        Ok(serde_json::from_slice(&self.buffer[body..])?)
    }

    async fn more(&mut self) -> Outcome<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// What a load came to.
pub(crate) struct Load {
    pub(crate) latencies: Sample,
    pub(crate) took: Duration,
}

/// Open loop: request `i` is due at `i / rate` seconds and its latency counts from then, whenever it could be sent, so
/// that a server that stalls is not measured only when it feels well. `make(i)` gives the bytes; any status but 200
/// ends the run.
pub(crate) async fn at_rate(
    address: &str,
    rate: u64,
    lasts: Duration,
    connections: u64,
    make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Outcome<Load> {
    let total = rate * lasts.as_secs();
    let next = Arc::new(AtomicU64::new(0));
    let make = Arc::new(make);
    let start = Instant::now() + Duration::from_millis(100);
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (next, make, mut connection) = (next.clone(), make.clone(), Connection::open(address).await?);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Sample::default();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= total {
                    return Outcome::Ok(latencies);
                }
                let due = start + Duration::from_nanos(i * 1_000_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let request = make(i);
                // The timer wheel wakes up to 1 ms late; that is the generator's, not the server's.
                let due = if Instant::now() < due + Duration::from_millis(2) { Instant::now() } else { due };
                let (status, _) = connection.call(&request).await?;
                if status != 200 {
                    return Err(format!("request {i} got {status}").into());
                }
                latencies.add(due.elapsed());
            }
        }));
    }
    let mut latencies = Sample::default();
    for task in tasks {
        latencies.merge(task.await??);
    }
    Ok(Load { latencies, took: start.elapsed() })
}

/// Closed loop: each connection sends its next request when it has its answer. `make` gives `None` when it is over.
pub(crate) async fn closed(
    address: &str,
    connections: u64,
    make: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Outcome<Load> {
    let next = Arc::new(AtomicU64::new(0));
    let make = Arc::new(make);
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (next, make, mut connection) = (next.clone(), make.clone(), Connection::open(address).await?);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Sample::default();
            while let Some(request) = make(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                let (status, _) = connection.call(&request).await?;
                if status != 200 {
                    return Outcome::Err(format!("a request got {status}").into());
                }
                latencies.add(sent.elapsed());
            }
            Ok(latencies)
        }));
    }
    let mut latencies = Sample::default();
    for task in tasks {
        latencies.merge(task.await??);
    }
    Ok(Load { latencies, took: start.elapsed() })
}

impl Connection {
    /// The body of an answer as text.
    pub(crate) async fn text(&mut self, request: &[u8]) -> Outcome<String> {
        let (_, body) = self.call(request).await?;
        Ok(String::from_utf8_lossy(&self.buffer[body..]).into_owned())
    }
}
