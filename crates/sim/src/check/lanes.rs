//! What was sent, lane by lane, against what had to be sent.

use super::Mismatch;
use super::people::defined;
use crate::dump;
use crate::model::{Expected, Model};
use onefold_types::effect::{Cause, Change, Effect};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// B1, B2, B9, B10: what was sent is what had to be sent, lane by lane, at its instants.
pub(super) fn transitions(
    model: &Model,
    outbox: &[(u64, onefold_types::effect::Effect)],
) -> Result<(), Mismatch> {
    let Some(catalogue) = &model.catalogue else { return Ok(()) };
    for (key, destination) in &catalogue.destinations {
        // Whose lane a forwarded message goes in may change while its record is folded: those are compared apart.
        let taken = model.expected.iter().filter(|expected| expected.to.contains(key));
        let mut forwarded: Vec<&Expected> = taken.clone().filter(|expected| expected.forwarded).collect();
        let mut lanes: BTreeMap<u64, Vec<&Expected>> = BTreeMap::new();
        for expected in taken.filter(|expected| !expected.forwarded) {
            lanes.entry(expected.lane).or_default().push(expected);
        }
        let mut sent: BTreeMap<u64, Vec<Sent>> = BTreeMap::new();
        for (_, effect) in outbox.iter().filter(|(_, effect)| effect.destination == *destination) {
            let words = dump::words(effect, &model.names);
            if matches!(effect.change, Change::Event { .. }) {
                let Some(at) = forwarded.iter().position(|expected| expected.what == words) else {
                    return Err(format!(
                        "destination {key} was sent {words}, which it does not want, or has already"
                    ));
                };
                forwarded.swap_remove(at);
            } else {
                sent.entry(effect.profile.0).or_default().push((
                    effect.effective.0,
                    words,
                    format!("{:?}", effect.cause),
                ));
            }
        }
        forwarded.retain(|expected| !expected.may_lack);
        if !forwarded.is_empty() {
            return Err(format!("destination {key} wants {forwarded:?} and was not sent them"));
        }
        for lane in lanes.keys().chain(sent.keys()).collect::<BTreeSet<_>>() {
            let expected = lanes.get(lane).map(Vec::as_slice).unwrap_or_default();
            one_lane(model, key, *lane, expected, sent.get(lane).map(Vec::as_slice).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// NAME-1: whoever knows people by customer key or user id is told of an exit under those that the entry had, whatever
/// became of the profile meanwhile; one who had none may have got one. And nobody is told anew who has the name of before.
pub(super) fn keys(outbox: &[(u64, Effect)]) -> Result<(), Mismatch> {
    let name = |effect: &Effect| {
        let user = effect.ids.iter().find(|id| id.id_type == "user_id").map(|id| id.value.clone());
        (effect.customer_key.clone(), user)
    };
    let mut entries = BTreeMap::new();
    let mut exits: BTreeMap<_, &Effect> = BTreeMap::new();
    for (_, effect) in outbox {
        match &effect.change {
            Change::Entered { audience, .. } => {
                let key = (effect.destination, effect.profile, *audience);
                let again = exits
                    .remove(&key)
                    .filter(|exit| (exit.effective, &exit.cause) == (effect.effective, &effect.cause));
                let is_defined = matches!(effect.cause, Cause::Definition);
                if let Some(exit) = again.filter(|exit| !is_defined && name(exit) == name(effect)) {
                    return Err(format!("{effect:?}\n  is told anew under the name that ended: {exit:?}"));
                }
                entries.insert(key, effect);
            }
            Change::Exited { audience } => {
                let key = (effect.destination, effect.profile, *audience);
                exits.insert(key, effect);
                let Some(entry) = entries.remove(&key) else { continue };
                let (began, ends) = (name(entry), name(effect));
                let other_key = began.0.is_some() && began.0 != ends.0;
                if other_key || began.1.is_some() && began.1 != ends.1 {
                    return Err(format!("{effect:?}\n  ends under another name what began: {entry:?}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Instant, what, why.
type Sent = (i64, String, String);

fn one_lane(
    model: &Model,
    destination: &str,
    lane: u64,
    expected: &[&Expected],
    sent: &[Sent],
) -> Result<(), Mismatch> {
    let mut expected: Vec<&Expected> = expected.to_vec();
    expected.sort();
    // What one instant of one step causes comes in any order. Where it ends is not certain if the next step is at the same
    // instant: all ends that can be are followed.
    let (mut at, mut farthest) = (BTreeSet::from([0]), 0);
    for group in expected.chunk_by(|a, b| (a.step, a.effective) == (b.step, b.effective)) {
        at = at.iter().flat_map(|at| ends(group, sent, *at)).collect();
        let Some(last) = at.last() else {
            return Err(lane_mismatch(model, destination, lane, &expected, sent, farthest));
        };
        farthest = *last;
    }
    if !at.contains(&sent.len()) {
        return Err(lane_mismatch(model, destination, lane, &expected, sent, farthest));
    }
    Ok(())
}

/// How far what was sent from `at` on can be what `group` wants: all that must be, and of what may lack an end and a
/// beginning of the same audience together.
fn ends(group: &[&Expected], sent: &[Sent], at: usize) -> Vec<usize> {
    let (may, must): (Vec<&Expected>, Vec<&Expected>) =
        group.iter().copied().partition(|expected| expected.may_lack);
    let fits = |count: &usize| {
        let (mut may, mut must, mut taken) = (may.clone(), must.clone(), BTreeMap::<&str, usize>::new());
        for (effective, what, _) in &sent[at..at + count] {
            let is = |expected: &&Expected| (expected.effective, &expected.what) == (*effective, what);
            if let Some(found) = must.iter().position(is) {
                must.swap_remove(found);
            } else if let Some(found) = may.iter().position(is) {
                may.swap_remove(found);
                *taken.entry(what.trim_start_matches(['+', '-'])).or_default() += 1;
            } else {
                return false;
            }
        }
        must.is_empty() && taken.values().all(|count| count % 2 == 0)
    };
    (must.len()..=group.len().min(sent.len() - at)).filter(fits).map(|count| at + count).collect()
}

fn lane_mismatch(
    model: &Model,
    destination: &str,
    lane: u64,
    expected: &[&Expected],
    sent: &[Sent],
    at: usize,
) -> Mismatch {
    let who = model.people.get(&lane).map(|known| format!("{:?}", known.ids)).unwrap_or_default();
    let around = at.saturating_sub(3)..at + 8;
    let mut text =
        format!("what destination {destination} was sent of profile {lane} {who}, from number {at} on:");
    for number in around {
        let oracle = expected.get(number).map(|e| format!("{} {}", e.effective, e.what)).unwrap_or_default();
        let engine = sent
            .get(number)
            .map(|(effective, what, cause)| format!("{effective} {what:<40} {cause}"))
            .unwrap_or_default();
        if !(oracle.is_empty() && engine.is_empty()) {
            let _ = write!(text, "\n  {number:>3} oracle {oracle:<50} engine {engine}");
        }
    }
    let keys: BTreeSet<String> = expected
        .iter()
        .skip(at)
        .take(4)
        .map(|e| e.what.trim_start_matches(['+', '-', '!']).to_owned())
        .chain(
            sent.iter()
                .skip(at)
                .take(4)
                .map(|(_, what, _)| what.trim_start_matches(['+', '-', '!']).to_owned()),
        )
        .collect();
    text + &defined(model, keys.iter())
}
