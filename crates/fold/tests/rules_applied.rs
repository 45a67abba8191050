//! I16: a fold whose rules were changed holds what a fold has that had the rules from the beginning.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, workspace};
use onefold_fold::CacheSizes;
use onefold_fold::query::Reader;
use onefold_fold::verify::verify;
use onefold_types::Identifier;
use serde_json::{Value, json};

const DAY: i64 = 86_400_000;

/// What is told of one identifier: its profile's identifiers, events, audiences, computed traits and plain ones.
type Held = (Vec<Identifier>, u64, Vec<String>, Vec<(String, u64)>, Vec<(String, String)>);

fn held(fold: &Fold, id: &Identifier) -> Option<Held> {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let person = reader.with(|query| match query.find(&id.id_type, &id.value)? {
        Some(handle) => query.person(handle),
        None => Ok(None),
    });
    person.unwrap().map(|person| {
        let mut ids = person.ids.clone();
        ids.sort();
        let traits = person.profile.traits.iter();
        (
            ids,
            person.profile.events,
            person.audiences.iter().map(|(key, _)| key.clone()).collect(),
            person.computed.iter().map(|computed| (computed.key.clone(), computed.value)).collect(),
            traits.map(|(key, value)| (key.clone(), value.json.clone())).collect(),
        )
    })
}

fn rules(email_limit: u32) -> Value {
    let mut workspace =
        workspace(&[("thrice", "count(any) >= 3"), ("pro", "traits.plan = \"p5\"")], &[("n", "count(any)")]);
    workspace["identity"] = json!({ "identifiers": [{ "type": "email", "limit": email_limit }] });
    workspace
}

/// Case 13: somebody with another address each day; on the seventh day each address alone does something.
fn thirteen(fold: &mut Fold) {
    for day in 0..6 {
        fold.at((day + 1) * DAY);
        let traits = json!({ "email": format!("e{day}@x.com"), "plan": format!("p{day}") });
        fold.receive(&[json!({ "type": "identify", "userId": "u1", "traits": traits })]);
    }
    fold.at(7 * DAY);
    for day in 0..6 {
        let context = json!({ "traits": { "email": format!("e{day}@x.com") } });
        fold.receive(&[json!({ "type": "track", "event": "X", "context": context })]);
    }
}

#[test]
fn case_42_other_rules_applied_are_a_fresh_replay() {
    let ids: Vec<Identifier> = (0..6)
        .map(|day| Identifier::new("email", format!("e{day}@x.com")))
        .chain([Identifier::new("user_id", "u1")])
        .collect();
    let state = |fold: &Fold| ids.iter().map(|id| held(fold, id)).collect::<Vec<_>>();

    let mut changed = Fold::new(rules(5));
    thirteen(&mut changed);
    let before = state(&changed);
    assert_eq!(before[6].as_ref().unwrap().0.len(), 6, "u1 with five addresses");

    // Stricter, and back again: four addresses leave, and come back.
    for (limit, together) in [(1, 2), (5, 6), (2, 3)] {
        changed.apply(rules(limit));
        let mut fresh = Fold::new(rules(limit));
        thirteen(&mut fresh);
        let is = state(&changed);
        assert_eq!(is[6].as_ref().unwrap().0.len(), together);
        assert_eq!(is, state(&fresh), "under a limit of {limit}");
        let found =
            verify(changed.log.as_ref(), changed.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
        assert!(found.findings.is_empty(), "{:?}", found.findings);
        if limit == 5 {
            assert_eq!(is, before);
        }
    }
}
