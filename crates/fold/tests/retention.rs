//! What retention has trimmed is missed only where it must be, and said.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::query::Reader;
use onefold_log::Log;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use serde_json::json;

/// Everything that is folded now is trimmed.
fn trim(fold: &mut Fold) {
    let end = fold.log.tail();
    // The segment that is written to stays.
    fold.receive(&[track("Other", "someone")]);
    fold.worker.sync().unwrap();
    let synced = fold.worker.handle().status().synced;
    fold.log.trim(synced).unwrap();
    assert_eq!(fold.log.first(), end);
}

fn user(value: &str) -> Identifier {
    Identifier::new("user_id", value)
}

#[test]
fn a_rebuild_after_trimming_keeps_what_rows_and_traits_say() {
    let mut fold = Fold::forgetting(workspace(
        &[("any", "did(\"X\")"), ("dear", "did(\"X\" where price > 5)"), ("pro", "traits.plan = \"pro\"")],
        &[("xs", "count(\"X\")")],
    ));
    let bought = json!({ "type": "track", "event": "X", "userId": "u", "anonymousId": "a", "properties": { "price": 9 } });
    let says = json!({ "type": "identify", "userId": "u", "traits": { "plan": "pro" } });
    fold.at(MINUTE).receive(&[bought]);
    fold.at(2 * MINUTE).receive(&[says]);
    assert_eq!(fold.told().len(), 5, "{:?}", fold.told());
    trim(&mut fold);
    // A decision that moves nobody away, and one that takes it back: both rebuild.
    fold.decide(Decision::Cut { a: user("u"), b: Identifier::new("anonymous_id", "a") });
    fold.decide(Decision::Undo { number: 1 });
    fold.receive(&[track("X", "u")]);
    let told = fold.told();
    // By its row X still counts; what its price was is not known any more, and the exit says so.
    assert!(told.contains(&"-dear@120000 user_id:u".to_owned()), "{told:?}");
    assert!(!told.contains(&"-any@120000 user_id:u".to_owned()), "{told:?}");
    assert!(!told.contains(&"-pro@120000 user_id:u".to_owned()), "{told:?}");
    assert!(told.contains(&"xs=2@120000 user_id:u".to_owned()), "{told:?}");
    assert!(fold.worker.handle().status().counters.trimmed > 0);
}

#[test]
fn a_new_definition_counts_trimmed_events_by_their_rows() {
    let mut fold = Fold::forgetting(workspace(&[], &[]));
    fold.at(MINUTE).receive(&[track("X", "u"), track("X", "u")]);
    trim(&mut fold);
    fold.apply(workspace(&[("two", "count(\"X\") >= 2"), ("dear", "did(\"X\" where price > 5)")], &[]));
    assert_eq!(fold.told(), ["+two!@60000 user_id:u"]);
}

#[test]
fn deleting_a_trimmed_message_is_refused_and_its_profile_is_not() {
    let mut fold = Fold::forgetting(workspace(&[("any", "did(\"X\")")], &[]));
    let event = json!({ "type": "track", "event": "X", "userId": "u", "messageId": "one" });
    fold.at(MINUTE).receive(std::slice::from_ref(&event));
    trim(&mut fold);
    fold.decide(Decision::DeleteMessage { message_id: "one".to_owned() });
    assert_eq!(fold.told(), ["+any@60000 user_id:u"]);
    fold.decide(Decision::DeleteProfile { id: user("u") });
    assert_eq!(fold.told(), ["+any@60000 user_id:u", "-any@60000 user_id:u"]);
    // A copy that comes late is still a copy.
    fold.receive(&[event]);
    assert_eq!(fold.told().len(), 2);
    assert_eq!(fold.worker.handle().status().counters.duplicates, 1);
}

#[test]
fn an_account_forgets_what_a_deleted_message_said() {
    let mut fold = Fold::new(workspace(&[], &[]));
    let says = |id: &str, user: &str, ts: i64, traits: serde_json::Value| json!({ "type": "group", "groupId": "g", "userId": user, "messageId": id, "ts": ts, "traits": traits });
    fold.at(MINUTE).receive(&[says("one", "u", 1, json!({ "name": "Acme", "size": 3 }))]);
    fold.receive(&[says("two", "v", 2, json!({ "name": "Acme Ltd" }))]);
    let account = |fold: &Fold| {
        let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
        let account = reader.with(|query| query.account("g")).unwrap();
        account.map(|traits| {
            traits.iter().map(|(key, value)| format!("{key}={}", value.json)).collect::<Vec<_>>()
        })
    };
    assert_eq!(account(&fold).unwrap(), ["name=\"Acme Ltd\"", "size=3"]);
    fold.decide(Decision::DeleteMessage { message_id: "two".to_owned() });
    assert_eq!(account(&fold).unwrap(), ["name=\"Acme\"", "size=3"]);
    fold.decide(Decision::DeleteProfile { id: user("u") });
    assert_eq!(account(&fold), None);
}
