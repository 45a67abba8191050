//! Names of events, accounts and identifiers of any length and any number: nothing of them stops the fold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, track, workspace};
use onefold_fold::CacheSizes;
use onefold_fold::query::{Reader, Which};
use onefold_fold::verify::verify;
use onefold_log::Log;
use onefold_store::{Bytes, Table};
use serde_json::{Value, json};

fn reader(fold: &Fold) -> Reader {
    Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32])
}

fn folded(fold: &Fold) -> u64 {
    fold.worker.handle().status().counters.folded
}

/// The identity of this workspace lets any user id in.
fn lets_long_ids_in() -> Value {
    let mut workspace = workspace(&[], &[]);
    workspace["identity"] = json!({ "identifiers": [{ "type": "user_id", "length": [1, 1_000_000] }] });
    workspace
}

/// A log may hold what was written under another limit, and a store's keys have at most 65,535 bytes.
#[test]
fn a_record_with_longer_names_than_a_key_can_have_is_folded_like_any() {
    let mut fold = Fold::new(lets_long_ids_in());
    let long = |last: char| format!("{}{last}", "X".repeat(70_000));
    let says = |user: &str| json!({ "type": "group", "groupId": long('g'), "userId": user, "traits": { "size": 3 } });
    fold.at(MINUTE).receive(&[track(&long('a'), "u"), track(&long('b'), "u"), track("Short", &long('u'))]);
    fold.receive(&[says("u"), says(&long('u')), track(&long('a'), &long('v'))]);
    fold.restart();
    fold.receive(&[track(&long('a'), "u")]);
    assert_eq!(folded(&fold), 7);
    let reader = reader(&fold);
    let (account, members) = reader
        .with(|query| Ok((query.account(&long('g'))?, query.account_members(&long('g'), 0, 10)?)))
        .unwrap();
    assert_eq!(account.unwrap().len(), 1);
    assert_eq!(members.len(), 2);
    let (one, other) = reader
        .with(|query| Ok((query.find("user_id", &long('u'))?, query.find("user_id", &long('v'))?)))
        .unwrap();
    assert!(one.is_some() && other.is_some() && one != other, "{one:?} {other:?}");
    // The numbers of long names are told apart: each finds its own events.
    let named = |name: String| {
        reader.with(|query| {
            let profile = query.find("user_id", "u")?.unwrap();
            Ok(query.event_page(profile, Which::Named(&[name]), None, 10)?.events.len())
        })
    };
    assert_eq!((named(long('a')).unwrap(), named(long('b')).unwrap()), (2, 1));
    let found = verify(fold.log.as_ref(), fold.store.as_ref(), &[7; 32], CacheSizes::default()).unwrap();
    assert!(found.is_sound(), "{:?}", found.findings);
}

#[test]
fn a_message_of_very_many_identifiers_is_folded() {
    let mut fold = Fold::new(workspace(&[], &[]));
    let ids: Vec<_> = (0..10_000).map(|n| json!({ "type": "crm", "id": format!("c{n}") })).collect();
    let event = json!({ "type": "page", "userId": "u", "context": { "externalIds": ids } });
    fold.at(MINUTE).receive(&[event]);
    fold.restart();
    fold.receive(&[track("X", "u")]);
    assert_eq!(folded(&fold), 2);
}

/// More names than are kept in memory: a name keeps its number, whether it is at hand, read again, or after a restart.
#[test]
fn names_keep_their_numbers_however_many_there_are() {
    let rows = |restarting: bool| {
        let mut fold = Fold::new(workspace(&[], &[]));
        for round in 0..2 {
            for batch in 0..6 {
                let names = (0..1_000).map(|n| format!("{batch}-{n}-{}", "x".repeat(1_000)));
                let events: Vec<_> = names.map(|name| track(&name, "u")).collect();
                fold.at((round * 6 + batch + 1) * MINUTE).receive(&events);
                if restarting {
                    fold.restart();
                }
            }
        }
        assert_eq!(folded(&fold), 12_000);
        assert_eq!(fold.worker.handle().status().counters.next_name, 6_000);
        let rows = fold.store.dump().into_iter();
        rows.filter(|(table, _, _)| matches!(table, Table::Name | Table::Stream))
            .collect::<Vec<(Table, Bytes, Bytes)>>()
    };
    assert_eq!(rows(false), rows(true));
}

/// A name that only new rules bring into a stream gets its number when they do, and a trimmed row still says it.
#[test]
fn names_of_another_graph_are_the_fold_s() {
    let definitions = [("seen", "did(\"Seen\")"), ("rare", "did(\"Rare\")")];
    let mut before = workspace(&[], &[]);
    before["identity"] = json!({ "blocked": ["ghost"] });
    let mut fold = Fold::forgetting(before);
    fold.at(MINUTE).receive(&[track("Seen", "u"), track("Rare", "ghost")]);
    let mut after = workspace(&[], &[]);
    after["identity"] = json!({ "blocked": [] });
    fold.apply(after.clone());
    fold.receive(&[track("Other", "u")]);
    fold.worker.sync().unwrap();
    let synced = fold.worker.handle().status().synced;
    fold.log.trim(synced).unwrap();
    after["audiences"] = workspace(&definitions, &[])["audiences"].clone();
    fold.apply(after);
    let mut told = fold.told();
    told.sort();
    assert_eq!(told, ["+rare!@60000 user_id:ghost", "+seen!@60000 user_id:u"]);
}
