//! What is sound is said to be sound, and each kind of damage is found under its invariant's name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, workspace};
use onefold_fold::CacheSizes;
use onefold_fold::profile::Profile;
use onefold_fold::rows;
use onefold_fold::verify::{Verification, verify};
use onefold_store::{Bytes, Direction, KeyRange, Store, Table};
use serde_json::json;

fn shop() -> Fold {
    let audiences = [("lookers", "did(\"X\" in last 1h)"), ("pro", "traits.plan = \"pro\"")];
    let mut fold = Fold::new(workspace(&audiences, &[("xs", "count(\"X\")")]));
    let track = |anonymous: &str| json!({ "type": "track", "event": "X", "anonymousId": anonymous });
    let says = json!({ "type": "identify", "userId": "u", "anonymousId": "a", "traits": { "plan": "pro" } });
    fold.at(MINUTE).receive(&[track("a"), track("b"), says]);
    fold
}

fn verified(fold: &Fold) -> Verification {
    verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap()
}

fn all(fold: &Fold, table: Table) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    let snapshot = fold.store.snapshot().unwrap();
    snapshot
        .scan(table, &KeyRange::prefix(b""), Direction::Forward, &mut |key, value| {
            found.push((key.into(), value.into()));
            true
        })
        .unwrap();
    found
}

fn write(fold: &Fold, table: Table, key: Bytes, value: Option<Bytes>) {
    let mut txn = fold.store.begin().unwrap();
    match value {
        Some(value) => txn.put(table, key, value),
        None => txn.delete(table, key),
    }
    txn.commit().unwrap();
}

fn found(fold: &Fold) -> Vec<&'static str> {
    verified(fold).findings.iter().map(|finding| finding.invariant).collect()
}

#[test]
fn what_is_sound_is_sound() {
    let fold = shop();
    let verification = verified(&fold);
    assert!(verification.is_sound(), "{verification:#?}");
    assert_eq!((verification.messages, verification.profiles, verification.waiting), (3, 2, 0));
}

#[test]
fn a_lost_row_is_found_whatever_its_table() {
    let expected = [
        (Table::Seen, "ONCE"),
        (Table::Cluster, "ORACLE"),
        (Table::Stream, "ORACLE"),
        (Table::AudienceMember, "ATOM"),
        (Table::Timer, "BOUND"),
        (Table::Profile, "ATOM"),
    ];
    for (table, invariant) in expected {
        let fold = shop();
        let (key, _) = all(&fold, table).swap_remove(0);
        write(&fold, table, key, None);
        assert!(found(&fold).contains(&invariant), "{table:?}: {:?}", found(&fold));
    }
}

#[test]
fn a_changed_profile_is_found() {
    for change in [
        |profile: &mut Profile| profile.events += 1,
        |profile: &mut Profile| profile.traits = Default::default(),
        |profile: &mut Profile| profile.state = profile.state.clone().emptied(),
        |profile: &mut Profile| profile.armed = None,
    ] {
        let fold = shop();
        let mut rows = all(&fold, Table::Profile);
        let (key, value) = rows.swap_remove(0);
        let mut profile: Profile = rows::decode("prof", &value).unwrap();
        change(&mut profile);
        if rows::encode(&profile).unwrap() == value {
            continue;
        }
        write(&fold, Table::Profile, key, Some(rows::encode(&profile).unwrap()));
        assert!(!found(&fold).is_empty());
    }
}
