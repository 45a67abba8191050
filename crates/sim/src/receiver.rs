//! A receiver on loopback that fails in every way that receivers fail: it errs, it is busy, it hangs up before or after it
//! has taken a message, it refuses for good.
//!
//! What it answers to an attempt is decided by the seed, the effect's id and the number of the attempt, whatever the order
//! in which requests come. It notes everything it was sent.

use crate::dice::Dice;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Attempts of one effect that may fail; a run has to end.
const FAILURES_MAX: u32 = 2;

/// What the receiver did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Took it, and said so.
    Took,
    /// Took it, and hung up before it said so.
    TookAndHungUp,
    /// Hung up.
    HungUp,
    /// Said that it may be sent again.
    Later(u16),
    /// Said that it will never take it.
    Refused(u16),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The path, which names the destination.
    pub path: String,
    /// Its `webhook-id`.
    pub id: String,
    /// Its body.
    pub body: Vec<u8>,
    /// What was done.
    pub deed: Deed,
}

#[derive(Default)]
struct Notes {
    attempts: HashMap<(String, String), u32>,
    receipts: Vec<Receipt>,
}

/// See the module.
#[derive(Clone)]
pub struct Receiver {
    seed: u64,
    /// Per mille of attempts that fail.
    failing: u32,
    notes: Arc<Mutex<Notes>>,
}

impl Receiver {
    /// A receiver of a seed.
    #[must_use]
    pub fn new(seed: u64, failing: u32) -> Self {
        Self { seed, failing, notes: Arc::default() }
    }

    /// Everything it was sent.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        self.notes.lock().unwrap().receipts.clone()
    }

    /// How many requests it had.
    #[must_use]
    pub fn count(&self) -> usize {
        self.notes.lock().unwrap().receipts.len()
    }

    /// Takes connections for as long as it is polled.
    pub async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().talk(stream));
        }
    }

    fn decide(&self, path: &str, id: &str, body: Vec<u8>) -> Deed {
        let mut notes = self.notes.lock().unwrap();
        let attempt = notes.attempts.entry((path.to_owned(), id.to_owned())).or_default();
        *attempt += 1;
        let mut hasher = DefaultHasher::new();
        (path, id, *attempt).hash(&mut hasher);
        let mut dice = Dice::new(self.seed ^ hasher.finish());
        let deed = match dice.below(6) {
            _ if !dice.rarely(self.failing) => Deed::Took,
            0 => Deed::Refused(410),
            1 => Deed::Refused(301),
            _ if *attempt > FAILURES_MAX => Deed::Took,
            2 => Deed::HungUp,
            3 => Deed::TookAndHungUp,
            4 => Deed::Later(429),
            _ => Deed::Later(503),
        };
        notes.receipts.push(Receipt { path: path.to_owned(), id: id.to_owned(), body, deed });
        deed
    }

    async fn talk(self, mut stream: TcpStream) {
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let Some((path, id, body)) = request(&mut stream, &mut buffer).await else { return };
            let status = match self.decide(&path, &id, body) {
                Deed::Took => 204,
                Deed::TookAndHungUp | Deed::HungUp => return,
                Deed::Later(status) | Deed::Refused(status) => status,
            };
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The next request's path, `webhook-id` and body; `None` at the end of the connection.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String, Vec<u8>)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let path = head.split_whitespace().nth(1)?.trim_start_matches('/').to_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let (id, length) = (header("webhook-id")?, header("content-length")?.parse::<usize>().ok()?);
    while buffer.len() < end + length {
        more(stream, buffer).await?;
    }
    let rest = buffer.split_off(end + length);
    let body = buffer.split_off(end);
    *buffer = rest;
    Some((path, id, body))
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0u8; 8_192];
    match stream.read(&mut bytes).await {
        Ok(count) if count > 0 => {
            buffer.extend_from_slice(&bytes[..count]);
            Some(())
        }
        _ => None,
    }
}
