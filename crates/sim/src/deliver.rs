//! Delivery in a run: the real service against a [`Receiver`], killed in the middle as often as the seed says, its journal
//! losing what it may lose; and in the end what OUT asks. Some destinations take batches. When all is through, exactly the
//! poison is dead; the receiver is mended, and all letters are sent again.
//!
//! Here time is real: the service waits on the machine's clock between attempts, and a kill comes after so many requests,
//! not after so many steps. What a receiver answers is still the seed's; how far a phase gets is not (SIM-1 holds for
//! everything but that).

use crate::dice::Dice;
use crate::dump;
use crate::receiver::{Deed, Receipt, Receiver};
use onefold_delivery::{Delivery, Options, Standing, Stands};
use onefold_log::{ManualClock, SharedLog};
use onefold_store::{MemoryStore, Store};
use onefold_types::effect::{Cause, Effect};
use onefold_types::{Catalogue, Timestamp, TraitId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Per mille of attempts that fail.
const FAILING: u32 = 30;

/// A phase that takes longer has hung.
const PHASE_MAX: Duration = Duration::from_secs(40);

/// Letters are sent again as they were said.
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
    /// Messages in one request, of destinations with an even id and with an odd one.
    batches: [Option<usize>; 2],
    dead: BTreeSet<String>,
    /// Requests before the receiver was mended.
    before: usize,
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
        let batches = [0, 1].map(|_| *dice.pick(&[None, Some(1), Some(2), Some(7), Some(100)]));
        Self { dice, journal, receiver, listener, options, batches, dead: BTreeSet::new(), before: 0 }
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.receiver.count()
    }

    /// What came to pass so far.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        let receipts = self.receiver.receipts();
        let is_refused =
            |receipt: &&Receipt| receipt.messages.len() > 1 && matches!(receipt.deed, Deed::Refused(_));
        [
            ("requests to the receiver", receipts.len()),
            ("batches refused for one of them", receipts.iter().filter(is_refused).count()),
            ("dead letters sent again", self.dead.len()),
        ]
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
                    self.before = self.receiver.count();
                    self.receiver.mend();
                    return redrive(&delivery, catalogue).await;
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
        // A computed trait that was removed keeps a name here: what waited so long would else be a dead letter, and of these the
        // simulator expects none but poison.
        for computed in (1..catalogue.next_id).map(TraitId) {
            if !catalogue.traits.values().any(|known| *known == computed) {
                aimed.traits.insert(computed.to_string(), computed);
            }
        }
        for destination in &mut aimed.workspace.destinations {
            destination.config = json!({
                "url": format!("http://{address}/{}", destination.key), "allow_private": true, "timeout_ms": 5_000,
                "batch": self.batches[catalogue.destinations[&destination.key].0 as usize % 2],
                "secret": "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=",
            });
        }
        aimed
    }

    /// OUT: every effect was taken, under its id, with one body, in the order of its lane and behind those that it absorbed;
    /// but poison was not: that, and nothing else, was a dead letter, until all letters were sent again, in that order too.
    /// Nothing else came. `effects` are all there are, in order.
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
        let mut taken: BTreeSet<String> = BTreeSet::new();
        let mut refused: BTreeSet<String> = BTreeSet::new();
        let mut bodies: BTreeMap<String, &Value> = BTreeMap::new();
        let mut again: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, receipt) in receipts.iter().enumerate() {
            for (message, body) in &receipt.messages {
                let id = format!("{} {message}", receipt.path);
                let known = *bodies.entry(id.clone()).or_insert(body);
                if known != body {
                    return Err(format!("OUT: {id} was sent with two bodies:\n  {known}\n  {body}"));
                }
                if number >= self.before {
                    again.entry(id).or_default().push(number);
                    continue;
                }
                first.entry(id.clone()).or_insert(number);
                last.insert(id.clone(), number);
                match receipt.deed {
                    Deed::Took => drop(taken.insert(id)),
                    // Alone: a batch that is refused for one of its messages goes again in halves.
                    Deed::Refused(_) if receipt.messages.len() == 1 => drop(refused.insert(id)),
                    _ => {}
                }
            }
        }
        let is_effect: BTreeSet<String> = effects.iter().map(|(_, effect)| name(effect)).collect();
        if let Some(other) = bodies.keys().find(|id| !is_effect.contains(*id)) {
            return Err(format!("OUT: {other} was delivered and is no effect"));
        }
        for (_, effect) in effects {
            let id = name(effect);
            let is_poison = self.receiver.is_poison(keys[&effect.destination.0], &effect.id_text());
            let is_dead = self.dead.contains(&id);
            match (is_poison, is_dead) {
                (true, false) => return Err(format!("OUT: {id} is poison, and no dead letter")),
                (false, true) => return Err(format!("OUT: {id} is a dead letter, and no poison")),
                _ => {}
            }
            let is_through = if is_poison { refused.contains(&id) } else { taken.contains(&id) };
            if !is_through {
                return Err(format!("OUT: {id} never came alone, or never came: {effect:?}"));
            }
            let times = again.get(&id).map_or(0, Vec::len);
            if times != usize::from(is_dead) {
                return Err(format!("OUT: {id} was sent again {times} times; dead: {is_dead}"));
            }
        }
        // The order without a crash; what a definition began may have come elsewhere among other profiles' messages.
        let place: BTreeMap<String, usize> =
            effects.iter().enumerate().map(|(place, (_, effect))| (name(effect), place)).collect();
        let mut lanes: BTreeMap<(u32, u64), Vec<&Effect>> = BTreeMap::new();
        for (_, effect) in effects {
            lanes.entry((effect.destination.0, effect.profile.0)).or_default().push(effect);
        }
        for lane in lanes.values() {
            let letters: Vec<&usize> =
                lane.iter().filter_map(|effect| again.get(&name(effect))).flatten().collect();
            if !letters.is_sorted() {
                return Err(format!("OUT: letters of one lane were sent again out of order: {lane:?}"));
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
                    // A change of rules may leave some of the absorbed in place: what it is told later is later.
                    let is_earlier = |other: &&&Effect| {
                        place[&name(other)] < place[&name(effect)] && other.cause != Cause::Definition
                    };
                    if let Some(late) = absorbed
                        .iter()
                        .filter(is_earlier)
                        .find(|other| last[&name(other)] > first[&name(effect)])
                    {
                        return Err(format!("OUT: {effect:?}\n  came before what it absorbed: {late:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Sends all letters again, a few at a time; the receiver takes everything.
async fn redrive(delivery: &Delivery, catalogue: &Catalogue) -> Result<(), String> {
    for destination in catalogue.destinations.keys() {
        let mut from = Some(0);
        while let Some(at) = from {
            let went = delivery.retry_all(destination, at, 3).await.map_err(|error| error.to_string())?;
            if !went.failed.is_empty() {
                return Err(format!("OUT: letters of {destination} were not taken: {went:?}"));
            }
            from = went.next;
        }
        let left = delivery.dead_letters(destination, 0, 1).map_err(|error| error.to_string())?;
        if let Some(letter) = left.first() {
            return Err(format!("OUT: {destination} has a dead letter still: {letter:?}"));
        }
    }
    Ok(())
}
