//! What clients send, and what they are answered: at once, later or never.

use super::World;
use super::homes::Outcome;
use onefold_log::record::Record;
use serde_json::Value;

/// A request under way.
pub(super) struct Pending {
    pub(super) client: usize,
    pub(super) items: Vec<Value>,
    outcomes: Vec<Outcome>,
}

impl World {
    pub(super) fn send(&mut self, client: usize) {
        let Some(batch) = self.clients[client].request(self.now) else { return };
        self.requests += 1;
        self.count("requests");
        if self.dice.chance(5) {
            self.count("requests lost");
            self.clients[client].give_back(batch.items);
            return;
        }
        let decoded = batch.decode(self.now);
        self.tell(|| {
            let texts: Vec<String> = batch.items.iter().map(ToString::to_string).collect();
            format!("client {client} sends {}", texts.join("\n               "))
        });
        let mut outcomes = Vec::new();
        *self.tally.entry("messages sent").or_default() += decoded.messages.len() as u64;
        *self.tally.entry("messages rejected").or_default() += decoded.rejected.len() as u64;
        if !decoded.messages.is_empty() {
            outcomes.push(self.append(&Record::Messages(decoded.messages)));
        }
        if !decoded.rejected.is_empty() {
            outcomes.push(self.append(&Record::Rejected(decoded.rejected)));
        }
        self.pending.push(Pending { client, items: batch.items, outcomes });
        self.answer();
    }

    /// Answers whoever can be answered.
    pub(super) fn answer(&mut self) {
        let mut waiting = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let results: Vec<_> =
                pending.outcomes.iter().map(|outcome| outcome.lock().unwrap().clone()).collect();
            if results.iter().any(Option::is_none) {
                waiting.push(pending);
                continue;
            }
            let taken = results.iter().flatten().all(Result::is_ok);
            self.tell(|| format!("client {} is answered {results:?}", pending.client));
            if !taken {
                self.count("requests failed");
                self.clients[pending.client].give_back(pending.items);
            } else if self.dice.chance(6) {
                self.count("answers lost");
                self.clients[pending.client].give_back(pending.items);
            } else {
                let ids = pending
                    .items
                    .iter()
                    .filter(|item| onefold_types::event::extract(&item.to_string(), None).is_ok());
                let ids = ids.filter_map(|item| item["messageId"].as_str());
                self.acknowledged.extend(ids.map(str::to_owned));
                self.clients[pending.client].acknowledge(pending.items);
            }
        }
        self.pending = waiting;
    }
}
