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
    if matches!(effect.change, Change::Event { .. }) {
        return Ok(Stands::AsSaid);
    }
    if let Some(what) = undefined(query, &effect.change) {
        let text = format!(
            "not sent: the {what} that it tells of is not in the catalogue any more, so what is true of it now is not \
             known; discard the letter"
        );
        return Ok(Stands::Nowhere(text));
    }
    let person = person(query, effect)?;
    let change = now(&effect.change, person.as_ref().map(|person| &person.profile));
    let is_who_it_was = person.as_ref().is_none_or(|person| {
        person.profile_id == effect.profile_id && effect.ids.iter().all(|id| person.ids.contains(id))
    });
    if change == effect.change && is_who_it_was {
        return Ok(Stands::AsSaid);
    }
    let mut current = Effect { change, ..effect.clone() };
    if let Some(person) = person {
        current.ids = person.ids;
        current.profile_id = person.profile_id;
        current.customer_key = person.customer_key;
    }
    Ok(Stands::Changed(Box::new(current)))
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

/// The profile of the effect's lane; if that is no more, whoever has the strongest of its identifiers now.
fn person(query: &mut Query<'_, '_>, effect: &Effect) -> Result<Option<Person>, onefold_fold::Error> {
    let is_person = |person: &Person| person.profile.is_person();
    if let Some(person) = query.person(effect.profile)?.filter(is_person) {
        return Ok(Some(person));
    }
    for id in &effect.ids {
        if let Some(handle) = query.find(&id.id_type, &id.value)? {
            return Ok(query.person(handle)?.filter(is_person));
        }
    }
    Ok(None)
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
