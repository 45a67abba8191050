//! Where changes go, and since when.
//!
//! **ROUTE-1:** a destination is told of an exit only if it was told of the entry. So a route has a version: that of the
//! catalogue with which it began. A profile that is complete for an earlier version has told it nothing yet, and bringing
//! the profile up to date tells it what is true then (`present.rs`).
//!
//! A route ends when the destination is removed or disabled or does not name the object any more; nothing is said then,
//! and what happens until it begins again is lost to that destination. Plain traits and messages have no version: they are
//! sent as they come, and those from before are not.
//!
//! **ROUTE-2:** an audience that is removed or disabled ends for its members: whoever was told of the entry is told of the
//! exit (B9), with the change of definition as its cause. The last value of a computed trait stays with the destinations:
//! it was so when it was sent, and nobody is held in anything by it.

use crate::catalogue::Problem;
use onefold_types::catalogue::RoutesSince;
use onefold_types::effect::Change;
use onefold_types::workspace::{Destination, Selection};
use onefold_types::{AudienceId, Catalogue, CatalogueVersion, DestinationId, TraitId, suggest};
use std::collections::{BTreeMap, BTreeSet};

/// Where a change goes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Destinations by audience.
    pub audiences: BTreeMap<AudienceId, Vec<DestinationId>>,
    /// Destinations by computed trait.
    pub computed: BTreeMap<TraitId, Vec<DestinationId>>,
    /// Destinations by plain trait; those of `"*"` are in `any_trait`.
    pub traits: BTreeMap<String, Vec<DestinationId>>,
    /// Destinations that want every trait.
    pub any_trait: Vec<DestinationId>,
    /// Event selectors.
    pub events: Vec<(DestinationId, onefold_audience::Selector)>,
}

/// Notes in `next` since when its routes go: those that `current` has too, without a break.
pub(crate) fn note_since(next: &mut Catalogue, to: &Routes, current: Option<&Catalogue>) {
    let empty = Catalogue::default();
    let current = current.unwrap_or(&empty);
    // Its problems, if another version of Onefold let it through, are not those of `next`.
    let before = routes(current, &mut Vec::new());
    next.audience_routes = since(&to.audiences, &before.audiences, &current.audience_routes, next.version);
    next.trait_routes = since(&to.computed, &before.computed, &current.trait_routes, next.version);
}

/// Notes in `next` which audiences of `current` it ends, and who is told of it; and the keys of those that are removed.
pub(crate) fn note_ended(next: &mut Catalogue, current: Option<&Catalogue>) {
    let Some(current) = current else { return };
    let is_enabled = |catalogue: &Catalogue, key: &str| {
        catalogue.workspace.audiences.iter().any(|audience| audience.key == key && audience.labels.enabled)
    };
    let enabled = |catalogue: &Catalogue| -> BTreeSet<AudienceId> {
        let all = catalogue.audiences.iter();
        all.filter(|(key, _)| is_enabled(catalogue, key)).map(|(_, id)| *id).collect()
    };
    let before = routes(current, &mut Vec::new());
    let destinations = next.workspace.destinations.iter().filter(|destination| destination.labels.enabled);
    let there: BTreeSet<DestinationId> =
        destinations.filter_map(|destination| next.destinations.get(&destination.key)).copied().collect();
    for audience in enabled(current).difference(&enabled(next)) {
        let told = before.audiences.get(audience).into_iter().flatten();
        let told: Vec<DestinationId> = told.filter(|to| there.contains(to)).copied().collect();
        if !told.is_empty() {
            next.ended_audiences.insert(*audience, told);
        }
    }
    next.removed_audiences.clone_from(&current.removed_audiences);
    for (key, audience) in &current.audiences {
        if !next.audiences.values().any(|kept| kept == audience) {
            next.removed_audiences.insert(*audience, key.clone());
        }
    }
}

fn since<Id: Copy + Ord>(
    to: &BTreeMap<Id, Vec<DestinationId>>,
    before: &BTreeMap<Id, Vec<DestinationId>>,
    known: &RoutesSince<Id>,
    version: CatalogueVersion,
) -> RoutesSince<Id> {
    let one = |id: &Id, destination: DestinationId| {
        if !before.get(id).is_some_and(|before| before.contains(&destination)) {
            return version;
        }
        known.get(id).and_then(|known| known.get(&destination)).copied().unwrap_or_default()
    };
    to.iter().map(|(id, to)| (*id, to.iter().map(|to| (*to, one(id, *to))).collect())).collect()
}

/// Whether `destination` takes changes of this kind only since a version after `complete_for`.
pub(crate) fn is_new(
    catalogue: &Catalogue,
    change: &Change,
    destination: DestinationId,
    complete_for: u32,
) -> bool {
    let since = match change {
        Change::Entered { audience, .. } | Change::Exited { audience } => {
            catalogue.audience_since(*audience, destination)
        }
        Change::TraitComputed { computed_trait, .. } => catalogue.trait_since(*computed_trait, destination),
        Change::TraitChanged { .. } | Change::Event { .. } => return false,
    };
    since.0 > complete_for
}

/// Where the changes of a catalogue go; what is wrong with its destinations is added to `problems`.
pub(crate) fn routes(catalogue: &Catalogue, problems: &mut Vec<Problem>) -> Routes {
    let mut routes = Routes::default();
    for destination in catalogue.workspace.destinations.iter().filter(|d| d.labels.enabled) {
        let Some(&id) = catalogue.destinations.get(&destination.key) else { continue };
        for (key, audience) in &catalogue.audiences {
            if destination.audiences.contains(key) {
                routes.audiences.entry(*audience).or_default().push(id);
            }
        }
        for (key, computed) in &catalogue.traits {
            if destination.traits.contains(key) {
                routes.computed.entry(*computed).or_default().push(id);
            }
        }
        plain_traits(catalogue, destination, id, &mut routes);
        check_audience_keys(catalogue, destination, problems);
        for (number, text) in destination.events.iter().enumerate() {
            match onefold_audience::parse_selector(text) {
                Ok(selector) => match onefold_audience::Selector::compile(&selector) {
                    Ok(selector) => routes.events.push((id, selector)),
                    Err(detail) => {
                        problems.push(Problem::new(
                            format!("destinations.{}.events[{number}]", destination.key),
                            detail,
                        ));
                    }
                },
                Err(error) => problems.push(Problem::new(
                    format!("destinations.{}.events[{number}]", destination.key),
                    error.render(text),
                )),
            }
        }
    }
    routes
}

fn plain_traits(catalogue: &Catalogue, destination: &Destination, id: DestinationId, routes: &mut Routes) {
    match &destination.traits {
        Selection::All(_) => routes.any_trait.push(id),
        Selection::Keys(keys) => {
            for key in keys.iter().filter(|key| !catalogue.traits.contains_key(*key)) {
                routes.traits.entry(key.clone()).or_default().push(id);
            }
        }
    }
}

fn check_audience_keys(catalogue: &Catalogue, destination: &Destination, problems: &mut Vec<Problem>) {
    if let Selection::Keys(keys) = &destination.audiences {
        for key in keys.iter().filter(|key| *key != "*" && !catalogue.audiences.contains_key(*key)) {
            let renamed = catalogue.workspace.audiences.iter().find(|a| a.renamed_from.as_ref() == Some(key));
            let near = renamed.map(|renamed| renamed.key.as_str());
            let near = near.or_else(|| suggest::nearest(key, catalogue.audiences.keys().map(String::as_str)));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            problems.push(Problem::new(
                format!("destinations.{}.audiences", destination.key),
                format!("there is no audience `{key}`{hint}"),
            ));
        }
    }
}
