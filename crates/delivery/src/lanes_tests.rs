//! The lanes against their laws (LANE-1 to LANE-4), with an outbox of their own.

use super::*;
use onefold_types::effect::{Cause, Change};
use onefold_types::{AudienceId, DestinationId, Timestamp};
use proptest::prelude::*;

fn item(sequence: u64, lane: u64, after: &[u64]) -> Item {
    let effect = Effect {
        id: u128::from(sequence),
        destination: DestinationId(1),
        profile: ProfileHandle(lane),
        after: after.iter().copied().map(ProfileHandle).collect(),
        effective: Timestamp(0),
        observed: Timestamp(0),
        change: Change::Exited { audience: AudienceId(1) },
        cause: Cause::Time,
        ids: Vec::new(),
        profile_id: String::new(),
        customer_key: None,
    };
    Item::new(sequence, effect, Duration::ZERO)
}

fn read_at(item: &Item, now: Duration) -> Item {
    Item { not_before: now, ..item.clone() }
}

fn take(lanes: &mut Lanes, now: u64) -> Option<u64> {
    lanes.take(Duration::from_secs(now), 1).pop().map(|item| item.sequence)
}

#[test]
fn a_survivor_waits_for_what_the_absorbed_one_has_still_to_send() {
    let mut lanes = Lanes::new(10);
    lanes.push(item(1, 7, &[]));
    lanes.push(item(2, 8, &[7]));
    assert_eq!(take(&mut lanes, 0), Some(1));
    assert_eq!(take(&mut lanes, 0), None);
    lanes.done(ProfileHandle(7));
    assert_eq!(take(&mut lanes, 0), Some(2));
}

#[test]
fn a_lane_that_waits_holds_up_nobody_else() {
    let mut lanes = Lanes::new(10);
    lanes.push(item(1, 1, &[]));
    lanes.push(item(2, 1, &[]));
    lanes.push(item(3, 2, &[]));
    let mut first = lanes.take(Duration::ZERO, 1).pop().unwrap();
    first.not_before = Duration::from_secs(9);
    first.attempts = 1;
    lanes.retry(first);
    assert_eq!(take(&mut lanes, 0), Some(3));
    assert_eq!(take(&mut lanes, 0), None);
    assert_eq!(take(&mut lanes, 9), Some(1));
}

/// LANE-5: neither new effects nor retries wait for the whole of the other.
#[test]
fn a_retry_that_is_due_goes_before_what_was_read_later() {
    let read = |sequence: u64, at: u64| Item {
        not_before: Duration::from_secs(at),
        ..item(sequence, sequence, &[])
    };
    let mut lanes = Lanes::new(10);
    lanes.push(read(1, 1));
    lanes.push(read(2, 1));
    lanes.push(read(3, 1));
    let mut first = lanes.take(Duration::from_secs(1), 1).pop().unwrap();
    (first.attempts, first.not_before) = (1, Duration::from_secs(3));
    lanes.retry(first);
    assert_eq!(take(&mut lanes, 2), Some(2));
    lanes.push(read(4, 4));
    lanes.push(read(5, 4));
    assert_eq!([4, 4, 4, 4].map(|now| take(&mut lanes, now)), [3, 1, 4, 5].map(Some));
}

#[test]
fn what_did_not_go_is_put_up_again_as_it_was() {
    let mut lanes = Lanes::new(10);
    (1..=3).for_each(|number| lanes.push(item(number, number, &[])));
    assert_eq!(lanes.take(Duration::ZERO, 3).len(), 3);
    lanes.put_back(ProfileHandle(2));
    assert_eq!((lanes.in_flight(), lanes.waiting()), (2, 0));
    assert_eq!(take(&mut lanes, 0), Some(2));
    assert_eq!(take(&mut lanes, 0), None);
}

#[test]
fn of_a_long_history_of_merges_only_lanes_with_something_to_send_are_remembered() {
    let mut lanes = Lanes::new(10);
    lanes.push(item(1, 7, &[]));
    let absorbed: Vec<u64> = (0..100_000).collect();
    lanes.push(item(2, 200_000, &absorbed));
    let held = &lanes.lanes[&ProfileHandle(200_000)].items[0].effect.after;
    assert_eq!((held.as_slice(), held.capacity()), ([ProfileHandle(7)].as_slice(), 1));
}

#[test]
fn what_a_lane_leaves_out_is_still_waited_for_by_who_absorbed_it() {
    let mut lanes = Lanes::new(1);
    lanes.push(item(1, 7, &[]));
    lanes.push(item(2, 7, &[]));
    lanes.push(item(3, 8, &[7]));
    assert_eq!(take(&mut lanes, 0), Some(1));
    lanes.done(ProfileHandle(7));
    assert_eq!(take(&mut lanes, 0), None, "2 is in the outbox");
    assert_eq!(lanes.refill_from(), Some(2));
    lanes.refill(vec![item(2, 7, &[]), item(3, 8, &[7])], 2, 4, true);
    assert_eq!(take(&mut lanes, 0), Some(2));
    assert_eq!(take(&mut lanes, 0), None);
    lanes.done(ProfileHandle(7));
    assert_eq!(take(&mut lanes, 0), Some(3));
    lanes.done(ProfileHandle(8));
    assert!(lanes.is_empty());
}

#[test]
fn what_failed_together_goes_together_again() {
    let mut lanes = Lanes::new(10);
    (1..=3).for_each(|n| lanes.push(item(n, n, &[])));
    let mut batch = lanes.take(Duration::ZERO, 2);
    let together: Arc<[(ProfileHandle, u64)]> =
        batch.iter().map(|item| (item.effect.profile, item.sequence)).collect();
    for item in &mut batch {
        item.attempts = 1;
        item.not_before = Duration::from_secs(5);
        item.batch = Some(together.clone());
    }
    batch.into_iter().for_each(|item| lanes.retry(item));
    lanes.push(item(4, 4, &[]));
    let sequences = |items: Vec<Item>| items.iter().map(|item| item.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(lanes.take(Duration::from_secs(9), 2)), [3, 4]);
    assert_eq!(sequences(lanes.take(Duration::from_secs(9), 2)), [1, 2]);
}

proptest! {
    /// Whatever fails and however long, and however little is held, every effect comes through once, in order within
    /// its lane and behind the lanes that it absorbed; and lanes that wait leave room for others.
    #[test]
    fn everything_comes_through_in_order(
        rows in proptest::collection::vec((0u64..5, proptest::collection::vec(0u64..5, 0..2)), 1..60),
        failures in proptest::collection::vec(0u8..4, 200),
        share in 1usize..6,
        window in 2usize..20,
        chunk in 1usize..8,
        batch in 1usize..4,
    ) {
        let mut outbox: BTreeMap<u64, Item> = rows.iter().zip(1u64..)
            .map(|((lane, after), sequence)| (sequence, item(sequence, *lane, after))).collect();
        let mut lanes = Lanes::new(share);
        let (mut through, mut now, mut failures) = (Vec::new(), Duration::ZERO, failures.into_iter());
        let (mut rounds, mut cursor) = (0, 0);
        while !outbox.is_empty() {
            rounds += 1;
            prop_assert!(rounds < 10_000, "stuck with {} effects: {lanes:?}", outbox.len());
            if lanes.len() >= window {
                lanes.relieve();
            }
            if let Some(from) = lanes.refill_from() {
                let read: Vec<Item> = outbox.range(from..cursor).take(chunk).map(|(_, item)| read_at(item, now)).collect();
                let all = read.len() < chunk;
                let to = if all { cursor } else { read.last().unwrap().sequence + 1 };
                lanes.refill(read, from, to, all);
            } else if lanes.len() - lanes.waiting() < window {
                for (sequence, item) in outbox.range(cursor..).take(chunk) {
                    cursor = sequence + 1;
                    lanes.push(read_at(item, now));
                }
            }
            let taken = lanes.take(now, batch);
            if taken.is_empty() {
                now += Duration::from_secs(1);
            }
            for mut item in taken {
                let fate = failures.next();
                if fate == Some(1) {
                    lanes.put_back(item.effect.profile);
                } else if fate == Some(0) {
                    item.attempts += 1;
                    item.not_before = now + Duration::from_secs(2);
                    lanes.retry(item);
                } else {
                    prop_assert!(outbox.remove(&item.sequence).is_some(), "{} came twice", item.sequence);
                    through.push(item.sequence);
                    lanes.done(item.effect.profile);
                }
            }
            let held: usize = lanes.lanes.values().map(|lane| lane.items.len()).sum();
            let ahead = outbox.range(cursor..).count();
            prop_assert_eq!(held + lanes.left_out() + ahead, outbox.len(), "rows are lost from sight");
            let waiting = lanes.lanes.values().filter(|lane| lane.is_waiting());
            prop_assert_eq!((held, waiting.count()), (lanes.len(), lanes.waiting()));
        }
        prop_assert_eq!(through.len(), rows.len());
        for (place, sequence) in through.iter().enumerate() {
            let (lane, after) = &rows[*sequence as usize - 1];
            for earlier in 1..*sequence {
                let (other, _) = &rows[earlier as usize - 1];
                if other == lane || after.contains(other) {
                    prop_assert!(through[..place].contains(&earlier), "{sequence} overtook {earlier}");
                }
            }
        }
    }
}
