//! NAME-1: an exit is told under the name that its entry was told under, whatever identity did to the profile meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::CacheSizes;
use onefold_fold::query::{Person, Reader};
use onefold_fold::verify::verify;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use onefold_types::effect::{Cause, Change, Effect};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn user(id: &str) -> Identifier {
    Identifier::new("user_id", id)
}

fn email(address: &str) -> Identifier {
    Identifier::new("email", address)
}

fn mailed(event: &str, email: &str) -> Value {
    json!({ "type": "track", "event": event, "context": { "traits": { "email": email } } })
}

fn joined(event: &str, user: &str, email: &str) -> Value {
    json!({ "type": "track", "event": event, "userId": user, "context": { "traits": { "email": email } } })
}

fn find(fold: &Fold, id_type: &str, value: &str) -> Option<Person> {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let found = reader.with(|query| match query.find(id_type, value)? {
        Some(handle) => query.person(handle),
        None => Ok(None),
    });
    found.unwrap()
}

fn findings(fold: &Fold) -> Vec<String> {
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    found.findings.into_iter().map(|finding| finding.detail).collect()
}

fn sound(fold: &Fold) {
    assert_eq!(findings(fold), Vec::<String>::new());
}

/// The customer key and the strongest user id.
type Name = (Option<String>, Option<String>);

fn name(effect: &Effect) -> Name {
    let user = effect.ids.iter().find(|id| id.id_type == "user_id").map(|id| id.value.clone());
    (effect.customer_key.clone(), user)
}

/// What is wrong with the names of entries and exits, lane by lane: those who had no key may get one.
fn wrong_names(fold: &Fold) -> Vec<String> {
    let mut inside: BTreeMap<_, Name> = BTreeMap::new();
    let mut wrong = Vec::new();
    for effect in fold.effects() {
        match effect.change {
            Change::Entered { audience, .. } => {
                let before = inside.insert((effect.destination, effect.profile, audience), name(&effect));
                wrong.extend(before.map(|_| format!("entered twice: {effect:?}")));
            }
            Change::Exited { audience } => {
                let Some(entry) = inside.remove(&(effect.destination, effect.profile, audience)) else {
                    wrong.push(format!("exit without an entry: {effect:?}"));
                    continue;
                };
                let exit = name(&effect);
                if (entry.0.is_some() && entry.0 != exit.0) || (entry.1.is_some() && entry.1 != exit.1) {
                    wrong.push(format!("entered as {entry:?}: {effect:?}"));
                }
            }
            _ => {}
        }
    }
    wrong
}

fn right(fold: &Fold) {
    assert_eq!(wrong_names(fold), Vec::<String>::new());
}

fn fold() -> Fold {
    Fold::with_audiences(&[("a", "did(\"X\")")], &[])
}

#[test]
fn a_cut_that_takes_the_user_away_ends_the_membership_under_the_user() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("Y", "e1@x.com")]);
    fold.at(2 * MINUTE).receive(&[joined("Y", "u1", "e1@x.com")]);
    fold.at(3 * MINUTE).receive(&[mailed("X", "e1@x.com")]);
    let key = find(&fold, "user_id", "u1").unwrap().customer_key;
    fold.at(4 * MINUTE).decide(Decision::Cut { a: user("u1"), b: email("e1@x.com") });
    let effects = fold.effects();
    let words = fold.told();
    assert_eq!(
        words[1..],
        [format!("-a@{} user_id:u1", 4 * MINUTE), format!("+a@{} email:e1@x.com", 4 * MINUTE)]
    );
    assert_eq!(effects[1].customer_key, key);
    assert!(effects[2].customer_key.is_some() && effects[2].customer_key != key);
    assert!(effects[1..].iter().all(|effect| effect.cause == Cause::Decision { number: 1 }));
    right(&fold);
    sound(&fold);
}

/// The lane is left with a device that owns nothing of it: the exit names who entered.
#[test]
fn a_late_login_on_a_shared_browser_ends_the_membership_under_the_first_user() {
    let mut fold = Fold::with_audiences(&[("a", "count(\"X\") >= 2")], &[]);
    let device =
        |event: &str, ts: i64| json!({ "type": "track", "event": event, "anonymousId": "a1", "ts": ts });
    let on = |event: &str, user: &str, ts: i64| json!({ "type": "track", "event": event, "anonymousId": "a1", "userId": user, "ts": ts });
    fold.at(MINUTE).receive(&[device("Y", MINUTE)]);
    fold.at(2 * MINUTE).receive(&[on("Y", "u1", 2 * MINUTE)]);
    fold.at(4 * MINUTE).receive(&[device("X", 4 * MINUTE), device("X", 4 * MINUTE + 1)]);
    let entry = fold.effects()[0].clone();
    fold.at(6 * MINUTE).receive(&[on("Y", "u2", 3 * MINUTE)]);
    let effects = fold.effects();
    let exit = effects.iter().find(|effect| matches!(effect.change, Change::Exited { .. })).unwrap();
    assert_eq!((name(exit), exit.profile), (name(&entry), entry.profile));
    assert!(entry.customer_key.is_some());
    assert_eq!(name(&entry).1.as_deref(), Some("u1"));
    right(&fold);
    sound(&fold);
}

/// Whoever has the identifier now is told of after the lane in which it ends.
#[test]
fn what_came_of_a_split_is_told_after_what_the_split_ends() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("X", "e1@x.com")]);
    fold.at(2 * MINUTE).receive(&[joined("X", "u1", "e1@x.com")]);
    fold.at(3 * MINUTE).decide(Decision::Cut { a: user("u1"), b: email("e1@x.com") });
    let effects = fold.effects();
    let is_split = |effect: &&Effect| matches!(effect.cause, Cause::Split { .. });
    let came: Vec<&Effect> = effects.iter().filter(is_split).collect();
    assert_eq!(came.len(), 1, "{effects:#?}");
    assert_eq!(name(came[0]).1.as_deref(), Some("u1"));
    assert_eq!(came[0].after, [effects[0].profile]);
    assert_eq!(came[0].cause, Cause::Split { from: effects[0].profile_id.clone() });
    right(&fold);
    sound(&fold);
}

/// The survivor was told of under its own key; the absorbed one brings an older.
#[test]
fn a_merge_that_brings_an_older_key_ends_what_was_told_under_the_younger() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[track("Y", "c")]);
    fold.at(2 * MINUTE).receive(&[mailed("X", "b@x.com")]).at(3 * MINUTE).receive(&[track("X", "c")]);
    let (older, younger) = (fold.effects()[0].clone(), fold.effects()[1].clone());
    assert_ne!(older.customer_key, younger.customer_key);
    fold.at(4 * MINUTE).receive(&[joined("Y", "c", "b@x.com")]);
    let effects = fold.effects();
    let said: Vec<_> = effects[2..]
        .iter()
        .map(|effect| (matches!(effect.change, Change::Exited { .. }), effect.profile, &effect.customer_key))
        .collect();
    assert_eq!(
        said,
        [
            (true, older.profile, &older.customer_key),
            (true, younger.profile, &younger.customer_key),
            (false, younger.profile, &older.customer_key),
        ]
    );
    assert!(effects[4].after.contains(&older.profile));
    right(&fold);
    sound(&fold);
}

fn ruled(identity: Value) -> Value {
    let mut workspace = workspace(&[("a", "did(\"X\")"), ("b", "did(\"Z\")")], &[]);
    workspace["identity"] = identity;
    workspace
}

#[test]
fn rules_that_block_an_identifier_take_its_customer_key_away() {
    let mut fold = Fold::new(ruled(json!({})));
    fold.at(MINUTE).receive(&[mailed("X", "info@x.com")]);
    fold.at(2 * MINUTE).receive(&[joined("Y", "u1", "info@x.com")]);
    fold.at(3 * MINUTE).receive(&[track("X", "u1")]);
    let before = find(&fold, "user_id", "u1").unwrap().customer_key.unwrap();
    fold.at(5 * MINUTE).apply(ruled(json!({ "blocked": ["info@x.com"] })));
    fold.at(6 * MINUTE).receive(&[track("Z", "u1")]);
    let after = find(&fold, "user_id", "u1").unwrap();
    let key = after.customer_key.unwrap();
    assert_ne!(key, before);
    assert_eq!(find(&fold, "customer_key", &key).unwrap().handle, after.handle);
    right(&fold);
    sound(&fold);
}

/// No message changes hands, so nothing but the name is other than before.
#[test]
fn a_key_goes_with_its_identifier_when_rules_take_one_that_owns_nothing() {
    let mut fold = Fold::new(ruled(json!({})));
    fold.at(MINUTE).receive(&[mailed("X", "info@x.com")]);
    fold.at(2 * MINUTE).receive(&[joined("Y", "u1", "info@x.com")]);
    fold.at(3 * MINUTE).decide(Decision::DeleteMessage { message_id: "m0001".into() });
    fold.at(4 * MINUTE).receive(&[track("X", "u1")]);
    fold.at(5 * MINUTE).apply(ruled(json!({ "blocked": ["info@x.com"] })));
    fold.at(6 * MINUTE).receive(&[track("Z", "u1")]);
    right(&fold);
    sound(&fold);
}

fn lower(is: bool) -> Value {
    ruled(if is {
        json!({ "identifiers": [{ "type": "user_id", "normalise": "lowercase" }] })
    } else {
        json!({})
    })
}

#[test]
fn names_made_of_a_form_that_rules_write_otherwise_lead_to_the_same_person() {
    let mut fold = Fold::new(lower(false));
    fold.at(MINUTE).receive(&[track("X", "U1")]);
    let before = find(&fold, "user_id", "U1").unwrap();
    let key = before.customer_key.unwrap();
    fold.at(2 * MINUTE).apply(lower(true));
    let after = find(&fold, "user_id", "U1").unwrap();
    assert_eq!(find(&fold, "profile_id", &before.profile_id).unwrap().handle, after.handle);
    assert_eq!(find(&fold, "customer_key", &key).unwrap().handle, after.handle);
    assert_eq!(after.customer_key.as_ref(), Some(&key));
    // In another lane, which waits for the end in the first.
    let effects = fold.effects();
    let (end, again) = (&effects[1], &effects[2]);
    assert_eq!((&end.customer_key, &again.customer_key), (&Some(key.clone()), &Some(key.clone())));
    assert!(again.after.contains(&end.profile));
    sound(&fold);
    // And back.
    fold.at(3 * MINUTE).apply(lower(false));
    let back = find(&fold, "user_id", "U1").unwrap();
    assert_eq!((back.customer_key, back.profile_id), (Some(key), before.profile_id));
    right(&fold);
    sound(&fold);
}

/// Two that were somebody each: the older key is the one, and both lead there; a deletion takes both along.
#[test]
fn two_keys_that_come_to_one_form_both_lead_to_it_until_it_is_deleted() {
    let mut fold = Fold::new(lower(false));
    fold.at(MINUTE).receive(&[track("X", "U1")]).at(2 * MINUTE).receive(&[track("X", "u1")]);
    let named = |fold: &Fold, value: &str| find(fold, "user_id", value).unwrap().customer_key.unwrap();
    let (older, younger) = (named(&fold, "U1"), named(&fold, "u1"));
    let old_id = find(&fold, "user_id", "U1").unwrap().profile_id;
    fold.at(3 * MINUTE).apply(lower(true));
    assert_eq!(named(&fold, "u1"), older);
    for key in [&older, &younger] {
        assert!(find(&fold, "customer_key", key).is_some(), "{key}");
    }
    right(&fold);
    sound(&fold);
    fold.at(4 * MINUTE).decide(Decision::DeleteProfile { id: user("u1") });
    fold.at(5 * MINUTE).receive(&[track("X", "U1")]);
    for key in [&older, &younger] {
        assert!(find(&fold, "customer_key", key).is_none(), "{key}");
    }
    assert!(find(&fold, "profile_id", &old_id).is_none());
    sound(&fold);
}

/// A profile without an event is nobody, whatever it would be a member of.
#[test]
fn what_owns_nothing_after_a_change_of_rules_enters_no_audience() {
    let limited = |email: u8, phone: u8, name: &str| {
        let mut workspace = workspace(&[("quiet", "not did(\"X\")")], &[]);
        workspace["audiences"][0]["name"] = name.into();
        workspace["identity"] = json!({ "identifiers": [
            { "type": "email", "limit": email }, { "type": "phone", "limit": phone }] });
        workspace
    };
    let phone = |n: u8| format!("+3120624111{n}");
    let said = |user: Option<&str>, mail: Option<&str>, number: Option<u8>, ts: i64| {
        let mut message = json!({ "type": "track", "event": "X", "ts": ts, "context": { "traits": {} } });
        if let Some(user) = user {
            message["userId"] = user.into();
        }
        if let Some(mail) = mail {
            message["context"]["traits"]["email"] = mail.into();
        }
        if let Some(number) = number {
            message["context"]["traits"]["phone"] = phone(number).into();
        }
        message
    };
    let mut fold = Fold::new(limited(5, 5, "one"));
    let u1 = Some("u1");
    fold.at(100 * MINUTE).receive(&[
        said(u1, Some("e9@x.com"), None, 1),
        said(u1, None, Some(0), 2),
        said(u1, Some("e0@x.com"), None, 3),
        said(u1, None, Some(9), 4),
        said(u1, None, Some(1), 5),
        said(None, Some("e1@x.com"), Some(1), 6),
    ]);
    for (minute, number) in [(101, 9), (102, 1)] {
        let b = Identifier::new("phone", phone(number));
        fold.at(minute * MINUTE).decide(Decision::Link { a: email("e0@x.com"), b });
    }
    for (minute, rules) in
        [(103, limited(1, 1, "one")), (104, limited(1, 5, "one")), (105, limited(1, 5, "two"))]
    {
        fold.at(minute * MINUTE).apply(rules);
        sound(&fold);
    }
    assert_eq!(fold.effects(), []);
}

#[derive(Clone, Debug)]
enum Step {
    Message(Value),
    Decide(Decision),
    Rules(usize),
    Apart,
}

fn pool(number: usize) -> Identifier {
    let all = [
        ("user_id", "U1"),
        ("user_id", "u1"),
        ("user_id", "u2"),
        ("email", "e1@x.com"),
        ("email", "e2@x.com"),
    ];
    let (id_type, value) = all[number % all.len()];
    Identifier::new(id_type, value)
}

fn step() -> impl Strategy<Value = Step> {
    let pick = |all: &'static [Option<&'static str>]| prop::sample::select(all);
    let message = (
        pick(&[None, Some("U1"), Some("u1"), Some("u2")]),
        pick(&[None, Some("e1@x.com"), Some("e2@x.com")]),
        pick(&[None, Some("a1"), Some("a2")]),
        pick(&[Some("X"), Some("Y")]),
        0..4i64,
    )
        .prop_map(|(user, mail, device, event, ago)| {
            let mut message =
                json!({ "type": "track", "event": event, "ago": ago, "context": { "traits": {} } });
            if let Some(user) = user {
                message["userId"] = user.into();
            }
            if let Some(mail) = mail {
                message["context"]["traits"]["email"] = mail.into();
            }
            if device.is_some() || (user.is_none() && mail.is_none()) {
                message["anonymousId"] = device.unwrap_or("a1").into();
            }
            Step::Message(message)
        });
    let decision = (0..5u8, 0..5usize, 0..5usize, 1..6u64).prop_map(|(kind, a, b, number)| {
        let (a, b) = (pool(a), pool(b));
        Step::Decide(match kind {
            0 => Decision::Link { a, b },
            1 => Decision::Cut { a, b },
            2 => Decision::Block { id: a },
            3 => Decision::DeleteProfile { id: a },
            _ => Decision::Undo { number },
        })
    });
    prop_oneof![6 => message, 2 => decision, 1 => (0..4usize).prop_map(Step::Rules), 1 => Just(Step::Apart)]
}

fn rules(number: usize, apart: bool) -> Value {
    let identity = [
        json!({}),
        json!({ "identifiers": [{ "type": "user_id", "normalise": "lowercase" }] }),
        json!({ "identifiers": [{ "type": "email", "limit": 1 }] }),
        json!({ "blocked": ["e1@x.com"] }),
    ];
    let mut workspace =
        workspace(&[("some", "did(\"X\" in last 7m)"), ("quiet", "not did(\"X\" in last 5m)")], &[]);
    workspace["audiences"][1]["enabled"] = (!apart).into();
    workspace["identity"] = identity[number].clone();
    workspace
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn every_exit_is_told_under_the_name_of_its_entry(steps in prop::collection::vec((0..3i64, step()), 1..20)) {
        let (mut now, mut in_force, mut apart) = (60 * MINUTE, 0, false);
        let mut fold = Fold::new(rules(0, false));
        for (gap, step) in steps {
            now += gap * MINUTE;
            fold.at(now);
            match step {
                Step::Message(mut message) => {
                    message["ts"] = (now - message["ago"].as_i64().unwrap() * MINUTE).into();
                    fold.receive(&[message]);
                }
                Step::Decide(decision) => drop(fold.decide(decision)),
                Step::Rules(number) => in_force = number,
                Step::Apart => apart = !apart,
            }
            if is_other(&fold, in_force, apart) {
                fold.apply(rules(in_force, apart));
            }
            prop_assert_eq!(wrong_names(&fold), Vec::<String>::new());
            prop_assert_eq!(findings(&fold), Vec::<String>::new());
        }
    }
}

/// Whether the workspace in force is another than the one that is wanted.
fn is_other(fold: &Fold, number: usize, apart: bool) -> bool {
    let wanted: onefold_types::workspace::Workspace = serde_json::from_value(rules(number, apart)).unwrap();
    fold.catalogue.as_ref().unwrap().workspace != wanted
}
