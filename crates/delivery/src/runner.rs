//! One destination's task: reads its rows, sends them lane by lane, notes outcomes in waves.

use crate::backoff;
use crate::journal::{DeadLetter, Journal};
use crate::lanes::{Item, Lanes};
use crate::render::{Names, render};
use crate::service::{Delivered, Options};
use onefold_connector::{Answer, Connector, Outcome, Rendered};
use onefold_log::{Clock, SharedLog};
use onefold_store::{Direction, KeyRange, Store, Table};
use onefold_types::effect::{Change, Effect};
use onefold_types::{DestinationId, outbox};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;

/// How a destination is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The destination's key.
    pub key: String,
    /// Effects read ahead and not through.
    pub queued: usize,
    /// Requests under way.
    pub in_flight: usize,
    /// Effects delivered since start.
    pub delivered: u64,
    /// Attempts that failed since start.
    pub failed: u64,
    /// Effects that became dead letters since start.
    pub dead: u64,
    /// The last failure.
    pub last_error: Option<Answer>,
}

/// What a runner runs with.
pub(crate) struct Runner {
    pub(crate) id: DestinationId,
    pub(crate) key: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    pub(crate) log: SharedLog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) wake: Arc<Notify>,
    pub(crate) setup: watch::Receiver<Setup>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) events: broadcast::Sender<Delivered>,
    pub(crate) dice: AtomicU64,
}

/// What an apply can change of a running destination.
#[derive(Clone)]
pub(crate) struct Setup {
    /// `None` while the destination is disabled or its config cannot be used: its rows wait.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) names: Arc<Names>,
    pub(crate) stop: bool,
}

type Sent = (Vec<Item>, Vec<Outcome>);

impl Runner {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let start = Instant::now();
        let mut lanes = Lanes::default();
        let mut cursor = 0u64;
        let mut sends: JoinSet<Sent> = JoinSet::new();
        loop {
            let setup = self.setup.borrow_and_update().clone();
            if setup.stop {
                break;
            }
            if lanes.len() < self.options.window / 2 {
                self.read_ahead(&mut lanes, &mut cursor).await;
            }
            if let Some(connector) = &setup.connector {
                while sends.len() < self.options.in_flight {
                    let Some(items) = self
                        .next_batch(&mut lanes, connector.batch_items(), start.elapsed(), &setup.names)
                        .await
                    else {
                        break;
                    };
                    sends.spawn(send(connector.clone(), items, self.clock.now().0.div_euclid(1_000)));
                }
            }
            self.publish(&lanes, sends.len());
            let wait = match lanes
                .next_try()
                .filter(|_| setup.connector.is_some() && sends.len() < self.options.in_flight)
            {
                Some(at) => at.saturating_sub(start.elapsed()).max(Duration::from_millis(1)),
                None => Duration::from_secs(60),
            };
            tokio::select! {
                Some(sent) = sends.join_next(), if !sends.is_empty() => {
                    let mut wave: Vec<Sent> = sent.into_iter().collect();
                    while let Some(sent) = sends.try_join_next() {
                        wave.extend(sent);
                    }
                    self.note(&mut lanes, wave, start.elapsed()).await;
                }
                () = self.wake.notified() => {}
                changed = self.setup.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What is under way ends; its outcome is noted, so that it is not sent again.
        let mut wave = Vec::new();
        while let Some(sent) = sends.join_next().await {
            wave.extend(sent);
        }
        self.note(&mut lanes, wave, start.elapsed()).await;
    }

    /// Reads further rows into the lanes; rows that the journal knows as done are deleted unsent.
    async fn read_ahead(&self, lanes: &mut Lanes, cursor: &mut u64) {
        let (store, journal, id) = (self.store.clone(), self.journal.clone(), self.id);
        let (from, room) = (*cursor, self.options.window.saturating_sub(lanes.len()));
        let read = tokio::task::spawn_blocking(move || -> Result<_, onefold_store::Error> {
            let range = KeyRange::between(outbox::key(id, from), (id.0 + 1).to_be_bytes().to_vec());
            let mut rows: Vec<(u64, Option<Effect>)> = Vec::new();
            store.snapshot()?.scan(Table::Outbox, &range, Direction::Forward, &mut |key, value| {
                if let Some((_, sequence)) = outbox::parse_key(key) {
                    rows.push((sequence, outbox::decode(value)));
                }
                rows.len() < room
            })?;
            let mut fresh = Vec::new();
            let mut stale = Vec::new();
            let next = rows.last().map_or(from, |(sequence, _)| sequence + 1);
            for (sequence, effect) in rows {
                match effect {
                    Some(effect) if !journal.is_done(id, effect.id)? => {
                        let body = journal.frozen(id, effect.id)?;
                        fresh.push((sequence, effect, body));
                    }
                    _ => stale.push(sequence),
                }
            }
            delete_rows(store.as_ref(), id, &stale)?;
            Ok((fresh, next))
        });
        match read.await {
            Ok(Ok((fresh, next))) => {
                *cursor = next;
                for (sequence, effect, body) in fresh {
                    lanes.push(Item {
                        sequence,
                        effect,
                        attempts: 0,
                        not_before: Duration::ZERO,
                        first_attempt: None,
                        body,
                    });
                }
            }
            Ok(Err(error)) => tracing::error!(destination = self.key, %error, "the outbox cannot be read"),
            Err(error) => {
                tracing::error!(destination = self.key, %error, "reading the outbox was broken off")
            }
        }
    }

    /// The next items of one request, rendered.
    async fn next_batch(
        &self,
        lanes: &mut Lanes,
        most: usize,
        now: Duration,
        names: &Arc<Names>,
    ) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        while items.len() < most {
            let Some(mut item) = lanes.take(now) else { break };
            item.first_attempt.get_or_insert(now);
            if item.body.is_none() {
                item.body = Some(self.body(&item.effect, names).await);
            }
            items.push(item);
        }
        (!items.is_empty()).then_some(items)
    }

    async fn body(&self, effect: &Effect, names: &Names) -> Vec<u8> {
        let event = match effect.change {
            Change::Event { at } => {
                let log = self.log.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let entry = log.get(at.position).ok()?;
                    let view = onefold_log::record::message_at(&entry.payload, at.index).ok()??;
                    Some((view.body.to_vec(), view.event_time(entry.rt), view.message_type))
                });
                read.await.ok().flatten()
            }
            _ => None,
        };
        let mut message = render(effect, names, event.as_ref().map(|(body, ..)| body.as_slice()));
        if let Some((_, ts, message_type)) = event {
            message["type"] = message_type.as_str().into();
            message["timestamp"] = crate::render::iso(ts).into();
        }
        message.to_string().into_bytes()
    }

    /// Notes a wave of outcomes: journal first, then the outbox, then the lanes.
    async fn note(&self, lanes: &mut Lanes, wave: Vec<Sent>, now: Duration) {
        let mut delivered = Vec::new();
        let mut dead = Vec::new();
        let mut failed = Vec::new();
        for (mut item, outcome) in
            wave.into_iter().flat_map(|(items, outcomes)| items.into_iter().zip(outcomes))
        {
            item.attempts += 1;
            match outcome {
                Outcome::Delivered(_) => delivered.push(item),
                Outcome::Refused(answer) => dead.push((item, answer)),
                Outcome::Retry { after, answer } => {
                    let since = now.saturating_sub(item.first_attempt.unwrap_or(now));
                    if since >= self.options.horizon {
                        dead.push((item, answer));
                    } else {
                        item.not_before = now + backoff::wait(item.attempts, after, self.roll());
                        failed.push((item, answer));
                    }
                }
            }
        }
        let letters: Vec<DeadLetter> = dead
            .iter()
            .map(|(item, answer)| DeadLetter {
                sequence: item.sequence,
                effect: item.effect.clone(),
                body: item.body.clone().unwrap_or_default(),
                attempts: item.attempts,
                answer: answer.clone(),
                at: self.clock.now(),
            })
            .collect();
        let through: Vec<&Item> = delivered.iter().chain(dead.iter().map(|(item, _)| item)).collect();
        let ids: Vec<u128> = delivered.iter().map(|item| item.effect.id).collect();
        let rows: Vec<u64> = through.iter().map(|item| item.sequence).collect();
        let frozen: Vec<(u128, Vec<u8>)> = failed
            .iter()
            .filter(|(item, _)| item.attempts == 1)
            .map(|(item, _)| (item.effect.id, item.body.clone().unwrap_or_default()))
            .collect();
        let (journal, store, id) = (self.journal.clone(), self.store.clone(), self.id);
        let noted = tokio::task::spawn_blocking(move || -> Result<(), onefold_store::Error> {
            for (effect, body) in &frozen {
                journal.freeze(id, *effect, body)?;
            }
            if !rows.is_empty() {
                journal.note(id, &ids, &letters)?;
                delete_rows(store.as_ref(), id, &rows)?;
            }
            Ok(())
        });
        if let Ok(Err(error)) = noted.await {
            // The effects stay in the outbox and the lanes go on: at least once.
            tracing::error!(destination = self.key, %error, "outcomes could not be noted; the effects will be sent again after a restart");
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.delivered += delivered.len() as u64;
        status.dead += dead.len() as u64;
        status.failed += (failed.len() + dead.len()) as u64;
        if let Some((_, answer)) = dead.last().or(failed.last()) {
            status.last_error = Some(answer.clone());
        }
        drop(status);
        for item in through {
            lanes.done(item.effect.profile);
            // No one listening is no failure.
            drop(self.events.send(Delivered {
                destination: self.key.clone(),
                effect: item.effect.clone(),
                dead: !delivered.iter().any(|d| d.sequence == item.sequence),
            }));
        }
        for (item, _) in failed {
            lanes.retry(item);
        }
    }

    fn roll(&self) -> u64 {
        // splitmix64: jitter needs spread, not secrecy.
        let mut z = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn publish(&self, lanes: &Lanes, in_flight: usize) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.queued = lanes.len();
        status.in_flight = in_flight;
    }
}

fn delete_rows(store: &dyn Store, id: DestinationId, sequences: &[u64]) -> Result<(), onefold_store::Error> {
    if sequences.is_empty() {
        return Ok(());
    }
    let mut txn = store.begin()?;
    for sequence in sequences {
        txn.delete(Table::Outbox, outbox::key(id, *sequence));
    }
    txn.commit()
}

async fn send(connector: Arc<dyn Connector>, items: Vec<Item>, now: i64) -> Sent {
    let rendered: Vec<Rendered> = items
        .iter()
        .map(|item| Rendered { id: item.effect.id_text(), body: item.body.clone().unwrap_or_default() })
        .collect();
    let mut outcomes = connector.deliver(&rendered, now).await;
    // A connector that answers too few has said nothing of the rest.
    outcomes.resize(
        items.len(),
        Outcome::Retry { after: None, answer: Answer { status: 0, text: "no outcome".to_owned() } },
    );
    (items, outcomes)
}
