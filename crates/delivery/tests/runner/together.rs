//! Batches that are refused for one message in them: DELIVERY-5.

use crate::world::*;
use onefold_delivery::Delivery;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A receiver that refuses what has one of `poison` in it, and takes the rest.
fn poisoned(poison: &'static [u64]) -> impl Fn(&Call) -> bool + Send + Copy {
    move |call| call.effects().iter().any(|effect| poison.contains(effect))
}

fn start(world: &World, batch: usize) -> Delivery {
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "batch": batch }), &[]));
    delivery
}

fn dead(delivery: &Delivery) -> Vec<u64> {
    delivery.dead_letters("hook", 0, 9_999).unwrap().iter().map(|letter| letter.sequence).collect()
}

/// How often each effect was in a request that was taken.
fn taken(world: &World, is_poisoned: impl Fn(&Call) -> bool) -> BTreeMap<u64, usize> {
    let mut taken = BTreeMap::new();
    for effect in world.calls().iter().filter(|call| !is_poisoned(call)).flat_map(Call::effects) {
        *taken.entry(effect).or_insert(0) += 1;
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn one_poison_message_dies_alone_and_costs_few_requests() {
    for (count, most) in [(2, 3), (10, 9), (1_000, 21)] {
        for in_flight in [1, 32] {
            let mut world = World::new();
            world.options.in_flight = in_flight;
            let is_poisoned = poisoned(&[2]);
            world.plan(move |call| if is_poisoned(call) { refused_together() } else { took() });
            (1..=count).for_each(|number| world.emit(number, number));
            let delivery = start(&world, usize::try_from(count).unwrap());
            soon(|| world.left() == 0).await;
            assert_eq!(dead(&delivery), [2]);
            let expected: BTreeMap<u64, usize> =
                (1..=count).filter(|number| *number != 2).map(|n| (n, 1)).collect();
            assert_eq!(taken(&world, is_poisoned), expected);
            assert!(world.calls().len() <= most, "{count}: {} requests", world.calls().len());
            let letter = delivery.dead_letters("hook", 0, 1).unwrap().remove(0);
            assert_eq!((letter.attempts, letter.answer.status, letter.body.is_empty()), (1, 400, false));
            let status = status(&delivery);
            assert_eq!((status.delivered, status.dead, status.failed), (count - 1, 1, 1), "{status:?}");
            delivery.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_poison_costs_less_than_two_requests_a_message() {
    let world = World::new();
    world.plan(|_| refused_together());
    (1..=50).for_each(|number| world.emit(number, number));
    let delivery = start(&world, 50);
    soon(|| world.left() == 0).await;
    assert_eq!(dead(&delivery), (1..=50).collect::<Vec<_>>());
    assert_eq!(world.calls().len(), 99);
    delivery.stop().await;
}

/// A refusal that is the whole request's is each one's, as before.
#[tokio::test(start_paused = true)]
async fn what_is_refused_as_a_whole_is_not_sent_in_halves() {
    let world = World::new();
    world.plan(|_| refused());
    (1..=10).for_each(|number| world.emit(number, number));
    let delivery = start(&world, 10);
    soon(|| world.left() == 0).await;
    assert_eq!((dead(&delivery).len(), world.calls().len()), (10, 1));
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn lanes_keep_their_order_and_new_ones_do_not_join_the_halves() {
    let world = World::new();
    let is_poisoned = poisoned(&[3]);
    let gate = Arc::new(Notify::new());
    let (held, first) = (gate.clone(), AtomicBool::new(true));
    world.plan(move |call| match (first.swap(false, Ordering::SeqCst), is_poisoned(call)) {
        (true, _) => {
            let Deed::Say(outcome) = refused_together() else { panic!("it says so") };
            Deed::Hold(held.clone(), outcome)
        }
        (false, true) => refused_together(),
        (false, false) => took(),
    });
    // Two effects in each of the lanes 1 to 4, and then another lane while the first four are under way.
    (1..=8).for_each(|number| world.emit(number, (number - 1) % 4 + 1));
    let delivery = start(&world, 4);
    soon(|| world.calls().len() == 1).await;
    world.emit(9, 9);
    delivery.wake();
    soon(|| world.left() == 8).await;
    gate.notify_one();
    soon(|| world.left() == 0).await;
    assert_eq!(dead(&delivery), [3]);
    let calls = world.calls();
    let last = |effect| calls.iter().rposition(|call| call.effects().contains(&effect)).unwrap();
    let first = |effect| calls.iter().position(|call| call.effects().contains(&effect)).unwrap();
    assert!((1..=4).all(|effect| last(effect) < first(effect + 4)), "{calls:?}");
    assert!(taken(&world, is_poisoned).values().all(|times| *times == 1));
    let mut halves: Vec<Vec<u64>> =
        calls.iter().map(Call::effects).filter(|effects| effects.iter().any(|n| *n < 5)).collect();
    halves.sort();
    assert_eq!(halves, [vec![1, 2], vec![1, 2, 3, 4], vec![3], vec![3, 4], vec![4]]);
    delivery.stop().await;
}

/// The half that is told to wait waits as it is; the other is through at once.
#[tokio::test(start_paused = true)]
async fn a_half_waits_for_the_time_that_was_named_for_it() {
    let world = World::new();
    let hour = Duration::from_secs(3_600);
    let busy = AtomicUsize::new(0);
    world.plan(move |call| match call.effects().as_slice() {
        [1, 2, 3, 4] => refused_together(),
        [3, 4] if busy.fetch_add(1, Ordering::SeqCst) == 0 => later(Some(hour)),
        [3, 4] => refused_together(),
        [4] if busy.fetch_add(1, Ordering::SeqCst) == 2 => later(Some(hour)),
        [4] => refused_together(),
        _ => took(),
    });
    (1..=4).for_each(|number| world.emit(number, number));
    let delivery = start(&world, 4);
    soon(|| world.left() == 2).await;
    until(Duration::from_secs(10), || world.left() == 0).await;
    let calls = world.calls();
    let mut effects: Vec<Vec<u64>> = calls.iter().map(Call::effects).collect();
    effects.sort();
    assert_eq!(effects, [vec![1, 2], vec![1, 2, 3, 4], vec![3], vec![3, 4], vec![3, 4], vec![4], vec![4]]);
    for named in [vec![3, 4], vec![4]] {
        let at: Vec<Duration> = calls.iter().filter(|c| c.effects() == named).map(|c| c.at).collect();
        assert!(at[1] - at[0] >= hour, "{at:?}");
    }
    let letters = delivery.dead_letters("hook", 0, 9).unwrap();
    assert_eq!((letters.len(), letters[0].sequence, letters[0].attempts), (1, 4, 3));
    delivery.stop().await;
}

/// It may be the one that the others were refused for, so it takes no further ones with it.
#[tokio::test(start_paused = true)]
async fn what_was_set_apart_and_fails_stays_apart() {
    let mut world = World::new();
    world.options.in_flight = 1;
    let hour = Duration::from_secs(3_600);
    let (gate, is_late) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (held, late) = (gate.clone(), is_late.clone());
    world.plan(move |call| match call.effects().as_slice() {
        [1, 2] => refused_together(),
        [4] => Deed::Hold(held.clone(), onefold_connector::Outcome::Delivered(answer(204))),
        [2] | [3] if !late.load(Ordering::SeqCst) => later(Some(hour)),
        _ => took(),
    });
    world.emit(1, 1);
    world.emit(2, 2);
    let delivery = start(&world, 2);
    soon(|| world.calls().len() == 3).await;
    world.emit(3, 3);
    delivery.wake();
    soon(|| world.calls().len() == 4).await;
    world.emit(4, 4);
    delivery.wake();
    soon(|| world.calls().len() == 5).await;
    // While 4 is under way, 2 and 3 come to be due, and could go together.
    tokio::time::sleep(hour * 2).await;
    is_late.store(true, Ordering::SeqCst);
    gate.notify_one();
    soon(|| world.left() == 0).await;
    let effects: Vec<Vec<u64>> = world.calls().iter().map(Call::effects).collect();
    assert_eq!(effects, [vec![1, 2], vec![1], vec![2], vec![3], vec![4], vec![2], vec![3]]);
    delivery.stop().await;
}

/// A kill forgets the halves, not the effects: each has one body, and the poison alone is dead.
#[test]
fn a_kill_between_the_halves_loses_nothing() {
    let is_poisoned = poisoned(&[7]);
    for requests in 1..8 {
        let world = runtime().block_on(async { World::new() });
        world.plan(move |call| if is_poisoned(call) { refused_together() } else { took() });
        (1..=10).for_each(|number| world.emit(number, number));
        runtime().block_on(async {
            let _killed = start(&world, 10);
            soon(|| world.calls().len() >= requests).await;
        });
        runtime().block_on(async {
            let delivery = start(&world, 10);
            soon(|| world.left() == 0).await;
            assert_eq!(dead(&delivery), [7]);
            delivery.stop().await;
        });
        let expected: Vec<u64> = (1..=10).filter(|number| *number != 7).collect();
        assert_eq!(taken(&world, is_poisoned).into_keys().collect::<Vec<_>>(), expected);
        let mut bodies = BTreeMap::new();
        for item in world.calls().into_iter().flat_map(|call| call.items) {
            let known = bodies.entry(item.id.clone()).or_insert_with(|| item.body.clone());
            assert_eq!(*known, item.body, "{}", item.id);
        }
    }
}
