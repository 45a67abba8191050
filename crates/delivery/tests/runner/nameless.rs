//! What tells of an audience or a computed trait that is not in the catalogue when its turn comes: under the key that it had,
//! or not at all, and never under an internal number.

use crate::world::*;
use onefold_types::effect::{Change, Effect};
use onefold_types::{AudienceId, Catalogue, TraitId};
use serde_json::{Value, json};

/// Effects of one profile: an entry, a computed trait, a plain trait.
fn put(world: &World) {
    let entered = Change::Entered { audience: AudienceId(1), initial: false };
    let computed = Change::TraitComputed { computed_trait: TraitId(2), value: "3".to_owned() };
    let plain = Change::TraitChanged { key: "plan".to_owned(), value: "1".to_owned() };
    for (number, change) in (1..).zip([entered, computed, plain]) {
        world.put(1, number, &Effect { change, ..World::effect(number, 7, &[]) });
    }
}

/// The catalogue without audience and computed trait; ids below `next_id` are given.
fn without(world: &World, next_id: u32) -> Catalogue {
    let mut catalogue = world.catalogue(&json!({}), &[]);
    catalogue.audiences.clear();
    catalogue.traits.clear();
    catalogue.next_id = next_id;
    catalogue
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_it_waited_is_a_dead_letter_that_says_so() {
    let world = World::new();
    put(&world);
    let delivery = world.delivery();
    delivery.configure(&without(&world, 9));
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [3], "the lane goes on");
    let letters = delivery.dead_letters("hook", 0, 9).unwrap();
    let told: Vec<&str> = letters.iter().map(|letter| letter.answer.text.as_str()).collect();
    assert!(told[0].contains("the audience") && told[0].contains("was removed"), "{told:?}");
    assert!(told[1].contains("the computed trait") && told[1].contains("was removed"), "{told:?}");
    assert!(letters.len() == 2 && letters.iter().all(|letter| letter.body.is_empty()));
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_a_removed_audience_is_told_under_the_key_that_it_had() {
    let world = World::new();
    put(&world);
    let mut catalogue = without(&world, 9);
    catalogue.removed_audiences.insert(AudienceId(1), "vip".to_owned());
    let delivery = world.delivery();
    delivery.configure(&catalogue);
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [1, 3]);
    let body: Value = serde_json::from_slice(&world.calls()[0].items[0].body).unwrap();
    assert_eq!((&body["event"], &body["properties"]["vip"]), (&json!("Audience Entered"), &json!(true)));
    delivery.stop().await;
}

/// Every attempt says the same.
#[tokio::test(start_paused = true)]
async fn what_was_said_once_is_said_again_under_the_name_that_it_had() {
    let world = World::new();
    put(&world);
    world.plan(|_| down());
    let delivery = world.start();
    soon(|| status(&delivery).failed == 1).await;
    world.plan(|_| took());
    delivery.configure(&without(&world, 9));
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [1, 1, 3]);
    let calls = world.calls();
    assert_eq!(calls[0].items, calls[1].items);
    let body: Value = serde_json::from_slice(&calls[1].items[0].body).unwrap();
    assert_eq!(body["properties"]["audience_key"], "vip");
    delivery.stop().await;
}

/// Rows may be read a moment before their catalogue is told of.
#[tokio::test(start_paused = true)]
async fn what_a_later_catalogue_defines_waits_for_it() {
    let world = World::new();
    put(&world);
    let delivery = world.delivery();
    delivery.configure(&without(&world, 1));
    soon(|| status(&delivery).failed == 1).await;
    assert_eq!((world.calls().len(), world.left()), (0, 3));
    delivery.configure(&world.catalogue(&json!({}), &[]));
    soon(|| world.left() == 0).await;
    assert_eq!(world.came(), [1, 2, 3]);
    assert!(delivery.dead_letters("hook", 0, 9).unwrap().is_empty());
    delivery.stop().await;
}
