//! Disks that fail and processes that die: nothing is lost, and nothing that was noted is sent again (DELIVERY-1).

use crate::world::*;
use onefold_delivery::journal::Journal;
use onefold_log::{Log, ManualClock, MemoryLog, MemoryLogOptions, Record, Retention};
use onefold_store::{Store, Table};
use onefold_types::{DestinationId, Position, Timestamp, outbox};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn while_the_journal_takes_nothing_nothing_further_goes_and_nothing_is_lost() {
    let mut world = World::new();
    world.options.in_flight = 4;
    world.plan(|call| if call.effects() == [2] { refused() } else { took() });
    (1..=40).for_each(|number| world.emit(number, number % 10));
    world.journal.fill(true);
    let delivery = world.start();
    soon(|| status(&delivery).trouble.is_some()).await;
    a_while().await;
    let sent = world.calls().len();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let status_now = status(&delivery);
    assert!(status_now.trouble.as_ref().unwrap().contains("disk"), "{status_now:?}");
    assert_eq!(delivery.failure(), None, "there may be room again");
    // As long as it is not known that the disk is full other lanes go on, each by one effect.
    assert!(world.calls().len() == sent && sent <= 10, "{sent} were sent");
    assert_eq!((status_now.delivered, status_now.dead, world.left()), (0, 0, 40));
    world.journal.fill(false);
    until(Duration::from_secs(1), || world.left() == 0).await;
    let mut came = world.came();
    came.sort_unstable();
    assert_eq!(came, (1..=40).collect::<Vec<_>>(), "each once");
    let status_now = status(&delivery);
    assert_eq!((status_now.delivered, status_now.dead, &status_now.trouble), (39, 1, &None));
    assert_eq!(delivery.dead_letters("hook", 0, 10).unwrap().len(), 1);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_takes_no_deletion_is_tried_again_and_no_letter_comes_back() {
    let world = World::new();
    world.plan(|_| refused());
    world.emit(1, 7);
    world.emit(2, 7);
    world.store.fill(true);
    let delivery = world.start();
    soon(|| status(&delivery).trouble.is_some()).await;
    // The letter is there already, and someone gives it up while its row cannot be deleted.
    delivery.discard("hook", 1).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((world.left(), world.came().len()), (2, 1));
    world.store.fill(false);
    until(Duration::from_secs(1), || world.left() == 0).await;
    let letters = delivery.dead_letters("hook", 0, 10).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.sequence).collect::<Vec<_>>(), [2]);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outbox_that_cannot_be_read_is_read_when_it_can() {
    let world = World::new();
    world.emit(1, 7);
    world.store.hide(true);
    let delivery = world.start();
    soon(|| status(&delivery).trouble.is_some()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.calls().is_empty());
    world.store.hide(false);
    until(Duration::from_secs(1), || world.left() == 0).await;
    assert_eq!(status(&delivery).trouble, None);
    delivery.stop().await;
}

#[test]
fn killed_between_answer_and_journal_it_sends_the_same_again() {
    let world = runtime().block_on(async { World::new() });
    (1..=3).for_each(|number| world.emit(number, 7));
    // Once while the receiver thinks, once with its answer there and nowhere noted.
    world.plan(|_| Deed::Hang);
    runtime().block_on(async {
        let _delivery = world.start();
        soon(|| world.calls().len() == 1).await;
    });
    world.plan(|_| took());
    world.journal.fill(true);
    runtime().block_on(async {
        let delivery = world.start();
        soon(|| status(&delivery).trouble.is_some()).await;
    });
    world.journal.fill(false);
    assert_eq!(world.left(), 3);
    runtime().block_on(async {
        let delivery = world.start();
        soon(|| world.left() == 0).await;
        delivery.stop().await;
    });
    assert_eq!(world.came(), [1, 1, 1, 2, 3]);
    let calls = world.calls();
    assert!(calls[..3].iter().all(|call| call.items == calls[0].items), "the same id, the same body");
}

#[test]
fn killed_between_journal_and_outbox_it_sends_nothing_again() {
    let world = runtime().block_on(async { World::new() });
    world.plan(|call| if call.effects() == [1] { refused() } else { took() });
    world.emit(1, 7);
    world.emit(2, 8);
    world.store.fill(true);
    runtime().block_on(async {
        let delivery = world.start();
        soon(|| status(&delivery).trouble.is_some()).await;
    });
    assert_eq!((world.left(), world.came().len()), (2, 2));
    world.store.fill(false);
    world.emit(3, 7);
    runtime().block_on(async {
        let delivery = world.start();
        soon(|| world.left() == 0).await;
        assert_eq!(delivery.dead_letters("hook", 0, 10).unwrap().len(), 1);
        delivery.stop().await;
    });
    assert_eq!(world.came(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn stopping_with_a_full_journal_ends_and_loses_nothing() {
    let world = World::new();
    world.emit(1, 7);
    world.journal.fill(true);
    let delivery = world.start();
    soon(|| world.calls().len() == 1).await;
    delivery.stop().await;
    assert_eq!(world.left(), 1);
    world.journal.fill(false);
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    delivery.stop().await;
    assert_eq!(world.came(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_none_stays_and_is_told() {
    let world = World::new();
    let mut txn = world.store.inner.begin().unwrap();
    txn.put(Table::Outbox, outbox::key(DestinationId(1), 1), b"\x63 from a later release".to_vec());
    txn.commit().unwrap();
    world.emit(2, 7);
    let delivery = world.start();
    soon(|| world.left() == 1).await;
    assert_eq!((world.came(), status(&delivery).unreadable), (vec![2], 1));
    delivery.stop().await;
}

/// JOURNAL-2: a mark goes when the log begins behind its effect, and not before.
#[tokio::test(start_paused = true)]
async fn marks_go_with_the_log_that_could_bring_their_effects_back() {
    let mut world = World::new();
    let clock = Arc::new(ManualClock::at(Timestamp(500)));
    let retention = Retention { bytes: Some(1), age: None };
    world.log = Arc::new(MemoryLog::new(MemoryLogOptions {
        segment_bytes: 64,
        retention,
        clock: clock.clone(),
        ..MemoryLogOptions::default()
    }));
    let journal = Journal::new(world.journal.clone());
    let append = |rt: i64| {
        clock.set(Timestamp(rt));
        world.log.append(Record::Redacted.encode(), Box::new(|appended| assert!(appended.is_ok())));
    };
    // Effects are found at 1000 (World::effect), one is stuck.
    (1..=8).for_each(|n| append(n * 100));
    world.plan(|call| if call.effects() == [9] { down() } else { took() });
    (1..=9).for_each(|number| world.emit(number, number));
    let delivery = world.start();
    let deliver = async |numbers: std::ops::RangeInclusive<u64>| {
        numbers.for_each(|number| world.emit(number, 50 + number));
        delivery.wake();
        soon(|| world.left() == 1).await;
        a_while().await;
        journal.marks().unwrap()
    };
    soon(|| world.left() == 1).await;
    assert_eq!(deliver(10..=11).await, 10, "the log begins at 100");
    (9..=40).for_each(|n| append(n * 100));
    let first = world.log.trim(Position(u64::MAX)).unwrap();
    assert!(world.log.read(first, 1).unwrap()[0].rt > Timestamp(1_000));
    // The first wave after the log was looked at again takes the old marks with it, its own included.
    assert!(deliver(12..=13).await <= 12);
    assert_eq!(deliver(14..=14).await, 1, "that of a wave which came after");
    // What was not through is not forgotten.
    world.plan(|_| took());
    until(Duration::from_secs(10), || world.left() == 0).await;
    assert_eq!(world.came().iter().filter(|number| **number != 9).count(), 13);
    delivery.stop().await;
}
