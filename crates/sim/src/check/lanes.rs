//! What was sent, lane by lane, against what had to be sent.

use super::Mismatch;
use super::people::defined;
use crate::dump;
use crate::model::{Expected, Model};
use onefold_types::effect::{Change, Effect};
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

/// Whoever joins on the customer key is told of an exit under the one that the entry had, however the profile came to its
/// end, if identity left it as it was. One that lost an identifier since may have lost its key with it, and one that
/// gained one may have an older.
pub(super) fn keys(outbox: &[(u64, Effect)]) -> Result<(), Mismatch> {
    let mut entries = BTreeMap::new();
    for (_, effect) in outbox {
        match &effect.change {
            Change::Entered { audience, .. } => {
                entries.insert((effect.destination, effect.profile, *audience), effect);
            }
            Change::Exited { audience } => {
                let entry = entries.remove(&(effect.destination, effect.profile, *audience));
                let has_all = |entry: &&Effect| entry.ids.iter().all(|id| effect.ids.contains(id));
                let Some(entry) = entry.filter(has_all).filter(|entry| entry.customer_key.is_some()) else {
                    continue;
                };
                if effect.customer_key.is_none() {
                    return Err(format!("{effect:?}\n  ends without a customer key what had one: {entry:?}"));
                }
                if effect.ids.len() == entry.ids.len() && effect.customer_key != entry.customer_key {
                    return Err(format!(
                        "{effect:?}\n  ends under another customer key what began: {entry:?}"
                    ));
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
    let mut at = 0;
    // What one instant of one step causes comes in any order.
    for group in expected.chunk_by(|a, b| (a.step, a.effective) == (b.step, b.effective)) {
        let mut wanted: Vec<&Expected> = group.to_vec();
        while let Some((effective, what, _)) = sent.get(at) {
            let is = |expected: &&Expected| (expected.effective, &expected.what) == (*effective, what);
            let Some(found) = wanted.iter().position(is) else { break };
            wanted.swap_remove(found);
            at += 1;
        }
        if wanted.iter().any(|expected| !expected.may_lack) {
            return Err(lane_mismatch(model, destination, lane, &expected, sent, at));
        }
    }
    if at < sent.len() {
        return Err(lane_mismatch(model, destination, lane, &expected, sent, at));
    }
    Ok(())
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
