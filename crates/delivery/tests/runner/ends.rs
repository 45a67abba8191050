//! How delivery ends: by itself when nothing can mend it (DELIVERY-7), or because it is told to.

use crate::world::*;
use onefold_log::Clock;
use onefold_types::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Waits until delivery has ended by itself; why.
async fn ended(delivery: &onefold_delivery::Delivery) -> String {
    tokio::time::timeout(Duration::from_secs(3_600), delivery.failed()).await.unwrap();
    delivery.failure().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_until_it_is_opened_again_ends_all_of_it() {
    for is_journal in [true, false] {
        let world = World::new();
        if is_journal {
            world.journal.poison()
        } else {
            world.store.poison()
        }
        world.emit(1, 1);
        let delivery = world.delivery();
        delivery.configure(&world.catalogue(&json!({}), &["other"]));
        let why = ended(&delivery).await;
        assert!(why.contains("until it is opened again") && why.contains("full for a moment"), "{why}");
        // What comes now would be sent again and again, after each restart: it waits.
        world.put(2, 2, &World::effect(2, 2, &[]));
        world.emit(3, 3);
        delivery.wake();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((world.came(), world.left()), (vec![1], 3));
        assert!(status(&delivery).trouble.is_some());
        delivery.stop().await;
        assert_eq!(world.left(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_given_up_for_good_ends_it_too() {
    let world = World::new();
    world.plan(|_| refused());
    world.emit(1, 1);
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    assert_eq!(delivery.failure(), None);
    world.journal.poison();
    assert!(delivery.discard("hook", 1).is_err());
    assert!(ended(&delivery).await.contains("until it is opened again"));
    delivery.stop().await;
}

/// A clock that has a bug, once it is told to: it is asked on the runner's own task.
struct Broken(Timestamp, Arc<AtomicBool>);

impl Clock for Broken {
    fn now(&self) -> Timestamp {
        assert!(!self.1.load(Ordering::SeqCst), "a bug in a clock");
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_panics_ends_it_and_is_named() {
    let world = World::new();
    let is_broken = Arc::new(AtomicBool::new(false));
    let breaking = is_broken.clone();
    world.plan(move |_| {
        breaking.store(true, Ordering::SeqCst);
        took()
    });
    world.emit(1, 7);
    let delivery = world.delivery_by(Arc::new(Broken(Timestamp(WALL), is_broken)));
    delivery.configure(&world.catalogue(&json!({}), &[]));
    let why = ended(&delivery).await;
    assert!(why.contains("destination hook") && why.contains("panicked"), "{why}");
    delivery.stop().await;
    assert_eq!((world.came(), world.left()), (vec![1], 1), "it is sent again after a restart");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_answers_as_long_as_it_may_and_notes_them() {
    let world = World::new();
    world.plan(|_| took_after(Duration::from_secs(5)));
    (1..=5).for_each(|number| world.emit(number, number));
    let delivery = world.start();
    soon(|| world.calls().len() == 5).await;
    delivery.stop_within(Duration::from_secs(8)).await;
    assert_eq!((world.calls().len(), world.left()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_nothing_under_way_is_over_at_once() {
    let world = World::new();
    world.emit(1, 1);
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    a_while().await;
    let asked = Instant::now();
    delivery.stop_within(Duration::from_secs(8)).await;
    // On the test's own clock, which moves only while everything waits.
    assert_eq!(asked.elapsed(), Duration::ZERO);
}
