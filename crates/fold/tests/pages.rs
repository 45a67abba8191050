//! PAGE-1 and PAGE-2: walking someone's history meets every event once, in order, and each page's work is bounded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE};
use onefold_fold::query::{EventPage, Place, Reader, Which};
use onefold_types::decision::Decision;
use serde_json::{Value, json};

fn page(fold: &Fold, id: (&str, &str), which: Which<'_>, before: Option<Place>, limit: usize) -> EventPage {
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let read = reader.with(|query| {
        let handle = query.find(id.0, id.1)?.unwrap();
        query.event_page(handle, which, before, limit)
    });
    read.unwrap()
}

fn ids(page: &EventPage) -> Vec<String> {
    page.events.iter().map(|event| event.message.message_id.clone()).collect()
}

/// The message ids of a whole walk; `between` happens before each further page.
fn walk(
    fold: &mut Fold,
    id: (&str, &str),
    which: Which<'_>,
    limit: usize,
    mut between: impl FnMut(&mut Fold),
) -> Vec<String> {
    let mut met = Vec::new();
    let mut before = None;
    loop {
        let page = page(fold, id, which, before, limit);
        assert!(page.events.len() <= limit);
        met.extend(ids(&page));
        let Some(next) = page.next else { return met };
        assert!(before.is_none_or(|before| next < before), "each page goes on");
        before = Some(next);
        between(fold);
    }
}

fn event(id: &str, name: &str, ts: i64, who: (&str, &str)) -> Value {
    json!({ "type": "track", "event": name, "messageId": id, "ts": ts, who.0: who.1 })
}

#[test]
fn every_event_is_met_once_newest_first_while_others_come() {
    for limit in [1, 2, 3, 7, 100] {
        let mut fold = Fold::with_audiences(&[], &[]);
        fold.at(60 * MINUTE);
        // Three streams of one person, each longer than a scan; many at one instant.
        let mut expected = Vec::new();
        let streams = [("userId", "u"), ("anonymousId", "d1"), ("anonymousId", "d2")];
        for number in 0..120usize {
            let ts = MINUTE * [3, 5, 5, 5, 9, 2][number % 6];
            let id = format!("e{number:03}");
            let name = if number % 7 == 0 { "Rare" } else { "X" };
            fold.receive(&[event(&id, name, ts, streams[number % 3])]);
            expected.push((ts, number, id));
        }
        for device in ["d1", "d2"] {
            let id = format!("login-{device}");
            fold.receive(&[json!({ "type": "identify", "messageId": id, "ts": MINUTE, "userId": "u", "anonymousId": device })]);
            expected.push((MINUTE, expected.len(), id));
        }
        // Time, then place in the log, newest first.
        expected.sort();
        let expected: Vec<String> = expected.into_iter().rev().map(|(.., id)| id).collect();
        let mut more = 0;
        let met = walk(&mut fold, ("user_id", "u"), Which::All, limit, |fold| {
            more += 1;
            let (newest, alike) = (format!("newest{more}"), format!("alike{more}"));
            // At the newest instant, and at one that the walk has passed or stands in.
            fold.receive(&[
                event(&newest, "X", 60 * MINUTE, streams[more % 3]),
                event(&alike, "X", 9 * MINUTE, streams[more % 3]),
            ]);
        });
        assert_eq!(met, expected, "limit {limit}");
        // Of one name only: a page looks further back in each stream, until nothing of the others can be missing.
        let is_rare = |id: &&String| id[1..].parse::<usize>().is_ok_and(|number| number % 7 == 0);
        let expected: Vec<String> = expected.iter().filter(is_rare).cloned().collect();
        let rare = ["Rare".to_owned()];
        let met = walk(&mut fold, ("user_id", "u"), Which::Named(&rare), limit, |_| {});
        assert_eq!(met, expected, "limit {limit}");
    }
}

#[test]
fn what_was_deleted_leaves_no_gap_and_ends_nothing() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(MINUTE);
    for number in 0..9 {
        fold.receive(&[event(&format!("e{number}"), "X", number, ("userId", "u"))]);
    }
    for number in [2, 5, 6, 7] {
        fold.decide(Decision::DeleteMessage { message_id: format!("e{number}") });
    }
    for limit in 1..=5 {
        let met = walk(&mut fold, ("user_id", "u"), Which::All, limit, |_| {});
        assert_eq!(met, ["e8", "e4", "e3", "e1", "e0"], "limit {limit}");
    }
}

#[test]
fn a_rare_name_is_found_a_bounded_part_of_the_history_at_a_time() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(60 * MINUTE);
    let wanted = ["Rare".to_owned(), "Scarce".to_owned(), "never seen".to_owned()];
    let mut rare = |id: &str, name: &str, ts: i64| {
        fold.receive(&[event(id, name, ts, ("userId", "u"))]);
    };
    rare("first", "Rare", 1);
    rare("second", "Scarce", 2);
    rare("last", "Rare", 30 * MINUTE);
    for record in 0..25i64 {
        let noise: Vec<Value> = (0..1_000)
            .map(|number| {
                event(&format!("n{record}-{number}"), "Noise", 10 + record * 1_000 + number, ("userId", "u"))
            })
            .collect();
        fold.receive(&noise);
    }
    let which = Which::Named(&wanted);
    let first = page(&fold, ("user_id", "u"), which, None, 2);
    assert_eq!(ids(&first), ["last"], "there is more, and the page ends all the same");
    assert!(first.next.is_some());
    let mut pages = 1;
    let met = walk(&mut fold, ("user_id", "u"), which, 2, |_| pages += 1);
    assert_eq!(met, ["last", "second", "first"]);
    assert!((2..=5).contains(&pages), "{pages} pages over 25,000 events of another name");
    // Where the history is short, a page is full.
    let full =
        page(&fold, ("user_id", "u"), which, Some((onefold_types::Timestamp(3), Default::default())), 1);
    assert_eq!((ids(&full), full.next.is_some()), (vec!["second".to_owned()], true));
    let nothing = page(&fold, ("user_id", "u"), Which::Named(&wanted[2..]), None, 2);
    assert_eq!((nothing.events.len(), nothing.next), (0, None));
}

#[test]
fn a_shared_device_shows_each_their_own_parts_of_its_stream() {
    let mut fold = Fold::with_audiences(&[], &[]);
    fold.at(60 * MINUTE);
    let login = |user: &str, ts: i64| {
        let id = format!("login-{user}-{ts}");
        json!({ "type": "identify", "messageId": id, "ts": ts, "userId": user, "anonymousId": "tablet" })
    };
    fold.receive(&[login("ada", 100), login("bob", 200), login("ada", 300)]);
    let on_tablet: Vec<Value> =
        (0..40).map(|n| event(&format!("t{n:02}"), "X", 50 + n * 10, ("anonymousId", "tablet"))).collect();
    fold.receive(&on_tablet);
    // Before the first login and from each login on it is whoever logged in (identity.md, timeline).
    let is_bobs = |ts: i64| (200..300).contains(&ts);
    for (user, bobs) in [("ada", false), ("bob", true)] {
        let mut expected: Vec<(i64, u8, String)> = (0..40)
            .map(|n| (50 + n * 10, 1, format!("t{n:02}")))
            .filter(|(ts, ..)| is_bobs(*ts) == bobs)
            .collect();
        let logins: &[i64] = if bobs { &[200] } else { &[100, 300] };
        expected.extend(logins.iter().map(|ts| (*ts, 0, format!("login-{user}-{ts}"))));
        expected.sort();
        let expected: Vec<String> = expected.into_iter().rev().map(|(.., id)| id).collect();
        for limit in [1, 3, 50] {
            let met = walk(&mut fold, ("user_id", user), Which::All, limit, |_| {});
            assert_eq!(met, expected, "{user}, limit {limit}");
        }
    }
}
