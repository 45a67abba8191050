//! All destinations: starts, changes and stops their runners as the catalogue says; lists and re-drives dead letters.

use crate::journal::{DeadLetter, Journal};
use crate::render::{Names, render};
use crate::runner::{Runner, Setup, Status};
use onefold_connector::{Answer, Outcome, Rendered};
use onefold_log::{Clock, SharedLog};
use onefold_store::{Store, Table};
use onefold_types::effect::{Change, Effect};
use onefold_types::{Catalogue, DestinationId, ProfileHandle, outbox};
use std::collections::BTreeMap;
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
    /// The store failed.
    #[error(transparent)]
    Store(#[from] onefold_store::Error),
}

struct Running {
    id: DestinationId,
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
    clock: Arc<dyn Clock>,
    options: Options,
    events: broadcast::Sender<Delivered>,
    running: Mutex<BTreeMap<String, Running>>,
}

impl Delivery {
    /// Delivery from `store`'s outbox, with its journal in a store of its own.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        journal: Arc<dyn Store>,
        log: SharedLog,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        Self {
            store,
            journal: Journal::new(journal),
            log,
            clock,
            options,
            events: broadcast::channel(1_024).0,
            running: Mutex::default(),
        }
    }

    /// Takes over a catalogue: new destinations start, changed ones go on with the new settings, others stop.
    /// A destination that is disabled or misconfigured keeps its rows.
    pub fn configure(&self, catalogue: &Catalogue) {
        let names = Arc::new(Names::of(catalogue));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for destination in &catalogue.workspace.destinations {
            let Some(&id) = catalogue.destinations.get(&destination.key) else { continue };
            let connector = match onefold_destinations::connect(destination) {
                Ok(connector) if destination.labels.enabled => Some(connector),
                Ok(_) => None,
                Err(error) => {
                    tracing::error!(destination = destination.key, %error, "the destination is paused until its config is mended");
                    None
                }
            };
            let setup = Setup { connector, names: names.clone(), stop: false };
            match running.get(&destination.key) {
                Some(known) => drop(known.setup.send(setup)),
                None => {
                    running.insert(destination.key.clone(), self.start(id, &destination.key, setup));
                }
            }
        }
        running.retain(|key, known| {
            let keep = catalogue.destinations.contains_key(key);
            if !keep {
                known.setup.send_modify(|setup| setup.stop = true);
            }
            keep
        });
    }

    fn start(&self, id: DestinationId, key: &str, setup: Setup) -> Running {
        let (sender, receiver) = watch::channel(setup);
        let status = Arc::new(Mutex::new(Status { key: key.to_owned(), ..Status::default() }));
        let wake = Arc::new(Notify::new());
        let runner = Runner {
            id,
            key: key.to_owned(),
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
        Running { id, setup: sender, status, wake, task: tokio::spawn(runner.run()) }
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

    /// Sends a dead letter once more. A membership that a later transition has overtaken is sent as it is now.
    ///
    /// # Errors
    /// There is no such letter or destination, or the journal failed.
    pub async fn retry(&self, key: &str, sequence: u64) -> Result<Outcome, Error> {
        let (id, setup) = self.find(key)?;
        let missing = || Error::NoLetter { destination: key.to_owned(), sequence };
        let letter =
            self.journal.dead_letters(id, sequence, 1)?.pop().filter(|letter| letter.sequence == sequence);
        let letter = letter.ok_or_else(missing)?;
        let connector = setup.connector.ok_or_else(|| Error::NoDestination(key.to_owned()))?;
        let body = match self.current(&letter.effect)? {
            Some(effect) => render(&effect, &setup.names, None).to_string().into_bytes(),
            None => letter.body,
        };
        let item = [Rendered { id: letter.effect.id_text(), body }];
        let mut outcomes = connector.deliver(&item, self.clock.now().0.div_euclid(1_000)).await;
        let outcome = outcomes.pop().unwrap_or(Outcome::Retry { after: None, answer: Answer::default() });
        if matches!(outcome, Outcome::Delivered(_)) {
            self.journal.bury(id, sequence)?;
        }
        Ok(outcome)
    }

    /// The effect that says how things are now, if the letter's says otherwise.
    fn current(&self, effect: &Effect) -> Result<Option<Effect>, Error> {
        let (audience, said) = match effect.change {
            Change::Entered { audience, .. } => (audience, true),
            Change::Exited { audience } => (audience, false),
            _ => return Ok(None),
        };
        let is = self.is_member(audience.0, effect.profile)?;
        let change =
            if is { Change::Entered { audience, initial: false } } else { Change::Exited { audience } };
        Ok((is != said).then(|| Effect { change, effective: self.clock.now(), ..effect.clone() }))
    }

    fn is_member(&self, audience: u32, profile: ProfileHandle) -> Result<bool, Error> {
        Ok(self
            .store
            .snapshot()?
            .get(Table::AudienceMember, &outbox::member_key(audience, profile))?
            .is_some())
    }

    /// Gives a dead letter up for good.
    ///
    /// # Errors
    /// There is no such destination, or the journal failed.
    pub fn discard(&self, key: &str, sequence: u64) -> Result<(), Error> {
        Ok(self.journal.bury(self.find(key)?.0, sequence)?)
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
    }
}
