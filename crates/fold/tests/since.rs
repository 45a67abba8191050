//! Since when: of audiences the last entry, of computed traits the last change, of accounts the earliest sign.
//!
//! Instants are minutes of the test's clock, so each expectation is the instant at which the test made it true.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::CacheSizes;
use onefold_fold::profile::Profile;
use onefold_fold::query::{Query, Reader};
use onefold_fold::rows;
use onefold_fold::verify::verify;
use onefold_store::{Bytes, Direction, KeyRange, Store, Table};
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use serde_json::json;
use std::collections::BTreeMap;

fn read<T>(fold: &Fold, read: impl FnOnce(&mut Query<'_, '_>) -> T) -> T {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    reader.with(|query| Ok(read(query))).unwrap()
}

/// Someone's audiences since their minute, and computed traits with value and minute: `a@3`, `n=2@5`.
fn times(fold: &Fold, id_type: &str, value: &str) -> Vec<String> {
    read(fold, |query| {
        let handle = query.find(id_type, value).unwrap().unwrap();
        let person = query.person(handle).unwrap().unwrap();
        let minute = |ts: onefold_types::Timestamp| (ts.0 / MINUTE).to_string();
        let mut said = Vec::new();
        for (key, id) in &person.audiences {
            said.push(format!("{key}@{}", minute(query.member_since(*id, handle).unwrap().unwrap())));
        }
        for computed in &person.computed {
            let since = computed.since.map_or_else(|| "never".to_owned(), minute);
            said.push(format!("{}={}@{since}", computed.key, computed.value));
        }
        said
    })
}

/// The members of an account: each one's strongest identifier, since its minute.
fn members(fold: &Fold, account: &str) -> BTreeMap<String, i64> {
    let members = read(fold, |query| query.account_members(account, 0, usize::MAX).unwrap());
    members.into_iter().map(|member| (member.ids[0].to_string(), member.since.0 / MINUTE)).collect()
}

fn is_sound(fold: &Fold) {
    let verification =
        verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    assert!(verification.is_sound(), "{verification:#?}");
}

fn windowed() -> Fold {
    Fold::with_audiences(&[("a", "count(\"X\" in last 10m) >= 2")], &[("n", "count(\"X\" in last 10m)")])
}

#[test]
fn an_entry_and_a_value_have_the_instant_at_which_they_became_true() {
    let mut fold = windowed();
    fold.at(MINUTE).receive(&[track("Y", "u")]);
    assert_eq!(times(&fold, "user_id", "u"), ["n=0@never"]);
    fold.at(2 * MINUTE).receive(&[track("X", "u")]);
    assert_eq!(times(&fold, "user_id", "u"), ["n=1@2"]);
    fold.at(4 * MINUTE).receive(&[track("X", "u")]);
    assert_eq!(times(&fold, "user_id", "u"), ["a@4", "n=2@4"]);
    fold.at(6 * MINUTE).receive(&[track("X", "u")]);
    assert_eq!(times(&fold, "user_id", "u"), ["a@4", "n=3@6"], "it was a member already");
    // The windows close while nobody is there: at their own instants, not when somebody looks.
    fold.at(12 * MINUTE + 1);
    assert_eq!(times(&fold, "user_id", "u"), ["a@4", "n=2@12"]);
    fold.at(15 * MINUTE);
    assert_eq!(times(&fold, "user_id", "u"), ["n=1@14"]);
    fold.at(30 * MINUTE);
    assert_eq!(times(&fold, "user_id", "u"), ["n=0@16"], "a value that went to 0 changed");
    fold.at(31 * MINUTE).receive(&[track("X", "u")]);
    fold.at(32 * MINUTE).receive(&[track("X", "u")]);
    assert_eq!(times(&fold, "user_id", "u"), ["a@32", "n=2@32"], "the last entry counts");
    fold.restart();
    assert_eq!(times(&fold, "user_id", "u"), ["a@32", "n=2@32"]);
    is_sound(&fold);
}

#[test]
fn a_definition_over_history_is_true_since_its_cut() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE).receive(&[track("X", "u")]);
    fold.at(5 * MINUTE).apply(workspace(&[("a", "did(\"X\" in last 10m)")], &[("n", "count(\"X\")")]));
    fold.at(8 * MINUTE);
    assert_eq!(times(&fold, "user_id", "u"), ["a@5", "n=1@5"]);
    fold.at(9 * MINUTE).apply(workspace(&[("a", "did(\"X\")")], &[("n", "count(\"X\")")]));
    assert_eq!(times(&fold, "user_id", "u"), ["a@5", "n=1@5"], "an edit that changes nothing for someone");
    fold.at(10 * MINUTE).apply(workspace(&[], &[]));
    fold.at(20 * MINUTE).apply(workspace(&[("a", "did(\"X\")")], &[("n", "count(\"X\")")]));
    assert_eq!(times(&fold, "user_id", "u"), ["a@20", "n=1@20"], "what was removed began anew");
    is_sound(&fold);
}

#[test]
fn a_merge_keeps_the_survivors_times_and_a_rebuild_everybodys() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[("n", "count(\"X\")")]);
    let mail = json!({ "traits": { "email": "d@x.com" } });
    fold.at(MINUTE).receive(&[track("X", "u")]);
    fold.at(2 * MINUTE).receive(&[json!({ "type": "track", "event": "X", "context": mail })]);
    let both = json!({ "type": "identify", "userId": "u", "context": mail });
    fold.at(3 * MINUTE).receive(&[both]);
    assert_eq!(times(&fold, "email", "d@x.com"), ["a@1", "n=2@3"]);
    // Apart again: both are rebuilt from their streams.
    let (a, b) = (Identifier::new("user_id", "u"), Identifier::new("email", "d@x.com"));
    fold.at(4 * MINUTE).decide(Decision::Cut { a, b });
    assert_eq!(times(&fold, "user_id", "u"), ["a@1", "n=1@4"]);
    assert_eq!(times(&fold, "email", "d@x.com"), ["a@4", "n=1@4"]);
    // A rebuild that changes no value.
    fold.at(5 * MINUTE)
        .receive(&[json!({ "type": "track", "event": "Y", "userId": "u", "messageId": "gone" })]);
    fold.at(6 * MINUTE).decide(Decision::DeleteMessage { message_id: "gone".to_owned() });
    assert_eq!(times(&fold, "user_id", "u"), ["a@1", "n=1@4"]);
    is_sound(&fold);
}

#[test]
fn an_account_lists_its_members_through_merges_cuts_and_deletions() {
    let mut fold = Fold::with_audiences(&[], &[]);
    let mail = json!({ "traits": { "email": "d@x.com" } });
    let joins = |user: &str, account: &str| json!({ "type": "group", "userId": user, "groupId": account });
    let mail_joins = json!({ "type": "group", "groupId": "g", "context": mail });
    let list = |pairs: &[(&str, i64)]| -> BTreeMap<String, i64> {
        pairs.iter().map(|(id, minute)| ((*id).to_owned(), *minute)).collect()
    };
    fold.at(2 * MINUTE).receive(&[joins("u", "g"), mail_joins]);
    fold.at(3 * MINUTE).receive(&[joins("u", "g"), joins("v", "g2")]);
    assert_eq!(members(&fold, "g"), list(&[("user_id:u", 2), ("email:d@x.com", 2)]));
    assert_eq!(members(&fold, "g2"), list(&[("user_id:v", 3)]), "no account is another's beginning");
    // Late, so earlier.
    let mut late = joins("u", "g");
    late["ts"] = MINUTE.into();
    fold.at(4 * MINUTE).receive(&[late]);
    assert_eq!(members(&fold, "g"), list(&[("user_id:u", 1), ("email:d@x.com", 2)]));
    fold.at(5 * MINUTE).receive(&[json!({ "type": "identify", "userId": "v", "context": mail })]);
    assert_eq!(members(&fold, "g"), list(&[("user_id:u", 1), ("user_id:v", 2)]), "merged");
    is_sound(&fold);
    let (a, b) = (Identifier::new("user_id", "v"), Identifier::new("email", "d@x.com"));
    fold.at(6 * MINUTE).decide(Decision::Cut { a, b });
    assert_eq!(members(&fold, "g"), list(&[("user_id:u", 1), ("email:d@x.com", 2)]), "cut");
    is_sound(&fold);
    fold.at(7 * MINUTE).decide(Decision::DeleteProfile { id: Identifier::new("user_id", "u") });
    assert_eq!(members(&fold, "g"), list(&[("email:d@x.com", 2)]), "deleted");
    assert_eq!(members(&fold, "g2"), list(&[("user_id:v", 3)]));
    is_sound(&fold);
}

#[test]
fn a_lost_time_or_membership_is_found() {
    let damaged = |table: Table, prefix: &[u8], damage: &dyn Fn(&[u8]) -> Option<Bytes>| {
        let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[("n", "count(\"X\")")]);
        fold.at(MINUTE)
            .receive(&[track("X", "u"), json!({ "type": "group", "userId": "u", "groupId": "g" })]);
        is_sound(&fold);
        let mut row = None;
        let snapshot = fold.store.snapshot().unwrap();
        let range = KeyRange::prefix(prefix);
        snapshot
            .scan(table, &range, Direction::Forward, &mut |key, value| {
                row = Some((Bytes::from(key), damage(value)));
                false
            })
            .unwrap();
        drop(snapshot);
        let (key, value) = row.unwrap();
        let mut txn = fold.store.begin().unwrap();
        txn.set(table, key, value);
        txn.commit().unwrap();
        let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
        assert!(found.findings.iter().any(|finding| finding.invariant == "ATOM"), "{table:?}: {found:#?}");
    };
    damaged(Table::Account, b"m", &|_| None);
    damaged(Table::Account, b"m", &|since| Some(since.iter().rev().copied().collect::<Vec<u8>>().into()));
    damaged(Table::AudienceMember, b"", &|_| Some(Bytes::default()));
    damaged(Table::Profile, b"", &|profile| {
        let mut profile: Profile = rows::decode("prof", profile).unwrap();
        profile.changed.clear();
        Some(rows::encode(&profile).unwrap())
    });
}
