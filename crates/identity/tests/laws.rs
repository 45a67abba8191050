//! The laws of identity.md 1.2 for the engine: after every step it equals the oracle, whatever came in whatever order.
//!
//! Method: random dense worlds (few values, colliding times, small limits, all presets), events, operator decisions and
//! deletions mixed; after each step partition, owners, profile anchors, hubs, shared devices and forest are compared with
//! the naive resolution of everything so far.

#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod harness;

use harness::{Engine, Owned};
use onefold_identity::engine::{Changes, Owner, Transition};
use onefold_identity::graph::Export;
use onefold_identity::oracle::{self, Edge, OracleEvent, OracleOwner, Resolution};
use onefold_identity::rules::Rules;
use onefold_identity::why::{Because, Hop, WhyNot, why, why_not};
use onefold_types::decision::Decision;
use onefold_types::workspace::{IdentifierRule, IdentityConfig, Preset};
use onefold_types::{Identifier, ProfileHandle, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Type, and how many of its values there are.
const TYPES: [(&str, u8); 6] =
    [("user_id", 6), ("hubspot_id", 3), ("email", 6), ("phone", 3), ("anonymous_id", 4), ("ios.id", 3)];

const HOUR_MS: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Event { ts: i64, tie: u8, ids: Vec<(u8, u8)> },
    Decide(Ask),
    DeleteMessage(prop::sample::Index),
    DeleteProfile(prop::sample::Index),
}

#[derive(Clone, Debug)]
enum Ask {
    Link((u8, u8), (u8, u8)),
    Cut((u8, u8), (u8, u8)),
    Force(u8, u8, u8),
    Block((u8, u8)),
    Unblock((u8, u8)),
    Undo(prop::sample::Index),
}

fn value() -> impl Strategy<Value = (u8, u8)> {
    (0..TYPES.len() as u8, 0..8u8)
}

fn identifier((id_type, value): (u8, u8)) -> Identifier {
    let (name, count) = TYPES[id_type as usize];
    let value = value % count;
    Identifier::new(
        name,
        match name {
            "email" => format!("e{value}@example.com"),
            "phone" => format!("+3120624111{value}"),
            "user_id" => format!("u{value}"),
            "anonymous_id" => format!("a{value}"),
            other => format!("{other}-{value}"),
        },
    )
}

fn event_step() -> impl Strategy<Value = Step> {
    (0..16i64, 0..10u8, prop::collection::vec(value(), 1..4)).prop_map(|(ts, tie, ids)| Step::Event {
        ts,
        tie,
        ids,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let ask = prop_oneof![
        (value(), value()).prop_map(|(a, b)| Ask::Link(a, b)),
        (value(), value()).prop_map(|(a, b)| Ask::Cut(a, b)),
        (0..TYPES.len() as u8, 0..4u8, 0..4u8).prop_map(|(t, a, b)| Ask::Force(t, a, b)),
        value().prop_map(Ask::Block),
        value().prop_map(Ask::Unblock),
        any::<prop::sample::Index>().prop_map(Ask::Undo),
    ];
    prop_oneof![
        12 => event_step(),
        3 => ask.prop_map(Step::Decide),
        1 => any::<prop::sample::Index>().prop_map(Step::DeleteMessage),
        1 => any::<prop::sample::Index>().prop_map(Step::DeleteProfile),
    ]
}

fn rule(id_type: &str, limit: u32, within: u8) -> IdentifierRule {
    IdentifierRule {
        id_type: id_type.to_owned(),
        rank: None,
        scope: None,
        limit: Some(limit),
        within: (within > 0).then(|| format!("{within}h")),
        person_key: None,
        last_wins: None,
        length: None,
        normalise: None,
    }
}

prop_compose! {
    fn config()(
        preset in prop_oneof![Just(Preset::Product), Just(Preset::B2b), Just(Preset::B2c)],
        limits in (1..8u32, 1..3u32, 1..5u32, 1..4u32),
        windows in (0..5u8, 0..2u8, 0..8u8),
        hub_threshold in 1..4u32,
        size_cap in prop_oneof![Just(1000u32), 3..7u32],
        retro in prop_oneof![3 => Just(None), 1 => (0..6u8).prop_map(Some)],
        last_wins in prop_oneof![4 => Just(None), 1 => Just(Some("email")), 1 => Just(Some("anonymous_id"))],
    ) -> IdentityConfig {
        let mut identifiers = vec![
            rule("email", limits.0, windows.0),
            rule("phone", limits.1, windows.1),
            rule("anonymous_id", limits.2, windows.2),
            rule("ios.id", limits.3, 0),
        ];
        for given in &mut identifiers {
            given.last_wins = (last_wins == Some(given.id_type.as_str())).then_some(true);
        }
        IdentityConfig {
            preset,
            identifiers,
            hub_threshold,
            size_cap,
            retro_window: retro.map(|hours| format!("{hours}h")),
            ..IdentityConfig::default()
        }
    }
}

fn compile(config: &IdentityConfig) -> Rules {
    Rules::compile(config).unwrap()
}

fn event(ts: i64, tie: u8, number: usize, ids: &[(u8, u8)]) -> OracleEvent {
    let ids = ids.iter().map(|id| identifier(*id)).map(|id| (id.id_type, id.value)).collect();
    // Ids of messages do not follow their arrival: ties in time are broken by them.
    OracleEvent { message_id: format!("{tie}-{number}"), ts: Timestamp(ts * HOUR_MS), ids }
}

/// The naive side of a run.
#[derive(Default)]
struct Told {
    events: Vec<OracleEvent>,
    operations: Vec<(u64, Decision)>,
}

impl Told {
    fn next_number(&self) -> u64 {
        self.operations.iter().map(|(number, _)| number + 1).max().unwrap_or(1)
    }

    fn decision(&self, ask: &Ask) -> Decision {
        let id = |given: &(u8, u8)| identifier(*given);
        match ask {
            Ask::Link(a, b) => Decision::Link { a: id(a), b: id(b) },
            Ask::Cut(a, b) => Decision::Cut { a: id(a), b: id(b) },
            Ask::Force(t, a, b) => Decision::Force { a: id(&(*t, *a)), b: id(&(*t, *b)) },
            Ask::Block(a) => Decision::Block { id: id(a) },
            Ask::Unblock(a) => Decision::Unblock { id: id(a) },
            Ask::Undo(index) => Decision::Undo { number: index.index(self.operations.len() + 1) as u64 },
        }
    }
}

fn edges(resolution: &Resolution) -> BTreeSet<Edge> {
    resolution.edges.accepted.iter().cloned().collect()
}

fn assert_equal(engine: &mut Engine, told: &Told) -> Resolution {
    let naive = oracle::resolve(&told.events, &told.operations, &engine.rules);
    let found = engine.resolution();
    assert_eq!(found.hubs, naive.hubs, "I4: hubs");
    assert_eq!(found.shared, naive.shared, "I4: shared devices");
    assert_eq!(found.clusters, naive.clusters, "I4: partition");
    assert_eq!(found.profile_anchor, naive.profile_anchor, "I4: profile anchors");
    assert_eq!(found.owner, naive.owner, "I4: owners");
    assert_eq!(found.persons, naive.persons, "I4: persons");
    assert_eq!(edges(&found), edges(&naive), "I4: forest");
    let mut by_range: BTreeMap<String, OracleOwner> = BTreeMap::new();
    for (profile, messages) in engine.owned() {
        let cluster = engine.members(profile);
        by_range.extend(messages.into_iter().map(|message| (message, OracleOwner::Cluster(cluster.clone()))));
    }
    let owned = naive.owner.iter().filter(|(_, owner)| matches!(owner, OracleOwner::Cluster(_)));
    let owned: BTreeMap<String, OracleOwner> = owned.map(|(id, owner)| (id.clone(), owner.clone())).collect();
    assert_eq!(by_range, owned, "I13: ranges");
    naive
}

/// A profile that is not rebuilt owns what it owned, what merged into it, and the new event.
fn assert_rebuilds_suffice(
    before: &Owned,
    after: &Owned,
    changes: &Changes,
    new: Option<(ProfileHandle, String)>,
) {
    let mut expected = before.clone();
    for transition in &changes.transitions {
        if let Transition::Merged { from, into } = transition {
            let absorbed = expected.remove(from).unwrap_or_default();
            expected.entry(*into).or_default().extend(absorbed);
        }
    }
    if let Some((profile, message)) = new {
        expected.entry(profile).or_default().insert(message);
    }
    for profile in expected.keys().chain(after.keys()).filter(|profile| !changes.rebuild.contains(profile)) {
        let empty = BTreeSet::new();
        let (old, new) = (expected.get(profile).unwrap_or(&empty), after.get(profile).unwrap_or(&empty));
        assert_eq!(old, new, "{profile} is not rebuilt by {changes:?}");
    }
}

/// I14: an anchor changes only with a transition that says so; a handle goes only by a merge, or with all it had.
fn assert_told(before: &BTreeMap<ProfileHandle, Identifier>, engine: &Engine, changes: &Changes) {
    let after = anchors(engine);
    for (profile, anchor) in before {
        let told = changes.transitions.iter().any(|transition| match transition {
            Transition::Merged { from, into } => from == profile || into == profile,
            Transition::Split { from, .. } => from == profile,
            Transition::IdChanged { profile: changed, .. } => changed == profile,
            Transition::Moved { .. } => false,
        });
        let same = after.get(profile) == Some(anchor);
        let gone = !after.contains_key(profile) && changes.rebuild.contains(profile);
        assert!(
            same || told || gone,
            "I14: {profile} was {anchor}, is {:?}: {changes:?}",
            after.get(profile)
        );
    }
    for anchor in after.values() {
        assert!(
            engine.graph.remembered().iter().any(|(id, _)| id == anchor),
            "I14: the id of {anchor} was not kept"
        );
    }
}

fn anchors(engine: &Engine) -> BTreeMap<ProfileHandle, Identifier> {
    let clusters = engine.graph.clusters();
    clusters
        .filter_map(|(handle, cluster)| Some((handle, engine.graph.identifier(cluster.anchor)?.clone())))
        .collect()
}

fn step(engine: &mut Engine, told: &mut Told, number: usize, step: &Step) {
    let mut before = engine.owned();
    let anchors = anchors(engine);
    let mut new = None;
    let changes = match step {
        Step::Event { ts, tie, ids } => {
            let event = event(*ts, *tie, number, ids);
            told.events.push(event.clone());
            let observed = engine.observe(&event).unwrap();
            if let Owner::Profile(profile) = observed.owner {
                new = Some((profile, event.message_id));
            }
            observed.changes
        }
        Step::Decide(ask) => {
            let decision = told.decision(ask);
            let number = told.next_number();
            let allowed = oracle::accepts(&told.events, &told.operations, &engine.rules, &decision);
            let export = engine.graph.export();
            let answer = engine.decide(number, &decision);
            assert_eq!(answer.is_ok(), allowed.is_ok(), "I11: {decision:?}: {answer:?}, but {allowed:?}");
            let Ok(changes) = answer else {
                assert_eq!(engine.graph.export(), export, "I11: a refused decision changes nothing");
                return;
            };
            told.operations.push((number, decision));
            changes
        }
        Step::DeleteMessage(index) => {
            let Some(event) = pick(&told.events, *index) else { return };
            let message = event.message_id.clone();
            told.events.retain(|event| event.message_id != message);
            for messages in before.values_mut() {
                messages.remove(&message);
            }
            engine.delete_message(&message)
        }
        Step::DeleteProfile(index) => {
            let Some(profile) = pick(&engine.handles(), *index).copied() else { return };
            let Some(id) = engine.members(profile).into_iter().next() else { return };
            told.events = oracle::without_profile(&told.events, &told.operations, &engine.rules, &id);
            before.remove(&profile);
            let changes = engine.delete_profile(profile);
            assert!(!engine.handles().contains(&profile), "a forgotten profile's handle is not used again");
            let after = engine.owned();
            assert_rebuilds_suffice(&before, &after, &changes, None);
            return;
        }
    };
    let after = engine.owned();
    assert_rebuilds_suffice(&before, &after, &changes, new);
    assert_told(&anchors, engine, &changes);
}

fn pick<T>(from: &[T], index: prop::sample::Index) -> Option<&T> {
    (!from.is_empty()).then(|| index.get(from))
}

/// The hops lead from `x` to `y`, and what they name holds both ends.
fn assert_path(hops: &[Hop], x: &Identifier, y: &Identifier, told: &Told) {
    let mut at = x.clone();
    for hop in hops {
        assert_eq!(hop.from, at, "I12: the hops hang together");
        if let Because::Events { sets, first } = &hop.because {
            assert!(!sets.is_empty(), "I12: a hop has evidence");
            let shows = told.events.iter().find(|event| event.message_id == first.message_id).unwrap();
            for end in [&hop.from, &hop.to] {
                let raw = (end.id_type.clone(), end.value.clone());
                assert!(shows.ids.contains(&raw), "I12: the first message holds {end}");
            }
        }
        at = hop.to.clone();
    }
    assert_eq!(at, *y, "I12: the hops arrive");
}

fn without_numbers(mut export: Export) -> Export {
    for node in export.nodes.values_mut() {
        node.generation = 0;
    }
    export
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// I4, I13, I14, rebuild sets: whatever happens, the engine equals the oracle after each step.
    #[test]
    fn incremental_state_equals_the_naive_resolution(
        config in config(),
        steps in prop::collection::vec(any_step(), 1..26),
    ) {
        let mut engine = Engine::new(&compile(&config));
        let mut told = Told::default();
        for (number, next) in steps.iter().enumerate() {
            step(&mut engine, &mut told, number, next);
            assert_equal(&mut engine, &told);
        }
    }

    /// I4 for events alone, longer.
    #[test]
    fn events_alone_keep_the_engine_equal_to_the_oracle(
        config in config(),
        steps in prop::collection::vec(event_step(), 20..45),
    ) {
        let mut engine = Engine::new(&compile(&config));
        let mut told = Told::default();
        for (number, next) in steps.iter().enumerate() {
            step(&mut engine, &mut told, number, next);
        }
        assert_equal(&mut engine, &told);
    }

    /// I1, I2, I3, I15: arrival order, duplicates and replicas that exchange what they know make no difference.
    #[test]
    fn order_and_duplicates_make_no_difference(
        config in config(),
        (steps, order) in prop::collection::vec(event_step(), 1..26)
            .prop_flat_map(|steps| { let n = steps.len(); (Just(steps), Just((0..n).collect::<Vec<_>>()).prop_shuffle()) }),
        twice in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        cut in (value(), value()),
        blocked in value(),
    ) {
        let rules = compile(&config);
        let events: Vec<OracleEvent> = steps.iter().enumerate().filter_map(|(number, step)| match step {
            Step::Event { ts, tie, ids } => Some(event(*ts, *tie, number, ids)),
            _ => None,
        }).collect();
        let decisions =
            [Decision::Cut { a: identifier(cut.0), b: identifier(cut.1) }, Decision::Block { id: identifier(blocked) }];
        let mut one = Engine::new(&rules);
        for event in &events {
            one.observe(event);
        }
        let mut other = Engine::new(&rules);
        for (number, decision) in (1..).zip(&decisions) {
            prop_assert_eq!(one.decide(number, decision).is_ok(), other.decide(number, decision).is_ok());
        }
        for index in order {
            other.observe(&events[index]);
            if let Some(again) = twice.first() {
                prop_assert!(other.observe(&other.folded[again.index(other.folded.len())].event.clone()).is_none());
            }
        }
        prop_assert_eq!(one.graph.export(), other.graph.export());
        prop_assert_eq!(one.owners(), other.owners());
    }

    /// I10: a decision that is taken back never was; a deleted message never came.
    #[test]
    fn undo_and_deletion_leave_no_trace(
        config in config(),
        steps in prop::collection::vec(any_step(), 1..20),
        asks in prop::collection::vec(any_step(), 1..4),
        extra in event_step(),
    ) {
        let mut engine = Engine::new(&compile(&config));
        let mut told = Told::default();
        for (number, next) in steps.iter().enumerate() {
            step(&mut engine, &mut told, number, next);
        }
        let before = (engine.graph.export(), engine.owners());
        for ask in &asks {
            let Step::Decide(ask) = ask else { continue };
            let decision = told.decision(ask);
            let number = told.next_number() + 100;
            if !matches!(decision, Decision::Undo { .. }) && engine.decide(number, &decision).is_ok() {
                let undo = Decision::Undo { number };
                prop_assert!(engine.decide(number + 1, &undo).is_ok());
                prop_assert_eq!(&(engine.graph.export(), engine.owners()), &before);
                break;
            }
        }
        if let Step::Event { ts, tie, ids } = &extra {
            let event = event(*ts, *tie, 1_000, ids);
            engine.observe(&event);
            engine.delete_message(&event.message_id);
            prop_assert_eq!(&(engine.graph.export(), engine.owners()), &before);
            prop_assert!(engine.observe(&event).is_none(), "a tombstone stays");
        }
    }

    /// I8: an identifier that an operator blocks is as if no event had it.
    #[test]
    fn a_blocked_identifier_is_as_if_never_sent(
        config in config(),
        steps in prop::collection::vec(event_step(), 1..20),
        blocked in value(),
    ) {
        let rules = compile(&config);
        let blocked = identifier(blocked);
        let (mut with, mut without) = (Engine::new(&rules), Engine::new(&rules));
        for (number, step) in steps.iter().enumerate() {
            let Step::Event { ts, tie, ids } = step else { continue };
            let mut event = event(*ts, *tie, number, ids);
            with.observe(&event);
            event.ids.retain(|(id_type, value)| (id_type, value) != (&blocked.id_type, &blocked.value));
            without.observe(&event);
        }
        let block = Decision::Block { id: blocked };
        prop_assert!(with.decide(1, &block).is_ok());
        let (with, without) = (with.resolution(), without.resolution());
        prop_assert_eq!(&with.clusters, &without.clusters);
        prop_assert_eq!(&with.owner, &without.owner);
        prop_assert_eq!(edges(&with), edges(&without));
    }

    /// I7, I11, I12: no cluster breaks a cut or holds two user ids; each pair is explained, together or apart.
    #[test]
    fn every_pair_is_explained(config in config(), steps in prop::collection::vec(any_step(), 1..22)) {
        let mut engine = Engine::new(&compile(&config));
        let mut told = Told::default();
        for (number, next) in steps.iter().enumerate() {
            step(&mut engine, &mut told, number, next);
        }
        let naive = assert_equal(&mut engine, &told);
        let force = oracle::in_force(&told.operations, &engine.rules);
        for cluster in &naive.clusters {
            let users = cluster.iter().filter(|id| id.id_type == "user_id");
            let distinct: BTreeSet<Identifier> = users.map(|id| force.class_of(id)).collect();
            prop_assert!(distinct.len() <= 1, "I7: {:?}", cluster);
        }
        for (a, b) in &force.cuts {
            prop_assert!(!naive.together(a, b), "I11: {} and {} are cut", a, b);
        }
        let ids: Vec<Identifier> = naive.clusters.iter().flatten().cloned().collect();
        for x in &ids {
            for y in &ids {
                let Ok(hops) = why(&engine.rules, &mut engine.graph, x, y);
                let Ok(apart) = why_not(&engine.rules, &mut engine.graph, x, y);
                if naive.together(x, y) {
                    prop_assert_eq!(apart, WhyNot::Together);
                    assert_path(&hops.unwrap(), x, y, &told);
                } else {
                    prop_assert!(hops.is_none());
                    if let WhyNot::Rejected { hop, refusal } = apart {
                        prop_assert!(!naive.together(&hop.from, &hop.to));
                        prop_assert_eq!(refusal.witnesses.len(), 2);
                    } else {
                        prop_assert_eq!(apart, WhyNot::NoEvidence);
                    }
                }
            }
        }
    }

    /// I10, I15: what is left after deletions equals what a fresh graph makes of it.
    #[test]
    fn deletions_leave_what_a_replay_makes_of_the_rest(
        config in config(),
        steps in prop::collection::vec(prop_oneof![
            6 => event_step(),
            1 => any::<prop::sample::Index>().prop_map(Step::DeleteMessage),
            1 => any::<prop::sample::Index>().prop_map(Step::DeleteProfile),
        ], 1..26),
    ) {
        let rules = compile(&config);
        let mut engine = Engine::new(&rules);
        let mut told = Told::default();
        for (number, next) in steps.iter().enumerate() {
            step(&mut engine, &mut told, number, next);
        }
        let mut fresh = Engine::new(&rules);
        for event in told.events.iter().rev() {
            fresh.observe(event);
        }
        prop_assert_eq!(without_numbers(engine.graph.export()), without_numbers(fresh.graph.export()));
    }
}

fn at(hour: i64, ids: &[&str]) -> OracleEvent {
    let raw = |id: &&str| {
        let id_type = match id.as_bytes().first() {
            Some(b'u') => "user_id",
            Some(b'e') => "email",
            _ => "anonymous_id",
        };
        let value = if id_type == "email" { format!("{id}@example.com") } else { (*id).to_owned() };
        (id_type.to_owned(), value)
    };
    OracleEvent {
        message_id: format!("m{hour}"),
        ts: Timestamp(hour * HOUR_MS),
        ids: ids.iter().map(raw).collect(),
    }
}

/// A record lists only some of the values a device was seen with; the verdict must not depend on which.
#[test]
fn a_device_seen_with_more_persons_than_its_record_lists_is_still_judged_by_all() {
    let config = IdentityConfig {
        preset: Preset::B2b,
        identifiers: vec![rule("email", 9, 0)],
        hub_threshold: 1,
        ..IdentityConfig::default()
    };
    let rules = compile(&config);
    let mut engine = Engine::new(&rules);
    let mut told = Told::default();
    let emails = ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7"];
    let mut events: Vec<OracleEvent> =
        (0..).zip(emails).map(|(hour, email)| at(hour, &[email, "a0"])).collect();
    events.extend((10..).zip(&emails[..6]).map(|(hour, email)| at(hour, &["u0", email])));
    events.push(at(20, &["e6", "u0"]));
    events.push(at(21, &["a0"]));
    events.push(at(22, &["e7", "u0"]));
    events.push(at(23, &["e9", "a0"]));
    let mut labels = Vec::new();
    for event in events {
        engine.observe(&event);
        told.events.push(event);
        labels.push(!assert_equal(&mut engine, &told).shared.is_empty());
    }
    let flips = labels.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(
        flips, 3,
        "shared with the second address, not when one person has all, shared with a stranger: {labels:?}"
    );
}

/// Forced values count as one through a third value, wherever each of them is.
#[test]
fn a_force_reaches_clusters_that_hold_neither_of_its_two_values() {
    let rules = compile(&IdentityConfig::default());
    let mut engine = Engine::new(&rules);
    let mut told = Told::default();
    for event in [at(0, &["u1", "e1"]), at(1, &["u3", "e1"]), at(2, &["u2"]), at(3, &["u4"])] {
        engine.observe(&event);
        told.events.push(event);
    }
    let user = |value: &str| Identifier::new("user_id", value);
    for (number, (a, b)) in (1..).zip([("u1", "u2"), ("u3", "u4"), ("u2", "u4")]) {
        let decision = Decision::Force { a: user(a), b: user(b) };
        assert!(engine.decide(number, &decision).is_ok());
        told.operations.push((number, decision));
        let naive = assert_equal(&mut engine, &told);
        assert_eq!(naive.together(&user("u1"), &user("u3")), number == 3);
    }
}

/// A profile's deletion takes the events with it that a device lent it, and what only they said.
#[test]
fn deleting_a_profile_forgets_what_its_borrowed_device_said() {
    let config =
        IdentityConfig { identifiers: vec![rule("anonymous_id", 5, 0)], ..IdentityConfig::default() };
    let rules = compile(&config);
    let mut engine = Engine::new(&rules);
    let mut told = Told::default();
    let events = [
        at(0, &["u1", "a0"]),
        at(1, &["a0", "a1"]),
        at(2, &["u2", "a0"]),
        at(3, &["a0", "a1"]),
        at(4, &["a1"]),
    ];
    for event in events {
        engine.observe(&event);
        told.events.push(event);
        assert_equal(&mut engine, &told);
    }
    let first = Identifier::new("user_id", "u1");
    told.events = oracle::without_profile(&told.events, &told.operations, &rules, &first);
    let profile = engine.handle_of(&first).unwrap();
    engine.delete_profile(profile);
    assert_equal(&mut engine, &told);
}
