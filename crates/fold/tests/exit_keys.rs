//! Whoever joins on the customer key is told of an exit under it, however the profile came to its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use onefold_types::effect::{Cause, Change, Effect};
use serde_json::{Value, json};

fn mailed(event: &str, email: &str) -> Value {
    json!({ "type": "track", "event": event, "context": { "traits": { "email": email } } })
}

/// An event that says that `user` has `email`.
fn joined(user: &str, email: &str) -> Value {
    json!({ "type": "track", "event": "Y", "userId": user, "context": { "traits": { "email": email } } })
}

fn fold() -> Fold {
    Fold::with_audiences(&[("a", "did(\"X\")")], &[])
}

fn entry<'a>(effects: &'a [Effect], id: &str) -> &'a Effect {
    let is_entry = |effect: &&Effect| matches!(effect.change, Change::Entered { .. });
    effects.iter().filter(is_entry).find(|effect| effect.ids.iter().any(|known| known.value == id)).unwrap()
}

fn exits(effects: &[Effect]) -> Vec<&Effect> {
    effects.iter().filter(|effect| matches!(effect.change, Change::Exited { .. })).collect()
}

/// The one exit names who entered under `id`, in the same lane and under the same customer key.
fn exit_is_of(fold: &Fold, id: &str) {
    let effects = fold.effects();
    let (entry, exits) = (entry(&effects, id), exits(&effects));
    assert_eq!(exits.len(), 1, "{effects:#?}");
    assert!(entry.customer_key.is_some());
    assert_eq!((exits[0].profile, &exits[0].customer_key), (entry.profile, &entry.customer_key));
}

#[test]
fn of_whom_a_deleted_message_was_all_that_was_known() {
    let mut fold = fold();
    let once = json!({ "type": "track", "event": "X", "messageId": "once", "context": { "traits": { "email": "e@x.com" } } });
    fold.at(MINUTE).receive(&[once]).decide(Decision::DeleteMessage { message_id: "once".into() });
    exit_is_of(&fold, "e@x.com");
}

#[test]
fn of_whom_the_only_identifier_was_blocked() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("X", "e@x.com")]);
    fold.decide(Decision::Block { id: Identifier::new("email", "e@x.com") });
    exit_is_of(&fold, "e@x.com");
}

/// A second merge, before anything was told of the survivor of the first.
#[test]
fn of_whom_a_third_absorbed_after_a_merge() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[track("Y", "c")]);
    fold.at(2 * MINUTE).receive(&[mailed("X", "a@x.com")]).at(3 * MINUTE).receive(&[mailed("X", "b@x.com")]);
    let linked =
        |a: &str, b: &str| Decision::Link { a: Identifier::new("email", a), b: Identifier::new("email", b) };
    fold.at(4 * MINUTE).decide(linked("a@x.com", "b@x.com"));
    let b = entry(&fold.effects(), "b@x.com").clone();
    assert_eq!(exits(&fold.effects()).iter().map(|exit| exit.profile).collect::<Vec<_>>(), [b.profile]);
    fold.at(5 * MINUTE).receive(&[joined("c", "a@x.com")]);
    let effects = fold.effects();
    let (a, exits) = (entry(&effects, "a@x.com"), exits(&effects));
    assert_eq!(exits.len(), 2, "{effects:#?}");
    assert_eq!((exits[0].profile, &exits[0].customer_key), (b.profile, &b.customer_key));
    assert_eq!((exits[1].profile, &exits[1].customer_key), (a.profile, &a.customer_key));
    assert!(matches!(exits[1].cause, Cause::Merge { .. }));
}

#[test]
fn of_whom_was_deleted_after_a_merge() {
    let mut fold = fold();
    fold.at(MINUTE).receive(&[mailed("X", "e@x.com")]);
    fold.at(2 * MINUTE).receive(&[track("Y", "u")]).receive(&[joined("u", "e@x.com")]);
    fold.decide(Decision::DeleteProfile { id: Identifier::new("user_id", "u") });
    exit_is_of(&fold, "e@x.com");
}

#[test]
fn of_whom_was_deleted_after_a_cut() {
    let mut fold = fold();
    let both = json!({ "type": "track", "event": "X", "userId": "u", "context": { "traits": { "email": "e@x.com" } } });
    fold.at(MINUTE).receive(&[both]);
    let (u, email) = (Identifier::new("user_id", "u"), Identifier::new("email", "e@x.com"));
    fold.decide(Decision::Cut { a: u.clone(), b: email });
    fold.decide(Decision::DeleteProfile { id: u });
    exit_is_of(&fold, "u");
}

#[test]
fn of_whom_other_rules_ended() {
    let limited = |addresses: u8| {
        let mut workspace = workspace(&[("a", "did(\"X\")")], &[]);
        workspace["identity"] = json!({ "identifiers": [{ "type": "email", "limit": addresses }] });
        workspace
    };
    let mut fold = Fold::new(limited(1));
    fold.at(MINUTE).receive(&[joined("u", "e1@x.com")]).at(2 * MINUTE).receive(&[joined("u", "e2@x.com")]);
    fold.at(3 * MINUTE).receive(&[mailed("X", "e2@x.com")]);
    fold.at(4 * MINUTE).apply(limited(2));
    exit_is_of(&fold, "e2@x.com");
}

/// Rules by which the type that had the key is no person's any more: the end is told under what it was all the same.
#[test]
fn of_whom_rules_ended_that_take_the_type_for_a_device() {
    let ruled = |rule: Value| {
        let mut workspace = workspace(&[("a", "did(\"X\")")], &[]);
        workspace["identity"] = json!({ "identifiers": [rule] });
        workspace
    };
    let carded = json!({ "type": "track", "event": "X", "messageId": "once", "context": { "externalIds": [
        { "id": "777", "type": "card", "collection": "users", "encoding": "none" }] } });
    let mut fold = Fold::new(ruled(json!({ "type": "card", "rank": 2, "limit": 5 })));
    fold.at(MINUTE).receive(&[carded]);
    fold.at(2 * MINUTE).apply(ruled(json!({ "type": "card", "rank": 9, "limit": 5, "scope": "device" })));
    fold.at(3 * MINUTE).decide(Decision::DeleteMessage { message_id: "once".into() });
    exit_is_of(&fold, "777");
}
