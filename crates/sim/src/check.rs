//! The comparison: the calm fold against the model after each record, the killed fold's end against the calm one's.
//!
//! [`identity`] compares who is who, [`people`] what is known of them, [`lanes`] what was sent, [`names`] of whom,
//! [`replays`] what was killed with what never was.

mod identity;
mod lanes;
mod names;
mod people;
mod replays;

use crate::dice::Dice;
use crate::dump;
use crate::model::{Model, Told};
use crate::reveal::Reveal;
use crate::workspace::FARTHEST;
use crate::world::{World, entries};
use names::Everybody;
use onefold_fold::query::{Query, Reader};
use onefold_fold::verify::verify;
use onefold_fold::{Options, Step, Worker};
use onefold_log::{Entry, SharedLog};
use onefold_store::MemoryStore;
use onefold_types::{Identifier, Position, ProfileHandle, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What does not agree, in words.
pub type Mismatch = String;

/// Returns early with what does not agree.
macro_rules! agree {
    ($left:expr, $right:expr, $($words:tt)*) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(format!("{}\n  oracle: {:?}\n  engine: {:?}", format!($($words)*), left, right));
        }
    }};
}
use agree;

/// A fold without faults over a finished log, record by record.
struct Calm {
    reveal: Arc<Reveal>,
    store: Arc<MemoryStore>,
    worker: Worker,
    reader: Reader,
}

impl Calm {
    fn new(log: SharedLog, options: &Options) -> Self {
        let reveal = Arc::new(Reveal::new(log));
        let store = Arc::new(MemoryStore::new());
        let options = Options {
            // A definition is complete at once: what every profile is then can be compared at every record.
            backfill_profiles: usize::MAX / 16,
            batch_bytes: 1,
            batch_timers: usize::MAX,
            ..options.clone()
        };
        let secret = options.secret;
        let worker = Worker::open(reveal.clone(), store.clone(), options).expect("a worker opens");
        let reader = Reader::new(store.clone(), reveal.clone(), worker.handle(), secret);
        Self { reveal, store, worker, reader }
    }

    fn show(&mut self, limit: Position, time: Timestamp) -> Result<(), Mismatch> {
        self.reveal.show(limit, time);
        for _ in 0..100_000 {
            match self.worker.step() {
                Ok((Step::Worked, _)) => {}
                Ok((Step::Idle { .. }, _)) => return Ok(()),
                Err(error) => return Err(format!("the calm fold failed: {error:?}")),
            }
        }
        Err("the calm fold does not come to rest".to_owned())
    }
}

/// Everything that a finished run is held against.
///
/// # Errors
/// The first thing that does not agree.
pub fn check(world: &mut World, dice: &mut Dice) -> Result<(), Mismatch> {
    let log = world.shared_log();
    let mut calm = Calm::new(log.clone(), &world.options);
    let mut model = Model::default();
    let records = entries(&log);
    let mut everybody = Everybody::new();
    for (number, entry) in records.iter().enumerate() {
        let place = |mismatch: Mismatch| format!("after record {number} at {}: {mismatch}", entry.rt.0);
        let foreseen = identity::rules_change(&model, &calm, entry).map_err(place)?;
        let sent = dump::sent(calm.store.as_ref());
        calm.show(entry.next, entry.rt).map_err(place)?;
        let now = one_record(&mut model, &calm, entry, number, dice).map_err(place)?;
        let news = dump::outbox_from(calm.store.as_ref(), sent);
        names::named(&news, &everybody, &now, entry).map_err(place)?;
        everybody = now;
        if let Some((before, preview)) = foreseen {
            identity::previewed(&before, &model.resolution, &preview).map_err(place)?;
        }
    }
    let end = Timestamp(world.now.max(records.last().map_or(0, |entry| entry.rt.0)));
    // A log whose clock stands still at the end has still to close its windows.
    let end = end.plus(FARTHEST + FARTHEST);
    model.advance(end);
    let sent = dump::sent(calm.store.as_ref());
    calm.show(log.tail(), end)?;
    if let Some(entry) = records.last() {
        let news = dump::outbox_from(calm.store.as_ref(), sent);
        names::named(&news, &everybody, &everybody, entry).map_err(|m| format!("at the end: {m}"))?;
    }
    calm.worker.sync().map_err(|error| format!("{error:?}"))?;
    let place = |mismatch: Mismatch| format!("at the end: {mismatch}");
    let everyone: BTreeSet<u64> = model.people.keys().copied().collect();
    people::known(&model, &calm, &everyone).map_err(place)?;
    people::sizes(&model, &calm).map_err(place)?;
    people::accounts(&model, &calm).map_err(place)?;
    people::counts(&model, &calm).map_err(place)?;
    let outbox = dump::outbox(calm.store.as_ref());
    lanes::transitions(&model, &outbox).map_err(place)?;
    lanes::keys(&outbox).map_err(place)?;
    *world.tally.entry("records").or_default() += records.len() as u64;
    *world.tally.entry("persons").or_default() += model.people.len() as u64;
    *world.tally.entry("transitions").or_default() += model.expected.len() as u64;
    once(world, &model).map_err(place)?;
    world.now = end.0;
    world.close(end);
    replays::same(world, &calm)?;
    verified(world)?;
    replays::out(world, &calm)
}

/// What `onefold verify` says of the state after all that happened to it.
fn verified(world: &World) -> Result<(), Mismatch> {
    let (log, store) = (world.shared_log(), world.shared_store());
    let found = verify(log.as_ref(), store.as_ref(), &world.options.secret, world.options.caches);
    let found = found.map_err(|error| format!("verify: {error}"))?;
    if found.is_sound() { Ok(()) } else { Err(format!("verify finds {:#?}", found.findings)) }
}

fn one_record(
    model: &mut Model,
    calm: &Calm,
    entry: &Entry,
    number: usize,
    dice: &mut Dice,
) -> Result<Everybody, Mismatch> {
    model.advance(entry.rt);
    let told = model.apply(entry);
    let touched = read(calm, |query| {
        let mut handle_of = |id: &Identifier| query.find(&id.id_type, &id.value).ok().flatten().map(|p| p.0);
        Ok(model.settle(entry, &mut handle_of))
    })?;
    // A record may touch a profile without a change to its messages; then what is due at that instant comes with it,
    // else at the same instant a moment later. Both are right (B10), and which it was only the engine knows.
    for handle in model.due_at(entry.rt) {
        let person = read(calm, |query| query.person(ProfileHandle(handle)))?;
        let (Some(person), Some(known)) = (person, model.people.get(&handle)) else { continue };
        let state = &person.profile.state;
        let members: BTreeSet<u32> = state.members().iter().map(|id| id.0).collect();
        let computed: BTreeMap<u32, Value> =
            state.computed().iter().map(|(id, v)| (id.0, (*v).into())).collect();
        if known.members != members || known.computed != computed {
            model.touch(handle, entry.rt);
        }
    }
    verdict(calm, &told)?;
    let everybody = identity::clusters(model, calm)?;
    let looked = if number.is_multiple_of(16) { model.people.keys().copied().collect() } else { touched };
    people::known(model, calm, &looked)?;
    if number.is_multiple_of(4) {
        identity::reasons(model, calm, dice)?;
    }
    Ok(everybody)
}

fn read<T>(
    calm: &Calm,
    read: impl FnOnce(&mut Query<'_, '_>) -> Result<T, onefold_fold::Error>,
) -> Result<T, Mismatch> {
    calm.reader.with(read).map_err(|error| format!("a query failed: {error:?}"))
}

/// A decision is taken or refused as the oracle says, under the same number.
fn verdict(calm: &Calm, told: &Told) -> Result<(), Mismatch> {
    let Some(verdict) = &told.verdict else { return Ok(()) };
    let decided = read(calm, |query| query.decided(&verdict.request))?;
    let taken = decided.and_then(|decided| decided.outcome.number());
    agree!(
        verdict.taken,
        taken,
        "decision {} ({:?}): the number under which it is taken",
        verdict.request,
        verdict.decision
    );
    Ok(())
}

/// ACK and ONCE: what was acknowledged is there.
fn once(world: &World, model: &Model) -> Result<(), Mismatch> {
    for id in &world.acknowledged {
        if !model.is_known(id) {
            return Err(format!("ACK: message {id} was acknowledged and is not in the log"));
        }
    }
    Ok(())
}
