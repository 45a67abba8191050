//! What is said of a profile that is no more comes before what is said of whoever took it over (audiences.md 2.7): a
//! destination that knows people by an address would else take out whom it was just told to let in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_types::effect::{Change, Effect};
use serde_json::{Value, json};

/// An audience of whoever did X, and one address per person or two.
fn limited(addresses: u8) -> Value {
    let mut workspace = workspace(&[("a", "did(\"X\")")], &[]);
    workspace["identity"] = json!({ "identifiers": [{ "type": "email", "limit": addresses }] });
    workspace
}

fn mailed(event: &str, address: &str) -> Value {
    json!({ "type": "track", "event": event, "context": { "traits": { "email": address } } })
}

/// u has e1; the second address is one too many, and is somebody of whom the destination was told.
fn two_by_limit() -> Fold {
    let mut fold = Fold::new(limited(1));
    let signs_up = |address: &str| {
        let traits = json!({ "email": address });
        json!({ "type": "track", "event": "Y", "userId": "u", "context": { "traits": traits } })
    };
    fold.at(MINUTE).receive(&[signs_up("e1@x.com")]).at(2 * MINUTE).receive(&[signs_up("e2@x.com")]);
    fold.at(3 * MINUTE).receive(&[mailed("X", "e2@x.com")]);
    assert_eq!(fold.told(), [format!("+a@{} email:e2@x.com", 3 * MINUTE)]);
    fold
}

fn names(effect: &Effect, address: &str) -> bool {
    effect.ids.iter().any(|id| id.value == address)
}

#[test]
fn a_change_of_rules_ends_the_absorbed_before_it_begins_the_survivor() {
    let mut fold = two_by_limit();
    fold.at(4 * MINUTE).apply(limited(2));
    let at = 4 * MINUTE;
    assert_eq!(fold.told()[1..], [format!("-a@{at} email:e2@x.com"), format!("+a@{at} user_id:u")]);
    let effects = fold.effects();
    let (ended, began) = (&effects[1], &effects[2]);
    assert_eq!(began.after, [ended.profile]);
    // Whoever joins on the address believes what came last: the person is in.
    let last = effects.iter().rfind(|effect| names(effect, "e2@x.com")).unwrap();
    assert!(matches!(last.change, Change::Entered { .. }), "{last:?}");
}

#[test]
fn a_message_that_joins_two_ends_the_absorbed_first_too() {
    let mut fold = Fold::new(limited(2));
    fold.at(MINUTE).receive(&[track("Y", "u")]).at(2 * MINUTE).receive(&[mailed("X", "e1@x.com")]);
    let both = json!({ "type": "identify", "userId": "u", "traits": { "email": "e1@x.com" } });
    let at = 3 * MINUTE;
    fold.at(at).receive(&[both]);
    let told = fold.told();
    assert_eq!(told[1], format!("-a@{at} email:e1@x.com"), "{told:#?}");
    assert!(told[2..].contains(&format!("+a@{at} user_id:u")), "{told:#?}");
}
