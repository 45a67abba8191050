//! Customer keys: what other systems join on must not change when older evidence comes, is found after a merge and a split
//! without waiting for the next effect, and can be asked for before any effect leaves (identity.md 1.1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track};
use onefold_fold::query::{Person, Reader};
use onefold_fold::{Options, Outcome, Step, Worker};
use onefold_log::record::Record;
use onefold_store::{Bytes, Direction, KeyRange, MemoryStore, Store, Table};
use onefold_types::Identifier;
use onefold_types::decision::{Decision, DecisionRecord};
use serde_json::{Value, json};
use std::sync::Arc;

fn reader(fold: &Fold) -> Reader {
    Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32])
}

fn person(fold: &Fold, id_type: &str, value: &str) -> Option<Person> {
    let found = reader(fold).with(|query| match query.find(id_type, value)? {
        Some(handle) => query.person(handle),
        None => Ok(None),
    });
    found.unwrap()
}

fn key(fold: &Fold, id_type: &str, value: &str) -> String {
    person(fold, id_type, value).unwrap().customer_key.unwrap()
}

/// What became of a decision, asked for under its own request id.
fn decided(fold: &mut Fold, request: &str, decision: Decision) -> Outcome {
    let (request_id, operator) = (request.to_owned(), "ada".to_owned());
    let record = DecisionRecord { request_id, operator, reason: String::new(), decision };
    fold.append(Record::Decision(serde_json::to_vec(&record).unwrap()));
    fold.run();
    reader(fold).with(|query| query.decided(request)).unwrap().unwrap().outcome
}

fn requested(fold: &mut Fold, request: &str, id_type: &str, value: &str) -> Outcome {
    decided(fold, request, Decision::IssueCustomerKey { id: Identifier::new(id_type, value) })
}

fn issued(fold: &mut Fold, request: &str, id_type: &str, value: &str) -> String {
    match requested(fold, request, id_type, value) {
        Outcome::Issued { customer_key, .. } => customer_key,
        other => panic!("no key for {id_type}:{value}: {other:?}"),
    }
}

fn keys(store: &MemoryStore) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    let snapshot = store.snapshot().unwrap();
    snapshot
        .scan(Table::CustomerKey, &KeyRange::prefix(b""), Direction::Forward, &mut |key, value| {
            found.push((key.into(), value.into()));
            true
        })
        .unwrap();
    found
}

fn mailed(email: &str) -> Value {
    json!({ "type": "track", "event": "X", "context": { "traits": { "email": email } } })
}

/// Two people who are in an audience, so that a webhook was told of each: one by e-mail, a minute later one by user id.
fn two_people() -> Fold {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[mailed("e1@x.com")]).at(2 * MINUTE).receive(&[track("X", "u")]);
    fold
}

#[test]
fn older_evidence_changes_the_profile_id_and_not_the_key() {
    let mut fold = two_people();
    let before = person(&fold, "user_id", "u").unwrap();
    let older = json!({ "type": "track", "event": "Y", "userId": "u", "anonymousId": "a1", "ts": 5 });
    fold.at(3 * MINUTE)
        .receive(&[json!({ "type": "track", "event": "Y", "anonymousId": "a1", "ts": 1 }), older]);
    let after = person(&fold, "user_id", "u").unwrap();
    assert_ne!(before.profile_id, after.profile_id);
    assert_eq!(before.customer_key, after.customer_key);
    assert!(after.customer_key.is_some());
}

#[test]
fn a_merge_keeps_the_oldest_key_at_once_and_the_other_finds_it() {
    let mut fold = two_people();
    let (older, newer) = (key(&fold, "email", "e1@x.com"), key(&fold, "user_id", "u"));
    assert_ne!(older, newer);
    let both = json!({ "type": "identify", "userId": "u", "traits": { "email": "e1@x.com" } });
    fold.at(3 * MINUTE).receive(&[both]);
    for (id_type, value) in
        [("email", "e1@x.com"), ("user_id", "u"), ("customer_key", &older), ("customer_key", &newer)]
    {
        assert_eq!(key(&fold, id_type, value), older, "{id_type}:{value}");
    }
}

#[test]
fn a_key_goes_with_its_identifier_when_a_wrong_link_is_cut() {
    let mut fold = two_people();
    let (older, newer) = (key(&fold, "email", "e1@x.com"), key(&fold, "user_id", "u"));
    let both = json!({ "type": "identify", "userId": "u", "traits": { "email": "e1@x.com" } });
    fold.at(3 * MINUTE).receive(&[both]);
    let (a, b) = (Identifier::new("user_id", "u"), Identifier::new("email", "e1@x.com"));
    fold.at(4 * MINUTE).decide(Decision::Cut { a, b });
    assert_eq!(key(&fold, "email", "e1@x.com"), older);
    assert_eq!(key(&fold, "user_id", "u"), newer);
}

#[test]
fn somebody_anonymous_has_none() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[json!({ "type": "track", "event": "X", "anonymousId": "a1" })]);
    assert_eq!(person(&fold, "anonymous_id", "a1").unwrap().customer_key, None);
}

/// A person who did nothing that anybody is told of.
fn quiet_person() -> Fold {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    let traits = json!({ "email": "e@x.com" });
    let seen = json!({ "type": "track", "event": "Y", "userId": "u", "anonymousId": "a1", "context": { "traits": traits } });
    fold.at(MINUTE).receive(&[seen]);
    assert_eq!(person(&fold, "user_id", "u").unwrap().customer_key, None);
    fold
}

#[test]
fn one_issued_on_request_is_the_one_that_the_first_effect_carries() {
    let mut fold = quiet_person();
    let asked = requested(&mut fold, "first", "email", " E@x.com");
    let Outcome::Issued { number: 1, customer_key } = asked else { panic!("{asked:?}") };
    assert!(fold.effects().is_empty());
    assert_eq!(key(&fold, "user_id", "u"), customer_key);
    assert_eq!(key(&fold, "customer_key", &customer_key), customer_key);
    fold.at(2 * MINUTE).receive(&[track("X", "u")]);
    let carried: Vec<_> = fold.effects().into_iter().map(|effect| effect.customer_key).collect();
    assert_eq!(carried, [Some(customer_key.clone())]);
    // Whoever has one keeps it, whichever identifier is asked for.
    for (request, id_type, value, number) in
        [("second", "user_id", "u", 2), ("third", "anonymous_id", "a1", 3), ("fourth", "email", "e@x.com", 4)]
    {
        let again = requested(&mut fold, request, id_type, value);
        assert_eq!(again, Outcome::Issued { number, customer_key: customer_key.clone() });
    }
}

/// The same text as without a request: it is made of the strongest identifier, whoever asks and when.
#[test]
fn a_request_changes_nothing_but_when_it_is_issued() {
    let (mut asked, mut waited) = (quiet_person(), quiet_person());
    let early = issued(&mut asked, "first", "email", "e@x.com");
    waited.at(2 * MINUTE).receive(&[track("X", "u")]);
    assert_eq!(key(&waited, "email", "e@x.com"), early);
}

#[test]
fn one_issued_on_request_is_the_same_after_a_restart_and_by_a_replay_of_the_log() {
    let mut fold = quiet_person();
    let early = issued(&mut fold, "first", "user_id", "u");
    fold.restart();
    assert_eq!(key(&fold, "user_id", "u"), early);
    assert_eq!(issued(&mut fold, "second", "user_id", "u"), early);

    let anew = Arc::new(MemoryStore::new());
    let options = Options { secret: [7; 32], ..Options::default() };
    let mut worker = Worker::open(fold.log.clone(), anew.clone(), options).unwrap();
    while worker.step().unwrap().0 == Step::Worked {}
    assert_eq!(keys(&fold.store).len(), 2, "of the identifier, and of the key");
    assert_eq!(keys(&anew), keys(&fold.store));
}

#[test]
fn after_a_merge_the_one_that_was_asked_for_first_stays() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    fold.at(MINUTE).receive(&[track("Y", "u")]);
    let mailed = json!({ "type": "track", "event": "Y", "context": { "traits": { "email": "e@x.com" } } });
    fold.receive(&[mailed]);
    let weaker = issued(&mut fold, "first", "email", "e@x.com");
    fold.at(2 * MINUTE);
    let stronger = issued(&mut fold, "second", "user_id", "u");
    assert_ne!(weaker, stronger);
    let both = json!({ "type": "track", "event": "Y", "userId": "u", "context": { "traits": { "email": "e@x.com" } } });
    fold.at(3 * MINUTE).receive(&[both]);
    assert_eq!(issued(&mut fold, "third", "user_id", "u"), weaker);
    for (id_type, value) in [("email", "e@x.com"), ("customer_key", &weaker), ("customer_key", &stronger)] {
        assert_eq!(key(&fold, id_type, value), weaker, "{id_type}:{value}");
    }
    fold.receive(&[track("X", "u")]);
    let carried: Vec<_> = fold.effects().into_iter().map(|effect| effect.customer_key).collect();
    assert_eq!(carried, [Some(weaker)]);
}

#[test]
fn whoever_can_have_none_is_refused_one_and_nothing_is_recorded() {
    let mut fold = Fold::with_audiences(&[("a", "did(\"X\")")], &[]);
    let with = |number: u8| json!({ "type": "identify", "userId": "u", "traits": { "email": format!("e{number}@x.com") } });
    let sixth = (1..=6).map(with).collect::<Vec<_>>();
    fold.at(MINUTE).receive(&sixth);
    fold.receive(&[json!({ "type": "track", "event": "X", "anonymousId": "a1" })]);
    fold.receive(&[json!({ "type": "track", "event": "Y", "userId": "gone", "messageId": "once" })]);
    fold.decide(Decision::DeleteMessage { message_id: "once".into() });
    for (id_type, value, expected) in [
        ("anonymous_id", "a1", "an anonymous profile has no customer key"),
        ("user_id", "nobody", "the identifier was never seen"),
        ("user_id", "null", "the identifier is blocked"),
        ("user_id", "gone", "the identifier is nobody's"),
        ("email", "e6@x.com", "the identifier's profile owns no event"),
    ] {
        let asked = requested(&mut fold, value, id_type, value);
        let Outcome::Refused { rule, witnesses } = asked else { panic!("{id_type}:{value}: {asked:?}") };
        assert!(rule.starts_with(expected), "{id_type}:{value}: {rule}");
        assert_eq!(witnesses, [Identifier::new(id_type, value)]);
    }
    let taken = requested(&mut fold, "taken", "user_id", "u");
    assert!(matches!(taken, Outcome::Issued { number: 2, .. }), "{taken:?}");
    let back = decided(&mut fold, "back", Decision::Undo { number: 2 });
    assert!(matches!(&back, Outcome::Refused { rule, .. } if rule.contains("no decision 2")), "{back:?}");
}

/// identity.md, case 38: keys go with the person.
#[test]
fn case_38_a_deleted_person_comes_back_with_another_key() {
    let mut fold = two_people();
    let (mailed_key, before) = (key(&fold, "email", "e1@x.com"), key(&fold, "user_id", "u"));
    fold.at(3 * MINUTE).decide(Decision::DeleteProfile { id: Identifier::new("user_id", "u") });
    assert!(person(&fold, "customer_key", &before).is_none());
    let exit = fold.effects().pop().unwrap();
    assert_eq!(
        exit.customer_key.as_ref(),
        Some(&before),
        "whoever was told of the person is told who is gone"
    );
    fold.receive(&[track("X", "u")]);
    let after = key(&fold, "user_id", "u");
    assert_ne!(after, before);
    assert_eq!(key(&fold, "customer_key", &after), after);
    assert!(person(&fold, "customer_key", &before).is_none());
    assert_eq!(key(&fold, "email", "e1@x.com"), mailed_key);
}
