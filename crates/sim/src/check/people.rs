//! What is known of people, of audiences and of accounts, and that every message ended in one place.

use super::{Calm, Mismatch, agree, read};
use crate::model::{Known, Model};
use onefold_fold::query::Owned;
use onefold_types::{AudienceId, ProfileHandle};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What is known of these people.
pub(super) fn known(model: &Model, calm: &Calm, handles: &BTreeSet<u64>) -> Result<(), Mismatch> {
    for handle in handles {
        let Some(known) = model.people.get(handle) else { continue };
        let who = known.ids.first().map(ToString::to_string).unwrap_or_default();
        let (person, events, ends) = read(calm, |query| {
            let handle = ProfileHandle(*handle);
            let events = query.events(handle, None, usize::MAX)?;
            Ok((query.person(handle)?, events, query.first_and_last(handle)?))
        })?;
        let Some(person) = person else { return Err(format!("profile {handle} ({who}) is not there")) };
        let owned: BTreeSet<String> = events.iter().map(|event| event.message.message_id.clone()).collect();
        agree!(known.message_ids, owned, "whose messages are {who}'s");
        agree!(known.message_ids.len() as u64, person.profile.events, "how many messages {who} has");
        let mut order: Vec<_> =
            known.events.iter().map(|event| (event.ts, event.message_id.clone())).collect();
        order.sort();
        let seen = |owned: Option<Owned>| owned.map(|owned| (owned.ts, owned.message.message_id));
        agree!(order.first().map(|(ts, _)| *ts), person.profile.first, "when {who} was first seen");
        agree!(order.last().map(|(ts, _)| *ts), person.profile.last, "when {who} was last seen");
        agree!(order.first().cloned(), seen(ends.0), "the first message of {who}");
        agree!(order.last().cloned(), seen(ends.1), "the last message of {who}");
        let accounts: BTreeMap<String, i64> =
            person.profile.accounts.iter().map(|(account, since)| (account.clone(), since.0)).collect();
        agree!(Model::accounts_of(known), accounts, "the accounts of {who}");
        let traits = person.profile.traits.iter().filter(|(_, value)| !value.is_removed());
        let traits: BTreeMap<String, Value> =
            traits.map(|(key, value)| (key.clone(), serde_json::from_str(&value.json).unwrap())).collect();
        agree!(known.traits, traits, "the traits of {who}");
        let name = |id: &u32| model.names.get(id).cloned().unwrap_or_default();
        let members: BTreeSet<String> = known.members.iter().map(name).collect();
        let is: BTreeSet<String> = person.profile.state.members().iter().map(|id| name(&id.0)).collect();
        agree!(
            members,
            is,
            "the audiences of {who} (profile {handle}) at {}{}{}",
            known.at,
            defined(model, members.symmetric_difference(&is)),
            listed(known)
        );
        let computed: BTreeMap<String, Value> =
            known.computed.iter().map(|(id, v)| (name(id), v.clone())).collect();
        let state = person.profile.state.computed().iter();
        let is: BTreeMap<String, Value> = state.map(|(id, v)| (name(&id.0), (*v).into())).collect();
        agree!(computed, is, "the computed traits of {who} at {}", known.at);
        let changed = person.profile.changed.iter();
        let changed: BTreeMap<u32, i64> = changed.map(|(id, at)| (id.0, at.0)).collect();
        agree!(known.changed, changed, "when the computed traits of {who} changed");
        let mut since = BTreeMap::new();
        for id in person.profile.state.members() {
            let at = read(calm, |query| query.member_since(*id, person.handle))?;
            since.extend(at.map(|at| (id.0, at.0)));
        }
        agree!(known.since, since, "since when {who} is in each audience");
    }
    Ok(())
}

/// The texts of audiences, for whoever reads a failure.
pub(super) fn defined<'a>(model: &Model, keys: impl Iterator<Item = &'a String>) -> String {
    let mut text = String::new();
    let workspace = model.catalogue.as_ref().map(|catalogue| &catalogue.workspace);
    for key in keys {
        let named = |key: &String| {
            let id = model.catalogue.as_ref().and_then(|catalogue| catalogue.audiences.get(key));
            id.and_then(|id| model.names.get(&id.0))
        };
        let audience =
            workspace.and_then(|w| w.audiences.iter().find(|audience| named(&audience.key) == Some(key)));
        if let Some(audience) = audience {
            let _ = write!(text, "\n  {key}: {}", audience.condition);
        }
    }
    text
}

/// A person's messages, for whoever reads a failure.
fn listed(known: &Known) -> String {
    let mut text = String::new();
    let mut events: Vec<_> = known.events.iter().collect();
    events.sort_by_key(|event| (event.ts, &event.message_id));
    for event in events.iter().rev().take(12).rev() {
        let (kind, name) = (event.message_type, &event.name);
        let _ = write!(
            text,
            "\n  {} received {} {} {kind} {name} {}",
            event.ts.0, event.rt.0, event.message_id, event.body["properties"]
        );
    }
    text
}

/// The index of members and the sizes say what the profiles say.
pub(super) fn sizes(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    let Some(catalogue) = &model.catalogue else { return Ok(()) };
    for (key, id) in &catalogue.audiences {
        let members: BTreeSet<u64> = model
            .people
            .iter()
            .filter(|(_, known)| known.members.contains(&id.0))
            .map(|(handle, _)| *handle)
            .collect();
        let listed = read(calm, |query| query.members(AudienceId(id.0), 0, usize::MAX))?;
        let listed: BTreeSet<u64> = listed.into_iter().map(|handle| handle.0).collect();
        agree!(members, listed, "the members of {key}");
        agree!(members.len() as i64, calm.worker.handle().audience_size(*id), "the size of {key}");
    }
    Ok(())
}

/// What is known of accounts.
pub(super) fn accounts(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    for (account, traits) in model.account_traits() {
        let known = read(calm, |query| query.account(&account))?.unwrap_or_default();
        let known: BTreeMap<String, Value> = known
            .iter()
            .filter(|(_, value)| !value.is_removed())
            .map(|(key, value)| (key.clone(), serde_json::from_str(&value.json).unwrap()))
            .collect();
        agree!(traits, known, "the traits of account {account}");
        let members = read(calm, |query| query.account_members(&account, 0, usize::MAX))?;
        let members: BTreeMap<u64, i64> =
            members.into_iter().map(|member| (member.handle.0, member.since.0)).collect();
        agree!(model.members_of(&account), members, "the members of account {account}");
    }
    Ok(())
}

/// LOSS: every message ended in one place.
pub(super) fn counts(model: &Model, calm: &Calm) -> Result<(), Mismatch> {
    let (counters, quarantine) =
        read(calm, |query| Ok((query.counters()?, query.quarantine(0, usize::MAX)?)))?;
    agree!(model.counts.folded, counters.folded, "LOSS: messages folded");
    agree!(model.counts.duplicates, counters.duplicates, "LOSS: duplicates");
    agree!(model.counts.conflicts, counters.conflicts, "LOSS: conflicts");
    agree!(model.people.len() as i64, counters.persons, "the number of persons");
    let codes: Vec<String> = quarantine.into_iter().map(|(_, row)| row.code).collect();
    agree!(model.counts.quarantine, codes, "LOSS: what is in quarantine");
    Ok(())
}
