//! An audience that is removed or disabled ends for its members: whoever was told of an entry is told of the exit (B9).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::CacheSizes;
use onefold_fold::verify::verify;
use onefold_types::effect::{Cause, Change};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn sound(fold: &Fold) {
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    assert!(found.is_sound(), "{:#?}", found.findings);
}

fn enabled(is: bool) -> Value {
    let mut workspace = workspace(&[("a", "did(\"X\" in last 10m)")], &[]);
    workspace["audiences"][0]["enabled"] = is.into();
    workspace
}

/// In each lane of each destination entries and exits of an audience alternate, beginning with an entry.
fn alternate(fold: &Fold) {
    let mut inside = BTreeSet::new();
    for effect in fold.effects() {
        let key = |audience| (effect.destination, effect.profile, audience);
        match effect.change {
            Change::Entered { audience, .. } => assert!(inside.insert(key(audience)), "{:#?}", fold.told()),
            Change::Exited { audience } => assert!(inside.remove(&key(audience)), "{:#?}", fold.told()),
            _ => {}
        }
    }
}

#[test]
fn the_members_of_a_disabled_audience_leave_it_and_come_back_when_it_is_enabled() {
    let mut fold = Fold::new(enabled(true));
    fold.at(MINUTE).receive(&[track("X", "u")]).at(9 * MINUTE).receive(&[track("X", "v")]);
    fold.apply(enabled(false));
    let told = fold.told();
    assert_eq!(told[2..], [format!("-a@{} user_id:u", 9 * MINUTE), format!("-a@{} user_id:v", 9 * MINUTE)]);
    assert!(fold.effects()[2..].iter().all(|effect| effect.cause == Cause::Definition));
    // What the entry was told under.
    assert_eq!(fold.effects()[2].customer_key, fold.effects()[0].customer_key);
    sound(&fold);
    fold.at(12 * MINUTE).apply(enabled(true));
    assert_eq!(fold.told()[4..], [format!("+a!@{} user_id:v", 12 * MINUTE)]);
    fold.at(60 * MINUTE);
    assert_eq!(fold.told()[5..], [format!("-a@{} user_id:v", 19 * MINUTE)]);
    alternate(&fold);
    sound(&fold);
}

#[test]
fn the_members_of_a_removed_audience_leave_it() {
    let two = workspace(&[("a", "did(\"X\" in last 10m)"), ("b", "did(\"X\")")], &[]);
    let mut fold = Fold::new(two);
    fold.at(MINUTE).receive(&[track("X", "u")]);
    let ended = *fold.catalogue.as_ref().unwrap().audiences.get("a").unwrap();
    fold.at(2 * MINUTE).apply(workspace(&[("b", "did(\"X\")")], &[]));
    let effects = fold.effects();
    assert_eq!(effects.len(), 3);
    assert_eq!(effects[2].change, Change::Exited { audience: ended });
    assert_eq!((effects[2].effective.0, &effects[2].cause), (2 * MINUTE, &Cause::Definition));
    let catalogue = fold.catalogue.clone().unwrap();
    assert_eq!(catalogue.removed_audiences[&ended], "a");
    // One of the same key is another audience; the old one keeps its name for what waits.
    fold.at(3 * MINUTE).apply(workspace(&[("a", "did(\"X\")"), ("b", "did(\"X\")")], &[]));
    assert_eq!(fold.told()[3..], [format!("+a!@{} user_id:u", 3 * MINUTE)]);
    assert_eq!(fold.catalogue.as_ref().unwrap().removed_audiences[&ended], "a");
    sound(&fold);
}

/// What the removal of an audience says goes to whoever knew of it, also if they name it no more or know only part.
#[test]
fn only_destinations_that_were_told_of_the_entry_are_told_of_the_end() {
    let with = |enabled: bool, hooks: &[(&str, Value)]| {
        let mut workspace = workspace(&[("a", "did(\"X\")"), ("b", "did(\"Q\")")], &[]);
        workspace["audiences"][0]["enabled"] = enabled.into();
        workspace["destinations"] = hooks
            .iter()
            .map(|(key, audiences)| json!({ "key": key, "kind": "webhook", "audiences": audiences }))
            .collect();
        workspace
    };
    let mut fold =
        Fold::new(with(true, &[("one", json!(["a"])), ("gone", json!("*")), ("other", json!(["b"]))]));
    fold.at(MINUTE).receive(&[track("X", "u")]);
    let told = fold.effects().len();
    assert_eq!(told, 2);
    let one = fold.catalogue.as_ref().unwrap().destinations["one"];
    fold.apply(with(false, &[("one", json!([])), ("other", json!(["b"])), ("new", json!("*"))]));
    let effects = fold.effects();
    let exits = effects.iter().filter(|effect| matches!(effect.change, Change::Exited { .. }));
    let ends: Vec<_> = exits.map(|effect| (effect.destination, effect.change.clone())).collect();
    let audience = fold.catalogue.as_ref().unwrap().audiences["a"];
    assert_eq!(ends, [(one, Change::Exited { audience })]);
}
