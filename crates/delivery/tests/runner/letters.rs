//! Dead letters: listed in pages, sent again or given up exactly once; and what there is no message for.

use crate::world::*;
use onefold_connector::Outcome;
use onefold_delivery::Error;
use onefold_log::{Log, Record};
use onefold_store::Store;
use onefold_types::effect::{Change, Effect};
use onefold_types::{AudienceId, EventRef, Message, MessageType, Position, Timestamp, TraitId};
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

/// A cut emoji was once taken as it came: valid by JSON's grammar, and no text.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_dead_letter_and_no_message_that_says_something_else() {
    let world = World::new();
    let message = Message {
        message_type: MessageType::Track,
        ts: Timestamp(5),
        message_id: "m".to_owned(),
        source: "web".to_owned(),
        name: "Order".to_owned(),
        ids: Vec::new(),
        group_id: String::new(),
        body: br#"{"event":"Order","properties":{"note":"\ud83d"}}"#.to_vec(),
    };
    let record = Record::Messages(vec![message]).encode();
    world.log.append(record, Box::new(|appended| assert!(appended.is_ok())));
    world.put(1, 1, &forwarded(1, Position(0), 0));
    let change = Change::TraitChanged { key: "note".to_owned(), value: r#""\ud83d""#.to_owned() };
    world.put(1, 2, &Effect { change, ..World::effect(2, 2, &[]) });
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    assert_eq!(world.calls().len(), 0);
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter.answer.text.contains("is not JSON")), "{letters:?}");
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

fn computed(value: &str) -> Change {
    Change::TraitComputed { computed_trait: TraitId(2), value: value.to_owned() }
}

fn plain(value: &str) -> Change {
    Change::TraitChanged { key: "plan".to_owned(), value: value.to_owned() }
}

/// Letters 1 (a computed trait), 2 (a plain one) and 3 (an entry) of one profile, all dead.
async fn three_dead(world: &World) -> onefold_delivery::Delivery {
    world.plan(|_| refused());
    let changes =
        [computed("3"), plain("\"pro\""), Change::Entered { audience: AudienceId(1), initial: true }];
    for (number, change) in (1..).zip(changes) {
        world.put(1, number, &Effect { change, ..World::effect(number, 7, &[]) });
    }
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    delivery
}

#[tokio::test(start_paused = true)]
async fn what_was_overtaken_is_sent_as_it_stands_now() {
    let world = World::new();
    let delivery = three_dead(&world).await;
    world.plan(|_| took());
    let changes = [computed("5"), plain("null"), Change::Exited { audience: AudienceId(1) }];
    for (number, change) in (1..).zip(changes) {
        // The profile was merged away, and goes by its survivor's names; the fold is a day behind the clock.
        world.standing.is_now(Effect {
            change,
            effective: Timestamp(WALL - 86_400_000),
            profile_id: "survivor".to_owned(),
            ..World::effect(number, 8, &[])
        });
    }
    for (number, property, value, event) in [
        (1, "orders", serde_json::json!(5), "Trait Computed"),
        (2, "plan", serde_json::Value::Null, "Trait Computed"),
        (3, "vip", serde_json::json!(false), "Audience Exited"),
    ] {
        assert!(matches!(delivery.retry("hook", number).await, Ok(Outcome::Delivered(_))));
        let last = world.calls().pop().unwrap();
        assert_eq!(last.effects(), [number], "under the letter's own id");
        let body: serde_json::Value = serde_json::from_slice(&last.items[0].body).unwrap();
        let properties = body["properties"].as_object().unwrap();
        assert_eq!((properties.get(property), &body["event"]), (Some(&value), &event.into()), "{body}");
        assert_eq!(body["timestamp"], "2023-11-13T22:13:20.000Z", "as of the state, not of the clock");
        assert_eq!(
            (&body["userId"], &body["context"]["onefold"]["profile_id"]),
            (&"u8".into(), &"survivor".into())
        );
    }
    assert!(delivery.dead_letters("hook", 0, 9).unwrap().is_empty());
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_still_stands_goes_with_the_body_that_it_had() {
    let world = World::new();
    let delivery = three_dead(&world).await;
    // Rendered anew, each body would say something else.
    let mut renamed = world.catalogue(&serde_json::json!({}), &[]);
    renamed.workspace.workspace = "renamed".to_owned();
    delivery.configure(&renamed);
    world.plan(|_| took());
    for number in 1..=3 {
        assert!(matches!(delivery.retry("hook", number).await, Ok(Outcome::Delivered(_))));
    }
    let calls = world.calls();
    assert_eq!(world.came(), [1, 2, 3, 1, 2, 3]);
    assert!((0..3).all(|first| calls[first].items == calls[first + 3].items), "{calls:?}");
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_what_nothing_is_known_nothing_is_sent_and_the_letter_stays() {
    let world = World::new();
    let delivery = three_dead(&world).await;
    world.plan(|_| took());
    world.standing.nowhere(1, "the trait is gone");
    world.standing.unreadable(2);
    let Ok(Outcome::Refused(answer)) = delivery.retry("hook", 1).await else { panic!("nothing can be said") };
    assert_eq!((answer.status, answer.text.as_str()), (0, "the trait is gone"));
    assert!(matches!(delivery.retry("hook", 2).await, Err(Error::Store(_))));
    assert_eq!(world.calls().len(), 3, "no request");
    let letters = delivery.dead_letters("hook", 0, 9).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    // Whoever was told so can still give it up.
    delivery.discard("hook", 1).unwrap();
    delivery.stop().await;
}
