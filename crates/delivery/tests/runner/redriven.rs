//! All dead letters of a destination, sent again in turn: what went, what stays, where to go on.

use crate::world::*;
use onefold_delivery::breaker::LANES;
use onefold_delivery::{Delivery, Error, LETTERS_MAX};
use std::collections::BTreeSet;
use std::time::Duration;

/// Letters 1 to `count` of three persons in turn, all dead.
async fn dead(world: &World, count: u64) -> Delivery {
    world.plan(|_| refused());
    (1..=count).for_each(|number| world.emit(number, number % 3));
    let delivery = world.start();
    soon(|| world.left() == 0).await;
    delivery
}

fn left(delivery: &Delivery) -> Vec<u64> {
    delivery.dead_letters("hook", 0, 9_999).unwrap().iter().map(|letter| letter.sequence).collect()
}

/// What came since the first `before` requests.
fn since(world: &World, before: u64) -> Vec<u64> {
    world.came().split_off(usize::try_from(before).unwrap())
}

#[tokio::test(start_paused = true)]
async fn all_letters_go_by_number_a_page_at_a_time_and_the_refused_stay() {
    let world = World::new();
    let delivery = dead(&world, 130).await;
    world.plan(|call| if call.effects()[0] % 50 == 0 { refused() } else { took() });
    let (mut from, mut pages, mut delivered, mut failed) = (0, Vec::new(), 0, Vec::new());
    loop {
        let page = delivery.retry_all("hook", from, 60).await.unwrap();
        assert_eq!(page.stopped, None);
        pages.push(page.delivered + page.failed.len() as u64);
        delivered += page.delivered;
        failed.extend(page.failed.iter().map(|(number, answer)| (*number, answer.status)));
        let Some(next) = page.next else { break };
        from = next;
    }
    assert_eq!((pages, delivered, failed), (vec![60, 60, 10], 128, vec![(50, 422), (100, 422)]));
    assert_eq!(since(&world, 130), (1..=130).collect::<Vec<_>>(), "by number, each once");
    assert_eq!(left(&delivery), [50, 100]);
    assert!(matches!(delivery.retry_all("elsewhere", 0, 9).await, Err(Error::NoDestination(_))));
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_where_the_destination_takes_nothing_and_goes_on_from_there() {
    let world = World::new();
    let delivery = dead(&world, 40).await;
    world.plan(|call| if call.effects()[0] >= 10 { down() } else { took() });
    let page = delivery.retry_all("hook", 0, LETTERS_MAX).await.unwrap();
    assert_eq!((page.delivered, page.next), (9, Some(10)));
    assert_eq!(page.stopped.unwrap().status, 503);
    assert_eq!(since(&world, 40).len(), 9 + LANES);
    // A time that was named is reason enough.
    world.plan(|_| later(Some(Duration::from_secs(60))));
    let page = delivery.retry_all("hook", 10, LETTERS_MAX).await.unwrap();
    assert_eq!((page.delivered, page.failed.len(), page.next), (0, 1, Some(10)));
    assert!(page.stopped.is_some());
    // One letter that nobody answers for holds up no other.
    world.plan(|call| if call.effects()[0] == 12 { down() } else { took() });
    let page = delivery.retry_all("hook", 10, LETTERS_MAX).await.unwrap();
    assert_eq!((page.delivered, page.next, page.stopped), (30, None, None));
    assert_eq!(left(&delivery), [12]);
    delivery.stop().await;
}

/// A receiver that takes its time does not keep a request for ever.
#[tokio::test(start_paused = true)]
async fn one_go_takes_no_longer_than_its_time() {
    let world = World::new();
    let delivery = dead(&world, 40).await;
    let slow = |outcome: fn() -> Deed| {
        move |_: &Call| {
            let gate = std::sync::Arc::new(tokio::sync::Notify::new());
            let opens = gate.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(8)).await;
                opens.notify_one();
            });
            let Deed::Say(outcome) = outcome() else { panic!("it says so") };
            Deed::Hold(gate, outcome)
        }
    };
    world.plan(slow(took));
    let page = delivery.retry_all("hook", 0, LETTERS_MAX).await.unwrap();
    assert_eq!((page.delivered, page.next, page.stopped), (3, Some(4), None));
    world.plan(slow(down));
    let page = delivery.retry_all("hook", 4, LETTERS_MAX).await.unwrap();
    assert_eq!((page.delivered, page.failed.len(), page.next), (0, 3, Some(4)));
    assert!(page.stopped.is_some(), "nothing was taken in all that time");
    delivery.stop().await;
}

/// Who was told that a letter is under way is told so; everything else goes.
#[tokio::test(start_paused = true)]
async fn letters_that_others_send_are_left_to_them() {
    let world = World::new();
    let delivery = std::sync::Arc::new(dead(&world, 3).await);
    world.plan(|_| Deed::Hang);
    let other = delivery.clone();
    let sending = tokio::spawn(async move { other.retry("hook", 2).await });
    soon(|| world.calls().len() == 4).await;
    world.plan(|_| took());
    let page = delivery.retry_all("hook", 0, LETTERS_MAX).await.unwrap();
    let failed: BTreeSet<u64> = page.failed.iter().map(|(number, _)| *number).collect();
    assert_eq!((page.delivered, failed, page.next), (2, BTreeSet::from([2]), None));
    sending.abort();
}
