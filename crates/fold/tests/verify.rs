//! What is sound is said to be sound, and each kind of damage is found under its invariant's name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
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

/// The list of user ids that differ in case has a row for each user id with a capital, and for nothing else.
#[test]
fn a_wrong_spelling_is_named() {
    let key = |form: &str, value: &str| -> Bytes {
        let length = u32::try_from(form.len()).unwrap().to_be_bytes();
        [&length, form.as_bytes(), value.as_bytes()].concat().into()
    };
    let sound = || {
        let mut fold = shop();
        fold.receive(&[track("X", "Ada"), track("X", "ada"), track("X", "u2")]);
        assert!(verified(&fold).is_sound(), "{:#?}", verified(&fold));
        fold
    };
    type Damage = fn(&dyn Fn(Bytes, Option<Bytes>), &dyn Fn(&str, &str) -> Bytes);
    let damages: [(&str, Damage); 4] = [
        ("user_id:Ada is not listed as a spelling of `ada`", |write, key| write(key("ada", "Ada"), None)),
        ("user_id:Eve is listed as a spelling of `eve`, and is no known user id", |write, key| {
            write(key("eve", "Eve"), Some(Bytes::default()));
        }),
        ("user_id:u2 is listed as a spelling of `u3`: expected `u2`", |write, key| {
            write(key("u3", "u2"), Some(Bytes::default()));
        }),
        ("the row `?` of the spellings of user ids does not decode", |write, _| {
            write(Bytes::from(b"?".as_slice()), Some(Bytes::default()));
        }),
    ];
    for (expected, damage) in damages {
        let fold = sound();
        damage(&|key, value| write(&fold, Table::Spelling, key, value), &key);
        let findings = verified(&fold).findings;
        let told: Vec<_> =
            findings.iter().map(|finding| (finding.invariant, finding.detail.as_str())).collect();
        assert_eq!(told, [("ATOM", expected)]);
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
