//! One destination's task: reads its rows, sends them lane by lane, notes outcomes in waves.
//!
//! Nothing goes on before it is noted: while the journal or the outbox cannot be written, nothing further is sent, and
//! the same wave is noted again until it is kept. A wave that a kill takes is sent again, under the same ids and, as the
//! row and the catalogue are the same, with the same bodies; batches are put together anew then.

use crate::breaker::{Breaker, BreakerState};
use crate::depth::Depth;
use crate::fault::Fault;
use crate::journal::Journal;
use crate::lanes::Lanes;
use crate::noting::{Noted, forget};
use crate::reading::{Ask, Read, Reader};
use crate::render::Names;
use crate::room::Room;
use crate::sending::{Left, Sender, Sent};
use crate::service::{Delivered, Options};
use crate::standing::Standing;
use onefold_connector::{Answer, Connector, Outcome};
use onefold_log::{Clock, SharedLog};
use onefold_store::{Error, Store};
use onefold_types::{DestinationId, Position, ProfileHandle, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// How long nothing is tried after the disk failed, at most.
const DISK_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a runner that is to stop waits for answers, unless it is told how long it may; the rows stay.
pub(crate) const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How often the status is told how old the oldest effect is, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How often a wave is noted when the runner is to stop.
const LAST_TRIES: u32 = 3;

/// How a destination is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The destination's key.
    pub key: String,
    /// Whether it is enabled. One that is not keeps what it had to send, and is sent nothing.
    pub enabled: bool,
    /// Rows of the outbox that are to be sent, those under way included. At the start, and for a moment after much was written,
    /// as many as have been counted yet.
    pub queued: u64,
    /// Effects of them that are held in memory (DELIVERY-3).
    pub held: usize,
    /// Requests under way.
    pub in_flight: usize,
    /// Effects delivered since start.
    pub delivered: u64,
    /// Attempts that failed since start; a batch that was refused and is sent in halves is none.
    pub failed: u64,
    /// Effects that became dead letters since start.
    pub dead: u64,
    /// The last failure: of an attempt that is made again too, so it says why a destination does not take anything.
    pub last_error: Option<Answer>,
    /// Whether it is left alone for now.
    pub breaker: BreakerState,
    /// When the fold found the effect that has waited longest.
    pub oldest: Option<Timestamp>,
    /// How long ago that was.
    pub oldest_age: Option<Duration>,
    /// Why nothing goes on: the outbox or the journal cannot be read or written. Gone when they can.
    pub trouble: Option<String>,
    /// Rows of the outbox that this release cannot read; they stay.
    pub unreadable: u64,
}

/// What a runner runs with.
pub(crate) struct Runner {
    pub(crate) id: DestinationId,
    pub(crate) key: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    pub(crate) log: SharedLog,
    pub(crate) standing: Arc<dyn Standing>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) wake: Arc<Notify>,
    pub(crate) setup: watch::Receiver<Setup>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) events: broadcast::Sender<Delivered>,
    pub(crate) dice: AtomicU64,
    pub(crate) room: Room,
    pub(crate) fault: Fault,
}

/// What an apply can change of a running destination.
#[derive(Clone)]
pub(crate) struct Setup {
    /// `None` while the destination is disabled or its config cannot be used: its rows wait.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) names: Arc<Names>,
    /// To stop, and how long to wait for answers.
    pub(crate) stop: Option<Duration>,
}

/// A blocking task, at most one at a time.
type Task<T> = JoinSet<Result<T, Error>>;

/// Something that is done with a disk, and when it may be tried again after it failed.
#[derive(Default)]
struct Disk {
    failures: u32,
    not_before: Duration,
    trouble: Option<String>,
}

impl Disk {
    fn failed(&mut self, now: Duration, error: &Error) {
        let pause = Duration::from_millis(100u64 << self.failures.min(10)).min(DISK_PAUSE_MAX);
        self.failures += 1;
        self.not_before = now + pause;
        self.trouble = Some(error.to_string());
    }
}

/// What the loop holds and has under way. Reading, sending and noting go on side by side: noting waits for a disk,
/// sending for the other side of the world, and neither may wait for the other.
struct Held {
    start: Instant,
    lanes: Lanes,
    breaker: Breaker,
    /// The first sequence that was not read.
    cursor: u64,
    /// There may be rows from the cursor on.
    rows_left: bool,
    /// Rows behind the cursor.
    depth: Depth,
    reading: Task<Read>,
    reading_disk: Disk,
    sending: JoinSet<Sent>,
    /// Lanes that did not go with the request they were taken for: no more than there are.
    left: (Left, mpsc::UnboundedReceiver<Vec<ProfileHandle>>),
    /// Sent and not noted.
    sent: Vec<Sent>,
    /// The wave that is being noted, until it is kept.
    wave: Option<Arc<Noted>>,
    noting: Task<bool>,
    noting_disk: Disk,
    /// Where the log begins, as last looked at.
    begin: Option<(Position, Timestamp)>,
    /// Marks from before this may be forgotten.
    forgettable: Option<Timestamp>,
    /// When the status was last told how old the oldest effect is.
    told: Duration,
    /// That may have changed since.
    untold: bool,
}

impl Held {
    fn new(share: usize) -> Self {
        Self {
            start: Instant::now(),
            lanes: Lanes::new(share),
            breaker: Breaker::default(),
            cursor: 0,
            rows_left: true,
            depth: Depth::new(),
            reading: JoinSet::new(),
            reading_disk: Disk::default(),
            sending: JoinSet::new(),
            left: mpsc::unbounded_channel(),
            sent: Vec::new(),
            wave: None,
            noting: JoinSet::new(),
            noting_disk: Disk::default(),
            begin: None,
            forgettable: None,
            told: Duration::ZERO,
            untold: false,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Runner {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let mut answers = LAST_ANSWERS;
        let mut held = Held::new(self.options.window / 8);
        let mut connector: Option<Arc<dyn Connector>> = None;
        loop {
            let setup = self.setup.borrow_and_update().clone();
            if let Some(within) = setup.stop {
                answers = within;
                break;
            }
            if let Some(new) = &setup.connector
                && connector.as_ref().is_some_and(|old| !Arc::ptr_eq(old, new))
            {
                // What was waited for may have been mended.
                held.breaker = Breaker::default();
                let now = held.now();
                held.lanes.hurry(now);
            }
            connector = setup.connector.clone().or(connector);
            self.read(&mut held);
            self.note(&mut held);
            if let Some(connector) = &setup.connector {
                self.send(&mut held, connector, &setup.names);
            }
            self.publish(&mut held);
            let wait = self.wait(&held, setup.connector.is_some());
            tokio::select! {
                Some(read) = held.reading.join_next(), if !held.reading.is_empty() => self.was_read(&mut held, read),
                Some(lanes) = held.left.1.recv() => lanes.into_iter().for_each(|lane| held.lanes.put_back(lane)),
                Some(sent) = held.sending.join_next(), if !held.sending.is_empty() => self.was_sent(&mut held, sent),
                Some(noted) = held.noting.join_next(), if !held.noting.is_empty() => self.was_noted(&mut held, noted),
                () = self.wake.notified() => {
                    held.rows_left = true;
                    held.depth.grew();
                }
                changed = self.setup.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.finish(held, answers).await;
    }

    /// How long there is nothing to do unless something comes.
    fn wait(&self, held: &Held, is_on: bool) -> Duration {
        let now = held.now();
        let room = is_on && held.noting_disk.trouble.is_none() && held.sending.len() < self.options.in_flight;
        let room = room && held.breaker.state() != BreakerState::HalfOpen;
        let send =
            held.lanes.next_try().filter(|_| room).map(|at| at.max(held.breaker.until().unwrap_or_default()));
        let read = held.reading_disk.trouble.as_ref().map(|_| held.reading_disk.not_before);
        let note = held.noting_disk.trouble.as_ref().map(|_| held.noting_disk.not_before);
        let tell = held.untold.then(|| held.told + TOLD_EVERY);
        let first = send.into_iter().chain(read).chain(note).chain(tell).min();
        let wait = first.map_or(Duration::from_secs(60), |at| at.saturating_sub(now));
        wait.max(Duration::from_millis(1))
    }

    /// What is under way ends, or is given up after `answers`; outcomes are noted, so that nothing is sent again in vain.
    async fn finish(&self, mut held: Held, answers: Duration) {
        // What has not gone yet need not.
        self.room.close();
        let answered = async {
            while let Some(sent) = held.sending.join_next().await {
                held.sent.extend(sent);
            }
        };
        if tokio::time::timeout(answers, answered).await.is_err() {
            tracing::warn!(
                destination = self.key,
                requests = held.sending.len(),
                "requests had no answer yet; they are sent again after a restart, under the same ids"
            );
            held.sending.abort_all();
        }
        for attempt in 1.. {
            while let Some(noted) = held.noting.join_next().await {
                self.was_noted(&mut held, noted);
            }
            if (held.wave.is_none() && held.sent.is_empty()) || attempt > LAST_TRIES {
                break;
            }
            held.noting_disk.not_before = Duration::ZERO;
            self.note(&mut held);
        }
        if let Some(trouble) = held.noting_disk.trouble {
            tracing::error!(
                destination = self.key,
                trouble,
                "outcomes could not be noted; the effects will be sent again after a restart"
            );
        }
    }

    /// Reads further rows if there is room: first those that lanes left out, then new ones.
    fn read(&self, held: &mut Held) {
        let now = held.now();
        if !held.reading.is_empty() || now < held.reading_disk.not_before {
            return;
        }
        let window = self.options.window;
        if held.lanes.len() - held.lanes.waiting() >= window / 2 {
            held.lanes.relieve();
        }
        let ready = held.lanes.len().saturating_sub(held.lanes.waiting());
        let ask = match held.lanes.refill_from() {
            Some(from) => Ask::Again { from, to: held.cursor },
            None if held.rows_left
                && ready <= window / 2
                && held.lanes.waiting() < window.saturating_mul(4) =>
            {
                held.rows_left = false;
                held.depth.begin();
                Ask::Ahead { from: held.cursor }
            }
            None => {
                let Some(from) = held.depth.next() else { return };
                held.depth.begin();
                Ask::Count { from }
            }
        };
        let room = window.saturating_sub(ready).max(1);
        let known = held.begin;
        let reader = Reader {
            id: self.id,
            store: self.store.clone(),
            journal: self.journal.clone(),
            log: self.log.clone(),
            clock: self.clock.clone(),
        };
        held.reading.spawn_blocking(move || reader.read(ask, room, now, known));
    }

    fn was_read(&self, held: &mut Held, read: Result<Result<Read, Error>, JoinError>) {
        let read = match flat(read) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(destination = self.key, %error, "the outbox cannot be read");
                held.rows_left = true;
                held.depth.grew();
                self.fault.look(&error);
                let now = held.now();
                held.reading_disk.failed(now, &error);
                return;
            }
        };
        held.reading_disk = Disk::default();
        match read.ask {
            Ask::Again { from, to } => {
                let next = if read.end { to } else { read.next };
                held.lanes.refill(read.items, from, next, read.end);
            }
            Ask::Count { .. } => held.depth.counted(read.rows, read.next, read.end),
            Ask::Ahead { .. } => {
                held.cursor = read.next;
                held.depth.read(read.rows, read.next);
                if !read.end {
                    held.rows_left = true;
                    held.depth.grew();
                }
                read.items.into_iter().for_each(|item| held.lanes.push(item));
                if read.unreadable > 0 {
                    tracing::error!(
                        destination = self.key,
                        rows = read.unreadable,
                        "rows of the outbox cannot be read and stay there"
                    );
                    self.status().unreadable += read.unreadable;
                }
                if let Some((_, at)) = read.begin.filter(|begin| read.end && held.begin != Some(*begin)) {
                    held.begin = read.begin;
                    held.forgettable = Some(at);
                }
            }
        }
    }

    /// Sends what may be sent now, as far as there is room.
    fn send(&self, held: &mut Held, connector: &Arc<dyn Connector>, names: &Arc<Names>) {
        let now = held.now();
        while !self.fault.is_there()
            && held.noting_disk.trouble.is_none()
            && held.sending.len() < self.options.in_flight
            && held.breaker.lets_go(now)
        {
            let mut items = held.lanes.take(now, connector.batch_items());
            if items.is_empty() {
                return;
            }
            for item in &mut items {
                item.deadline.get_or_insert(now + self.options.horizon);
            }
            held.breaker.went();
            let sender = Sender {
                id: self.id,
                connector: connector.clone(),
                journal: self.journal.clone(),
                log: self.log.clone(),
                standing: self.standing.clone(),
                names: names.clone(),
                clock: self.clock.clone(),
            };
            held.sending.spawn(sender.send(items, self.room.clone(), held.left.0.clone()));
        }
    }

    fn was_sent(&self, held: &mut Held, sent: Result<Sent, JoinError>) {
        let mut next = Some(sent);
        while let Some(sent) = next {
            match sent {
                Ok(mut sent) => {
                    self.judge(held, &sent);
                    sent.let_go();
                    held.sent.push(sent);
                }
                Err(error) => {
                    tracing::error!(destination = self.key, %error, "a request was broken off; its lanes wait for a restart");
                    let now = held.now();
                    held.breaker.failed(ProfileHandle(u64::MAX), now, None, self.roll());
                }
            }
            next = held.sending.try_join_next();
        }
    }

    /// What a request's outcome says of the destination as a whole: that of items that were in it. One without a body was
    /// not (its event is gone from the log, or that cannot be read).
    fn judge(&self, held: &mut Held, Sent { items, outcomes, .. }: &Sent) {
        let now = held.now();
        let (mut named, mut lane) = (None, None);
        for (item, outcome) in items.iter().zip(outcomes).filter(|(item, _)| item.body.is_some()) {
            match outcome {
                Outcome::Retry { after, .. } => named = named.max(*after),
                Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::RefusedTogether(_) => {
                    return held.breaker.answered();
                }
            }
            lane = lane.or(Some(item.effect.profile));
        }
        match lane {
            Some(lane) => held.breaker.failed(lane, now, named, self.roll()),
            None => held.breaker.unsent(),
        }
    }

    /// Notes a wave of outcomes: journal first, then the outbox; the lanes go on when both have it.
    fn note(&self, held: &mut Held) {
        let now = held.now();
        if !held.noting.is_empty() || now < held.noting_disk.not_before {
            return;
        }
        if held.wave.is_none() && !held.sent.is_empty() {
            let sent = std::mem::take(&mut held.sent);
            held.wave = Some(Arc::new(Noted::sort(sent, now, self.clock.now(), || self.roll())));
        }
        let Some(wave) = held.wave.clone() else { return };
        let (journal, store, id, begin) =
            (self.journal.clone(), self.store.clone(), self.id, held.forgettable);
        held.noting.spawn_blocking(move || {
            wave.keep(id, &journal, store.as_ref(), now)?;
            begin.map_or(Ok(false), |begin| forget(id, &journal, store.as_ref(), begin))
        });
    }

    /// Lets the lanes of a noted wave go on, and tells who listens.
    fn was_noted(&self, held: &mut Held, noted: Result<Result<bool, Error>, JoinError>) {
        match flat(noted) {
            Ok(true) => {}
            Ok(false) => held.forgettable = None,
            Err(error) => {
                tracing::error!(destination = self.key, %error, "outcomes cannot be noted; nothing further is sent until they are");
                self.fault.look(&error);
                let now = held.now();
                held.noting_disk.failed(now, &error);
                return;
            }
        }
        held.noting_disk = Disk::default();
        let Some(wave) = held.wave.take() else { return };
        // The task is over, so this is the only share.
        let wave = Arc::unwrap_or_clone(wave);
        let mut status = self.status();
        status.delivered += wave.delivered.len() as u64;
        status.dead += wave.dead.len() as u64;
        status.failed += (wave.failed.len() + wave.dead.len()) as u64;
        if let Some((_, answer)) = wave.dead.last().or(wave.failed.last()).or(wave.parted.last()) {
            status.last_error = Some(answer.clone());
        }
        drop(status);
        let dead = wave.dead.into_iter().map(|(item, _)| (item, true));
        for (item, dead) in wave.delivered.into_iter().map(|item| (item, false)).chain(dead) {
            held.lanes.done(item.effect.profile);
            // No one listening is no failure.
            drop(self.events.send(Delivered { destination: self.key.clone(), effect: item.effect, dead }));
        }
        for (mut item, _) in wave.failed.into_iter().chain(wave.parted) {
            // The journal has it, and it may be long until it is needed again.
            item.body = None;
            item.frozen = true;
            held.lanes.retry(item);
        }
        // Their bodies are let go of.
        drop(wave.places);
    }

    fn roll(&self) -> u64 {
        // splitmix64: jitter needs spread, not secrecy.
        let mut z = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, held: &mut Held) {
        let now = held.now();
        // Who is oldest is a look at every lane: once a second is enough.
        let mut status = self.status();
        let is_due = status.oldest.is_none() || now >= held.told + TOLD_EVERY;
        let oldest = is_due.then(|| held.lanes.oldest().map(|effect| effect.observed));
        held.untold = !is_due;
        status.held = held.lanes.len();
        status.queued = (held.lanes.len() + held.lanes.left_out()) as u64 + held.depth.rows();
        status.in_flight = held.sending.len();
        status.breaker = held.breaker.state();
        status.trouble = held.noting_disk.trouble.clone().or_else(|| held.reading_disk.trouble.clone());
        if let Some(oldest) = oldest {
            status.oldest = oldest;
            held.told = now;
        }
        if held.lanes.is_empty() {
            status.oldest = None;
        }
    }
}

/// A task that panicked is an error like one that failed.
fn flat<T>(joined: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    joined.unwrap_or_else(|error| Err(Error::Engine { operation: "run a task", detail: error.to_string() }))
}
