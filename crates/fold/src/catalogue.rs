//! From what an operator wrote to the next catalogue snapshot, and from a snapshot to what the fold runs on.

use onefold_audience::Plan;
use onefold_identity::rules::Rules;
use onefold_types::workspace::{Destination, Workspace};
use onefold_types::{
    AudienceId, Catalogue, CatalogueVersion, DestinationId, PrimitiveId, SourceId, TraitId, suggest,
};
use std::collections::{BTreeMap, BTreeSet};

/// Something in a workspace that cannot be applied: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The object: `audiences.high_intent`.
    pub place: String,
    /// What is wrong and what was expected; of an expression, with the line and a caret.
    pub detail: String,
}

impl Problem {
    fn new(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: place.into(), detail: detail.into() }
    }
}

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

/// A catalogue, compiled: what every batch is folded with.
#[derive(Debug)]
pub struct Compiled {
    /// The snapshot.
    pub catalogue: Catalogue,
    /// The identity rules.
    pub rules: Rules,
    /// The audiences and computed traits.
    pub plan: Plan,
    /// Where changes go.
    pub routes: Routes,
}

impl Compiled {
    /// What is in force before the first catalogue: no source, no definition, version 0.
    #[must_use]
    pub fn empty() -> Self {
        let catalogue = Catalogue::default();
        let rules = Rules::default();
        Self { plan: Plan::empty(), rules, routes: Routes::default(), catalogue }
    }

    /// Compiles a snapshot.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first.
    pub fn new(catalogue: Catalogue) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let rules = Rules::compile(&catalogue.workspace.identity)
            .map_err(|error| problems.push(Problem::new("identity", error.to_string())))
            .ok();
        let plan = Plan::compile(&catalogue)
            .map_err(|errors| {
                problems.extend(errors.into_iter().map(|e| Problem::new(e.place(), e.to_string())))
            })
            .ok();
        let routes = routes(&catalogue, &mut problems);
        match (rules, plan) {
            (Some(rules), Some(plan)) if problems.is_empty() => Ok(Self { catalogue, rules, plan, routes }),
            _ => Err(problems),
        }
    }
}

/// The snapshot that follows `current` when `workspace` is applied: ids of known keys are kept, a renamed object keeps
/// the id of its old key, new objects and primitives get new ids.
///
/// # Errors
/// Everything that is wrong with the workspace.
pub fn next(
    current: Option<&Catalogue>,
    workspace: Workspace,
    author: &str,
) -> Result<Catalogue, Vec<Problem>> {
    let mut problems = check(&workspace);
    let texts = match Plan::primitive_texts(&workspace) {
        Ok(texts) => texts,
        Err(errors) => {
            problems.extend(errors.into_iter().map(|e| Problem::new(e.place(), e.to_string())));
            BTreeSet::new()
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut next_id = current.map_or(1, |c| c.next_id);
    let empty = BTreeMap::new();
    let audiences = assign(
        current.map_or(&BTreeMap::new(), |c| &c.audiences),
        workspace.audiences.iter().map(|a| (&a.key, a.renamed_from.as_ref())),
        &mut next_id,
        AudienceId,
    );
    let traits = assign(
        current.map_or(&BTreeMap::new(), |c| &c.traits),
        workspace.computed_traits.iter().map(|t| (&t.key, t.renamed_from.as_ref())),
        &mut next_id,
        TraitId,
    );
    let destinations = assign(
        current.map_or(&BTreeMap::new(), |c| &c.destinations),
        workspace.destinations.iter().map(|d| (&d.key, None)),
        &mut next_id,
        DestinationId,
    );
    let sources = assign(
        current.map_or(&BTreeMap::new(), |c| &c.sources),
        workspace.sources.iter().map(|s| (&s.key, None)),
        &mut next_id,
        SourceId,
    );
    let primitives = assign(
        current.map_or(&empty, |c| &c.primitives),
        texts.iter().map(|t| (t, None)),
        &mut next_id,
        PrimitiveId,
    );
    let audience_versions = workspace
        .audiences
        .iter()
        .filter_map(|a| {
            let id = *audiences.get(&a.key)?;
            let before = current.and_then(|c| find_audience(c, id));
            let version = current.and_then(|c| c.audience_versions.get(&id)).copied().unwrap_or(0);
            Some((id, version + u32::from(before != Some(a.condition.as_str()))))
        })
        .collect();
    let trait_versions = workspace
        .computed_traits
        .iter()
        .filter_map(|t| {
            let id = *traits.get(&t.key)?;
            let before = current.and_then(|c| find_trait(c, id));
            let version = current.and_then(|c| c.trait_versions.get(&id)).copied().unwrap_or(0);
            Some((id, version + u32::from(before != Some(t.value.as_str()))))
        })
        .collect();
    let rules_changed = current.is_none_or(|c| c.workspace.identity != workspace.identity);
    let catalogue = Catalogue {
        version: CatalogueVersion(current.map_or(0, |c| c.version.0) + 1),
        workspace,
        audiences,
        traits,
        destinations,
        sources,
        primitives,
        audience_versions,
        trait_versions,
        rules_version: current.map_or(0, |c| c.rules_version) + u32::from(rules_changed),
        next_id,
        author: author.to_owned(),
    };
    Compiled::new(catalogue.clone()).map(|_| catalogue)
}

fn find_audience(catalogue: &Catalogue, id: AudienceId) -> Option<&str> {
    let key = catalogue.audiences.iter().find(|(_, known)| **known == id)?.0;
    catalogue.workspace.audiences.iter().find(|a| a.key == *key).map(|a| a.condition.as_str())
}

fn find_trait(catalogue: &Catalogue, id: TraitId) -> Option<&str> {
    let key = catalogue.traits.iter().find(|(_, known)| **known == id)?.0;
    catalogue.workspace.computed_traits.iter().find(|t| t.key == *key).map(|t| t.value.as_str())
}

fn assign<'a, Id: Copy>(
    known: &BTreeMap<String, Id>,
    keys: impl Iterator<Item = (&'a String, Option<&'a String>)>,
    next_id: &mut u32,
    make: impl Fn(u32) -> Id,
) -> BTreeMap<String, Id> {
    let mut ids = BTreeMap::new();
    for (key, renamed_from) in keys {
        let kept = known.get(key).or_else(|| renamed_from.and_then(|old| known.get(old))).copied();
        let id = kept.unwrap_or_else(|| {
            let id = make(*next_id);
            *next_id += 1;
            id
        });
        ids.insert(key.clone(), id);
    }
    ids
}

/// Whether `key` can be the key of an object: 1 to 64 of `a-z A-Z 0-9 _ -`, beginning with a letter.
#[must_use]
pub fn is_key(key: &str) -> bool {
    key.len() <= 64
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn check(workspace: &Workspace) -> Vec<Problem> {
    let mut problems = Vec::new();
    if workspace.version != 1 {
        problems.push(Problem::new(
            "version",
            format!("{} is not a version that this Onefold reads; expected 1", workspace.version),
        ));
    }
    if !is_key(&workspace.workspace) {
        problems.push(Problem::new("workspace", key_advice(&workspace.workspace)));
    }
    check_keys("sources", workspace.sources.iter().map(|s| &s.key), &mut problems);
    check_keys("audiences", workspace.audiences.iter().map(|a| &a.key), &mut problems);
    check_keys("computed_traits", workspace.computed_traits.iter().map(|t| &t.key), &mut problems);
    check_keys("destinations", workspace.destinations.iter().map(|d| &d.key), &mut problems);
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for source in &workspace.sources {
        for write_key in &source.write_key {
            let place = format!("sources.{}", source.key);
            if write_key.is_empty() {
                problems.push(Problem::new(
                    place,
                    "an empty write_key would let everyone write; give it a value",
                ));
            } else if let Some(other) = owners.insert(write_key, &source.key) {
                problems.push(Problem::new(
                    place,
                    format!("its write_key is already that of source {other}; each needs its own"),
                ));
            }
        }
    }
    for audience in &workspace.audiences {
        if workspace.computed_traits.iter().any(|t| t.key == audience.key) {
            problems.push(Problem::new(
                format!("audiences.{}", audience.key),
                "a computed trait has the same key; both would be one name in a profile's traits",
            ));
        }
    }
    problems
}

fn key_advice(key: &str) -> String {
    format!("`{key}` cannot be a key; expected 1 to 64 letters, digits, `_` or `-`, beginning with a letter")
}

fn check_keys<'a>(kind: &str, keys: impl Iterator<Item = &'a String>, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for key in keys {
        let place = format!("{kind}.{key}");
        if !is_key(key) {
            problems.push(Problem::new(place, key_advice(key)));
        } else if !seen.insert(key) {
            problems.push(Problem::new(place, "this key is used twice; each needs its own"));
        }
    }
}

fn routes(catalogue: &Catalogue, problems: &mut Vec<Problem>) -> Routes {
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
        onefold_types::workspace::Selection::All(_) => routes.any_trait.push(id),
        onefold_types::workspace::Selection::Keys(keys) => {
            for key in keys.iter().filter(|key| !catalogue.traits.contains_key(*key)) {
                routes.traits.entry(key.clone()).or_default().push(id);
            }
        }
    }
}

fn check_audience_keys(catalogue: &Catalogue, destination: &Destination, problems: &mut Vec<Problem>) {
    if let onefold_types::workspace::Selection::Keys(keys) = &destination.audiences {
        for key in keys.iter().filter(|key| *key != "*" && !catalogue.audiences.contains_key(*key)) {
            let near = suggest::nearest(key, catalogue.audiences.keys().map(String::as_str));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            problems.push(Problem::new(
                format!("destinations.{}.audiences", destination.key),
                format!("there is no audience `{key}`{hint}"),
            ));
        }
    }
}
