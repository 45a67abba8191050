//! A message that was deleted while it waited to be forwarded goes nowhere: not in its turn, not after a failure, not as a
//! dead letter that had been rendered before.

use crate::world::*;
use onefold_connector::Outcome;
use onefold_log::{Log, Record};
use onefold_types::effect::{Change, Effect};
use onefold_types::{EventRef, Message, MessageType, Position, Timestamp};
use serde_json::json;

const WHY: &str = "the message that it forwards was deleted";

/// A log with one message; effects 1 to `count`, each of a profile of its own, forward it.
fn forwarding(count: u64) -> World {
    let world = World::new();
    let message = Message {
        message_type: MessageType::Track,
        ts: Timestamp(5),
        message_id: "m".to_owned(),
        source: "web".to_owned(),
        name: "Order".to_owned(),
        ids: Vec::new(),
        group_id: String::new(),
        body: br#"{"event":"Order"}"#.to_vec(),
    };
    let record = Record::Messages(vec![message]).encode();
    world.log.append(record, Box::new(|appended| assert!(appended.is_ok())));
    let change = Change::Event { at: EventRef { position: Position(0), index: 0 } };
    for number in 1..=count {
        world.put(1, number, &Effect { change: change.clone(), ..World::effect(number, number, &[]) });
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_deleted_message_is_not_forwarded_and_says_so() {
    let world = forwarding(3);
    world.standing.nowhere(2, WHY);
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "batch": 3 }), &[]));
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [1, 3]);
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (letter.sequence, letter.answer.text.as_str())).collect();
    assert_eq!(told, [(2, WHY)]);
    assert!(letters[0].body.is_empty());
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_between_two_attempts_is_not_sent_again() {
    let world = forwarding(1);
    world.plan(|_| down());
    let delivery = world.start();
    soon(|| world.calls().len() == 1 && status(&delivery).failed == 1).await;
    world.standing.nowhere(1, WHY);
    world.plan(|_| took());
    until(std::time::Duration::from_secs(60), || world.left() == 0).await;
    assert_eq!(world.calls().len(), 1);
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    assert_eq!(
        (letters[0].answer.text.as_str(), letters[0].body.len()),
        (WHY, 0),
        "what it said is not kept"
    );
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_of_one_is_refused_without_a_request() {
    let world = forwarding(1);
    world.plan(|_| refused());
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    assert!(!delivery.dead_letters("hook", 0, 10).unwrap()[0].body.is_empty());
    world.standing.nowhere(1, WHY);
    world.plan(|_| took());
    let Ok(Outcome::Refused(answer)) = delivery.retry("hook", 1).await else { panic!("it was sent") };
    assert_eq!((answer.text.as_str(), world.calls().len()), (WHY, 1));
    delivery.stop().await;
}

/// Nothing goes out unasked: while the state cannot be read, the event waits.
#[tokio::test(start_paused = true)]
async fn one_of_which_it_cannot_be_read_whether_it_was_deleted_waits() {
    let world = forwarding(1);
    world.standing.unreadable(1);
    let delivery = world.start();
    soon(|| status(&delivery).failed == 1).await;
    assert_eq!((world.calls().len(), world.left()), (0, 1));
    delivery.stop().await;
}
