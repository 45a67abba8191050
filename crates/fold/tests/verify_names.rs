//! Customer keys and profile ids that are lost, or lead elsewhere, are named.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track};
use onefold_fold::profile::Profile;
use onefold_fold::query::{Person, Reader};
use onefold_fold::verify::verify;
use onefold_fold::{CacheSizes, rows};
use onefold_store::{Direction, KeyRange, Store, Table};
use onefold_types::{NodeId, Timestamp};
use serde_json::json;

/// Someone who has a customer key and had two profile ids, and someone else who has a key.
fn shop() -> Fold {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[track("X", "u")]).at(2 * MINUTE).receive(&[track("X", "v")]);
    fold.receive(&[
        json!({ "type": "track", "event": "Y", "anonymousId": "a", "ts": 1 }),
        json!({ "type": "track", "event": "Y", "userId": "u", "anonymousId": "a", "ts": 2 }),
    ]);
    assert_eq!(found(&fold), Vec::<String>::new());
    fold
}

fn found(fold: &Fold) -> Vec<String> {
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    found.findings.into_iter().map(|finding| format!("{} {}", finding.invariant, finding.detail)).collect()
}

fn person(fold: &Fold, id_type: &str, value: &str) -> Person {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    reader
        .with(|query| {
            let handle = query.find(id_type, value)?.unwrap();
            query.person(handle)
        })
        .unwrap()
        .unwrap()
}

fn write(fold: &Fold, table: Table, key: &[u8], value: Option<Vec<u8>>) {
    let mut txn = fold.store.begin().unwrap();
    match value {
        Some(value) => txn.put(table, key.to_vec(), value),
        None => txn.delete(table, key.to_vec()),
    }
    txn.commit().unwrap();
}

/// The two rows of a customer key: of the identifier, and of the text.
fn key_rows(fold: &Fold, key: &str) -> (Vec<u8>, Vec<u8>) {
    let text = [b"k", key.as_bytes()].concat();
    let node = fold.store.snapshot().unwrap().get(Table::CustomerKey, &text).unwrap().unwrap();
    ([b"n", &*node].concat(), text)
}

fn count(fold: &Fold, table: Table) -> usize {
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

#[test]
fn a_lost_customer_key_is_named() {
    let fold = shop();
    let (u, key) =
        (person(&fold, "user_id", "u").handle.0, person(&fold, "user_id", "u").customer_key.unwrap());
    let (of_node, text) = key_rows(&fold, &key);
    assert_eq!(count(&fold, Table::CustomerKey), 4);
    let row = fold.store.snapshot().unwrap().get(Table::CustomerKey, &of_node).unwrap().unwrap().to_vec();

    write(&fold, Table::CustomerKey, &text, None);
    assert_eq!(
        found(&fold),
        [format!("ATOM customer key {key} does not find user_id:u, for which it was issued")]
    );
    write(&fold, Table::CustomerKey, &of_node, None);
    let lost = format!(
        "ATOM profile {u} is told under customer key {key}: expected one that was issued for an identifier of it"
    );
    assert_eq!(found(&fold), std::slice::from_ref(&lost));
    write(&fold, Table::CustomerKey, &text, Some(of_node[1..].to_vec()));
    assert_eq!(
        found(&fold),
        [format!("ATOM customer key {key} leads to user_id:u, for which it was not issued"), lost]
    );
    write(&fold, Table::CustomerKey, &of_node, Some(row));
    assert_eq!(found(&fold), Vec::<String>::new());
}

#[test]
fn a_customer_key_of_another_is_named() {
    let fold = shop();
    let [u, v] = ["u", "v"].map(|user| person(&fold, "user_id", user).customer_key.unwrap());
    let ((of_u, _), (of_v, text_of_v)) = (key_rows(&fold, &u), key_rows(&fold, &v));
    // u's node has v's key.
    let row: (Timestamp, String) = (Timestamp(MINUTE), v.clone());
    write(&fold, Table::CustomerKey, &of_u, Some(rows::encode(&row).unwrap().to_vec()));
    let told = found(&fold);
    assert!(
        told.contains(&format!("ATOM customer key {v} was issued for user_id:u: expected {u}")),
        "{told:#?}"
    );

    let fold = shop();
    // v's key leads to u's node.
    write(&fold, Table::CustomerKey, &text_of_v, Some(of_u[1..].to_vec()));
    let told = found(&fold);
    assert!(
        told.contains(&format!("ATOM customer key {v} leads to user_id:u, for which it was not issued")),
        "{told:#?}"
    );
    assert!(
        told.contains(&format!("ATOM customer key {v} does not find user_id:v, for which it was issued"))
    );

    let fold = shop();
    write(&fold, Table::CustomerKey, &of_v, Some(b"?".to_vec()));
    write(&fold, Table::CustomerKey, b"x", Some(Vec::new()));
    let told = found(&fold);
    assert!(told.iter().any(|detail| detail.contains("of table ckey does not decode as ckey")), "{told:#?}");
    assert!(told.contains(&"ATOM the row `x` of the customer keys has no kind".to_owned()), "{told:#?}");

    let fold = shop();
    let nobody = [b"n", &NodeId(99).0.to_be_bytes()[..]].concat();
    write(&fold, Table::CustomerKey, &nobody, Some(rows::encode(&row).unwrap().to_vec()));
    let told = found(&fold);
    assert_eq!(told, [format!("ATOM customer key {v} was issued for identifier 99, which is not known")]);
}

#[test]
fn a_profile_that_is_told_under_a_younger_key_than_it_has_is_named() {
    let mut fold = shop();
    fold.at(3 * MINUTE).receive(&[
        json!({ "type": "track", "event": "X", "context": { "traits": { "email": "e@x.com" } } }),
    ]);
    let younger = person(&fold, "email", "e@x.com").customer_key.unwrap();
    fold.at(4 * MINUTE)
        .receive(&[json!({ "type": "identify", "userId": "u", "traits": { "email": "e@x.com" } })]);
    let who = person(&fold, "user_id", "u");
    let older = who.customer_key.unwrap();
    assert_ne!(older, younger);
    let key = who.handle.0.to_be_bytes();
    let row = fold.store.snapshot().unwrap().get(Table::Profile, &key).unwrap().unwrap();
    let mut profile: Profile = rows::decode("prof", &row).unwrap();
    profile.customer_key = Some((Timestamp(3 * MINUTE), younger.clone()));
    write(&fold, Table::Profile, &key, Some(rows::encode(&profile).unwrap().to_vec()));
    let handle = who.handle.0;
    assert_eq!(
        found(&fold),
        [format!("ATOM profile {handle} is told under customer key {younger}: expected the older {older}")]
    );
}

#[test]
fn a_lost_or_wrong_profile_id_is_named() {
    let fold = shop();
    let who = person(&fold, "user_id", "u");
    // Of u, of v, and of a, which is the one that u has now.
    assert_eq!(count(&fold, Table::ProfileId), 3);
    let (handle, id) = (who.handle.0, who.profile_id);
    let row = fold.store.snapshot().unwrap().get(Table::ProfileId, id.as_bytes()).unwrap().unwrap().to_vec();
    write(&fold, Table::ProfileId, id.as_bytes(), None);
    let lost =
        format!("ATOM profile {handle}: its id {id} does not find anonymous_id:a, of which it is made");
    assert_eq!(found(&fold), [lost]);
    write(&fold, Table::ProfileId, id.as_bytes(), Some(row.clone()));
    write(&fold, Table::ProfileId, b"another", Some(row));
    assert_eq!(found(&fold), [format!("ATOM profile id another leads to anonymous_id:a: expected {id}")]);
    write(&fold, Table::ProfileId, b"another", Some(vec![0xee; 8]));
    let nobody = u64::from_be_bytes([0xee; 8]);
    assert_eq!(
        found(&fold),
        [format!("ATOM profile id another leads to identifier {nobody}, which is not known")]
    );
}

/// Every id that was ever issued resolves for ever.
#[test]
fn a_lost_profile_id_of_before_is_named() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[track("X", "u")]);
    let before = person(&fold, "user_id", "u");
    fold.receive(&[json!({ "type": "track", "event": "Y", "userId": "u", "anonymousId": "a", "ts": 2 })]);
    fold.receive(&[json!({ "type": "track", "event": "Y", "anonymousId": "a", "ts": 1 })]);
    let after = person(&fold, "profile_id", &before.profile_id);
    assert_ne!(after.profile_id, before.profile_id);
    assert_eq!(found(&fold), Vec::<String>::new());
    write(&fold, Table::ProfileId, before.profile_id.as_bytes(), None);
    let (handle, id) = (after.handle.0, before.profile_id);
    assert_eq!(
        found(&fold),
        [format!(
            "ATOM profile {handle}, as it was: its id {id} does not find user_id:u, of which it is made"
        )]
    );
}
