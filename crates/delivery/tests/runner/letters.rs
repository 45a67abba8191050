//! Dead letters: listed in pages, sent again or given up exactly once; and what there is no message for.

use crate::world::*;
use onefold_connector::Outcome;
use onefold_delivery::Error;
use onefold_log::{Log, Record};
use onefold_store::Store;
use onefold_types::effect::{Change, Effect};
use onefold_types::{EventRef, Message, MessageType, Position, Timestamp};
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test(start_paused = true)]
async fn letters_are_listed_in_pages_and_go_once() {
    let world = World::new();
    world.plan(|_| refused());
    (1..=5).for_each(|number| world.emit(number, number));
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    let page = |from, limit| {
        let letters = delivery.dead_letters("hook", from, limit).unwrap();
        letters.iter().map(|letter| letter.sequence).collect::<Vec<_>>()
    };
    assert_eq!((page(0, 2), page(3, 2), page(5, 2), page(0, 0)), (vec![1, 2], vec![3, 4], vec![5], vec![]));
    // Refused again, it stays.
    assert!(matches!(delivery.retry("hook", 1).await, Ok(Outcome::Refused(_))));
    assert_eq!(page(0, 1), [1]);
    // The profile is in no audience by now, so what it is told is that; what counts here is that it goes.
    world.plan(|_| took());
    assert!(matches!(delivery.retry("hook", 1).await, Ok(Outcome::Delivered(_))));
    delivery.discard("hook", 2).unwrap();
    for gone in [1, 2, 99] {
        assert!(matches!(delivery.retry("hook", gone).await, Err(Error::NoLetter { .. })));
        assert!(matches!(delivery.discard("hook", gone), Err(Error::NoLetter { .. })));
    }
    assert!(matches!(delivery.retry("elsewhere", 3).await, Err(Error::NoDestination(_))));
    assert_eq!(page(0, 9), [3, 4, 5]);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_who_send_the_same_letter_send_it_once() {
    let world = World::new();
    world.plan(|_| refused());
    world.emit(1, 7);
    let delivery = Arc::new(world.start());
    soon(|| world.left() == 0).await;
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    world.plan(move |_| Deed::Hold(held.clone(), Outcome::Delivered(answer(200))));
    let other = delivery.clone();
    let first = tokio::spawn(async move { other.retry("hook", 1).await });
    soon(|| world.calls().len() == 2).await;
    assert!(matches!(delivery.retry("hook", 1).await, Err(Error::UnderWay { .. })));
    assert!(matches!(delivery.discard("hook", 1), Err(Error::UnderWay { .. })));
    gate.notify_one();
    assert!(matches!(first.await.unwrap(), Ok(Outcome::Delivered(_))));
    assert!(matches!(delivery.retry("hook", 1).await, Err(Error::NoLetter { .. })));
    assert_eq!(world.calls().len(), 2);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_sending_is_broken_off_can_be_sent_again() {
    let world = World::new();
    world.plan(|_| refused());
    world.emit(1, 7);
    let delivery = Arc::new(world.start());
    soon(|| world.left() == 0).await;
    world.plan(|_| Deed::Hang);
    let other = delivery.clone();
    let broken_off = tokio::spawn(async move { other.retry("hook", 1).await });
    soon(|| world.calls().len() == 2).await;
    broken_off.abort();
    assert!(broken_off.await.is_err());
    world.plan(|_| took());
    assert!(matches!(delivery.retry("hook", 1).await, Ok(Outcome::Delivered(_))));
    delivery.stop().await;
}

/// A rebuilt state may number its rows anew; a letter from before keeps its number.
#[tokio::test(start_paused = true)]
async fn a_letter_takes_no_other_letters_number() {
    let world = World::new();
    world.plan(|_| refused());
    world.emit(1, 7);
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    delivery.stop().await;
    world.put(1, 1, &World::effect(77, 7, &[]));
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    let found: Vec<(u64, u128)> = letters.iter().map(|letter| (letter.sequence, letter.effect.id)).collect();
    assert_eq!(found, [(1, 1), (2, 77)]);
    delivery.stop().await;
}

fn forwarded(number: u64, at: Position, index: u16) -> Effect {
    Effect {
        change: Change::Event { at: EventRef { position: at, index } },
        ..World::effect(number, number, &[])
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_gone_is_a_dead_letter_and_no_empty_message() {
    let world = World::new();
    let message = Message {
        message_type: MessageType::Track,
        ts: Timestamp(5),
        message_id: "m".to_owned(),
        source: "web".to_owned(),
        name: "Order".to_owned(),
        ids: Vec::new(),
        group_id: String::new(),
        body: br#"{"event":"Order","properties":{"total":3}}"#.to_vec(),
    };
    let record = Record::Messages(vec![message.clone(), message]).encode();
    let redacted = onefold_log::record::redact_message(&record, 1).unwrap();
    world.log.append(record, Box::new(|appended| assert!(appended.is_ok())));
    world.log.redact(Position(0), redacted).unwrap();
    world.put(1, 1, &forwarded(1, Position(0), 0));
    world.put(1, 2, &forwarded(2, Position(0), 1));
    world.put(1, 3, &forwarded(3, Position(999), 0));
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&serde_json::json!({ "batch": 3 }), &[]));
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [1]);
    let body: serde_json::Value = serde_json::from_slice(&world.calls()[0].items[0].body).unwrap();
    assert_eq!((&body["event"], &body["properties"]["total"]), (&"Order".into(), &3.into()));
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    assert_eq!(letters.len(), 2);
    assert!(
        letters.iter().all(|letter| letter.body.is_empty() && letter.answer.text.contains("not in the log"))
    );
    // Sent again, it is still gone, and nothing empty goes out.
    assert!(matches!(delivery.retry("hook", 2).await, Ok(Outcome::Refused(_))));
    assert_eq!(world.calls().len(), 1);
    delivery.stop().await;
}

/// A body is what was sent first, whatever the catalogue says later.
#[tokio::test(start_paused = true)]
async fn a_body_is_frozen_at_the_first_attempt() {
    let world = World::new();
    world.plan(|_| down());
    world.emit(1, 7);
    let delivery = world.start();
    soon(|| world.calls().len() == 1 && status(&delivery).failed == 1).await;
    let mut renamed = world.catalogue(&serde_json::json!({}), &[]);
    renamed.audiences = std::iter::once(("renamed".to_owned(), onefold_types::AudienceId(1))).collect();
    delivery.configure(&renamed);
    world.plan(|_| took());
    until(std::time::Duration::from_secs(1), || world.left() == 0).await;
    let calls = world.calls();
    assert!(calls.len() >= 2 && calls.iter().all(|call| call.items == calls[0].items));
    assert!(
        world.journal.inner.dump().iter().all(|(_, key, _)| key[0] != b'f'),
        "the frozen body goes when it is through"
    );
    world.store.sync().unwrap();
    delivery.stop().await;
}
