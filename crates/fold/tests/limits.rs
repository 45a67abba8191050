//! The limits of a profile: what is over them goes, is counted, is told of, and does not depend on what came when.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE};
use onefold_fold::CacheSizes;
use onefold_fold::profile::{ACCOUNTS_MAX, TRAITS_MAX, TraitMap};
use onefold_fold::query::{Person, Reader};
use onefold_fold::verify::verify;
use serde_json::{Map, Value, json};

fn person(fold: &Fold, user: &str) -> Person {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let found = reader.with(|query| match query.find("user_id", user)? {
        Some(handle) => query.person(handle),
        None => Ok(None),
    });
    found.unwrap().unwrap()
}

fn plain(traits: &TraitMap) -> Vec<(String, String)> {
    traits.iter().map(|(key, value)| (key.clone(), value.json.clone())).collect()
}

fn sound(fold: &Fold) -> Vec<String> {
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    found.findings.into_iter().map(|finding| format!("{}: {}", finding.invariant, finding.detail)).collect()
}

/// An identify call with the traits `prefix0` up to, not including, `prefix{count}`, numbers of five digits.
fn says(kind: &str, who: &Value, ts: i64, prefix: &str, count: usize) -> Value {
    let traits: Map<String, Value> = (0..count).map(|n| (format!("{prefix}{n:05}"), json!(ts))).collect();
    let mut message = json!({ "type": kind, "ts": ts, "traits": traits });
    message.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
    message
}

#[test]
fn of_too_many_traits_those_with_short_names_stay_whatever_came_first() {
    let user = json!({ "userId": "u" });
    let plan = json!({ "type": "identify", "userId": "u", "ts": 5, "traits": { "plan": "pro" } });
    let calls = [
        plan,
        says("identify", &user, 10, "seen_", TRAITS_MAX / 2),
        says("identify", &user, 20, "seen_long_ago_", TRAITS_MAX),
        // Values that are later, and earlier, than those before.
        says("identify", &user, 30, "seen_long_ago_", 100),
        says("identify", &user, 8, "seen_", 100),
    ];
    let mut orders = Vec::new();
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
        let mut fold = Fold::with_audiences(&[("pro", "traits.plan = \"pro\"")], &[]);
        fold.at(MINUTE);
        for call in order {
            fold.receive(&[calls[call].clone()]);
        }
        let person = person(&fold, "u");
        assert_eq!(person.profile.traits.len(), TRAITS_MAX);
        assert_eq!(person.audiences.len(), 1);
        assert!(fold.worker.handle().status().counters.traits_over > TRAITS_MAX as u64 / 2);
        assert_eq!(sound(&fold), Vec::<String>::new());
        orders.push(plain(&person.profile.traits));
    }
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
    // By the rule: `plan`, all of the shorter ones, and of the longer ones the first.
    let mut expected = vec![("plan".to_owned(), "\"pro\"".to_owned())];
    expected.extend((0..TRAITS_MAX / 2).map(|n| (format!("seen_{n:05}"), "10".to_owned())));
    let value = |n: usize| if n < 100 { "30" } else { "20" };
    let rest = TRAITS_MAX - expected.len();
    expected.extend((0..rest).map(|n| (format!("seen_long_ago_{n:05}"), value(n).to_owned())));
    expected.sort();
    assert_eq!(orders[0], expected);
}

#[test]
fn a_trait_that_goes_is_told_of_and_ends_what_rested_on_it() {
    let user = json!({ "userId": "u" });
    let mut fold = Fold::with_audiences(&[("rare", "traits.a_rather_long_name exists")], &[]);
    let long = json!({ "type": "identify", "userId": "u", "traits": { "a_rather_long_name": 1 } });
    fold.at(MINUTE).receive(&[long]);
    fold.at(2 * MINUTE).receive(&[says("identify", &user, MINUTE, "k", TRAITS_MAX - 1)]);
    assert_eq!(person(&fold, "u").audiences.len(), 1);
    assert_eq!(fold.worker.handle().status().counters.traits_over, 0);
    let short = json!({ "type": "identify", "userId": "u", "traits": { "short": 1 } });
    fold.at(3 * MINUTE).receive(&[short]);
    assert_eq!(person(&fold, "u").audiences.len(), 0);
    assert_eq!(fold.worker.handle().status().counters.traits_over, 1);
    let told = fold.told();
    assert!(told.contains(&format!("-rare@{} user_id:u", 3 * MINUTE)), "{:?}", &told[told.len() - 3..]);
    assert_eq!(sound(&fold), Vec::<String>::new());
}

#[test]
fn two_that_become_one_are_within_the_limits_together() {
    let (one, other) = (json!({ "userId": "u" }), json!({ "anonymousId": "a" }));
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE).receive(&[says("identify", &one, 1, "one_", TRAITS_MAX - 10)]);
    fold.receive(&[says("identify", &other, 1, "two_", TRAITS_MAX - 10)]);
    assert_eq!(fold.worker.handle().status().counters.traits_over, 0);
    fold.receive(&[json!({ "type": "track", "event": "X", "userId": "u", "anonymousId": "a" })]);
    let traits = plain(&person(&fold, "u").profile.traits);
    assert_eq!(traits.len(), TRAITS_MAX);
    assert_eq!(traits.iter().filter(|(key, _)| key.starts_with("one_")).count(), TRAITS_MAX - 10);
    assert_eq!(fold.worker.handle().status().counters.traits_over, TRAITS_MAX as u64 - 20);
    assert_eq!(sound(&fold), Vec::<String>::new());
}

#[test]
fn an_account_has_no_more_traits_than_a_profile() {
    let who = json!({ "userId": "u", "groupId": "acme" });
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE).receive(&[says("group", &who, 1, "of_the_account_", TRAITS_MAX)]);
    fold.receive(&[says("group", &who, 2, "short_", 10)]);
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let traits = reader.with(|query| query.account("acme")).unwrap().unwrap();
    assert_eq!(traits.len(), TRAITS_MAX);
    assert!((0..10).all(|n| traits.contains_key(&format!("short_{n:05}"))));
    assert_eq!(fold.worker.handle().status().counters.traits_over, 10);
}

#[test]
fn of_too_many_accounts_the_first_stay_and_no_list_has_the_rest() {
    let joins = |account: usize, ts: i64| json!({ "type": "group", "userId": "u", "groupId": format!("g{account:05}"), "ts": ts });
    let mut fold = Fold::with_audiences(&[], &[]);
    let all: Vec<Value> = (0..=ACCOUNTS_MAX).map(|n| joins(n, 100 + i64::try_from(n).unwrap())).collect();
    fold.at(MINUTE).receive(&all[..ACCOUNTS_MAX]);
    assert_eq!(fold.worker.handle().status().counters.accounts_over, 0);
    fold.receive(&all[ACCOUNTS_MAX..]);
    let last = format!("g{ACCOUNTS_MAX:05}");
    assert!(!person(&fold, "u").profile.accounts.contains_key(&last));
    // A sign of it before all others, which comes late: another goes.
    fold.receive(&[joins(ACCOUNTS_MAX, 1)]);
    let accounts = person(&fold, "u").profile.accounts;
    assert_eq!(accounts.len(), ACCOUNTS_MAX);
    assert!(accounts.contains_key(&last));
    assert!(!accounts.contains_key(&format!("g{:05}", ACCOUNTS_MAX - 1)));
    assert_eq!(fold.worker.handle().status().counters.accounts_over, 2);
    assert_eq!(sound(&fold), Vec::<String>::new());
}
