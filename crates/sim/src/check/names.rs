//! Whom each effect names: the identifiers and the profile id that its profile has, by the model, when it is sent.

use super::{Mismatch, agree};
use onefold_log::Entry;
use onefold_log::record::Record;
use onefold_types::Identifier;
use onefold_types::effect::{Cause, Change, Effect};
use std::collections::{BTreeMap, BTreeSet};

/// A profile's identifiers, strongest first, and its profile id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) ids: Vec<Identifier>,
    pub(super) profile_id: String,
}

/// Everybody by handle, those who own nothing too.
pub(super) type Everybody = BTreeMap<u64, Named>;

/// Holds what a record, and the time before it, had sent against who everybody was `before` it and is `after` it.
pub(super) fn named(
    sent: &[(u64, Effect)],
    before: &Everybody,
    after: &Everybody,
    entry: &Entry,
) -> Result<(), Mismatch> {
    for (_, effect) in sent {
        let handle = effect.profile.0;
        let is = Named { ids: effect.ids.clone(), profile_id: effect.profile_id.clone() };
        let (was, will) = (before.get(&handle), after.get(&handle));
        match (was, will) {
            // A timer that fired before the record knows nothing of it; and before a record makes others of people, they
            // are told what new definitions made of them.
            (Some(was), _) if matches!(effect.cause, Cause::Time | Cause::Definition) && is == *was => {}
            // What was told before the record ends under the name of before: which exits do, the keys' check says.
            (Some(was), Some(_)) if matches!(effect.change, Change::Exited { .. }) && is_same(was, &is) => {}
            (_, Some(will)) => {
                agree!(*will, is, "whom this names, a profile that is there, and was {was:?}: {effect:?}")
            }
            (Some(was), None) if is_several(entry) => gone_within(was, &is, effect)?,
            // Whoever is gone is named as they were; in which order, new rules may have changed.
            (Some(was), None) => {
                agree!(was.profile_id, is.profile_id, "the profile id of whoever is gone: {effect:?}");
                agree!(set(&was.ids), set(&is.ids), "the identifiers of whoever is gone: {effect:?}");
            }
            (None, None) => return Err(format!("it names a profile that never was: {effect:?}")),
        }
    }
    Ok(())
}

/// The same one; new rules may have changed the order of identifiers.
fn is_same(a: &Named, b: &Named) -> bool {
    a.profile_id == b.profile_id && set(&a.ids) == set(&b.ids)
}

fn set(ids: &[Identifier]) -> BTreeSet<&Identifier> {
    ids.iter().collect()
}

/// Of several messages in one record the one may have changed whom the next one ended.
fn gone_within(was: &Named, is: &Named, effect: &Effect) -> Result<(), Mismatch> {
    if set(&was.ids).is_disjoint(&set(&is.ids)) {
        return Err(format!("whoever is gone has none of the identifiers {was:?} had: {effect:?}"));
    }
    Ok(())
}

fn is_several(entry: &Entry) -> bool {
    matches!(Record::decode(&entry.payload), Ok(Record::Messages(messages)) if messages.len() > 1)
}
