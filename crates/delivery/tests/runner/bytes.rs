//! What a request may have, and what all of a destination's may hold: DELIVERY-3.

use crate::world::*;
use onefold_types::Identifier;
use onefold_types::effect::Effect;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes of the bodies of a request.
fn bytes(call: &Call) -> usize {
    call.items.iter().map(|item| item.body.len()).sum()
}

/// Effect `number` of a profile of its own, with a body of at least so many bytes.
fn put(world: &World, number: u64, bytes: usize) {
    let long = Identifier::new("crm", "x".repeat(bytes));
    world.put(1, number, &Effect { ids: vec![long], ..World::effect(number, number, &[]) });
}

#[tokio::test(start_paused = true)]
async fn a_request_has_no_more_bytes_than_it_may_and_a_large_item_goes_alone() {
    let mut world = World::new();
    world.options.request_bytes = 10_000;
    (1..=40).for_each(|number| put(&world, number, if number % 10 == 0 { 20_000 } else { 2_000 }));
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "batch": 100 }), &[]));
    soon(|| world.left() == 0).await;
    let calls = world.calls();
    for call in &calls {
        assert!(bytes(call) <= 10_000 || call.items.len() == 1, "{} in {:?}", bytes(call), call.effects());
    }
    let mut came = world.came();
    came.sort_unstable();
    assert_eq!(came, (1..=40).collect::<Vec<_>>(), "each once");
    assert!(calls.iter().any(|call| call.items.len() >= 3), "they go together as far as there is room");
    delivery.stop().await;
}

/// Who did not fit into a request waits for the next, not for that one's answer.
#[tokio::test(start_paused = true)]
async fn what_found_no_place_in_a_request_does_not_wait_for_its_answer() {
    let mut world = World::new();
    world.options.request_bytes = 5_000;
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    world.plan(move |call| match call.effects().contains(&1) {
        true => Deed::Hold(held.clone(), onefold_connector::Outcome::Delivered(answer(204))),
        false => took(),
    });
    (1..=10).for_each(|number| put(&world, number, 2_000));
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "batch": 10 }), &[]));
    soon(|| world.left() <= 2).await;
    gate.notify_one();
    soon(|| world.left() == 0).await;
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bodies_under_way_are_bounded_and_the_others_wait_for_room() {
    let mut world = World::new();
    (world.options.request_bytes, world.options.in_flight_bytes) = (4 << 10, 16 << 10);
    let hour = Duration::from_secs(3_600);
    world.plan(move |_| took_after(hour));
    (1..=40).for_each(|number| put(&world, number, 3 << 10));
    let delivery = world.start();
    soon(|| !world.calls().is_empty()).await;
    a_while().await;
    let under_way: usize = world.calls().iter().map(bytes).sum();
    assert!((12 << 10..=16 << 10).contains(&under_way), "{under_way} bytes are under way");
    until(hour, || world.left() == 0).await;
    assert_eq!(world.came().len(), 40, "each once");
    delivery.stop().await;
}

/// A place that is waited for is none that a stop waits for.
#[tokio::test(start_paused = true)]
async fn a_stop_lets_nothing_go_that_waited_for_room() {
    let mut world = World::new();
    (world.options.request_bytes, world.options.in_flight_bytes) = (4 << 10, 4 << 10);
    world.plan(|_| took_after(Duration::from_secs(2)));
    (1..=10).for_each(|number| put(&world, number, 3 << 10));
    let delivery = world.start();
    soon(|| world.calls().len() == 1).await;
    delivery.stop_within(Duration::from_secs(8)).await;
    assert_eq!((world.came(), world.left()), (vec![1], 9), "what was under way is noted");
}
