//! Customer keys: what other systems join on must not change when older evidence comes, and is found after a merge and a
//! split without waiting for the next effect (identity.md 1.1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track};
use onefold_fold::query::{Person, Reader};
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use serde_json::{Value, json};

fn person(fold: &Fold, id_type: &str, value: &str) -> Option<Person> {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let found = reader.with(|query| match query.find(id_type, value)? {
        Some(handle) => query.person(handle),
        None => Ok(None),
    });
    found.unwrap()
}

fn key(fold: &Fold, id_type: &str, value: &str) -> String {
    person(fold, id_type, value).unwrap().customer_key.unwrap()
}

fn mailed(email: &str) -> Value {
    json!({ "type": "track", "event": "X", "context": { "traits": { "email": email } } })
}

/// Two people who are in an audience, so that a webhook was told of each: one by e-mail, a minute later one by user id.
fn two_people() -> Fold {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[mailed("e1@x.com")]).at(2 * MINUTE).receive(&[track("X", "u")]);
    fold
}

#[test]
fn older_evidence_changes_the_profile_id_and_not_the_key() {
    let mut fold = two_people();
    let before = person(&fold, "user_id", "u").unwrap();
    let older = json!({ "type": "track", "event": "Y", "userId": "u", "anonymousId": "a1", "ts": 5 });
    fold.at(3 * MINUTE)
        .receive(&[json!({ "type": "track", "event": "Y", "anonymousId": "a1", "ts": 1 }), older]);
    let after = person(&fold, "user_id", "u").unwrap();
    assert_ne!(before.profile_id, after.profile_id);
    assert_eq!(before.customer_key, after.customer_key);
    assert!(after.customer_key.is_some());
}

#[test]
fn a_merge_keeps_the_oldest_key_at_once_and_the_other_finds_it() {
    let mut fold = two_people();
    let (older, newer) = (key(&fold, "email", "e1@x.com"), key(&fold, "user_id", "u"));
    assert_ne!(older, newer);
    let both = json!({ "type": "identify", "userId": "u", "traits": { "email": "e1@x.com" } });
    fold.at(3 * MINUTE).receive(&[both]);
    for (id_type, value) in
        [("email", "e1@x.com"), ("user_id", "u"), ("customer_key", &older), ("customer_key", &newer)]
    {
        assert_eq!(key(&fold, id_type, value), older, "{id_type}:{value}");
    }
}

#[test]
fn a_key_goes_with_its_identifier_when_a_wrong_link_is_cut() {
    let mut fold = two_people();
    let (older, newer) = (key(&fold, "email", "e1@x.com"), key(&fold, "user_id", "u"));
    let both = json!({ "type": "identify", "userId": "u", "traits": { "email": "e1@x.com" } });
    fold.at(3 * MINUTE).receive(&[both]);
    let (a, b) = (Identifier::new("user_id", "u"), Identifier::new("email", "e1@x.com"));
    fold.at(4 * MINUTE).decide(Decision::Cut { a, b });
    assert_eq!(key(&fold, "email", "e1@x.com"), older);
    assert_eq!(key(&fold, "user_id", "u"), newer);
}

#[test]
fn somebody_anonymous_has_none() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[json!({ "type": "track", "event": "X", "anonymousId": "a1" })]);
    assert_eq!(person(&fold, "anonymous_id", "a1").unwrap().customer_key, None);
}
