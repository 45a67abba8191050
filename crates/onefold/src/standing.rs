//! What became of that which a dead letter says, as the fold's state has it.

use onefold_delivery::{Standing, Stands};
use onefold_fold::profile::Profile;
use onefold_fold::query::{Person, Query, Reader};
use onefold_store::Error;
use onefold_types::effect::{Change, Effect};
use std::error::Error as _;

/// [`Standing`] over the fold's reader.
pub(crate) struct Folded(pub(crate) Reader);

impl Standing for Folded {
    fn of(&self, effect: &Effect) -> Result<Stands, Error> {
        self.0.with(|query| stands(query, effect)).map_err(|error| match error {
            onefold_fold::Error::Store(error) => error,
            other => {
                let source = other.source().map(|source| format!(": {source}")).unwrap_or_default();
                Error::Engine { operation: "read a profile", detail: format!("{other}{source}") }
            }
        })
    }
}

fn stands(query: &mut Query<'_, '_>, effect: &Effect) -> Result<Stands, onefold_fold::Error> {
    if let Change::Event { at } = effect.change {
        return Ok(match query.is_deleted(effect, at)? {
            true => Stands::Nowhere(
                "not sent: the message that it forwards was deleted; discard the letter".to_owned(),
            ),
            false => Stands::AsSaid,
        });
    }
    if let Some(what) = undefined(query, &effect.change) {
        let text = format!(
            "not sent: the {what} that it tells of is not in the catalogue any more, so what is true of it now is not \
             known; discard the letter"
        );
        return Ok(Stands::Nowhere(text));
    }
    let lane = query.person(effect.profile)?.filter(|person| person.profile.is_person());
    let current = match lane {
        Some(person) => of_someone(effect, person),
        None => match query.heir(effect)? {
            Some(survivor) => of_the_absorbed(effect, survivor),
            None => of_nobody(query, effect)?,
        },
    };
    if is_said(effect, &current) {
        return Ok(Stands::AsSaid);
    }
    // Not the clock's time: with a backlog, effects that are found later would be older than this.
    Ok(Stands::Changed(Box::new(Effect { effective: query.engine_time(), ..current })))
}

/// Whether `effect` says what `current` would: of a profile that has got further identifiers since, too.
fn is_said(effect: &Effect, current: &Effect) -> bool {
    effect.change == current.change
        && effect.profile_id == current.profile_id
        && effect.customer_key == current.customer_key
        && effect.ids.iter().all(|id| current.ids.contains(id))
}

/// What is true of someone, under the names of now.
fn of_someone(effect: &Effect, person: Person) -> Effect {
    Effect {
        change: now(&effect.change, Some(&person.profile)),
        ids: person.ids,
        profile_id: person.profile_id,
        customer_key: person.customer_key,
        ..effect.clone()
    }
}

/// What is true of one who was merged away: what is of the survivor. But an exit while the survivor is in the audience ends
/// what was said under the absorbed one's own names, and under those alone.
fn of_the_absorbed(effect: &Effect, survivor: Person) -> Effect {
    let is_exit = matches!(effect.change, Change::Exited { .. });
    let is_in = matches!(now(&effect.change, Some(&survivor.profile)), Change::Entered { .. });
    // Without a name of its own nothing is left of it to take away.
    if !is_exit || !is_in || effect.profile_id == survivor.profile_id {
        return of_someone(effect, survivor);
    }
    let ids = effect.ids.iter().filter(|id| !survivor.ids.contains(id)).cloned().collect();
    let customer_key = effect.customer_key.clone().filter(|key| Some(key) != survivor.customer_key.as_ref());
    Effect { ids, customer_key, ..effect.clone() }
}

/// What takes away from nobody but the one who was meant: the names of then, without identifiers that are another's now.
fn of_nobody(query: &mut Query<'_, '_>, effect: &Effect) -> Result<Effect, onefold_fold::Error> {
    let mut ids = Vec::with_capacity(effect.ids.len());
    for id in &effect.ids {
        let holder = match query.find(&id.id_type, &id.value)? {
            Some(handle) => query.person(handle)?,
            None => None,
        };
        if !holder.is_some_and(|holder| holder.profile.is_person()) {
            ids.push(id.clone());
        }
    }
    Ok(Effect { change: now(&effect.change, None), ids, ..effect.clone() })
}

/// What a change is about, if the catalogue does not define that any more.
fn undefined(query: &Query<'_, '_>, change: &Change) -> Option<&'static str> {
    let catalogue = &query.compiled().catalogue;
    let (what, is_defined) = match change {
        Change::Entered { audience, .. } | Change::Exited { audience } => {
            ("audience", catalogue.audiences.values().any(|known| known == audience))
        }
        Change::TraitComputed { computed_trait, .. } => {
            ("computed trait", catalogue.traits.values().any(|known| known == computed_trait))
        }
        Change::TraitChanged { .. } | Change::Event { .. } => return None,
    };
    (!is_defined).then_some(what)
}

/// What was told last of that which `said` says, `person` being nobody if there is none.
fn now(said: &Change, person: Option<&Profile>) -> Change {
    let missing = || "null".to_owned();
    match said {
        Change::Entered { audience, .. } | Change::Exited { audience } => {
            let is_in = person.is_some_and(|person| person.state.members().contains(audience));
            match said {
                Change::Entered { .. } if is_in => said.clone(),
                _ if is_in => Change::Entered { audience: *audience, initial: false },
                _ => Change::Exited { audience: *audience },
            }
        }
        Change::TraitComputed { computed_trait, .. } => {
            let told = |person: &Profile| {
                let told = person.state.computed().iter().find(|(known, _)| known == computed_trait);
                told.map_or(0, |(_, value)| *value).to_string()
            };
            Change::TraitComputed {
                computed_trait: *computed_trait,
                value: person.map_or_else(missing, told),
            }
        }
        Change::TraitChanged { key, .. } => {
            let value = person.and_then(|person| person.traits.get(key)).filter(|value| !value.is_removed());
            let value = value.map_or_else(missing, |value| value.json.clone());
            Change::TraitChanged { key: key.clone(), value }
        }
        Change::Event { .. } => said.clone(),
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
