//! A destination that is changed or paused while requests are under way.

use crate::world::*;
use onefold_connector::Outcome;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A world with three effects in two lanes, whose first two requests wait for the gate.
fn held() -> (World, Arc<Notify>) {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    let (wait, mut requests) = (gate.clone(), 0);
    world.plan(move |_| {
        requests += 1;
        if requests <= 2 { Deed::Hold(wait.clone(), Outcome::Delivered(answer(200))) } else { took() }
    });
    world.emit(1, 7);
    world.emit(2, 7);
    world.emit(3, 8);
    (world, gate)
}

#[tokio::test(start_paused = true)]
async fn a_changed_one_goes_on_under_the_new_config_and_sends_nothing_twice() {
    let (world, gate) = held();
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "tag": "old" }), &[]));
    soon(|| world.calls().len() == 2).await;
    delivery.configure(&world.catalogue(&json!({ "tag": "new" }), &[]));
    a_while().await;
    assert_eq!(world.calls().len(), 2);
    gate.notify_waiters();
    soon(|| world.left() == 0).await;
    let tags: Vec<(u64, String)> =
        world.calls().iter().map(|call| (call.effects()[0], call.tag.as_str().unwrap().to_owned())).collect();
    assert_eq!(tags, [(1, "old".to_owned()), (3, "old".to_owned()), (2, "new".to_owned())]);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_one_notes_what_is_under_way_and_keeps_the_rest() {
    let (world, gate) = held();
    let delivery = world.start();
    soon(|| world.calls().len() == 2).await;
    delivery.configure(&world.catalogue(&json!({ "enabled": false }), &[]));
    gate.notify_waiters();
    soon(|| world.left() == 1).await;
    world.emit(4, 9);
    delivery.wake();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!((world.calls().len(), world.left()), (2, 2));
    delivery.configure(&world.catalogue(&json!({}), &[]));
    soon(|| world.left() == 0).await;
    assert_eq!(world.came().len(), 4);
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_tried_at_once_when_the_config_is_mended_and_not_when_it_is_the_same() {
    let world = World::new();
    world.plan(|call| if call.tag == "bad" { later(Some(Duration::from_secs(3_600))) } else { took() });
    (1..=20).for_each(|number| world.emit(number, number));
    let delivery = world.delivery();
    delivery.configure(&world.catalogue(&json!({ "tag": "bad" }), &[]));
    soon(|| !world.calls().is_empty()).await;
    a_while().await;
    let before = world.calls().len();
    delivery.configure(&world.catalogue(&json!({ "tag": "bad" }), &["other"]));
    a_while().await;
    assert_eq!(world.calls().len(), before);
    delivery.configure(&world.catalogue(&json!({ "tag": "good" }), &["other"]));
    soon(|| world.left() == 0).await;
    delivery.stop().await;
}
