//! A receiver on loopback that fails in every way that receivers fail: it errs, it is busy, it does not know who asks, it is
//! not there, it hangs up before or after it has taken a message; and of some messages it will have nothing, nor of a
//! batch with one of them in it.
//!
//! What it answers to an attempt is decided by the seed, the request's id and the number of the attempt, whatever the order
//! in which requests come; which messages are poison, by the seed and the message's id. It notes everything it was sent.

use crate::dice::Dice;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Attempts of one request that may fail; a run has to end.
const FAILURES_MAX: u32 = 2;

/// Per mille of messages of which it will have nothing.
const POISON: u32 = 40;

/// What it says to whoever asks at the wrong time or in the wrong place: any message may be sent again.
const LATER: &[u16] = &[301, 401, 403, 404, 405, 408, 410, 429, 500, 503];

/// What it says to poison.
const REFUSALS: &[u16] = &[400, 409, 413, 422];

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
    /// Said that it will never take that, for there is poison in it.
    Refused(u16),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The path, which names the destination.
    pub path: String,
    /// Its messages and their ids.
    pub messages: Vec<(String, Value)>,
    /// What was done.
    pub deed: Deed,
}

#[derive(Default)]
struct Notes {
    attempts: HashMap<(String, String), u32>,
    receipts: Vec<Receipt>,
    /// It takes whatever comes.
    is_mended: bool,
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

    /// From now on it takes whatever comes.
    pub fn mend(&self) {
        self.notes.lock().unwrap().is_mended = true;
    }

    /// Whether it will have nothing of a message, until it is mended.
    #[must_use]
    pub fn is_poison(&self, path: &str, message: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        ("poison", path, message).hash(&mut hasher);
        Dice::new(self.seed ^ hasher.finish()).rarely(POISON)
    }

    fn decide(&self, path: &str, id: &str, body: &[u8]) -> Deed {
        let messages = messages(body);
        let is_poison = messages.iter().any(|(message, _)| self.is_poison(path, message));
        let mut notes = self.notes.lock().unwrap();
        let attempt = notes.attempts.entry((path.to_owned(), id.to_owned())).or_default();
        *attempt += 1;
        let attempt = *attempt;
        let mut hasher = DefaultHasher::new();
        (path, id, attempt).hash(&mut hasher);
        let mut dice = Dice::new(self.seed ^ hasher.finish());
        let fails = dice.rarely(self.failing) && attempt <= FAILURES_MAX;
        let deed = match dice.below(4) {
            _ if notes.is_mended => Deed::Took,
            0 if fails => Deed::HungUp,
            1 if fails && !is_poison => Deed::TookAndHungUp,
            _ if fails => Deed::Later(*dice.pick(LATER)),
            _ if is_poison => Deed::Refused(*dice.pick(REFUSALS)),
            _ => Deed::Took,
        };
        notes.receipts.push(Receipt { path: path.to_owned(), messages, deed });
        deed
    }

    async fn talk(self, mut stream: TcpStream) {
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let Some((path, id, body)) = request(&mut stream, &mut buffer).await else { return };
            let status = match self.decide(&path, &id, &body) {
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

/// The messages of a body, which is one or a batch of them.
fn messages(body: &[u8]) -> Vec<(String, Value)> {
    let mut body: Value = serde_json::from_slice(body).expect("a body of JSON");
    let all = match body["batch"].take() {
        Value::Array(batch) => batch,
        _ => vec![body],
    };
    all.into_iter().map(|one| (one["messageId"].as_str().expect("a message id").to_owned(), one)).collect()
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
