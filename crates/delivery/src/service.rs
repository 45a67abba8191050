//! All destinations: starts, changes and stops their runners as the catalogue says.

use crate::fault::Fault;
use crate::journal::Journal;
use crate::removed::{Ended, RemovedRows, Sweeper};
use crate::render::Names;
use crate::room::Room;
use crate::runner::{LAST_ANSWERS, Runner, Setup, Status};
use crate::standing::Standing;
use onefold_connector::{ConfigError, Connector};
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

/// How delivery works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Effects of one destination read ahead.
    pub window: usize,
    /// Requests of one destination under way at once.
    pub in_flight: usize,
    /// Bytes of the bodies in one request at most; an item that has more goes alone.
    pub request_bytes: usize,
    /// Bytes of bodies that all requests of one destination may hold: one with less room waits.
    pub in_flight_bytes: usize,
    /// How long an effect is tried before it is a dead letter.
    pub horizon: Duration,
    /// Where the jitter starts.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 10_000,
            in_flight: 32,
            request_bytes: 4 << 20,
            in_flight_bytes: 32 << 20,
            horizon: Duration::from_secs(3 * 86_400),
            seed: 1,
        }
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
    ended: Ended,
}

/// See the module. Must be made inside a tokio runtime.
pub struct Delivery {
    store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    pub(crate) log: SharedLog,
    pub(crate) standing: Arc<dyn Standing>,
    pub(crate) clock: Arc<dyn Clock>,
    options: Options,
    events: broadcast::Sender<Delivered>,
    connect: Connect,
    running: Mutex<BTreeMap<String, Running>>,
    /// Runners that were told to stop and may not have.
    stopping: Mutex<BTreeMap<DestinationId, (String, Ended)>>,
    /// Dead letters that are being sent or discarded.
    pub(crate) redriven: Mutex<BTreeSet<(DestinationId, u64)>>,
    sweeper: Sweeper,
    pub(crate) fault: Fault,
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
            sweeper: Sweeper::default(),
            fault: Fault::default(),
        }
    }

    /// The same with other connectors than this build's, for tests and simulations.
    #[must_use]
    pub fn with_connectors(mut self, connect: Connect) -> Self {
        self.connect = connect;
        self
    }

    /// Takes over a catalogue: new destinations start, changed ones go on with the new settings, others stop.
    /// A destination that is disabled or misconfigured keeps its rows; those of one that was removed go, once what it had
    /// under way has ended. The caller has committed every row that it wrote under catalogues before this one.
    pub fn configure(&self, catalogue: &Catalogue) {
        let names = Arc::new(Names::of(catalogue));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is removed stops first: its key may come back under another id.
        let gone: Vec<String> = running
            .iter()
            .filter(|(key, known)| catalogue.destinations.get(*key) != Some(&known.id))
            .map(|(key, _)| key.clone())
            .collect();
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        stopping.retain(|_, (_, ended)| ended.has_changed().is_ok());
        for (key, known) in gone.into_iter().filter_map(|key| running.remove_entry(&key)) {
            known.setup.send_modify(|setup| setup.stop = Some(LAST_ANSWERS));
            stopping.insert(known.id, (key, known.ended));
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
                    known.setup.send_replace(Setup { connector, names: names.clone(), stop: None });
                }
                None if self.is_removed_later(id, destination, catalogue) => {}
                None => {
                    let connector = self.connector(destination);
                    let setup = Setup { connector, names: names.clone(), stop: None };
                    let before = stopping.remove(&id).map(|(_, ended)| ended);
                    running.insert(destination.key.clone(), self.start(id, destination, setup, before));
                }
            }
        }
        let left = stopping.clone();
        self.sweeper.start(self.store.clone(), self.journal.clone(), catalogue, left, self.fault.clone());
    }

    /// Whether the journal knows that a later catalogue removes the destination: the state was rebuilt and is not there
    /// yet. The marks are gone, so all that it had would be sent again (JOURNAL-3).
    fn is_removed_later(&self, id: DestinationId, destination: &Destination, catalogue: &Catalogue) -> bool {
        let removed = self.journal.removed(id).unwrap_or_else(|error| {
            // The runner looks its effects up in the same place, and sends nothing while it cannot.
            tracing::error!(destination = destination.key, %error, "the journal cannot be read");
            None
        });
        let is_later = removed.is_some_and(|version| version > catalogue.version);
        if is_later {
            tracing::info!(
                destination = destination.key,
                "nothing is sent: a later catalogue removes the destination"
            );
        }
        is_later
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
        before: Option<Ended>,
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
            standing: self.standing.clone(),
            clock: self.clock.clone(),
            options: self.options,
            wake: wake.clone(),
            setup: receiver,
            status: status.clone(),
            events: self.events.clone(),
            dice: AtomicU64::new(self.options.seed ^ u64::from(id.0)),
            room: Room::new(self.options.in_flight_bytes, self.options.request_bytes),
            fault: self.fault.clone(),
        };
        let (fault, name) = (self.fault.clone(), key.clone());
        let (alive, ended) = watch::channel(());
        tokio::spawn(async move {
            let _alive = alive;
            if let Some(mut before) = before {
                while before.changed().await.is_ok() {}
            }
            // In a task of its own, so that one that panics is no silence.
            if let Err(error) = tokio::spawn(runner.run()).await
                && error.is_panic()
            {
                fault.set(&format!("what drives destination {name} panicked: {error}"));
            }
        });
        Running { id, destination: destination.clone(), setup: sender, status, wake, ended }
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
        let now = self.clock.now();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .values()
            .map(|known| {
                let status = known.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let age = status.oldest.map(|at| now.0.saturating_sub(at.0).max(0).unsigned_abs());
                Status {
                    enabled: known.destination.labels.enabled,
                    oldest_age: age.map(Duration::from_millis),
                    ..status
                }
            })
            .collect()
    }

    /// Rows of removed destinations that were cleared away since start.
    #[must_use]
    pub fn removed_rows(&self) -> RemovedRows {
        self.sweeper.counts()
    }

    /// Effects as they get through.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Delivered> {
        self.events.subscribe()
    }

    pub(crate) fn find(&self, key: &str) -> Result<(DestinationId, Setup), Error> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.get(key).ok_or_else(|| Error::NoDestination(key.to_owned()))?;
        Ok((known.id, known.setup.borrow().clone()))
    }

    /// Why delivery has stopped by itself, if it has (DELIVERY-7).
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.fault.why()
    }

    /// Waits until delivery stops by itself (DELIVERY-7).
    pub async fn failed(&self) {
        self.fault.comes().await;
    }

    /// Notes what an error of the journal means for all of delivery.
    pub(crate) fn looked_at<T>(
        &self,
        outcome: Result<T, onefold_store::Error>,
    ) -> Result<T, onefold_store::Error> {
        outcome.inspect_err(|error| self.fault.look(error))
    }

    /// Stops all runners; requests under way are given a moment to end, and are noted.
    pub async fn stop(&self) {
        self.stop_within(LAST_ANSWERS).await;
    }

    /// Stops all runners; requests under way have so long to end, and are noted. Without any it is over at once.
    pub async fn stop_within(&self, answers: Duration) {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for known in running.values() {
            known.setup.send_modify(|setup| setup.stop = Some(answers));
        }
        let stopping = std::mem::take(&mut *self.stopping.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = running
            .into_values()
            .map(|known| known.ended)
            .chain(stopping.into_values().map(|(_, ended)| ended));
        for mut ended in ended {
            while ended.changed().await.is_ok() {}
        }
        self.sweeper.stop().await;
    }
}

/// Runs `task` where it may wait for a disk.
pub(crate) async fn blocking<T: Send + 'static>(
    task: impl FnOnce() -> Result<T, onefold_store::Error> + Send + 'static,
) -> Result<T, onefold_store::Error> {
    tokio::task::spawn_blocking(task).await.unwrap_or_else(|error| {
        Err(onefold_store::Error::Engine { operation: "run a task", detail: error.to_string() })
    })
}
