//! The comparison: the calm fold against the model after each record, the killed fold's end against the calm one's.

use crate::dice::Dice;
use crate::dump::{self, Lanes};
use crate::model::{Expected, Known, Model, Told};
use crate::reveal::Reveal;
use crate::workspace::FARTHEST;
use crate::world::{World, entries};
use onefold_fold::query::{Owned, Query, Reader};
use onefold_fold::rules_change::Preview;
use onefold_fold::verify::verify;
use onefold_fold::{Options, Outcome, Step, Worker};
use onefold_identity::oracle::{Cluster, OracleOwner, Resolution};
use onefold_identity::why::WhyNot;
use onefold_log::record::Record;
use onefold_log::{Entry, SharedLog};
use onefold_store::{MemoryStore, Store};
use onefold_types::effect::Change;
use onefold_types::{AudienceId, Catalogue, Identifier, Position, ProfileHandle, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
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
    for (number, entry) in records.iter().enumerate() {
        let place = |mismatch: Mismatch| format!("after record {number} at {}: {mismatch}", entry.rt.0);
        let foreseen = rules_change(&model, &calm, entry).map_err(place)?;
        calm.show(entry.next, entry.rt).map_err(place)?;
        one_record(&mut model, &calm, entry, number, dice).map_err(place)?;
        if let Some((before, preview)) = foreseen {
            previewed(&before, &model.resolution, &preview).map_err(place)?;
        }
    }
    let end = Timestamp(world.now.max(records.last().map_or(0, |entry| entry.rt.0)));
    // A log whose clock stands still at the end has still to close its windows.
    let end = end.plus(FARTHEST + FARTHEST);
    model.advance(end);
    calm.show(log.tail(), end)?;
    calm.worker.sync().map_err(|error| format!("{error:?}"))?;
    let place = |mismatch: Mismatch| format!("at the end: {mismatch}");
    let everyone: BTreeSet<u64> = model.people.keys().copied().collect();
    people(&model, &calm, &everyone).map_err(place)?;
    sizes(&model, &calm).map_err(place)?;
    accounts(&model, &calm).map_err(place)?;
    counts(&model, &calm).map_err(place)?;
    transitions(&model, &dump::outbox(calm.store.as_ref())).map_err(place)?;
    *world.tally.entry("records").or_default() += records.len() as u64;
    *world.tally.entry("persons").or_default() += model.people.len() as u64;
    *world.tally.entry("transitions").or_default() += model.expected.len() as u64;
    once(world, &model).map_err(place)?;
    world.now = end.0;
    world.close(end);
    same(world, &calm)?;
    verified(world)?;
    out(world, &calm)
}

/// What `onefold verify` says of the state after all that happened to it.
fn verified(world: &World) -> Result<(), Mismatch> {
    let (log, store) = (world.shared_log(), world.shared_store());
    let found = verify(log.as_ref(), store.as_ref(), &world.options.secret, world.options.caches);
    let found = found.map_err(|error| format!("verify: {error}"))?;
    if found.is_sound() { Ok(()) } else { Err(format!("verify finds {:#?}", found.findings)) }
}

/// What the engine foresees of a record that changes the rules of identity, with who was who before it.
fn rules_change(
    model: &Model,
    calm: &Calm,
    entry: &Entry,
) -> Result<Option<(Resolution, Preview)>, Mismatch> {
    let (Ok(Record::Catalogue(json)), Some(current)) = (Record::decode(&entry.payload), &model.catalogue)
    else {
        return Ok(None);
    };
    let next: Catalogue = serde_json::from_slice(&json).unwrap();
    let (old, new) = (&current.workspace.identity, &next.workspace.identity);
    if next.version.0 != current.version.0 + 1 || old == new {
        return Ok(None);
    }
    let preview = calm.reader.preview(new).map_err(|error| format!("no preview: {error}"))?;
    Ok(Some((model.resolution.clone(), preview)))
}

/// I16: what was foreseen is what happened.
fn previewed(before: &Resolution, after: &Resolution, preview: &Preview) -> Result<(), Mismatch> {
    let several = |one: &Resolution, other: &Resolution| {
        let meets = |cluster: &Cluster| other.clusters.iter().filter(|c| !c.is_disjoint(cluster)).count();
        one.clusters.iter().filter(|cluster| meets(cluster) > 1).count()
    };
    let lacks = |one: &Resolution, other: &Resolution| {
        one.clusters.iter().flatten().filter(|id| other.cluster_of(id).is_none()).count()
    };
    agree!(before.clusters.len(), preview.profiles_before, "profiles before");
    agree!(after.clusters.len(), preview.profiles_after, "profiles after");
    agree!(several(after, before), preview.merges, "merges");
    agree!(several(before, after), preview.splits, "splits");
    agree!(lacks(before, after), preview.dropped_identifiers, "identifiers that count no more");
    agree!(lacks(after, before), preview.gained_identifiers, "identifiers that begin to count");
    let owners = |resolution: &Resolution| -> BTreeMap<String, Option<Identifier>> {
        let anchor = |owner: &OracleOwner| match owner {
            OracleOwner::Cluster(cluster) => resolution.profile_anchor.get(cluster).cloned(),
            _ => None,
        };
        resolution.owner.iter().map(|(message, owner)| (message.clone(), anchor(owner))).collect()
    };
    let (old, new) = (owners(before), owners(after));
    let moved = new.iter().filter(|(message, owner)| old.get(*message) != Some(owner)).count();
    agree!(moved, preview.moved_messages, "messages that move");
    Ok(())
}

fn one_record(
    model: &mut Model,
    calm: &Calm,
    entry: &Entry,
    number: usize,
    dice: &mut Dice,
) -> Result<(), Mismatch> {
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
    verdict(model, calm, &told)?;
    clusters(model, calm)?;
    let looked = if number.is_multiple_of(16) { model.people.keys().copied().collect() } else { touched };
    people(model, calm, &looked)?;
    if number.is_multiple_of(4) {
        reasons(model, calm, dice)?;
    }
    Ok(())
}

fn read<T>(
    calm: &Calm,
    read: impl FnOnce(&mut Query<'_, '_>) -> Result<T, onefold_fold::Error>,
) -> Result<T, Mismatch> {
    calm.reader.with(read).map_err(|error| format!("a query failed: {error:?}"))
}

/// A decision is taken or refused as the oracle says, under the same number.
fn verdict(model: &Model, calm: &Calm, told: &Told) -> Result<(), Mismatch> {
    let Some(verdict) = &told.verdict else { return Ok(()) };
    let decided = read(calm, |query| query.decided(&verdict.request))?;
    let taken = match decided.map(|decided| decided.outcome) {
        Some(Outcome::Taken { number }) => Some(number),
        Some(Outcome::Refused { .. }) | None => None,
    };
    agree!(
        verdict.taken,
        taken,
        "decision {} ({:?}): the number under which it is taken",
        verdict.request,
        verdict.decision
    );
    let _ = model;
    Ok(())
}

/// Who is who: every cluster, and its profile id.
fn clusters(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    let mut handles: BTreeMap<u64, &Identifier> = BTreeMap::new();
    for cluster in &model.resolution.clusters {
        let first = cluster.first().expect("a cluster is not empty");
        let person = read(calm, |query| match query.find(&first.id_type, &first.value)? {
            Some(handle) => query.person(handle),
            None => Ok(None),
        })?;
        let Some(person) = person else {
            return Err(format!("identity: {first} is known, but the engine does not find it"));
        };
        let ids: BTreeSet<Identifier> = person.ids.iter().cloned().collect();
        agree!(cluster, &ids, "identity: who is {first}");
        if let Some(other) = handles.insert(person.handle.0, first) {
            return Err(format!("identity: {first} and {other} are two, the engine has one profile of both"));
        }
        let anchor = &model.resolution.profile_anchor[cluster];
        let generation = model.generations.get(anchor).copied().unwrap_or(0);
        let id = onefold_identity::rules::profile_id(&[7; 32], anchor, generation);
        agree!(id, person.profile_id, "identity: the profile id of {first}, made of {anchor}");
        let mut sorted = person.ids.clone();
        sorted.sort_by(|a, b| model.rules.order(a, b));
        agree!(sorted, person.ids, "identity: identifiers strongest first");
    }
    Ok(())
}

/// What is known of these people.
fn people(model: &Model, calm: &Calm, handles: &BTreeSet<u64>) -> Result<(), Mismatch> {
    for handle in handles {
        let Some(known) = model.people.get(handle) else { continue };
        let who = known.ids.first().map(ToString::to_string).unwrap_or_default();
        let (person, events, ends) = read(calm, |query| {
            let handle = ProfileHandle(*handle);
            let events = query.events(handle, None, usize::MAX)?;
            Ok((query.person(handle)?, events, query.first_and_last(handle)?))
        })?;
        let Some(person) = person else { return Err(format!("profile {handle} ({who}) is not there")) };
        let owned: BTreeSet<String> = events.iter().map(|event| event.message.message_id.clone()).collect();
        agree!(known.message_ids, owned, "whose messages are {who}'s");
        agree!(known.message_ids.len() as u64, person.profile.events, "how many messages {who} has");
        let mut order: Vec<_> =
            known.events.iter().map(|event| (event.ts, event.message_id.clone())).collect();
        order.sort();
        let seen = |owned: Option<Owned>| owned.map(|owned| (owned.ts, owned.message.message_id));
        agree!(order.first().map(|(ts, _)| *ts), person.profile.first, "when {who} was first seen");
        agree!(order.last().map(|(ts, _)| *ts), person.profile.last, "when {who} was last seen");
        agree!(order.first().cloned(), seen(ends.0), "the first message of {who}");
        agree!(order.last().cloned(), seen(ends.1), "the last message of {who}");
        let accounts: BTreeMap<String, i64> =
            person.profile.accounts.iter().map(|(account, since)| (account.clone(), since.0)).collect();
        agree!(Model::accounts_of(known), accounts, "the accounts of {who}");
        let traits = person.profile.traits.iter().filter(|(_, value)| !value.is_removed());
        let traits: BTreeMap<String, Value> =
            traits.map(|(key, value)| (key.clone(), serde_json::from_str(&value.json).unwrap())).collect();
        agree!(known.traits, traits, "the traits of {who}");
        let name = |id: &u32| model.names.get(id).cloned().unwrap_or_default();
        let members: BTreeSet<String> = known.members.iter().map(name).collect();
        let is: BTreeSet<String> = person.profile.state.members().iter().map(|id| name(&id.0)).collect();
        agree!(
            members,
            is,
            "the audiences of {who} (profile {handle}) at {}{}{}",
            known.at,
            defined(model, members.symmetric_difference(&is)),
            listed(known)
        );
        let computed: BTreeMap<String, Value> =
            known.computed.iter().map(|(id, v)| (name(id), v.clone())).collect();
        let state = person.profile.state.computed().iter();
        let is: BTreeMap<String, Value> = state.map(|(id, v)| (name(&id.0), (*v).into())).collect();
        agree!(computed, is, "the computed traits of {who} at {}", known.at);
    }
    Ok(())
}

/// The texts of audiences, for whoever reads a failure.
fn defined<'a>(model: &Model, keys: impl Iterator<Item = &'a String>) -> String {
    let mut text = String::new();
    let workspace = model.catalogue.as_ref().map(|catalogue| &catalogue.workspace);
    for key in keys {
        let audience = workspace.and_then(|w| w.audiences.iter().find(|audience| audience.key == *key));
        if let Some(audience) = audience {
            let _ = write!(text, "\n  {key}: {}", audience.condition);
        }
    }
    text
}

/// A person's messages, for whoever reads a failure.
fn listed(known: &Known) -> String {
    let mut text = String::new();
    let mut events: Vec<_> = known.events.iter().collect();
    events.sort_by_key(|event| (event.ts, &event.message_id));
    for event in events.iter().rev().take(12).rev() {
        let (kind, name) = (event.message_type, &event.name);
        let _ = write!(
            text,
            "\n  {} received {} {} {kind} {name} {}",
            event.ts.0, event.rt.0, event.message_id, event.body["properties"]
        );
    }
    text
}

/// Why two identifiers are one person, or not.
fn reasons(model: &Model, calm: &Calm, dice: &mut Dice) -> Result<(), Mismatch> {
    let ids: Vec<&Identifier> = model.resolution.clusters.iter().flatten().collect();
    if ids.len() < 2 {
        return Ok(());
    }
    let edges = &model.resolution.edges;
    let is = |from: &Identifier, to: &Identifier, u: &Identifier, v: &Identifier| {
        (from == u && to == v) || (from == v && to == u)
    };
    for _ in 0..3 {
        let (x, y) = (*dice.pick(&ids), *dice.pick(&ids));
        if x == y {
            continue;
        }
        let together = model.resolution.together(x, y);
        let (why, why_not) = read(calm, |query| Ok((query.why(x, y)?, query.why_not(x, y)?)))?;
        agree!(together, why.is_some(), "why: whether {x} and {y} are one");
        for hop in why.iter().flatten() {
            let known = edges.accepted.iter().any(|edge| is(&hop.from, &hop.to, &edge.u, &edge.v));
            if !known {
                return Err(format!("why {x} is {y}: the hop {} – {} is no accepted edge", hop.from, hop.to));
            }
        }
        match why_not {
            WhyNot::Together => agree!(together, true, "why not: whether {x} and {y} are one"),
            WhyNot::Unknown { id } => return Err(format!("why not {x} and {y}: {id} is known")),
            WhyNot::NoEvidence => {
                agree!(together, false, "why not: whether {x} and {y} are one");
                if connected(model, x, y) {
                    return Err(format!(
                        "why not {x} and {y}: the engine says that nothing joins them; rejected edges: {:?}",
                        edges.rejected
                    ));
                }
            }
            WhyNot::Rejected { hop, .. } => {
                let known = edges.rejected.iter().any(|r| is(&hop.from, &hop.to, &r.edge.u, &r.edge.v));
                if !known {
                    return Err(format!(
                        "why not {x} and {y}: {} – {} is no rejected edge; those are {:?}",
                        hop.from, hop.to, edges.rejected
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether a chain of edges, accepted or rejected, leads from one to the other.
fn connected(model: &Model, x: &Identifier, y: &Identifier) -> bool {
    let edges = &model.resolution.edges;
    let all = edges.accepted.iter().chain(edges.rejected.iter().map(|rejection| &rejection.edge));
    let all: Vec<_> = all.collect();
    let mut reached = BTreeSet::from([x]);
    loop {
        let size = reached.len();
        for edge in &all {
            if reached.contains(&edge.u) || reached.contains(&edge.v) {
                reached.extend([&edge.u, &edge.v]);
            }
        }
        if reached.len() == size {
            return reached.contains(y);
        }
    }
}

/// The index of members and the sizes say what the profiles say.
fn sizes(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    let Some(catalogue) = &model.catalogue else { return Ok(()) };
    for (key, id) in &catalogue.audiences {
        let members: BTreeSet<u64> = model
            .people
            .iter()
            .filter(|(_, known)| known.members.contains(&id.0))
            .map(|(handle, _)| *handle)
            .collect();
        let listed = read(calm, |query| query.members(AudienceId(id.0), 0, usize::MAX))?;
        let listed: BTreeSet<u64> = listed.into_iter().map(|handle| handle.0).collect();
        agree!(members, listed, "the members of {key}");
        agree!(members.len() as i64, calm.worker.handle().audience_size(*id), "the size of {key}");
    }
    Ok(())
}

/// What is known of accounts.
fn accounts(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    for (account, traits) in model.account_traits() {
        let known = read(calm, |query| query.account(&account))?.unwrap_or_default();
        let known: BTreeMap<String, Value> = known
            .iter()
            .filter(|(_, value)| !value.is_removed())
            .map(|(key, value)| (key.clone(), serde_json::from_str(&value.json).unwrap()))
            .collect();
        agree!(traits, known, "the traits of account {account}");
    }
    Ok(())
}

/// LOSS: every message ended in one place.
fn counts(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    let (counters, quarantine) =
        read(calm, |query| Ok((query.counters()?, query.quarantine(0, usize::MAX)?)))?;
    agree!(model.counts.folded, counters.folded, "LOSS: messages folded");
    agree!(model.counts.duplicates, counters.duplicates, "LOSS: duplicates");
    agree!(model.counts.conflicts, counters.conflicts, "LOSS: conflicts");
    agree!(model.people.len() as i64, counters.persons, "the number of persons");
    let codes: Vec<String> = quarantine.into_iter().map(|(_, row)| row.code).collect();
    agree!(model.counts.quarantine, codes, "LOSS: what is in quarantine");
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

/// B1, B2, B9, B10: what was sent is what had to be sent, lane by lane, at its instants.
fn transitions(model: &Model, outbox: &[(u64, onefold_types::effect::Effect)]) -> Result<(), Mismatch> {
    let Some(catalogue) = &model.catalogue else { return Ok(()) };
    for (key, destination) in &catalogue.destinations {
        // Whose lane a forwarded message goes in may change while its record is folded: those are compared apart.
        let mut forwarded: Vec<&Expected> = model.expected.iter().filter(|e| e.forwarded).collect();
        let wanted = |expected: &&Expected| !expected.forwarded && (key == "all" || expected.some);
        let mut lanes: BTreeMap<u64, Vec<&Expected>> = BTreeMap::new();
        for expected in model.expected.iter().filter(wanted) {
            lanes.entry(expected.lane).or_default().push(expected);
        }
        let mut sent: BTreeMap<u64, Vec<Sent>> = BTreeMap::new();
        for (_, effect) in outbox.iter().filter(|(_, effect)| effect.destination == *destination) {
            let words = dump::words(effect, &model.names);
            if matches!(effect.change, Change::Event { .. }) {
                let Some(at) = forwarded.iter().position(|expected| expected.what == words) else {
                    return Err(format!(
                        "destination {key} was sent {words}, which it does not want, or has already"
                    ));
                };
                forwarded.swap_remove(at);
            } else {
                sent.entry(effect.profile.0).or_default().push((
                    effect.effective.0,
                    words,
                    format!("{:?}", effect.cause),
                ));
            }
        }
        forwarded.retain(|expected| !expected.may_lack);
        if key == "some" && !forwarded.is_empty() {
            return Err(format!("destination {key} wants {forwarded:?} and was not sent them"));
        }
        for lane in lanes.keys().chain(sent.keys()).collect::<BTreeSet<_>>() {
            let expected = lanes.get(lane).map(Vec::as_slice).unwrap_or_default();
            one_lane(model, key, *lane, expected, sent.get(lane).map(Vec::as_slice).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Instant, what, why.
type Sent = (i64, String, String);

fn one_lane(
    model: &Model,
    destination: &str,
    lane: u64,
    expected: &[&Expected],
    sent: &[Sent],
) -> Result<(), Mismatch> {
    let mut expected: Vec<&Expected> = expected.to_vec();
    expected.sort();
    let mut at = 0;
    // What one instant of one step causes comes in any order.
    for group in expected.chunk_by(|a, b| (a.step, a.effective) == (b.step, b.effective)) {
        let mut wanted: Vec<&Expected> = group.to_vec();
        while let Some((effective, what, _)) = sent.get(at) {
            let is = |expected: &&Expected| (expected.effective, &expected.what) == (*effective, what);
            let Some(found) = wanted.iter().position(is) else { break };
            wanted.swap_remove(found);
            at += 1;
        }
        if wanted.iter().any(|expected| !expected.may_lack) {
            return Err(lane_mismatch(model, destination, lane, &expected, sent, at));
        }
    }
    if at < sent.len() {
        return Err(lane_mismatch(model, destination, lane, &expected, sent, at));
    }
    Ok(())
}

fn lane_mismatch(
    model: &Model,
    destination: &str,
    lane: u64,
    expected: &[&Expected],
    sent: &[Sent],
    at: usize,
) -> Mismatch {
    let who = model.people.get(&lane).map(|known| format!("{:?}", known.ids)).unwrap_or_default();
    let around = at.saturating_sub(3)..at + 8;
    let mut text =
        format!("what destination {destination} was sent of profile {lane} {who}, from number {at} on:");
    for number in around {
        let oracle = expected.get(number).map(|e| format!("{} {}", e.effective, e.what)).unwrap_or_default();
        let engine = sent
            .get(number)
            .map(|(effective, what, cause)| format!("{effective} {what:<40} {cause}"))
            .unwrap_or_default();
        if !(oracle.is_empty() && engine.is_empty()) {
            let _ = write!(text, "\n  {number:>3} oracle {oracle:<50} engine {engine}");
        }
    }
    let keys: BTreeSet<String> = expected
        .iter()
        .skip(at)
        .take(4)
        .map(|e| e.what.trim_start_matches(['+', '-', '!']).to_owned())
        .chain(
            sent.iter()
                .skip(at)
                .take(4)
                .map(|(_, what, _)| what.trim_start_matches(['+', '-', '!']).to_owned()),
        )
        .collect();
    text + &defined(model, keys.iter())
}

fn same_lanes(world: &World, never: &Lanes) -> Result<(), Mismatch> {
    let killed = dump::outbox(world.shared_store().as_ref());
    let killed: Lanes = dump::lanes(killed.into_iter().map(|(_, effect)| effect));
    for lane in killed.keys().chain(never.keys()).collect::<BTreeSet<_>>() {
        let (one, other) = (never.get(lane), killed.get(lane));
        let empty = Vec::new();
        let (one, other) = (one.unwrap_or(&empty), other.unwrap_or(&empty));
        if one != other {
            let at = one.iter().zip(other).take_while(|(a, b)| a == b).count();
            return Err(format!(
                "SAME: destination {} was sent of profile {} from number {at} on:\n  without a crash: {:?}\n  with crashes:    {:?}",
                lane.0,
                lane.1,
                one.get(at),
                other.get(at)
            ));
        }
    }
    Ok(())
}

/// OUT: what was delivered, however often delivery was killed; and a state that is built anew sends nothing again.
fn out(world: &mut World, calm: &Calm) -> Result<(), Mismatch> {
    let Some(catalogue) = world.catalogue() else { return Ok(()) };
    let effects = dump::outbox(calm.store.as_ref());
    world.drain()?;
    let Some(deliverer) = &mut world.deliverer else { return Ok(()) };
    deliverer.check(&effects, &catalogue)?;
    let requests = deliverer.requests();
    let store: Arc<dyn Store> = calm.store.clone();
    let log: SharedLog = calm.reveal.clone();
    deliverer.phase(&store, &log, &catalogue, None)?;
    agree!(requests, deliverer.requests(), "OUT: requests after the state was built anew");
    Ok(())
}

/// SAME: what was killed again and again ends as what never was.
fn same(world: &World, calm: &Calm) -> Result<(), Mismatch> {
    let never = dump::lanes(dump::outbox(calm.store.as_ref()).into_iter().map(|(_, effect)| effect));
    if world.deliverer.is_none() {
        // What was delivered is in the outbox no more.
        same_lanes(world, &never)?;
    }
    for effect in never.values().flatten() {
        if !world.committed.contains_key(&(effect.destination.0, effect.id)) {
            return Err(format!(
                "SAME: without a crash there is an effect that never was with crashes: {effect:?}"
            ));
        }
    }
    for ((destination, id), effect) in &world.committed {
        let lane = never.get(&(*destination, effect.profile.0));
        let twin = lane.and_then(|lane| lane.iter().find(|twin| twin.id == *id));
        let effect = dump::plain(effect.clone());
        if twin != Some(&effect) {
            return Err(format!(
                "SAME: an effect was committed, lost in a crash, and did not come back as it was:\n  then: {effect:?}\n  now:  {twin:?}"
            ));
        }
    }
    let (one, other) =
        (dump::dump(calm.store.as_ref() as &dyn Store), dump::dump(world.shared_store().as_ref()));
    match dump::difference(&one, &other) {
        None => Ok(()),
        Some(text) => Err(format!("SAME: the state without a crash, and with crashes:\n  {text}")),
    }
}
