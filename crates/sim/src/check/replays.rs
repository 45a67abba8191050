//! What was killed again and again against what never was; and what reached the receiver of it.

use super::{Calm, Mismatch, agree};
use crate::dump::{self, Lanes};
use crate::world::World;
use onefold_log::SharedLog;
use onefold_store::Store;
use std::collections::BTreeSet;
use std::sync::Arc;

/// SAME: what was killed again and again ends as what never was.
pub(super) fn same(world: &World, calm: &Calm) -> Result<(), Mismatch> {
    let never = dump::lanes(dump::outbox(calm.store.as_ref()).into_iter().map(|(_, effect)| effect));
    if world.deliverer.is_none() {
        // What was delivered is in the outbox no more.
        same_lanes(world, &never)?;
    }
    for effect in never.values().flatten() {
        if !world.committed.contains_key(&(effect.destination.0, effect.id)) {
            return Err(format!(
                "SAME: without a crash there is an effect that never was with crashes: {effect:?}"
            ));
        }
    }
    for ((destination, id), effect) in &world.committed {
        let lane = never.get(&(*destination, effect.profile.0));
        let twin = lane.and_then(|lane| lane.iter().find(|twin| twin.id == *id));
        let effect = dump::plain(effect.clone());
        if twin != Some(&effect) {
            return Err(format!(
                "SAME: an effect was committed, lost in a crash, and did not come back as it was:\n  then: {effect:?}\n  now:  {twin:?}"
            ));
        }
    }
    let (one, other) =
        (dump::dump(calm.store.as_ref() as &dyn Store), dump::dump(world.shared_store().as_ref()));
    match dump::difference(&one, &other) {
        None => Ok(()),
        Some(text) => Err(format!("SAME: the state without a crash, and with crashes:\n  {text}")),
    }
}

fn same_lanes(world: &World, never: &Lanes) -> Result<(), Mismatch> {
    let killed = dump::outbox(world.shared_store().as_ref());
    let killed: Lanes = dump::lanes(killed.into_iter().map(|(_, effect)| effect));
    for lane in killed.keys().chain(never.keys()).collect::<BTreeSet<_>>() {
        let (one, other) = (never.get(lane), killed.get(lane));
        let empty = Vec::new();
        let (one, other) = (one.unwrap_or(&empty), other.unwrap_or(&empty));
        if one != other {
            let at = one.iter().zip(other).take_while(|(a, b)| a == b).count();
            return Err(format!(
                "SAME: destination {} was sent of profile {} from number {at} on:\n  without a crash: {:?}\n  with crashes:    {:?}",
                lane.0,
                lane.1,
                one.get(at),
                other.get(at)
            ));
        }
    }
    Ok(())
}

/// OUT: what was delivered, however often delivery was killed; and a state that is built anew sends nothing again.
pub(super) fn out(world: &mut World, calm: &Calm) -> Result<(), Mismatch> {
    let Some(catalogue) = world.catalogue() else { return Ok(()) };
    let effects = dump::outbox(calm.store.as_ref());
    world.drain()?;
    let Some(deliverer) = &mut world.deliverer else { return Ok(()) };
    deliverer.check(&effects, &catalogue)?;
    let requests = deliverer.requests();
    let store: Arc<dyn Store> = calm.store.clone();
    let log: SharedLog = calm.reveal.clone();
    deliverer.phase(&store, &log, &catalogue, None)?;
    agree!(requests, deliverer.requests(), "OUT: requests after the state was built anew");
    Ok(())
}
