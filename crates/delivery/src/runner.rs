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
use onefold_types::{DestinationId, Timestamp, outbox};
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

/// Rows read ahead: number, effect, and the body that an earlier attempt sent.
type Rows = Vec<(u64, Effect, Option<Vec<u8>>)>;

/// A blocking task, at most one at a time.
type Task<T> = JoinSet<Result<T, onefold_store::Error>>;

/// What the loop has under way. Reading, sending and noting go on side by side: noting waits for a disk, sending for
/// the other side of the world, and neither may wait for the other.
struct UnderWay {
    reading: Task<(Rows, u64, bool)>,
    sending: JoinSet<Sent>,
    noting: Task<Noted>,
    /// Sent and not noted.
    sent: Vec<Sent>,
}

impl Runner {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let start = Instant::now();
        let mut lanes = Lanes::default();
        let mut cursor = 0u64;
        let mut rows_left = true;
        let mut busy = UnderWay {
            reading: JoinSet::new(),
            sending: JoinSet::new(),
            noting: JoinSet::new(),
            sent: Vec::new(),
        };
        loop {
            let setup = self.setup.borrow_and_update().clone();
            if setup.stop {
                break;
            }
            if rows_left && busy.reading.is_empty() && lanes.len() < self.options.window / 2 {
                rows_left = false;
                self.read_ahead(&mut busy.reading, cursor, self.options.window.saturating_sub(lanes.len()));
            }
            if let Some(connector) = &setup.connector {
                self.send_some(&mut lanes, &mut busy.sending, connector, &setup.names, start.elapsed());
            }
            if busy.noting.is_empty() && !busy.sent.is_empty() {
                self.note(&mut busy.noting, std::mem::take(&mut busy.sent), start.elapsed());
            }
            self.publish(&lanes, busy.sending.len());
            let room = setup.connector.is_some() && busy.sending.len() < self.options.in_flight;
            let wait = match lanes.next_try().filter(|_| room) {
                Some(at) => at.saturating_sub(start.elapsed()).max(Duration::from_millis(1)),
                None => Duration::from_secs(60),
            };
            tokio::select! {
                Some(read) = busy.reading.join_next(), if !busy.reading.is_empty() => match flat(read) {
                    Ok((rows, next, more)) => {
                        cursor = next;
                        rows_left |= more;
                        rows.into_iter().for_each(|row| lanes.push(item(row)));
                    }
                    Err(error) => {
                        tracing::error!(destination = self.key, %error, "the outbox cannot be read");
                        rows_left = true;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                Some(sent) = busy.sending.join_next(), if !busy.sending.is_empty() => {
                    busy.sent.extend(sent);
                    while let Some(sent) = busy.sending.try_join_next() {
                        busy.sent.extend(sent);
                    }
                }
                Some(noted) = busy.noting.join_next(), if !busy.noting.is_empty() => {
                    self.noted(&mut lanes, flat(noted));
                }
                () = self.wake.notified() => rows_left = true,
                changed = self.setup.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.finish(busy, &mut lanes, start).await;
    }

    /// What is under way ends; its outcome is noted, so that it is not sent again.
    async fn finish(&self, mut busy: UnderWay, lanes: &mut Lanes, start: Instant) {
        while let Some(sent) = busy.sending.join_next().await {
            busy.sent.extend(sent);
        }
        while let Some(noted) = busy.noting.join_next().await {
            self.noted(lanes, flat(noted));
        }
        self.note(&mut busy.noting, busy.sent, start.elapsed());
        while let Some(noted) = busy.noting.join_next().await {
            self.noted(lanes, flat(noted));
        }
    }

    /// Reads further rows; rows that the journal knows as done are deleted unsent.
    fn read_ahead(&self, reading: &mut Task<(Rows, u64, bool)>, from: u64, room: usize) {
        let (store, journal, id) = (self.store.clone(), self.journal.clone(), self.id);
        reading.spawn_blocking(move || {
            let range = KeyRange::between(outbox::key(id, from), (id.0 + 1).to_be_bytes().to_vec());
            let mut rows: Vec<(u64, Option<Effect>)> = Vec::new();
            store.snapshot()?.scan(Table::Outbox, &range, Direction::Forward, &mut |key, value| {
                if let Some((_, sequence)) = outbox::parse_key(key) {
                    rows.push((sequence, outbox::decode(value)));
                }
                rows.len() < room
            })?;
            let more = rows.len() >= room;
            let next = rows.last().map_or(from, |(sequence, _)| sequence + 1);
            let mut fresh = Vec::new();
            let mut stale = Vec::new();
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
            Ok((fresh, next, more))
        });
    }

    /// Sends what may be sent now, as far as there is room.
    fn send_some(
        &self,
        lanes: &mut Lanes,
        sending: &mut JoinSet<Sent>,
        connector: &Arc<dyn Connector>,
        names: &Arc<Names>,
        now: Duration,
    ) {
        while sending.len() < self.options.in_flight {
            let mut items = Vec::new();
            while items.len() < connector.batch_items() {
                let Some(mut item) = lanes.take(now) else { break };
                item.first_attempt.get_or_insert(now);
                items.push(item);
            }
            if items.is_empty() {
                return;
            }
            let at = self.clock.now().0.div_euclid(1_000);
            sending.spawn(send(connector.clone(), items, self.log.clone(), names.clone(), at));
        }
    }

    /// Notes a wave of outcomes: journal first, then the outbox; the lanes go on when both have it.
    fn note(&self, noting: &mut Task<Noted>, wave: Vec<Sent>, now: Duration) {
        let mut noted = Noted::default();
        for (mut item, outcome) in
            wave.into_iter().flat_map(|(items, outcomes)| items.into_iter().zip(outcomes))
        {
            item.attempts += 1;
            match outcome {
                Outcome::Delivered(_) => noted.delivered.push(item),
                Outcome::Refused(answer) => noted.dead.push((item, answer)),
                Outcome::Retry { after, answer } => {
                    let since = now.saturating_sub(item.first_attempt.unwrap_or(now));
                    if since >= self.options.horizon {
                        noted.dead.push((item, answer));
                    } else {
                        item.not_before = now + backoff::wait(item.attempts, after, self.roll());
                        noted.failed.push((item, answer));
                    }
                }
            }
        }
        let (journal, store, id, at) = (self.journal.clone(), self.store.clone(), self.id, self.clock.now());
        let key = self.key.clone();
        noting.spawn_blocking(move || {
            if let Err(error) = keep(&noted, &journal, store.as_ref(), id, at) {
                // The effects stay in the outbox and the lanes go on: at least once.
                tracing::error!(destination = key, %error, "outcomes could not be noted; the effects will be sent again after a restart");
            }
            Ok(noted)
        });
    }

    /// Lets the lanes of a noted wave go on, and tells who listens.
    fn noted(&self, lanes: &mut Lanes, noted: Result<Noted, onefold_store::Error>) {
        let noted = match noted {
            Ok(noted) => noted,
            Err(error) => {
                tracing::error!(destination = self.key, %error, "noting outcomes was broken off; their lanes wait for a restart");
                return;
            }
        };
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.delivered += noted.delivered.len() as u64;
        status.dead += noted.dead.len() as u64;
        status.failed += (noted.failed.len() + noted.dead.len()) as u64;
        if let Some((_, answer)) = noted.dead.last().or(noted.failed.last()) {
            status.last_error = Some(answer.clone());
        }
        drop(status);
        let dead = noted.dead.into_iter().map(|(item, _)| (item, true));
        for (item, dead) in noted.delivered.into_iter().map(|item| (item, false)).chain(dead) {
            lanes.done(item.effect.profile);
            // No one listening is no failure.
            drop(self.events.send(Delivered { destination: self.key.clone(), effect: item.effect, dead }));
        }
        for (item, _) in noted.failed {
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

/// A wave, sorted by what became of its items.
#[derive(Default)]
struct Noted {
    delivered: Vec<Item>,
    dead: Vec<(Item, Answer)>,
    failed: Vec<(Item, Answer)>,
}

fn keep(
    noted: &Noted,
    journal: &Journal,
    store: &dyn Store,
    id: DestinationId,
    at: Timestamp,
) -> Result<(), onefold_store::Error> {
    for (item, _) in noted.failed.iter().filter(|(item, _)| item.attempts == 1) {
        journal.freeze(id, item.effect.id, item.body.as_deref().unwrap_or_default())?;
    }
    if noted.delivered.is_empty() && noted.dead.is_empty() {
        return Ok(());
    }
    let letters: Vec<DeadLetter> = noted
        .dead
        .iter()
        .map(|(item, answer)| DeadLetter {
            sequence: item.sequence,
            effect: item.effect.clone(),
            body: item.body.clone().unwrap_or_default(),
            attempts: item.attempts,
            answer: answer.clone(),
            at,
        })
        .collect();
    let ids: Vec<u128> = noted.delivered.iter().map(|item| item.effect.id).collect();
    journal.note(id, &ids, &letters)?;
    let through = noted.delivered.iter().chain(noted.dead.iter().map(|(item, _)| item));
    let rows: Vec<u64> = through.map(|item| item.sequence).collect();
    delete_rows(store, id, &rows)
}

fn item((sequence, effect, body): (u64, Effect, Option<Vec<u8>>)) -> Item {
    Item { sequence, effect, attempts: 0, not_before: Duration::ZERO, first_attempt: None, body }
}

/// A task that panicked is an error like one that failed.
fn flat<T>(
    joined: Result<Result<T, onefold_store::Error>, tokio::task::JoinError>,
) -> Result<T, onefold_store::Error> {
    joined.unwrap_or_else(|error| {
        Err(onefold_store::Error::Engine { operation: "run a task", detail: error.to_string() })
    })
}

async fn send(
    connector: Arc<dyn Connector>,
    mut items: Vec<Item>,
    log: SharedLog,
    names: Arc<Names>,
    now: i64,
) -> Sent {
    for item in items.iter_mut().filter(|item| item.body.is_none()) {
        item.body = Some(body(&item.effect, &log, &names).await);
    }
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

/// The body of an effect's message; that of a forwarded event is read from the log.
async fn body(effect: &Effect, log: &SharedLog, names: &Names) -> Vec<u8> {
    let event = match effect.change {
        Change::Event { at } => {
            let log = log.clone();
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
