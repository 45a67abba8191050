//! ROUTE-1: whoever is new to an audience is told of those who are in it, once, and of an exit only after the entry; whatever
//! else goes on while the profiles are brought up to date, and however often the worker dies over it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track};
use onefold_fold::catalogue::next;
use onefold_fold::{Options, Step, Worker};
use onefold_log::record::Record;
use onefold_store::{Direction, KeyRange, MemoryStore, Store, Table};
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::effect::{Change, Effect};
use onefold_types::{Identifier, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const AUDIENCES: &[(&str, &str)] = &[("a", "did(\"X\" in last 10m)"), ("b", "did(\"Y\")")];
const COMPUTED: &[(&str, &str)] = &[("views", "count(\"X\" in last 10m)")];

fn to(destinations: Value) -> Value {
    let mut workspace = common::workspace(AUDIENCES, COMPUTED);
    workspace["destinations"] = destinations;
    workspace
}

fn hook() -> Value {
    json!({ "key": "hook", "kind": "webhook", "audiences": "*", "traits": "*" })
}

fn late(audiences: &[&str], enabled: bool) -> Value {
    json!({ "key": "late", "kind": "webhook", "audiences": audiences, "traits": ["views"], "enabled": enabled })
}

fn sent_to(fold: &Fold, destination: &str) -> Vec<Effect> {
    let id = fold.catalogue.as_ref().unwrap().destinations[destination];
    fold.effects().into_iter().filter(|effect| effect.destination == id).collect()
}

/// What a destination was told, in words.
fn told(fold: &Fold, destination: &str) -> Vec<String> {
    let id = fold.catalogue.as_ref().unwrap().destinations[destination];
    let words = fold.effects().into_iter().zip(fold.told());
    words.filter(|(effect, _)| effect.destination == id).map(|(_, words)| words).collect()
}

fn two_members() -> Fold {
    let mut fold = Fold::new(to(json!([hook()])));
    fold.at(0).receive(&[track("X", "u")]).at(MINUTE).receive(&[track("X", "v"), track("X", "v")]);
    fold.at(5 * MINUTE);
    fold
}

#[test]
fn a_new_destination_is_told_of_the_present_members_once_and_then_of_exits() {
    let mut fold = two_members();
    let before = told(&fold, "hook");
    fold.apply(to(json!([hook(), late(&["a"], true)])));
    let present =
        ["+a!@0 user_id:u", "views=1@0 user_id:u", "+a!@60000 user_id:v", "views=2@60000 user_id:v"];
    assert_eq!(told(&fold, "late"), present);
    assert_eq!(told(&fold, "hook"), before, "whoever knew is not told again");
    fold.apply(to(json!([late(&["a"], true), hook()])));
    assert_eq!(told(&fold, "late"), present);
    fold.at(20 * MINUTE);
    let exits = [
        "-a@600000 user_id:u",
        "views=0@600000 user_id:u",
        "-a@660000 user_id:v",
        "views=0@660000 user_id:v",
    ];
    assert_eq!(told(&fold, "late")[4..], exits);
    assert_eq!(told(&fold, "hook")[before.len()..], exits);
}

#[test]
fn an_exit_that_comes_with_the_route_is_not_told_and_an_entry_is_told_once() {
    let mut fold = two_members();
    fold.receive(&[track("Y", "u")]);
    let before = told(&fold, "hook").len();
    let mut edited = to(json!([hook(), late(&["a", "b"], true)]));
    edited["audiences"][0]["where"] = "count(\"X\" in last 10m) >= 2 and not did(\"Y\")".into();
    edited["audiences"][1]["where"] = "did(\"X\")".into();
    fold.apply(edited);
    let cut = 5 * MINUTE;
    assert_eq!(
        told(&fold, "hook")[before..],
        [format!("-a@{cut} user_id:u"), format!("+b!@{cut} user_id:v")]
    );
    let expected = [
        "views=1@0 user_id:u".to_owned(),
        format!("+b!@{cut} user_id:u"),
        "+a!@60000 user_id:v".to_owned(),
        "views=2@60000 user_id:v".to_owned(),
        format!("+b!@{cut} user_id:v"),
    ];
    assert_eq!(told(&fold, "late"), expected);
}

#[test]
fn what_happens_while_a_destination_is_disabled_is_lost_to_it_and_the_present_is_told_after() {
    let mut fold = two_members();
    fold.apply(to(json!([hook(), late(&["a"], true)])));
    let known = told(&fold, "late").len();
    fold.apply(to(json!([hook(), late(&["a"], false)])));
    // u leaves, v stays by a new event, w comes.
    fold.at(8 * MINUTE).receive(&[track("X", "v"), track("X", "w")]).at(12 * MINUTE);
    assert_eq!(told(&fold, "late").len(), known);
    fold.apply(to(json!([hook(), late(&["a"], true)])));
    let present = [
        "+a!@60000 user_id:v".to_owned(),
        "views=1@660000 user_id:v".to_owned(),
        format!("+a!@{} user_id:w", 8 * MINUTE),
        format!("views=1@{} user_id:w", 8 * MINUTE),
    ];
    assert_eq!(told(&fold, "late")[known..], present);
}

#[test]
fn an_audience_that_a_destination_names_again_is_new_to_it_and_the_others_are_not() {
    let mut fold = two_members();
    fold.receive(&[track("Y", "u")]);
    fold.apply(to(json!([hook(), late(&["a", "b"], true)])));
    fold.apply(to(json!([hook(), late(&["b"], true)])));
    let known = told(&fold, "late").len();
    fold.apply(to(json!([hook(), late(&["a", "b"], true)])));
    assert_eq!(told(&fold, "late")[known..], ["+a!@0 user_id:u", "+a!@60000 user_id:v"]);
}

fn slow(fold: &mut Fold) {
    let options = Options {
        secret: [7; 32],
        batch_bytes: 1,
        batch_timers: 2,
        backfill_profiles: 1,
        ..Options::default()
    };
    fold.worker = Worker::open(fold.log.clone(), fold.store.clone(), options).unwrap();
}

fn only_apply(fold: &mut Fold, workspace: Value) {
    let workspace = serde_json::from_value(workspace).unwrap();
    let catalogue = next(fold.catalogue.as_ref(), workspace, "test").unwrap();
    fold.append(Record::Catalogue(serde_json::to_vec(&catalogue).unwrap()));
    fold.catalogue = Some(catalogue);
}

fn only_decide(fold: &Fold, request: &str, decision: Decision) {
    let record = DecisionRecord {
        request_id: request.to_owned(),
        operator: "ada".to_owned(),
        reason: String::new(),
        decision,
    };
    fold.append(Record::Decision(serde_json::to_vec(&record).unwrap()));
}

/// Many who are in no audience, then two who are: the scan comes to them last.
fn crowd() -> Fold {
    let mut fold = Fold::new(to(json!([hook()])));
    for number in 0..20 {
        fold.at(number).receive(&[track("Z", &format!("z{number:02}"))]);
    }
    fold.at(30).receive(&[json!({ "type": "track", "event": "X", "anonymousId": "p" })]);
    fold.at(MINUTE).receive(&[track("X", "q")]).at(2 * MINUTE);
    fold
}

#[test]
fn a_merge_tells_a_new_destination_of_the_entry_before_the_exit() {
    let both = json!({ "type": "identify", "userId": "q", "anonymousId": "p" });
    // The lane of p, which came first and stays, then that of q.
    let expected = [
        "+a!@30 anonymous_id:p",
        "views=1@30 anonymous_id:p",
        "views=2@120000 user_id:q",
        "+a!@60000 user_id:q",
        "views=1@60000 user_id:q",
        "-a@120000 user_id:q",
    ];
    let told = |fold: &Fold| {
        let mut told: Vec<_> = sent_to(fold, "late").into_iter().zip(told(fold, "late")).collect();
        told.sort_by_key(|(effect, _)| effect.profile);
        told.into_iter().map(|(_, words)| words).collect::<Vec<_>>()
    };
    let (mut before, mut after) = (crowd(), crowd());
    slow(&mut before);
    only_apply(&mut before, to(json!([hook(), late(&["a"], true)])));
    before.only_append(std::slice::from_ref(&both));
    before.worker.step().unwrap();
    before.worker.step().unwrap();
    assert!(before.worker.handle().status().backfill.is_some(), "the scan has not come to the two yet");
    assert_eq!(told(&before), expected);
    before.run();
    after.apply(to(json!([hook(), late(&["a"], true)])));
    after.receive(&[both]);
    assert_eq!(told(&before), expected);
    assert_eq!(told(&after), expected);
    assert_eq!(lanes(&before), lanes(&after), "under the same ids");
}

#[test]
fn decisions_do_not_wait_for_a_backfill() {
    let (p, q) = (Identifier::new("anonymous_id", "p"), Identifier::new("user_id", "q"));
    let asked = [
        Decision::Release { number: 7 },
        Decision::IssueCustomerKey { id: q.clone() },
        Decision::Block { id: Identifier::new("user_id", "z19") },
        Decision::Link { a: p.clone(), b: q.clone() },
        Decision::Cut { a: p, b: q.clone() },
        Decision::DeleteProfile { id: q },
    ];
    let (mut slowly, mut at_once) = (crowd(), crowd());
    slow(&mut slowly);
    let all = to(json!([hook(), late(&["a", "b"], true)]));
    only_apply(&mut slowly, all.clone());
    at_once.apply(all);
    slowly.worker.step().unwrap();
    for (number, decision) in asked.into_iter().enumerate() {
        only_decide(&slowly, &number.to_string(), decision.clone());
        only_decide(&at_once, &number.to_string(), decision);
        at_once.run();
        let position = slowly.worker.handle().status().position;
        slowly.worker.step().unwrap();
        assert!(slowly.worker.handle().status().position > position, "decision {number} waits");
    }
    slowly.only_append(&[track("X", "news")]);
    at_once.receive(&[track("X", "news")]);
    slowly.worker.step().unwrap();
    assert!(slowly.worker.handle().status().backfill.is_some(), "the backfill still goes on");
    assert!(told(&slowly, "hook").contains(&format!("+a@{} user_id:news", 2 * MINUTE)));
    slowly.run();
    assert_eq!(lanes(&slowly), lanes(&at_once));
}

#[test]
fn a_second_catalogue_waits_so_that_what_the_first_began_is_told() {
    // Nothing changes with time before, so nothing but the scan comes to the two.
    let timeless = |audiences: &[(&str, &str)]| common::workspace(audiences, &[]);
    let mut fold = Fold::new(timeless(&[]));
    fold.at(0).receive(&[track("Z", "z")]).receive(&[track("X", "u"), track("X", "v")]).at(2 * MINUTE);
    slow(&mut fold);
    only_apply(&mut fold, timeless(&[("c", "did(\"X\" in last 10m)")]));
    fold.clock.set(Timestamp(20 * MINUTE));
    only_apply(&mut fold, timeless(&[]));
    fold.run();
    let changes: Vec<_> =
        fold.effects().into_iter().map(|effect| (effect.effective.0, effect.change)).collect();
    let is_entry = |change: &Change| matches!(change, Change::Entered { initial: true, .. });
    let entries = changes.iter().filter(|(at, change)| *at == 2 * MINUTE && is_entry(change)).count();
    let is_exit = |change: &Change| matches!(change, Change::Exited { .. });
    let exits = changes.iter().filter(|(at, change)| *at == 10 * MINUTE && is_exit(change)).count();
    assert_eq!((entries, exits, changes.len()), (2, 2, 4), "{changes:?}");
}

/// What each lane was told, with ids.
fn lanes(fold: &Fold) -> BTreeMap<(u32, u64), Vec<(u128, String)>> {
    let mut lanes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for effect in fold.effects() {
        let words =
            format!("{:?}@{} {:?} {:?}", effect.change, effect.effective.0, effect.ids, effect.customer_key);
        lanes.entry((effect.destination.0, effect.profile.0)).or_default().push((effect.id, words));
    }
    lanes
}

#[derive(Clone, Debug)]
enum Deed {
    Said(Value),
    /// Which of the variants of the workspace.
    Applied(u8),
    Decided(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let said = (proptest::option::of(0u8..4), proptest::option::of(0u8..3), 0u8..3).prop_filter_map(
        "someone",
        |(user, device, event)| {
            if user.is_none() && device.is_none() {
                return None;
            }
            let mut body = track(["X", "Y", "Z"][usize::from(event)], "");
            body.as_object_mut().unwrap().remove("userId");
            if let Some(user) = user {
                body["userId"] = format!("u{user}").into();
            }
            if let Some(device) = device {
                body["anonymousId"] = format!("a{device}").into();
            }
            Some(Deed::Said(body))
        },
    );
    prop_oneof![6 => said, 2 => (0u8..8).prop_map(Deed::Applied), 1 => (0u8..6).prop_map(Deed::Decided)]
}

fn variant(number: u8) -> Value {
    let mut workspace = to(match number % 4 {
        0 => json!([hook()]),
        1 => json!([hook(), late(&["a"], true)]),
        2 => json!([hook(), late(&["a", "b"], true)]),
        _ => json!([hook(), late(&["a", "b"], false)]),
    });
    if number >= 4 {
        workspace["audiences"][0]["where"] = "did(\"X\" in last 7m) and not in audience(\"b\")".into();
    }
    workspace
}

fn decision(number: u8) -> Decision {
    let (user, device) = (Identifier::new("user_id", "u0"), Identifier::new("anonymous_id", "a0"));
    match number {
        0 => Decision::Link { a: user, b: device },
        1 => Decision::Cut { a: user, b: device },
        2 => Decision::Block { id: device },
        3 => Decision::DeleteProfile { id: Identifier::new("user_id", "u1") },
        4 => Decision::DeleteMessage { message_id: "m0003".to_owned() },
        _ => Decision::IssueCustomerKey { id: user },
    }
}

fn do_it(fold: &mut Fold, number: usize, deed: &Deed) {
    match deed {
        Deed::Said(body) => fold.only_append(std::slice::from_ref(body)),
        Deed::Applied(which) => only_apply(fold, variant(*which)),
        Deed::Decided(which) => only_decide(fold, &number.to_string(), decision(*which)),
    }
}

/// The members of each audience by the lists that the fold keeps.
fn members(fold: &Fold) -> Vec<(u32, u64)> {
    let mut found = Vec::new();
    let snapshot = fold.store.snapshot().unwrap();
    snapshot
        .scan(Table::AudienceMember, &KeyRange::prefix(b""), Direction::Forward, &mut |key, _| {
            let audience = u32::from_be_bytes(*key.first_chunk::<4>().unwrap());
            found.push((audience, u64::from_be_bytes(*key.last_chunk::<8>().unwrap())));
            true
        })
        .unwrap();
    found
}

/// Of a destination that takes every audience now: it believes in exactly those who are in, and never was told of an exit
/// without the entry.
fn believes_what_is(fold: &Fold, destination: &str) {
    let mut believed: BTreeMap<(u32, u64), bool> = BTreeMap::new();
    for effect in sent_to(fold, destination) {
        match effect.change {
            Change::Entered { audience, .. } => {
                believed.insert((audience.0, effect.profile.0), true);
            }
            Change::Exited { audience } => {
                let was = believed.insert((audience.0, effect.profile.0), false);
                assert_eq!(was, Some(true), "{destination} was told of an exit without an entry: {effect:?}");
            }
            _ => {}
        }
    }
    let is: Vec<_> = believed.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect();
    assert_eq!(is, members(fold), "{destination}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn however_slowly_and_with_whatever_crashes_each_lane_is_told_the_same(
        deeds in proptest::collection::vec(
            (0i64..4, deed(), 0usize..5, proptest::option::weighted(0.2, any::<prop::sample::Index>())),
            1..30,
        ),
    ) {
        let (mut calm, mut hurried) = (Fold::new(to(json!([hook()]))), Fold::new(to(json!([hook()]))));
        hurried.store = Arc::new(MemoryStore::crashable());
        slow(&mut hurried);
        let mut now = 0;
        for (number, (gap, deed, steps, crash)) in deeds.iter().enumerate() {
            now += gap * MINUTE;
            for fold in [&mut calm, &mut hurried] {
                fold.clock.set(Timestamp(now));
                do_it(fold, number, deed);
            }
            calm.run();
            for _ in 0..*steps {
                if hurried.worker.step().unwrap().0 != Step::Worked {
                    break;
                }
            }
            if let Some(keep) = crash {
                let unsynced = hurried.store.unsynced();
                hurried.store.crash(keep.index(unsynced + 1));
                slow(&mut hurried);
            }
        }
        calm.run();
        hurried.run();
        prop_assert_eq!(lanes(&calm), lanes(&hurried));
        believes_what_is(&calm, "hook");
    }

    /// Entries before exits, and in the end the truth, if the destination was never off.
    #[test]
    fn a_destination_that_comes_late_believes_what_is_true(
        deeds in proptest::collection::vec((0i64..4, deed()), 1..25),
        comes in any::<prop::sample::Index>(),
    ) {
        let mut fold = Fold::new(to(json!([hook()])));
        let comes = comes.index(deeds.len());
        let mut now = 0;
        for (number, (gap, deed)) in deeds.iter().enumerate() {
            now += gap * MINUTE;
            fold.clock.set(Timestamp(now));
            if number == comes {
                only_apply(&mut fold, variant(2));
            }
            match deed {
                Deed::Applied(which) if number >= comes => only_apply(&mut fold, variant(2 + which / 4 * 4)),
                Deed::Applied(which) => only_apply(&mut fold, variant(which / 4 * 4)),
                deed => do_it(&mut fold, number, deed),
            }
            fold.run();
        }
        believes_what_is(&fold, "hook");
        believes_what_is(&fold, "late");
    }
}
