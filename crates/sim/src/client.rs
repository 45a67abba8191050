//! Clients as they are: they queue, batch, lose answers, send again, send again what was acknowledged, out of order, with
//! clocks that are wrong, and now and then two messages under one id.

use crate::dice::Dice;
use onefold_log::record::Rejected;
use onefold_types::event::{extract, parse_time, resolve_time};
use onefold_types::{Message, Timestamp};
use serde_json::{Value, json};

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    dice: Dice,
    /// How far its clock is off.
    offset_ms: i64,
    sends_sent_at: bool,
    queue: Vec<Value>,
    /// What it knows to be through; some clients send it again all the same.
    acknowledged: Vec<Value>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its items.
    pub items: Vec<Value>,
    sent_at: Option<i64>,
}

/// What ingest makes of a request.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Accepted.
    pub messages: Vec<Message>,
    /// Refused for good.
    pub rejected: Vec<Rejected>,
}

/// Per mille of requests in which a message's id is used for another message.
const CONFLICTS: u32 = 15;

impl Client {
    /// A client with a clock that may be wrong.
    #[must_use]
    pub fn new(mut dice: Dice) -> Self {
        let offset_ms = match dice.below(10) {
            0..6 => 0,
            6 => dice.between(-10_000, 10_000),
            7 => dice.between(-7_200_000, 7_200_000),
            8 => 365 * 86_400_000,
            _ => dice.between(-30_000, 30_000),
        };
        // One that is far off and does not say when it sends is believed, up to the time of receipt.
        let sends_sent_at = offset_ms.abs() > 7_200_000 || dice.chance(70);
        Self { dice, offset_ms, sends_sent_at, queue: Vec::new(), acknowledged: Vec::new() }
    }

    /// Something happened at `now`: the message gets the client's time, or one that is odd.
    pub fn note(&mut self, mut message: Value, now: i64, far: i64) -> i64 {
        let dice = &mut self.dice;
        let mut happened = now;
        match dice.below(20) {
            // An import, or a phone that was offline.
            0..3 => happened = now - dice.between(0, 600_000),
            3 => happened = now - dice.between(0, far),
            4 => happened = now + dice.between(1, 3_600_000),
            _ => {}
        }
        match dice.below(40) {
            0 => {}
            1 => message["timestamp"] = "yesterday".into(),
            2 => {
                // Whole minutes collide.
                message["timestamp"] = (happened.div_euclid(60_000) * 60_000).into();
            }
            _ => message["timestamp"] = (happened + self.offset_ms).into(),
        }
        self.queue.push(message);
        happened
    }

    /// Messages that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The next request at `now`; what it holds waits no more until it comes back.
    pub fn request(&mut self, now: i64) -> Option<Batch> {
        let dice = &mut self.dice;
        if dice.chance(20) {
            dice.shuffle(&mut self.queue);
        }
        let take = (1 + dice.below(6)).min(self.queue.len());
        let mut items: Vec<Value> = self.queue.drain(..take).collect();
        if !self.acknowledged.is_empty() && dice.chance(8) {
            items.push(dice.pick(&self.acknowledged).clone());
        }
        if let Some(first) = items.first().cloned().filter(|_| dice.chance(4)) {
            // A queue that was written twice.
            items.push(first);
        }
        if !self.acknowledged.is_empty() && dice.rarely(CONFLICTS) {
            let mut other = dice.pick(&self.acknowledged).clone();
            other["properties"] = json!({ "price": 99 });
            items.push(other);
        }
        if dice.chance(15) {
            dice.shuffle(&mut items);
        }
        let sent_at = self.sends_sent_at.then_some(now + self.offset_ms);
        if let (Some(sent_at), true) = (sent_at, dice.chance(10)) {
            // Some clients say it in each item, and anew each time.
            items.iter_mut().for_each(|item| item["sentAt"] = sent_at.into());
        }
        (!items.is_empty()).then_some(Batch { items, sent_at })
    }

    /// The server said that it has these.
    pub fn acknowledge(&mut self, items: Vec<Value>) {
        self.acknowledged.extend(items);
    }

    /// No answer came: all of it waits again.
    pub fn give_back(&mut self, mut items: Vec<Value>) {
        if self.dice.chance(50) {
            self.queue.append(&mut items);
        } else {
            self.queue.splice(0..0, items);
        }
    }
}

impl Batch {
    /// What ingest makes of it at `now`.
    #[must_use]
    pub fn decode(&self, now: i64) -> Decoded {
        let mut decoded = Decoded::default();
        for item in &self.items {
            let text = item.to_string();
            match extract(&text, None) {
                Err(error) => decoded.rejected.push(Rejected {
                    source: "web".to_owned(),
                    code: error.code.to_owned(),
                    detail: error.detail,
                    body: text.into_bytes(),
                }),
                Ok(extracted) => {
                    let batch = self.sent_at.and_then(|ms| parse_time(&ms.to_string()));
                    let sent_at = extracted.sent_at.or(batch);
                    decoded.messages.push(Message {
                        message_type: extracted.message_type,
                        ts: resolve_time(extracted.timestamp, sent_at, Timestamp(now)),
                        message_id: extracted.message_id.unwrap_or_default(),
                        source: "web".to_owned(),
                        name: extracted.name,
                        ids: extracted.ids,
                        group_id: extracted.group_id,
                        body: text.into_bytes(),
                    });
                }
            }
        }
        decoded
    }
}
