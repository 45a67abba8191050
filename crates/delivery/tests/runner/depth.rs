//! How much waits: told of all rows, not only of those that are held in memory.

use crate::world::*;
use onefold_store::{Store, Table};
use onefold_types::effect::Effect;
use onefold_types::{DestinationId, Timestamp, outbox};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn all_that_waits_is_counted_however_little_is_held() {
    let mut world = World::new();
    (world.options.window, world.options.in_flight) = (16, 4);
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    world.plan(move |_| if up.load(Ordering::SeqCst) { took() } else { down() });
    // A few lanes with many effects each, which are left out beyond their share.
    (1..=1_000).for_each(|number| world.emit(number, number % 7));
    let delivery = world.start();
    soon(|| status(&delivery).queued == 1_000).await;
    (1_001..=1_500).for_each(|number| world.emit(number, number));
    delivery.wake();
    soon(|| status(&delivery).queued == 1_500).await;
    let now = status(&delivery);
    assert!(now.held <= 5 * 16, "{now:?}");
    assert_eq!(now.oldest_age, Some(Duration::from_millis(world.now().unsigned_abs() - 1_000)));
    is_up.store(true, Ordering::SeqCst);
    // At every moment it is what the outbox has, but for what is being noted.
    until(Duration::from_secs(1), || {
        let (left, queued) = (world.left() as u64, status(&delivery).queued);
        assert!(queued.abs_diff(left) <= 16, "{queued} are said, {left} are there");
        left == 0
    })
    .await;
    soon(|| status(&delivery).queued == 0).await;
    assert_eq!(status(&delivery).oldest_age, None);
    delivery.stop().await;
}

/// Though nothing happens for a minute that would wake the runner.
#[tokio::test(start_paused = true)]
async fn the_oldest_is_told_of_at_once_and_forgotten_when_it_is_through() {
    let world = World::new();
    world
        .plan(|call| if call.effects() == [1] { took_after(Duration::from_millis(500)) } else { Deed::Hang });
    for (number, observed) in [(1, 1_000), (2, 2_000)] {
        let effect = World::effect(number, number, &[]);
        world.put(1, number, &Effect { observed: Timestamp(observed), ..effect });
    }
    let delivery = world.start();
    soon(|| world.calls().len() == 2).await;
    assert_eq!(status(&delivery).oldest, Some(Timestamp(1_000)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((status(&delivery).oldest, world.left()), (Some(Timestamp(2_000)), 1));
}

#[tokio::test(start_paused = true)]
async fn of_a_disabled_destination_too_and_it_says_that_it_is() {
    let mut world = World::new();
    world.options.window = 16;
    (1..=300).for_each(|number| world.emit(number, number));
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "enabled": false }), &[]));
    soon(|| status(&delivery).queued == 300).await;
    let now = status(&delivery);
    assert!(!now.enabled && now.held < 300 && world.calls().is_empty(), "{now:?}");
    delivery.configure(&world.catalogue(&json!({}), &[]));
    soon(|| world.left() == 0).await;
    assert!(status(&delivery).enabled);
    soon(|| status(&delivery).queued == 0).await;
    delivery.stop().await;
}

/// What was sent before a kill and deleted after it was waiting until then, and is no more.
#[test]
fn rows_that_the_journal_knows_as_through_are_none_that_wait() {
    let world = runtime().block_on(async { World::new() });
    (1..=20).for_each(|number| world.emit(number, number));
    world.store.fill(true);
    runtime().block_on(async {
        let delivery = world.start();
        soon(|| status(&delivery).trouble.is_some()).await;
    });
    world.store.fill(false);
    assert_eq!((world.left(), world.came().is_empty()), (20, false));
    runtime().block_on(async {
        let delivery = world.start();
        soon(|| world.left() == 0).await;
        soon(|| status(&delivery).queued == 0).await;
        delivery.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_none_is_told_apart() {
    let world = World::new();
    let mut txn = world.store.inner.begin().unwrap();
    txn.put(Table::Outbox, outbox::key(DestinationId(1), 1), b"\x63 from a later release".to_vec());
    txn.commit().unwrap();
    let delivery = world.start();
    soon(|| status(&delivery).unreadable == 1).await;
    assert_eq!(status(&delivery).queued, 0);
    delivery.stop().await;
}
