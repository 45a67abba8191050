//! Delivery in a run: the real service against a [`Receiver`], killed in the middle as often as the seed says, its journal
//! losing what it may lose; and in the end what OUT asks.
//!
//! Here time is real: the service waits on the machine's clock between attempts, and a kill comes after so many requests,
//! not after so many steps. What a receiver answers is still the seed's; how far a phase gets is not (SIM-1 holds for
//! everything but that).

use crate::dice::Dice;
use crate::dump;
use crate::receiver::{Deed, Receiver};
use onefold_delivery::{Delivery, Options, Standing, Stands};
use onefold_log::{ManualClock, SharedLog};
use onefold_store::{MemoryStore, Store};
use onefold_types::effect::Effect;
use onefold_types::{Catalogue, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Per mille of attempts that fail.
const FAILING: u32 = 30;

/// A phase that takes longer has hung.
const PHASE_MAX: Duration = Duration::from_secs(40);

/// No run sends a dead letter again.
struct AsSaid;

impl Standing for AsSaid {
    fn of(&self, _: &Effect) -> Result<Stands, onefold_store::Error> {
        Ok(Stands::AsSaid)
    }
}

/// The delivering side of a run.
pub struct Deliverer {
    dice: Dice,
    journal: Arc<MemoryStore>,
    receiver: Receiver,
    listener: TcpListener,
    options: Options,
    dead: BTreeSet<String>,
}

impl Deliverer {
    /// With a receiver of a seed.
    #[must_use]
    pub fn new(mut dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let options = Options {
            window: *dice.pick(&[2, 10, 10_000]),
            in_flight: *dice.pick(&[1, 4, 32]),
            seed: dice.next(),
            ..Options::default()
        };
        let receiver = Receiver::new(dice.next(), FAILING);
        let journal = Arc::new(MemoryStore::crashable());
        Self { dice, journal, receiver, listener, options, dead: BTreeSet::new() }
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.receiver.count()
    }

    /// Delivers from `store` until so many more requests came, or until nothing is left; then it is killed.
    ///
    /// # Errors
    /// It hangs, or dead letters cannot be read.
    pub fn phase(
        &mut self,
        store: &Arc<dyn Store>,
        log: &SharedLog,
        catalogue: &Catalogue,
        requests: Option<usize>,
    ) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let until = self.receiver.count() + requests.unwrap_or(usize::MAX / 2);
        let outcome = runtime.block_on(async {
            let listener = self.listener.try_clone().expect("a listener");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of the runtime");
            tokio::spawn(self.receiver.clone().serve(listener));
            let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
            let (journal, standing) = (self.journal.clone(), Arc::new(AsSaid));
            let delivery = Delivery::new(store.clone(), journal, log.clone(), standing, clock, self.options);
            delivery.configure(&self.aimed(catalogue));
            let start = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
                let left = dump::outbox(store.as_ref()).len();
                if left == 0 && requests.is_none() {
                    for destination in catalogue.destinations.keys() {
                        let letters = delivery.dead_letters(destination, 0, usize::MAX);
                        let letters = letters.map_err(|error| format!("dead letters: {error}"))?;
                        self.dead
                            .extend(letters.iter().map(|l| format!("{destination} {}", l.effect.id_text())));
                    }
                    return Ok(());
                }
                if left == 0 || self.receiver.count() >= until {
                    return Ok(());
                }
                if start.elapsed() > PHASE_MAX {
                    return Err(format!(
                        "OUT: delivery hangs with {left} effects left: {:?}",
                        delivery.status()
                    ));
                }
            }
        });
        // Everything that waits is gone; what blocks on a disk still ends, as a kernel's write does.
        drop(runtime);
        if requests.is_some() {
            let unsynced = self.journal.unsynced();
            self.journal.crash(self.dice.below(unsynced + 1));
        }
        outcome
    }

    /// The catalogue with its destinations aimed at the receiver.
    fn aimed(&self, catalogue: &Catalogue) -> Catalogue {
        let address = self.listener.local_addr().expect("an address");
        let mut aimed = catalogue.clone();
        for destination in &mut aimed.workspace.destinations {
            destination.config = json!({
                "url": format!("http://{address}/{}", destination.key), "allow_private": true, "timeout_ms": 5_000,
                "secret": "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=",
            });
        }
        aimed
    }

    /// OUT: every effect came, under its id, with one body, in the order of its lane and behind those that it absorbed, or
    /// stands in the dead letters; and nothing else came. `effects` are all there are, in order.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, effects: &[(u64, Effect)], catalogue: &Catalogue) -> Result<(), String> {
        let receipts = self.receiver.receipts();
        let keys: BTreeMap<u32, &String> =
            catalogue.destinations.iter().map(|(key, id)| (id.0, key)).collect();
        let name = |effect: &Effect| format!("{} {}", keys[&effect.destination.0], effect.id_text());
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        let mut through: BTreeMap<String, usize> = BTreeMap::new();
        let mut refused: BTreeSet<String> = BTreeSet::new();
        for (number, receipt) in receipts.iter().enumerate() {
            let id = format!("{} {}", receipt.path, receipt.id);
            let known = *first.entry(id.clone()).or_insert(number);
            if receipts[known].body != receipt.body {
                return Err(format!(
                    "OUT: {id} was sent with two bodies:\n  {}\n  {}",
                    String::from_utf8_lossy(&receipts[known].body),
                    String::from_utf8_lossy(&receipt.body)
                ));
            }
            last.insert(id.clone(), number);
            match receipt.deed {
                Deed::Took => drop(through.entry(id).or_insert(number)),
                Deed::Refused(_) => {
                    through.entry(id.clone()).or_insert(number);
                    refused.insert(id);
                }
                _ => {}
            }
        }
        let is_effect: BTreeSet<String> = effects.iter().map(|(_, effect)| name(effect)).collect();
        if let Some(other) = first.keys().find(|id| !is_effect.contains(*id)) {
            return Err(format!("OUT: {other} was delivered and is no effect"));
        }
        // A kill between the answer and the journal sends it again, so a refusal may have been followed by a taking.
        let taken = |id: &String| receipts[last[id]].deed == Deed::Took;
        if let Some(id) = self.dead.iter().find(|id| !refused.contains(*id)) {
            return Err(format!("OUT: {id} is a dead letter, and nobody refused it"));
        }
        if let Some(id) = refused.iter().find(|id| !self.dead.contains(*id) && !taken(id)) {
            return Err(format!("OUT: {id} was refused, and is no dead letter"));
        }
        let mut lanes: BTreeMap<(u32, u64), Vec<&Effect>> = BTreeMap::new();
        for (_, effect) in effects {
            lanes.entry((effect.destination.0, effect.profile.0)).or_default().push(effect);
        }
        for lane in lanes.values() {
            for effect in lane {
                if !through.contains_key(&name(effect)) {
                    return Err(format!("OUT: {} never came: {effect:?}", name(effect)));
                }
            }
            for pair in lane.windows(2) {
                let (before, after) = (name(pair[0]), name(pair[1]));
                if last[&before] > first[&after] {
                    return Err(format!(
                        "OUT: {after} came before {before} was through, in one lane:\n  {pair:?}"
                    ));
                }
            }
            for effect in lane {
                for absorbed in
                    effect.after.iter().filter_map(|lane| lanes.get(&(effect.destination.0, lane.0)))
                {
                    if let Some(late) =
                        absorbed.iter().find(|other| last[&name(other)] > first[&name(effect)])
                    {
                        return Err(format!("OUT: {effect:?}\n  came before what it absorbed: {late:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}
