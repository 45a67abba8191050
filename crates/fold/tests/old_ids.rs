//! I14: a profile id that was ever issued resolves for ever, to the cluster that holds the identifier that it was made of:
//! after merges, splits, older evidence, other rules, restarts. (Of whoever was deleted nothing resolves: `no_way_back`.)

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE};
use onefold_fold::query::Reader;
use onefold_identity::rules::profile_id;
use onefold_types::decision::Decision;
use onefold_types::{Identifier, ProfileHandle};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Type and value of everything that anybody can have.
fn pool() -> Vec<Identifier> {
    let ids = |id_type: &str, values: &[&str]| -> Vec<Identifier> {
        values.iter().map(|value| Identifier::new(id_type, *value)).collect()
    };
    let emails = ids("email", &["e1@x.com", "e2@x.com", "e3@x.com"]);
    [ids("user_id", &["u1", "u2"]), emails, ids("anonymous_id", &["a1", "a2", "a3"])].concat()
}

#[derive(Clone, Debug)]
enum Step {
    /// A message that happened so many minutes ago, with at most one user, address and browser.
    Message {
        ago: i64,
        user: Option<u8>,
        email: Option<u8>,
        browser: Option<u8>,
    },
    Link(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index, prop::sample::Index),
    Block(prop::sample::Index),
    Unblock(prop::sample::Index),
    Undo(u64),
    Rules {
        preset: &'static str,
        emails: u8,
        browsers: u8,
        hub_threshold: u8,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let one_of = |count: u8| prop::option::of(0..count);
    let message = (0..30i64, one_of(2), one_of(3), one_of(3));
    let rules = (prop::sample::select(&["product", "b2b", "b2c"][..]), 1..4u8, 1..4u8, 1..4u8);
    prop_oneof![
        12 => message.prop_map(|(ago, user, email, browser)| Step::Message { ago, user, email, browser }),
        2 => (index(), index()).prop_map(|(a, b)| Step::Link(a, b)),
        2 => (index(), index()).prop_map(|(a, b)| Step::Cut(a, b)),
        1 => index().prop_map(Step::Block),
        1 => index().prop_map(Step::Unblock),
        1 => (1..6u64).prop_map(Step::Undo),
        2 => rules.prop_map(|(preset, emails, browsers, hub_threshold)| Step::Rules {
            preset, emails, browsers, hub_threshold
        }),
        1 => Just(Step::Restart),
    ]
}

fn workspace() -> Value {
    common::workspace(&[("a", "did(\"X\")")], &[])
}

fn take(fold: &mut Fold, step: &Step, now: i64) {
    let pool = pool();
    let two = |a: &prop::sample::Index, b: &prop::sample::Index| (a.get(&pool).clone(), b.get(&pool).clone());
    fold.at(now);
    match step {
        Step::Message { ago, user, email, browser } => {
            let mut message = json!({ "type": "track", "event": "X", "ts": now - ago * MINUTE });
            if user.is_none() && email.is_none() && browser.is_none() {
                return;
            }
            user.iter().for_each(|n| message["userId"] = format!("u{}", n + 1).into());
            browser.iter().for_each(|n| message["anonymousId"] = format!("a{}", n + 1).into());
            email.iter().for_each(|n| {
                message["context"] = json!({ "traits": { "email": format!("e{}@x.com", n + 1) } })
            });
            fold.receive(&[message]);
        }
        Step::Link(a, b) => {
            let (a, b) = two(a, b);
            fold.decide(Decision::Link { a, b });
        }
        Step::Cut(a, b) => {
            let (a, b) = two(a, b);
            fold.decide(Decision::Cut { a, b });
        }
        Step::Block(id) => drop(fold.decide(Decision::Block { id: id.get(&pool).clone() })),
        Step::Unblock(id) => drop(fold.decide(Decision::Unblock { id: id.get(&pool).clone() })),
        Step::Undo(number) => drop(fold.decide(Decision::Undo { number: *number })),
        Step::Rules { preset, emails, browsers, hub_threshold } => {
            let mut next = workspace();
            next["identity"] = json!({
                "preset": preset, "hub_threshold": hub_threshold,
                "identifiers": [
                    { "type": "email", "limit": emails },
                    { "type": "anonymous_id", "limit": browsers },
                ],
            });
            fold.apply(next);
        }
        Step::Restart => fold.restart(),
    }
}

/// Who holds each identifier, and every profile id that somebody has now.
fn look(reader: &Reader) -> (BTreeMap<Identifier, Option<ProfileHandle>>, Vec<String>) {
    let read = reader.with(|query| {
        let (mut holders, mut ids) = (BTreeMap::new(), Vec::new());
        for id in pool() {
            let handle = query.find(&id.id_type, &id.value)?;
            let person = handle.map(|handle| query.person(handle)).transpose()?.flatten();
            assert!(
                person.as_ref().is_none_or(|person| person.ids.contains(&id)),
                "{id} is not with its holder"
            );
            ids.extend(person.map(|person| person.profile_id));
            holders.insert(id, handle);
        }
        Ok((holders, ids))
    });
    read.unwrap()
}

fn reader(fold: &Fold) -> Reader {
    Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn i14_every_id_ever_issued_resolves_for_ever(steps in prop::collection::vec(step(), 1..24)) {
        let made_of: BTreeMap<String, Identifier> =
            pool().into_iter().map(|id| (profile_id(&[7; 32], &id, 0), id)).collect();
        let mut fold = Fold::new(workspace());
        let mut issued: BTreeMap<String, Identifier> = BTreeMap::new();
        for (number, step) in (1..).zip(&steps) {
            take(&mut fold, step, number * 10 * MINUTE);
            let reader = reader(&fold);
            let (holders, ids) = look(&reader);
            issued.extend(ids.into_iter().map(|id| (id.clone(), made_of[&id].clone())));
            // What effects told other systems counts too.
            issued.extend(fold.effects().into_iter().map(|e| (e.profile_id.clone(), made_of[&e.profile_id].clone())));
            for (old, id) in &issued {
                let found = reader.with(|query| query.find("profile_id", old)).unwrap();
                prop_assert_eq!(found, holders[id], "the id {}, made of {}, after {:?}", old, id, step);
            }
        }
    }
}

/// The same by hand: one id that is merged away, split off again, and superseded by older evidence.
#[test]
fn an_old_id_follows_its_identifier_through_a_merge_a_split_and_other_rules() {
    let mut fold = Fold::new(workspace());
    let said = |email: &str, user: &str, ts: i64| {
        let mut message = json!({ "type": "track", "event": "X", "ts": ts });
        if !email.is_empty() {
            message["context"] = json!({ "traits": { "email": email } });
        }
        if !user.is_empty() {
            message["userId"] = user.into();
        }
        message
    };
    let [of_user, of_email, of_browser] = [
        Identifier::new("user_id", "u1"),
        Identifier::new("email", "e1@x.com"),
        Identifier::new("anonymous_id", "a1"),
    ]
    .map(|id| profile_id(&[7; 32], &id, 0));
    let holds = |fold: &Fold, profile: &str, id_type: &str, value: &str| {
        reader(fold)
            .with(|query| {
                let found = query.find("profile_id", profile)?.expect("it resolves");
                assert_eq!(Some(found), query.find(id_type, value)?);
                Ok(query.person(found)?.expect("somebody").profile_id)
            })
            .unwrap()
    };
    fold.at(10 * MINUTE).receive(&[said("", "u1", MINUTE), said("e1@x.com", "", 2 * MINUTE)]);
    assert_eq!(holds(&fold, &of_email, "email", "e1@x.com"), of_email);
    fold.receive(&[said("e1@x.com", "u1", 3 * MINUTE)]);
    assert_eq!(holds(&fold, &of_email, "user_id", "u1"), of_user, "merged: the older one's id");
    let older = json!({ "type": "track", "event": "X", "userId": "u1", "anonymousId": "a1", "ts": 5 });
    fold.at(11 * MINUTE).receive(&[older]);
    let first = holds(&fold, &of_email, "user_id", "u1");
    assert!([&of_user, &of_browser].contains(&&first), "older evidence: the id of what was first seen");
    assert_eq!(holds(&fold, &of_user, "anonymous_id", "a1"), first);
    let (a, b) = (Identifier::new("user_id", "u1"), Identifier::new("email", "e1@x.com"));
    fold.at(12 * MINUTE).decide(Decision::Cut { a, b });
    assert_eq!(holds(&fold, &of_email, "email", "e1@x.com"), of_email, "split: its own again");
    assert_eq!(holds(&fold, &of_user, "user_id", "u1"), first);
    let mut strict = workspace();
    strict["identity"] = json!({ "preset": "b2c", "identifiers": [{ "type": "email", "limit": 1 }] });
    fold.at(13 * MINUTE).apply(strict);
    assert_eq!(holds(&fold, &of_email, "email", "e1@x.com"), of_email);
    fold.restart();
    assert_eq!(holds(&fold, &of_user, "user_id", "u1"), first);
}
