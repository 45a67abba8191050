//! How long it waits, and for whom: `Retry-After`, back-off, horizon, breaker.

use crate::world::*;
use onefold_delivery::BreakerState;
use onefold_delivery::breaker::LANES;
use onefold_types::effect::{Change, Effect};
use onefold_types::{EventRef, Position};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const DAY: Duration = Duration::from_secs(86_400);

/// The waits between attempts when the other side names `after` each time.
async fn waits(after: Option<Duration>, attempts: usize) -> Vec<Duration> {
    let world = World::new();
    let count = AtomicUsize::new(0);
    world.plan(
        move |_| {
            if count.fetch_add(1, Ordering::SeqCst) + 1 < attempts { later(after) } else { took() }
        },
    );
    world.emit(1, 7);
    let delivery = world.start();
    until(Duration::from_secs(60), || world.left() == 0).await;
    delivery.stop().await;
    let at: Vec<Duration> = world.calls().iter().map(|call| call.at).collect();
    assert_eq!(at.len(), attempts);
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn a_named_time_is_waited_for_and_an_absurd_one_is_cut_to_a_day() {
    for seconds in [7, 3_600, 86_400] {
        let named = Duration::from_secs(seconds);
        let wait = waits(Some(named), 2).await[0];
        assert!(
            (named..named + Duration::from_secs(2)).contains(&wait),
            "{seconds} s named, {wait:?} waited"
        );
    }
    for absurd in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(252_000_000_000)] {
        let wait = waits(Some(absurd), 2).await[0];
        assert!((DAY..DAY + Duration::from_secs(2)).contains(&wait), "{wait:?}");
    }
    assert!(waits(Some(Duration::ZERO), 3).await.iter().all(|wait| *wait <= Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn without_a_name_waits_grow_up_to_ten_minutes() {
    let waits = waits(None, 30).await;
    for (attempt, wait) in waits.iter().enumerate() {
        let ceiling = Duration::from_millis(500 << attempt.min(11)).min(Duration::from_secs(600));
        assert!(*wait <= ceiling + Duration::from_millis(100), "attempt {attempt} waited {wait:?}");
    }
    assert!(waits[15..].iter().max() > Some(&Duration::from_secs(60)), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_horizon_it_is_a_dead_letter_and_its_lane_goes_on() {
    let mut world = World::new();
    world.options.horizon = Duration::from_secs(3_600);
    world.plan(|call| if call.effects() == [1] { down() } else { took() });
    world.emit(1, 7);
    world.emit(2, 7);
    let delivery = world.start();
    until(Duration::from_secs(10), || world.left() == 0).await;
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    assert_eq!((letters.len(), letters[0].sequence, letters[0].answer.status), (1, 1, 503));
    let last = world.calls().iter().rfind(|call| call.effects() == [1]).unwrap().at;
    assert!(last >= Duration::from_secs(3_600) && last <= Duration::from_secs(3_600 + 601), "{last:?}");
    assert_eq!(world.came().last(), Some(&2));
    assert_eq!(world.calls().len(), usize::try_from(letters[0].attempts).unwrap() + 1);
    assert!(!letters[0].body.is_empty());
    delivery.stop().await;
}

/// A restart neither forgets how long an effect was tried, nor asks before the time that the other side named.
#[test]
fn patience_survives_a_kill() {
    let mut world = runtime().block_on(async { World::new() });
    world.options.horizon = Duration::from_secs(3_600);
    world.plan(|_| later(Some(Duration::from_secs(1_800))));
    world.emit(1, 7);
    let run = |seconds: u64| {
        runtime().block_on(async {
            let _delivery = world.start();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        });
        world.clock.set(onefold_types::Timestamp(world.now() + i64::try_from(seconds).unwrap() * 1_000));
    };
    run(600);
    run(600);
    assert_eq!(world.calls().len(), 1, "half an hour was named, 20 minutes are over");
    run(700);
    assert_eq!(world.calls().len(), 2);
    run(600);
    assert_eq!(world.calls().len(), 2);
    run(1_800);
    assert_eq!(world.calls().len(), 3, "the hour is over");
    assert_eq!(world.left(), 0);
    assert!(world.calls().iter().all(|call| call.items == world.calls()[0].items), "one id, one body");
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_asks_with_one_request_and_closes() {
    let mut world = World::new();
    world.options.in_flight = 1;
    let is_up = Arc::new(AtomicBool::new(false));
    let gate = Arc::new(Notify::new());
    let (up, held) = (is_up.clone(), gate.clone());
    let count = AtomicUsize::new(0);
    world.plan(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        match up.load(Ordering::SeqCst) {
            true => took(),
            false if number > LANES => Deed::Hold(
                held.clone(),
                onefold_connector::Outcome::Retry { after: None, answer: answer(503) },
            ),
            false => down(),
        }
    });
    (1..=50).for_each(|number| world.emit(number, number));
    let delivery = world.start();
    assert_eq!(status(&delivery).breaker, BreakerState::Closed);
    soon(|| status(&delivery).breaker == BreakerState::Open).await;
    assert_eq!(world.calls().len(), LANES, "after {LANES} lanes nothing goes");
    for asked in 1..=3 {
        soon(|| status(&delivery).breaker == BreakerState::HalfOpen).await;
        tokio::time::sleep(DAY).await;
        assert_eq!(world.calls().len(), LANES + asked, "one request asks, however long it takes");
        gate.notify_one();
        soon(|| status(&delivery).breaker == BreakerState::Open).await;
    }
    is_up.store(true, Ordering::SeqCst);
    soon(|| status(&delivery).breaker == BreakerState::Closed).await;
    until(Duration::from_secs(10), || world.left() == 0).await;
    assert_eq!(status(&delivery).delivered, 50);
    assert_eq!(status(&delivery).oldest, None);
    delivery.stop().await;
}

/// That an event is gone says nothing of the other side: nobody was asked.
#[tokio::test(start_paused = true)]
async fn what_was_refused_without_a_request_leaves_the_breaker_open() {
    let mut world = World::new();
    world.options.in_flight = 1;
    let count = AtomicUsize::new(0);
    world.plan(move |_| if count.fetch_add(1, Ordering::SeqCst) < LANES { later(None) } else { Deed::Hang });
    (1..=LANES as u64).for_each(|number| world.emit(number, number));
    // Never tried, so they are the first that go when it asks.
    let gone = Change::Event { at: EventRef { position: Position(999), index: 0 } };
    for number in [21, 22] {
        world.put(1, number, &Effect { change: gone.clone(), ..World::effect(number, number, &[]) });
    }
    let delivery = world.start();
    until(Duration::from_millis(100), || world.calls().len() == LANES + 1).await;
    a_while().await;
    let status = status(&delivery);
    assert_eq!((status.dead, status.breaker, status.in_flight), (2, BreakerState::HalfOpen, 1));
}

#[tokio::test(start_paused = true)]
async fn one_lane_that_always_fails_neither_opens_the_breaker_nor_takes_the_room() {
    let mut world = World::new();
    world.options.window = 16;
    world.plan(|call| if call.effects()[0] % 2 == 0 { down() } else { took() });
    // Every second effect is of the lane that fails: far more than the window holds.
    (1..=400).for_each(|number| world.emit(number, if number % 2 == 0 { 7 } else { 1_000 + number % 20 }));
    let delivery = world.start();
    until(Duration::from_secs(1), || status(&delivery).delivered == 200).await;
    let status = status(&delivery);
    assert_eq!((status.breaker, &status.trouble), (BreakerState::Closed, &None));
    assert!(status.held <= 16, "{status:?}");
    assert!(world.came().iter().filter(|number| *number % 2 == 0).all(|number| *number == 2));
    world.plan(|_| took());
    until(Duration::from_secs(10), || world.left() == 0).await;
    let lane: Vec<u64> =
        world.came().into_iter().filter(|number| number % 2 == 0).skip_while(|n| *n == 2).collect();
    assert_eq!(lane, (2..=200).map(|number| number * 2).collect::<Vec<_>>(), "in order, each once");
    delivery.stop().await;
}

/// LANE-5: with more waiting than the window holds, a retry has its turn among what was read before it was due.
#[tokio::test(start_paused = true)]
async fn a_retry_that_is_due_does_not_wait_behind_the_whole_backlog() {
    let mut world = World::new();
    (world.options.window, world.options.in_flight) = (10, 1);
    let second = Duration::from_secs(1);
    let failed = AtomicBool::new(false);
    world.plan(move |call| {
        let is_first = call.effects() == [3] && !failed.swap(true, Ordering::SeqCst);
        if is_first { down() } else { took_after(second) }
    });
    (1..=300).for_each(|number| world.emit(number, number));
    let delivery = world.start();
    until(second, || world.left() == 0).await;
    let came = world.came();
    let turn = came.iter().rposition(|number| *number == 3).unwrap();
    // What was read by then: the window, and half of it again for what went meanwhile.
    assert!((4..=30).contains(&turn), "it was number {turn} of {}", came.len());
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_never_answers_slows_no_other() {
    let world = World::new();
    world.plan(|call| if call.destination == "hook" { Deed::Hang } else { took() });
    for number in 1..=100 {
        world.put(1, number, &World::effect(number, number, &[]));
        world.put(2, 1_000 + number, &World::effect(1_000 + number, number, &[]));
    }
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&serde_json::json!({}), &["other"]));
    soon(|| world.left() == 100).await;
    assert!(world.calls().iter().filter(|call| call.destination == "other").count() == 100);
    assert_eq!(status(&delivery).in_flight, 32);
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_has_failed_and_no_more() {
    let world = World::new();
    let count = AtomicUsize::new(0);
    world.plan(move |_| if count.fetch_add(1, Ordering::SeqCst) == 0 { Deed::Panic } else { took() });
    world.emit(1, 7);
    world.emit(2, 7);
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [1, 1, 2]);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_went_together_goes_together_again() {
    let world = World::new();
    let count = AtomicUsize::new(0);
    world.plan(move |_| if count.fetch_add(1, Ordering::SeqCst) < 6 { down() } else { took() });
    (1..=8).for_each(|number| world.emit(number, number));
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&serde_json::json!({ "batch": 4 }), &[]));
    soon(|| world.calls().len() >= 2).await;
    (9..=12).for_each(|number| world.emit(number, number));
    delivery.wake();
    until(Duration::from_secs(1), || world.left() == 0).await;
    let mut requests: Vec<Vec<u64>> = world.calls().iter().map(Call::effects).collect();
    requests.sort();
    requests.dedup();
    assert_eq!(requests, [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10, 11, 12]]);
    delivery.stop().await;
}
