//! From what an operator wrote to the next catalogue snapshot, and from a snapshot to what the fold runs on.

pub use crate::routes::Routes;

use onefold_audience::Plan;
use onefold_identity::rules::Rules;
use onefold_types::workspace::Workspace;
use onefold_types::{AudienceId, Catalogue, CatalogueVersion, DestinationId, PrimitiveId, SourceId, TraitId};
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
    pub(crate) fn new(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: place.into(), detail: detail.into() }
    }
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
        let routes = crate::routes::routes(&catalogue, &mut problems);
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
    check_renames(current, &workspace, &mut problems);
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
    let mut catalogue = Catalogue {
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
        ..Catalogue::default()
    };
    let compiled = Compiled::new(catalogue.clone())?;
    crate::routes::note_since(&mut catalogue, &compiled.routes, current);
    crate::routes::note_ended(&mut catalogue, current);
    Ok(catalogue)
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

/// An id is one object's: an old key that is still defined keeps its own, and only one object can take it over.
fn check_renames(current: Option<&Catalogue>, workspace: &Workspace, problems: &mut Vec<Problem>) {
    let audiences = workspace.audiences.iter().map(|a| (a.key.as_str(), a.renamed_from.as_deref()));
    let known = |key: &str| current.is_some_and(|current| current.audiences.contains_key(key));
    check_renames_of("audiences", &audiences.collect::<Vec<_>>(), &known, problems);
    let computed = workspace.computed_traits.iter().map(|t| (t.key.as_str(), t.renamed_from.as_deref()));
    let known = |key: &str| current.is_some_and(|current| current.traits.contains_key(key));
    check_renames_of("computed_traits", &computed.collect::<Vec<_>>(), &known, problems);
}

fn check_renames_of(
    kind: &str,
    objects: &[(&str, Option<&str>)],
    known: &dyn Fn(&str) -> bool,
    problems: &mut Vec<Problem>,
) {
    let mut takers: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, old) in objects.iter().filter_map(|(key, old)| Some((*key, (*old)?))) {
        let mut wrong = |detail| problems.push(Problem::new(format!("{kind}.{key}"), detail));
        if objects.iter().any(|(other, _)| *other == old) {
            wrong(format!(
                "it is renamed from `{old}`, which is still defined, and both would be one; remove `{old}`, or \
                 `renamed_from` here"
            ));
        } else if let Some(other) = takers.insert(old, key) {
            wrong(format!(
                "it is renamed from `{old}`, and so is `{other}`; one can keep its members and history, so remove \
                 `renamed_from` from the other"
            ));
        } else if known(key) && known(old) {
            wrong(format!(
                "it is renamed from `{old}`, and both are in force; remove `renamed_from`, and `{old}` if it shall go"
            ));
        }
    }
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
