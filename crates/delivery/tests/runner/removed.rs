//! What a removed destination leaves behind goes, and nothing else does: DELIVERY-6, JOURNAL-3.

use crate::world::*;
use onefold_connector::Outcome;
use onefold_delivery::{Delivery, RemovedRows};
use onefold_store::Table;
use onefold_types::{Catalogue, CatalogueVersion, DestinationId};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Notify;

/// The catalogue with `hook` (1) and `other` (2), in version 1.
fn both(world: &World) -> Catalogue {
    world.catalogue(&json!({}), &["other"])
}

/// The one after, without `hook`.
fn without(world: &World) -> Catalogue {
    let mut catalogue = both(world);
    catalogue.version = CatalogueVersion(2);
    catalogue.workspace.destinations.retain(|destination| destination.key != "hook");
    catalogue.destinations.remove("hook");
    catalogue
}

fn row(id: u32, number: u64) -> onefold_types::effect::Effect {
    let mut effect = World::effect(number, number, &[]);
    effect.destination = DestinationId(id);
    effect
}

/// For each destination, in this order: delivered 1 to 3, dead 4 and 5, waiting 6 to 9.
async fn filled(world: &World) -> Delivery {
    world.plan(|call| match call.effects()[0] % 100 {
        1..=3 => took(),
        4 | 5 => refused(),
        _ => later(Some(std::time::Duration::from_secs(3_600))),
    });
    for (id, number) in [1, 2].into_iter().flat_map(|id| (1..=9).map(move |number| (id, number))) {
        let number = u64::from(id) * 100 + number;
        world.put(id, number, &row(id, number));
    }
    let delivery = world.delivery();
    delivery.configure(&both(world));
    soon(|| world.left() == 8 && delivery.status().iter().all(|status| status.failed == 6)).await;
    delivery
}

/// Rows of the journal and letters of destination `id`, the row in place of them all apart.
fn kept(world: &World, id: u32) -> (usize, usize) {
    let rows = world.journal.inner.dump();
    let is_of = |key: &[u8]| key.windows(4).next().is_some_and(|first| first == id.to_be_bytes());
    let journal =
        rows.iter().filter(|(table, key, _)| *table == Table::Journal && key[0] != b'g' && is_of(&key[1..]));
    let letters = rows.iter().filter(|(table, key, _)| *table == Table::DeadLetter && is_of(key));
    (journal.count(), letters.count())
}

fn waiting(world: &World, id: u32) -> usize {
    let rows = world.store.inner.dump();
    rows.iter().filter(|(table, key, _)| *table == Table::Outbox && key.starts_with(id.to_be_bytes())).count()
}

#[tokio::test(start_paused = true)]
async fn rows_marks_and_letters_go_with_the_destination_and_are_counted() {
    let world = World::new();
    let delivery = filled(&world).await;
    let other = kept(&world, 2);
    let (journal, letters) = kept(&world, 1);
    assert!(journal > 5 && letters == 2 && other == (journal, letters));
    delivery.configure(&without(&world));
    soon(|| waiting(&world, 1) == 0 && kept(&world, 1) == (0, 0)).await;
    assert_eq!((waiting(&world, 2), kept(&world, 2)), (4, other), "nobody else's");
    let counted = RemovedRows { outbox: 4, journal: journal as u64, dead_letters: 2 };
    soon(|| delivery.removed_rows() == counted).await;
    delivery.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_one_and_one_of_a_later_catalogue_keep_theirs() {
    let world = World::new();
    let delivery = filled(&world).await;
    let before = kept(&world, 1);
    let mut off = world.catalogue(&json!({ "enabled": false }), &["other"]);
    delivery.configure(&off);
    // The state is made anew, and has come to a catalogue in which neither was known yet.
    off.destinations.clear();
    off.workspace.destinations.clear();
    off.next_id = 1;
    delivery.configure(&off);
    a_while().await;
    delivery.stop().await;
    assert_eq!((waiting(&world, 1), kept(&world, 1), kept(&world, 2)), (4, before, before));
    assert_eq!(delivery.removed_rows(), RemovedRows::default());
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_first_and_its_outcome_goes_too() {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    let held = gate.clone();
    world.plan(move |_| Deed::Hold(held.clone(), Outcome::Delivered(answer(200))));
    world.put(1, 1, &row(1, 1));
    world.put(1, 2, &row(1, 2));
    let delivery = world.delivery();
    delivery.configure(&both(&world));
    soon(|| world.calls().len() == 2).await;
    delivery.configure(&without(&world));
    a_while().await;
    assert_eq!(waiting(&world, 1), 2, "its runner still notes what it sends");
    gate.notify_waiters();
    soon(|| waiting(&world, 1) == 0 && kept(&world, 1) == (0, 0) && delivery.removed_rows().journal > 0)
        .await;
    delivery.stop().await;
}

/// A key that comes back is another destination: it has nothing of the old one.
#[tokio::test(start_paused = true)]
async fn the_same_key_again_begins_anew() {
    let world = World::new();
    let delivery = filled(&world).await;
    delivery.configure(&without(&world));
    let mut again = both(&world);
    again.version = CatalogueVersion(3);
    again.destinations.insert("hook".to_owned(), DestinationId(9));
    again.next_id = 10;
    world.plan(|_| took());
    world.put(9, 901, &row(9, 901));
    delivery.configure(&again);
    soon(|| waiting(&world, 9) == 0 && waiting(&world, 1) == 0 && kept(&world, 1) == (0, 0)).await;
    assert_eq!(delivery.dead_letters("hook", 0, 9).unwrap(), []);
    assert_eq!(world.came().iter().filter(|number| **number == 901).count(), 1);
    assert_eq!(kept(&world, 9), (2, 0));
    delivery.stop().await;
}

/// Whatever a kill or a broken disk leaves goes at the next start.
#[test]
fn a_kill_in_the_middle_is_finished_at_the_next_start() {
    for full in [true, false] {
        let world = runtime().block_on(async {
            let world = World::new();
            filled(&world).await.stop().await;
            world
        });
        runtime().block_on(async {
            world.journal.fill(full);
            world.store.fill(!full);
            let delivery = world.delivery();
            delivery.configure(&without(&world));
            a_while().await;
        });
        world.journal.fill(false);
        world.store.fill(false);
        assert_eq!(waiting(&world, 1), 4);
        runtime().block_on(async {
            let delivery = world.delivery();
            delivery.configure(&without(&world));
            soon(|| waiting(&world, 1) == 0 && kept(&world, 1) == (0, 0)).await;
            delivery.stop().await;
        });
    }
}

/// The marks are gone, and a state that is made anew from the log brings the effects back for as long as it has not come to
/// the catalogue that removes their destination.
#[tokio::test(start_paused = true)]
async fn a_rebuilt_state_sends_nothing_to_one_that_it_will_remove() {
    let world = World::new();
    let delivery = filled(&world).await;
    delivery.configure(&without(&world));
    soon(|| waiting(&world, 1) == 0 && kept(&world, 1) == (0, 0)).await;
    delivery.stop().await;
    let came = world.came().len();
    world.plan(|_| took());
    (101..=109).for_each(|number| world.put(1, number, &row(1, number)));
    let delivery = world.delivery();
    delivery.configure(&both(&world));
    a_while().await;
    let again: Vec<u64> = world.came().split_off(came).into_iter().filter(|number| *number < 200).collect();
    assert_eq!((again, waiting(&world, 1)), (vec![], 9));
    delivery.configure(&without(&world));
    soon(|| waiting(&world, 1) == 0).await;
    delivery.stop().await;
}
