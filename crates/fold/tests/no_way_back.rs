//! A deletion leaves nothing that leads from what was to whoever comes next, and no key that comes along with them later.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track};
use onefold_fold::CacheSizes;
use onefold_fold::query::{Person, Reader};
use onefold_fold::verify::verify;
use onefold_store::{Direction, KeyRange, Store, Table};
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use serde_json::{Value, json};

fn find(fold: &Fold, id_type: &str, value: &str) -> Option<Person> {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let found = reader.with(|query| match query.find(id_type, value)? {
        Some(handle) => query.person(handle),
        None => Ok(None),
    });
    found.unwrap()
}

fn rows(fold: &Fold, table: Table) -> usize {
    let mut count = 0;
    let snapshot = fold.store.snapshot().unwrap();
    snapshot
        .scan(table, &KeyRange::prefix(b""), Direction::Forward, &mut |_, _| {
            count += 1;
            true
        })
        .unwrap();
    count
}

fn is_sound(fold: &Fold) {
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    assert!(found.is_sound(), "{found:#?}");
}

fn fold() -> Fold {
    Fold::with_audiences(&[("a", "did(\"X\")")], &[])
}

fn joined(user: &str, email: &str) -> Value {
    json!({ "type": "track", "event": "Y", "userId": user, "context": { "traits": { "email": email } } })
}

fn mailed(message_id: &str, email: &str) -> Value {
    json!({ "type": "track", "event": "X", "messageId": message_id, "context": { "traits": { "email": email } } })
}

/// identity.md, case 38: the node is used again, and the old profile id does not lead to whoever has it.
#[test]
fn case_38_the_profile_id_of_a_deleted_person_finds_nobody() {
    let mut fold = fold();
    // Two profile ids were issued: an older message changed the first.
    fold.at(MINUTE).receive(&[track("X", "u")]);
    let first = find(&fold, "user_id", "u").unwrap().profile_id;
    fold.receive(&[json!({ "type": "track", "event": "X", "anonymousId": "a", "ts": 1 })]);
    fold.receive(&[json!({ "type": "identify", "userId": "u", "anonymousId": "a" })]);
    let second = find(&fold, "user_id", "u").unwrap().profile_id;
    assert_ne!(first, second);
    assert!(find(&fold, "profile_id", &first).is_some() && find(&fold, "profile_id", &second).is_some());
    fold.at(2 * MINUTE).decide(Decision::DeleteProfile { id: Identifier::new("user_id", "u") });
    assert_eq!((rows(&fold, Table::ProfileId), rows(&fold, Table::CustomerKey)), (0, 0));
    fold.receive(&[track("X", "u"), json!({ "type": "track", "event": "X", "anonymousId": "a" })]);
    for old in [&first, &second] {
        assert!(find(&fold, "profile_id", old).is_none(), "{old} leads to the new person");
    }
    let new = find(&fold, "user_id", "u").unwrap();
    assert_eq!(find(&fold, "profile_id", &new.profile_id).unwrap().handle, new.handle);
    is_sound(&fold);
}

/// A state that was written before such rows were deleted has them still.
#[test]
fn a_profile_id_that_was_left_behind_finds_nobody_either() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[track("X", "u")]);
    let old = find(&fold, "user_id", "u").unwrap().profile_id;
    let row = fold.store.snapshot().unwrap().get(Table::ProfileId, old.as_bytes()).unwrap().unwrap();
    fold.at(2 * MINUTE).decide(Decision::DeleteProfile { id: Identifier::new("user_id", "u") });
    let mut txn = fold.store.begin().unwrap();
    txn.put(Table::ProfileId, old.as_bytes().to_vec(), row);
    txn.commit().unwrap();
    fold.receive(&[track("X", "u")]);
    assert!(find(&fold, "profile_id", &old).is_none());
}

/// e's key was the older: had it stayed, u's would become e's at the next cut, by itself.
#[test]
fn an_address_whose_only_message_was_deleted_brings_no_key_along() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("once", "e@x.com")]);
    let old = find(&fold, "email", "e@x.com").unwrap().customer_key.unwrap();
    fold.at(5 * MINUTE).receive(&[track("X", "u")]);
    let kept = find(&fold, "user_id", "u").unwrap().customer_key;
    fold.at(6 * MINUTE).decide(Decision::DeleteMessage { message_id: "once".into() });
    assert_eq!(rows(&fold, Table::CustomerKey), 2, "u's, and its text");
    fold.at(7 * MINUTE).receive(&[joined("u", "e@x.com"), joined("u", "f@x.com")]);
    assert_eq!(find(&fold, "user_id", "u").unwrap().customer_key, kept);
    let (a, b) = (Identifier::new("user_id", "u"), Identifier::new("email", "f@x.com"));
    fold.at(8 * MINUTE).decide(Decision::Cut { a, b });
    assert_eq!(find(&fold, "user_id", "u").unwrap().customer_key, kept, "the same after a cut");
    assert!(find(&fold, "customer_key", &old).is_none());
    is_sound(&fold);
}

/// The same by the deletion of a profile that said something of an address that is not in it.
#[test]
fn an_address_of_which_only_the_deleted_spoke_brings_no_key_along() {
    let mut fold = fold();
    // e is in no profile but its own: u has five addresses already.
    let many: Vec<Value> = (1..=5).map(|number| joined("u", &format!("e{number}@x.com"))).collect();
    fold.at(MINUTE).receive(&many);
    fold.at(2 * MINUTE).receive(&[mailed("once", "e@x.com"), joined("u", "e@x.com")]);
    assert!(find(&fold, "email", "e@x.com").unwrap().customer_key.is_some());
    fold.at(3 * MINUTE).decide(Decision::DeleteMessage { message_id: "once".into() });
    assert!(find(&fold, "email", "e@x.com").is_some(), "u spoke of it");
    fold.at(4 * MINUTE).decide(Decision::DeleteProfile { id: Identifier::new("user_id", "u") });
    assert!(find(&fold, "email", "e@x.com").is_none());
    assert_eq!(rows(&fold, Table::CustomerKey), 0);
    is_sound(&fold);
}

/// A block that is taken back changes nothing (I10): the key is the same.
#[test]
fn a_block_keeps_the_key_for_when_it_is_taken_back() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("once", "e@x.com")]);
    let key = find(&fold, "email", "e@x.com").unwrap().customer_key;
    let id = Identifier::new("email", "e@x.com");
    fold.at(2 * MINUTE).decide(Decision::Block { id: id.clone() });
    assert!(find(&fold, "email", "e@x.com").is_none());
    fold.at(3 * MINUTE).decide(Decision::Unblock { id });
    assert_eq!(find(&fold, "email", "e@x.com").unwrap().customer_key, key);
}

/// The older key that comes with an address that is no longer blocked is u's at once, and stays.
#[test]
fn an_address_that_is_no_longer_blocked_brings_its_older_key_at_once() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("once", "e@x.com")]);
    let older = find(&fold, "email", "e@x.com").unwrap().customer_key.unwrap();
    let id = Identifier::new("email", "e@x.com");
    fold.at(2 * MINUTE).decide(Decision::Block { id: id.clone() });
    fold.at(3 * MINUTE).receive(&[track("X", "u"), joined("u", "e@x.com"), joined("u", "f@x.com")]);
    assert!(find(&fold, "user_id", "u").unwrap().customer_key.is_some_and(|key| key != older));
    fold.at(4 * MINUTE).decide(Decision::Unblock { id });
    assert_eq!(find(&fold, "user_id", "u").unwrap().customer_key.as_ref(), Some(&older));
    is_sound(&fold);
}
