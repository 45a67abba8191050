//! OUT under random failures, kills, windows and batches: everything comes, in order within its lane and behind the lanes
//! that it absorbed, each effect with one body, and what was noted is not sent again.

use crate::world::*;
use onefold_connector::Outcome;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What happens to a request, by number.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Took,
    Failed,
    FailedFor(u64),
    Refused,
    RefusedTogether,
    Panicked,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Took),
        3 => Just(Fate::Failed),
        1 => (0u64..100).prop_map(Fate::FailedFor),
        1 => Just(Fate::Refused),
        2 => Just(Fate::RefusedTogether),
        1 => Just(Fate::Panicked),
    ]
}

#[derive(Clone, Debug)]
struct Run {
    /// Lanes, and what they absorbed, by number of the effect from 1 on.
    rows: Vec<(u64, Vec<u64>)>,
    fates: Vec<Fate>,
    /// How many requests are made until the next kill; the last phase goes to the end.
    kills: Vec<usize>,
    /// Which phases have a disk that is full from the start.
    full: Vec<u8>,
    window: usize,
    in_flight: usize,
    batch: u64,
    /// Rows that are there from the start; the others come while it runs.
    early: usize,
}

fn run() -> impl Strategy<Value = Run> {
    (
        proptest::collection::vec((0u64..6, proptest::collection::vec(0u64..6, 0..2)), 1..60),
        proptest::collection::vec(fate(), 80),
        proptest::collection::vec(1usize..20, 0..4),
        proptest::collection::vec(0u8..6, 4),
        prop_oneof![2usize..40, Just(10_000)],
        1usize..6,
        1u64..7,
        0usize..60,
    )
        .prop_map(|(rows, fates, kills, full, window, in_flight, batch, early)| Run {
            rows,
            fates,
            kills,
            full,
            window,
            in_flight,
            batch,
            early,
        })
}

/// Effects that were noted as through: what must not come any more.
fn noted(world: &World) -> BTreeSet<u64> {
    let rows = world.journal.inner.dump().into_iter();
    rows.filter(|(_, key, _)| key[0] == b'd' && key.len() == 21)
        .map(|(_, key, _)| u64::from_be_bytes(*key.last_chunk().unwrap()))
        .collect()
}

fn drive(run: &Run) -> (World, BTreeMap<usize, BTreeSet<u64>>) {
    let mut world = runtime().block_on(async { World::new() });
    world.options.window = run.window;
    world.options.in_flight = run.in_flight;
    let (fates, requests) = (run.fates.clone(), AtomicUsize::new(0));
    world.plan(move |_| match fates.get(requests.fetch_add(1, Ordering::SeqCst)) {
        None | Some(Fate::Took) => took(),
        Some(Fate::Failed) => down(),
        Some(Fate::FailedFor(seconds)) => later(Some(Duration::from_secs(*seconds))),
        Some(Fate::Refused) => Deed::Say(Outcome::Refused(answer(410))),
        Some(Fate::RefusedTogether) => refused_together(),
        Some(Fate::Panicked) => Deed::Panic,
    });
    let effect = |number: usize| {
        let (lane, after) = &run.rows[number - 1];
        World::effect(number as u64, *lane, after)
    };
    let put = |numbers: std::ops::Range<usize>| numbers.for_each(|n| world.put(1, n as u64, &effect(n)));
    let early = run.early.min(run.rows.len());
    put(1..early + 1);
    let mut through = BTreeMap::new();
    for phase in 0..=run.kills.len() {
        let requests = run.kills.get(phase).map(|count| world.calls().len() + count);
        world.journal.fill(run.full[phase.min(3)] == 0);
        world.store.fill(run.full[phase.min(3)] == 1);
        runtime().block_on(async {
            let delivery = world.delivery();
            let config = serde_json::json!({ "batch": run.batch });
            delivery.configure(&world.catalogue(&config, &[]));
            if phase == 0 {
                a_while().await;
                put(early + 1..run.rows.len() + 1);
                delivery.wake();
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            world.journal.fill(false);
            world.store.fill(false);
            until(Duration::from_secs(1), || {
                world.left() == 0 || requests.is_some_and(|requests| world.calls().len() >= requests)
            })
            .await;
        });
        through.insert(world.calls().len(), noted(&world));
    }
    (world, through)
}

fn check(run: &Run, world: &World, through: &BTreeMap<usize, BTreeSet<u64>>) -> Result<(), TestCaseError> {
    let calls = world.calls();
    let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
    let mut bodies: BTreeMap<u64, &[u8]> = BTreeMap::new();
    for (place, call) in calls.iter().enumerate() {
        for item in &call.items {
            let number = effect_number(&item.id);
            first.entry(number).or_insert(place);
            last.insert(number, place);
            let body = *bodies.entry(number).or_insert(&item.body);
            prop_assert!(body == item.body, "{number} had two bodies");
        }
    }
    for (until, noted) in through {
        let again = calls[*until..].iter().flat_map(Call::effects).find(|number| noted.contains(number));
        prop_assert_eq!(again, None, "sent again after it was noted");
    }
    prop_assert_eq!(world.left(), 0);
    for (number, (lane, after)) in (1u64..).zip(&run.rows) {
        prop_assert!(first.contains_key(&number), "{number} never came");
        for (earlier, (other, _)) in (1..number).zip(&run.rows) {
            if other == lane || after.contains(other) {
                prop_assert!(last[&earlier] < first[&number], "{number} came before {earlier} was through");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn everything_comes_in_order_whatever_fails(run in run()) {
        let (world, through) = drive(&run);
        check(&run, &world, &through)?;
    }
}
