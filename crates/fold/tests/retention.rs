//! What retention has trimmed is missed only where it must be, and said.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::query::Reader;
use onefold_fold::{Options, Step, Worker};
use onefold_log::{Log, Record};
use onefold_store::MemoryStore;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use serde_json::json;
use std::sync::Arc;

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

/// What a trimmed message said is not known, and that includes what it did not say.
#[test]
fn a_trimmed_event_counts_for_no_filter_neither_for_one_that_asks_for_an_absence() {
    let absent = [
        ("bare", "did(\"Order\" where coupon not exists)"),
        ("other", "did(\"Order\" where not (coupon = \"B\"))"),
        ("cheap", "did(\"Order\" where not (price > 5))"),
    ];
    let mut fold = Fold::forgetting(workspace(&absent[..2], &[]));
    let order = json!({ "type": "track", "event": "Order", "userId": "u", "anonymousId": "a",
        "properties": { "coupon": "A", "price": 9 } });
    let bare = json!({ "type": "track", "event": "Order", "userId": "v", "anonymousId": "b" });
    fold.at(MINUTE).receive(&[order, bare]);
    let told = fold.told();
    assert_eq!(told, ["+other@60000 user_id:u", "+bare@60000 user_id:v", "+other@60000 user_id:v"]);
    trim(&mut fold);
    fold.decide(Decision::Cut { a: user("u"), b: Identifier::new("anonymous_id", "a") });
    fold.decide(Decision::Undo { number: 1 });
    let told = fold.told();
    assert!(!told.iter().any(|word| word.starts_with("+bare") && word.ends_with("user_id:u")), "{told:?}");
    // It is not known any more that the coupon was another.
    assert!(told.contains(&"-other@60000 user_id:u".to_owned()), "{told:?}");
    // A definition that is new looks at the same rows, and what needs no property still counts.
    let told = told.len();
    let any = ("any", "did(\"Order\")");
    fold.apply(workspace(&[absent[0], absent[1], absent[2], any], &[]));
    let mut new = fold.told().split_off(told);
    new.sort();
    assert_eq!(new, ["+any!@60000 user_id:u", "+any!@60000 user_id:v"]);
}

/// A worker over the same log whose state begins anew.
fn anew(fold: &Fold) -> (Arc<MemoryStore>, Worker) {
    let store = Arc::new(MemoryStore::new());
    let options = Options { secret: [7; 32], ..Options::default() };
    let mut worker = Worker::open(fold.log.clone(), store.clone(), options).unwrap();
    while worker.step().unwrap().0 == Step::Worked {}
    (store, worker)
}

#[test]
fn a_state_that_begins_at_a_trimmed_log_has_the_catalogue_in_force() {
    let mut fold = Fold::forgetting(workspace(&[("x", "did(\"X\")")], &[]));
    fold.apply(workspace(&[("x", "did(\"X\")"), ("y", "did(\"Y\")")], &[]));
    fold.receive(&[track("X", "u")]);
    let before = fold.worker.handle().status();
    // As retention does before it trims: the catalogue in force is said once more.
    let json = serde_json::to_vec(&fold.worker.handle().catalogue().catalogue).unwrap();
    let told = fold.told();
    fold.append(Record::Catalogue(json));
    fold.run();
    let status = fold.worker.handle().status();
    assert!(status.catalogue_at >= before.position, "{status:?}");
    assert_eq!(fold.worker.handle().catalogue().catalogue.version.0, 2);
    assert!(status.backfill.is_none(), "nothing is new");
    assert_eq!(fold.told(), told);
    fold.restart();
    assert_eq!(fold.worker.handle().status().catalogue_at, status.catalogue_at);
    fold.receive(&[track("Y", "v")]);
    fold.worker.sync().unwrap();
    fold.log.trim(status.catalogue_at).unwrap();
    assert_eq!(fold.log.first(), status.catalogue_at);

    let (store, worker) = anew(&fold);
    let catalogue = worker.handle().catalogue();
    assert_eq!(Some(&catalogue.catalogue), fold.catalogue.as_ref());
    assert_eq!(worker.handle().audience_size(catalogue.catalogue.audiences["y"]), 1);
    let reader = Reader::new(store, fold.log.clone(), worker.handle(), [7; 32]);
    let owner = reader.with(|query| query.find("user_id", "v")).unwrap();
    assert!(owner.is_some());
    // A catalogue that follows finds its predecessor.
    fold.apply(workspace(&[("x", "did(\"X\")")], &[]));
    assert_eq!(anew(&fold).1.handle().catalogue().catalogue.version.0, 3);
}

#[test]
fn two_catalogues_of_one_version_are_not_taken_for_one_said_twice() {
    let mut fold = Fold::new(workspace(&[("x", "did(\"X\")")], &[]));
    let mut other = fold.catalogue.clone().unwrap();
    other.author = "another".to_owned();
    let at = fold.worker.handle().status().catalogue_at;
    fold.append(Record::Catalogue(serde_json::to_vec(&other).unwrap()));
    fold.run();
    assert_eq!(fold.worker.handle().catalogue().catalogue.author, "test");
    assert_eq!(fold.worker.handle().status().catalogue_at, at);
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
