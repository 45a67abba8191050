//! All destinations: starts, changes and stops their runners as the catalogue says; lists and re-drives dead letters.

use crate::journal::{DeadLetter, Journal};
use crate::render::Names;
use crate::runner::{Runner, Setup, Status};
use crate::sending::{Sender, deliver};
use crate::standing::{Standing, Stands};
use onefold_connector::{Answer, ConfigError, Connector, Outcome, Rendered};
use onefold_log::{Clock, SharedLog};
use onefold_store::Store;
use onefold_types::effect::Effect;
use onefold_types::workspace::Destination;
use onefold_types::{Catalogue, DestinationId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;

/// How delivery works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Effects of one destination read ahead.
    pub window: usize,
    /// Requests of one destination under way at once.
    pub in_flight: usize,
    /// How long an effect is tried before it is a dead letter.
    pub horizon: Duration,
    /// Where the jitter starts.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: 10_000, in_flight: 32, horizon: Duration::from_secs(3 * 86_400), seed: 1 }
    }
}

/// An effect that is through, for the live stream.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The destination's key.
    pub destination: String,
    /// The effect.
    pub effect: Effect,
    /// It became a dead letter.
    pub dead: bool,
}

/// A re-drive that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such destination is running.
    #[error("there is no enabled destination `{0}`")]
    NoDestination(String),
    /// No such dead letter.
    #[error("destination {destination} has no dead letter {sequence}")]
    NoLetter {
        /// The destination.
        destination: String,
        /// The number.
        sequence: u64,
    },
    /// Someone sends or discards it right now.
    #[error(
        "dead letter {sequence} of destination {destination} is being sent right now; look again when that is over"
    )]
    UnderWay {
        /// The destination.
        destination: String,
        /// The number.
        sequence: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] onefold_store::Error),
}

/// Makes the connector of a destination.
pub type Connect = Arc<dyn Fn(&Destination) -> Result<Arc<dyn Connector>, ConfigError> + Send + Sync>;

struct Running {
    id: DestinationId,
    /// As it was configured last.
    destination: Destination,
    setup: watch::Sender<Setup>,
    status: Arc<Mutex<Status>>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

/// See the module. Must be made inside a tokio runtime.
pub struct Delivery {
    store: Arc<dyn Store>,
    journal: Journal,
    log: SharedLog,
    standing: Arc<dyn Standing>,
    clock: Arc<dyn Clock>,
    options: Options,
    events: broadcast::Sender<Delivered>,
    connect: Connect,
    running: Mutex<BTreeMap<String, Running>>,
    /// Runners that were told to stop and may not have.
    stopping: Mutex<BTreeMap<DestinationId, JoinHandle<()>>>,
    /// Dead letters that are being sent or discarded.
    redriven: Mutex<BTreeSet<(DestinationId, u64)>>,
}

/// Holds a dead letter for the one who sends or discards it.
struct Hold<'a> {
    delivery: &'a Delivery,
    letter: (DestinationId, u64),
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.delivery.redriven.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.letter);
    }
}

impl Delivery {
    /// Delivery from `store`'s outbox, with its journal in a store of its own. `log` has the events that are forwarded,
    /// `standing` says what dead letters are sent again as.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        journal: Arc<dyn Store>,
        log: SharedLog,
        standing: Arc<dyn Standing>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        Self {
            store,
            journal: Journal::new(journal),
            log,
            standing,
            clock,
            options,
            events: broadcast::channel(1_024).0,
            connect: Arc::new(onefold_destinations::connect),
            running: Mutex::default(),
            stopping: Mutex::default(),
            redriven: Mutex::default(),
        }
    }

    /// The same with other connectors than this build's, for tests and simulations.
    #[must_use]
    pub fn with_connectors(mut self, connect: Connect) -> Self {
        self.connect = connect;
        self
    }

    /// Takes over a catalogue: new destinations start, changed ones go on with the new settings, others stop.
    /// A destination that is disabled or misconfigured keeps its rows.
    pub fn configure(&self, catalogue: &Catalogue) {
        let names = Arc::new(Names::of(catalogue));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is removed stops first: it may come back under another id.
        let gone: Vec<String> = running
            .iter()
            .filter(|(key, known)| catalogue.destinations.get(*key) != Some(&known.id))
            .map(|(key, _)| key.clone())
            .collect();
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        stopping.retain(|_, task| !task.is_finished());
        for known in gone.iter().filter_map(|key| running.remove(key)) {
            known.setup.send_modify(|setup| setup.stop = true);
            stopping.insert(known.id, known.task);
        }
        for destination in &catalogue.workspace.destinations {
            let Some(&id) = catalogue.destinations.get(&destination.key) else { continue };
            match running.get_mut(&destination.key) {
                Some(known) => {
                    let old = known.setup.borrow().connector.clone();
                    let same = known.destination == *destination;
                    // One that has not changed keeps its connections and its patience.
                    let connector = old.filter(|_| same).or_else(|| self.connector(destination));
                    known.destination = destination.clone();
                    known.setup.send_replace(Setup { connector, names: names.clone(), stop: false });
                }
                None => {
                    let connector = self.connector(destination);
                    let setup = Setup { connector, names: names.clone(), stop: false };
                    let before = stopping.remove(&id);
                    running.insert(destination.key.clone(), self.start(id, destination, setup, before));
                }
            }
        }
    }

    /// `None` if the destination is disabled or its config cannot be used.
    fn connector(&self, destination: &Destination) -> Option<Arc<dyn Connector>> {
        match (self.connect)(destination) {
            Ok(connector) => destination.labels.enabled.then_some(connector),
            Err(error) => {
                tracing::error!(destination = destination.key, %error, "the destination is paused until its config is mended");
                None
            }
        }
    }

    /// Starts a runner, once the one `before` it has ended: two would send everything twice.
    fn start(
        &self,
        id: DestinationId,
        destination: &Destination,
        setup: Setup,
        before: Option<JoinHandle<()>>,
    ) -> Running {
        let key = &destination.key;
        let (sender, receiver) = watch::channel(setup);
        let status = Arc::new(Mutex::new(Status { key: key.clone(), ..Status::default() }));
        let wake = Arc::new(Notify::new());
        let runner = Runner {
            id,
            key: key.clone(),
            store: self.store.clone(),
            journal: self.journal.clone(),
            log: self.log.clone(),
            clock: self.clock.clone(),
            options: self.options,
            wake: wake.clone(),
            setup: receiver,
            status: status.clone(),
            events: self.events.clone(),
            dice: AtomicU64::new(self.options.seed ^ u64::from(id.0)),
        };
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                drop(before.await);
            }
            runner.run().await;
        });
        Running { id, destination: destination.clone(), setup: sender, status, wake, task }
    }

    /// The fold has written rows.
    pub fn wake(&self) {
        for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            running.wake.notify_one();
        }
    }

    /// How each destination is doing.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .values()
            .map(|known| known.status.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// Effects as they get through.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Delivered> {
        self.events.subscribe()
    }

    /// Dead letters of a destination from number `from`.
    ///
    /// # Errors
    /// No such destination, or the journal failed.
    pub fn dead_letters(&self, key: &str, from: u64, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.journal.dead_letters(self.find(key)?.0, from, limit)?)
    }

    fn find(&self, key: &str) -> Result<(DestinationId, Setup), Error> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.get(key).ok_or_else(|| Error::NoDestination(key.to_owned()))?;
        Ok((known.id, known.setup.borrow().clone()))
    }

    fn hold(&self, destination: &str, id: DestinationId, sequence: u64) -> Result<Hold<'_>, Error> {
        let letter = (id, sequence);
        if !self.redriven.lock().unwrap_or_else(PoisonError::into_inner).insert(letter) {
            return Err(Error::UnderWay { destination: destination.to_owned(), sequence });
        }
        Ok(Hold { delivery: self, letter })
    }

    /// Sends a dead letter once more, outside its lane: it is older than all that waits there. What was overtaken since is
    /// sent as it stands now ([`Standing`]), at the time of now; what was not goes with the body that it had. One of which
    /// nothing can be said any more is refused without a request, with the reason as the answer. A letter that is not
    /// delivered stays.
    ///
    /// # Errors
    /// There is no such letter or destination, it is being sent already, or the journal or the state failed.
    pub async fn retry(&self, key: &str, sequence: u64) -> Result<Outcome, Error> {
        let (id, setup) = self.find(key)?;
        let held = self.hold(key, id, sequence)?;
        let (journal, standing, now) = (self.journal.clone(), self.standing.clone(), self.clock.now());
        let found = blocking(move || {
            let Some(letter) = journal.dead_letter(id, sequence)? else { return Ok(None) };
            let stands = standing.of(&letter.effect)?;
            Ok(Some((letter, stands)))
        });
        let missing = || Error::NoLetter { destination: key.to_owned(), sequence };
        let (letter, stands) = found.await?.ok_or_else(missing)?;
        let connector = setup.connector.ok_or_else(|| Error::NoDestination(key.to_owned()))?;
        let sender = Sender {
            id,
            connector: connector.clone(),
            journal: self.journal.clone(),
            log: self.log.clone(),
            names: setup.names,
            at: now.0.div_euclid(1_000),
        };
        let body = match stands {
            Stands::AsSaid if letter.body.is_empty() => sender.body(&letter.effect, false).await,
            Stands::AsSaid => Ok(letter.body),
            Stands::Changed(current) => {
                let id = letter.effect.id;
                sender.body(&Effect { id, effective: now, ..*current }, false).await
            }
            Stands::Nowhere(text) => Err(Outcome::Refused(Answer { status: 0, text })),
        };
        let body = match body {
            Ok(body) => body,
            Err(outcome) => return Ok(outcome),
        };
        let item = vec![Rendered { id: letter.effect.id_text(), body }];
        let outcome = deliver(connector, item, sender.at).await.pop();
        let outcome = outcome.unwrap_or(Outcome::Retry { after: None, answer: Answer::default() });
        if matches!(outcome, Outcome::Delivered(_)) {
            let journal = self.journal.clone();
            blocking(move || journal.bury(id, sequence)).await?;
        }
        drop(held);
        Ok(outcome)
    }

    /// Gives a dead letter up for good.
    ///
    /// # Errors
    /// There is no such letter or destination, it is being sent, or the journal failed.
    pub fn discard(&self, key: &str, sequence: u64) -> Result<(), Error> {
        let id = self.find(key)?.0;
        let held = self.hold(key, id, sequence)?;
        let was_there = self.journal.bury(id, sequence)?;
        drop(held);
        if was_there { Ok(()) } else { Err(Error::NoLetter { destination: key.to_owned(), sequence }) }
    }

    /// Stops all runners; requests under way end and are noted.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for known in running.values() {
            known.setup.send_modify(|setup| setup.stop = true);
        }
        for known in running.into_values() {
            drop(known.task.await);
        }
        let stopping = std::mem::take(&mut *self.stopping.lock().unwrap_or_else(PoisonError::into_inner));
        for task in stopping.into_values() {
            drop(task.await);
        }
    }
}

/// Runs `task` where it may wait for a disk.
async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, onefold_store::Error> + Send + 'static,
) -> Result<T, onefold_store::Error> {
    tokio::task::spawn_blocking(task).await.unwrap_or_else(|error| {
        Err(onefold_store::Error::Engine { operation: "run a task", detail: error.to_string() })
    })
}
