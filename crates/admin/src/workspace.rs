//! The workspace: what is in force, what an apply would change, and the apply.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking};
use crate::describe::{Described, operation};
use crate::extract::{Body, Query};
use crate::secrets;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::workspace::{
    Action, Applied, Difference, Example, InForce, Object, Planned, Preview, Workspace as Shown,
};
use onefold_api::{Identifier, Place};
use onefold_fold::catalogue::{Problem, next};
use onefold_fold::rules_change::{self, PreviewError};
use onefold_log::record::Record;
use onefold_types::document::{self, Document, Wrong};
use onefold_types::workspace::Workspace;
use onefold_types::{Catalogue, Position};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) fn routes() -> Described {
    Described::default()
        .get("/api/workspace", operation("The workspace in force, secrets hidden"), current)
        .post(
            "/api/plan",
            operation("What an apply would change").query::<How>().body::<WorkspaceFile>(),
            plan,
        )
        .post("/api/apply", operation("Applies a workspace").query::<How>().body::<WorkspaceFile>(), apply)
}

/// A workspace, as in a workspace file: `version`, `workspace`, `renamed_from`, `timezone`, `sources`, `identity`, `computed_traits`,
/// `audiences`, `destinations`. Without `timezone` or `identity` the one in force is kept.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the description of a body; the handlers read a `Document`")]
struct WorkspaceFile {
    /// 1.
    version: u32,
    /// The workspace's key: that of the one in force, unless `renamed_from` names that.
    workspace: String,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, Value>,
}

/// How long an apply waits to be folded.
const FOLDED_WITHIN: Duration = Duration::from_secs(60);

/// How long it waits for the fold to come to the end of the log before that.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(20);

/// The codes of what is only a matter of time.
const BEHIND: &str = Refused::BEHIND;
const NOT_FOLDED: &str = "not_folded";

#[derive(Deserialize, JsonSchema)]
struct How {
    /// Remove what the file does not name.
    #[serde(default)]
    prune: bool,
}

/// The workspace in force, secrets hidden.
async fn current(State(admin): State<Admin>) -> Answer<InForce> {
    let compiled = admin.0.reader.handle().catalogue();
    let Catalogue { version, author, workspace, .. } = &compiled.catalogue;
    Ok(Json(InForce { version: version.0, author: author.clone(), workspace: shown(workspace) }))
}

/// A workspace as it is printed.
fn shown(workspace: &Workspace) -> Shown {
    fn members(item: &impl serde::Serialize) -> Map<String, Value> {
        match serde_json::to_value(item) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        }
    }
    fn object(key: &str, item: &impl serde::Serialize) -> Object {
        let mut rest = members(item);
        rest.shift_remove("key");
        Object { key: key.to_owned(), rest }
    }
    let Workspace {
        version,
        workspace: key,
        timezone,
        sources,
        identity,
        computed_traits,
        audiences,
        destinations,
    } = workspace;
    let destinations = destinations.iter().map(|destination| {
        let mut shown = object(&destination.key, destination);
        if let Some(config) = shown.rest.get_mut("config") {
            secrets::hide(config);
        }
        shown
    });
    Shown {
        version: *version,
        workspace: key.clone(),
        timezone: timezone.clone(),
        sources: sources.iter().map(|item| object(&item.key, item)).collect(),
        identity: members(identity),
        computed_traits: computed_traits.iter().map(|item| object(&item.key, item)).collect(),
        audiences: audiences.iter().map(|item| object(&item.key, item)).collect(),
        destinations: destinations.collect(),
    }
}

/// Objects by key, as JSON, for comparison.
fn objects(workspace: &Workspace) -> [(&'static str, BTreeMap<String, Value>); 4] {
    fn by_key<T: serde::Serialize>(items: &[T]) -> BTreeMap<String, Value> {
        let values = items.iter().filter_map(|item| serde_json::to_value(item).ok());
        values.filter_map(|value| Some((value.get("key")?.as_str()?.to_owned(), value))).collect()
    }
    [
        ("sources", by_key(&workspace.sources)),
        ("computed_traits", by_key(&workspace.computed_traits)),
        ("audiences", by_key(&workspace.audiences)),
        ("destinations", by_key(&workspace.destinations)),
    ]
}

/// What changes from `old` to `new`.
fn differences(old: &Workspace, new: &Workspace) -> Vec<Difference> {
    let mut found = Vec::new();
    for ((kind, before), (_, after)) in objects(old).into_iter().zip(objects(new)) {
        let mut gone: BTreeMap<&String, &Value> =
            before.iter().filter(|(key, _)| !after.contains_key(*key)).collect();
        for (key, value) in &after {
            let from = value.get("renamed_from").and_then(Value::as_str).map(str::to_owned);
            let (action, from) = match (before.get(key), from) {
                (None, Some(old)) if gone.remove(&old).is_some() => (Action::Rename, Some(old)),
                (None, _) => (Action::Create, None),
                (Some(known), _) if without_rename(known) != without_rename(value) => (Action::Change, None),
                (Some(_), _) => continue,
            };
            found.push(Difference { from, ..difference(action, kind, key) });
        }
        for key in gone.into_keys() {
            found.push(difference(Action::Remove, kind, key));
        }
    }
    if old.identity != new.identity {
        found.push(difference(Action::Change, "identity", "rules"));
    }
    if (&old.workspace, &old.timezone) != (&new.workspace, &new.timezone) {
        found.push(difference(Action::Change, "workspace", &new.workspace));
    }
    found
}

fn difference(action: Action, kind: &str, key: &str) -> Difference {
    Difference { action, kind: kind.to_owned(), key: key.to_owned(), from: None }
}

/// A rename that was carried out is no difference.
fn without_rename(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(object) = value.as_object_mut() {
        object.remove("renamed_from");
    }
    value
}

/// The workspace that results: without `prune` nothing is ever removed.
fn target(old: &Workspace, mut new: Workspace, prune: bool) -> Workspace {
    if prune {
        return new;
    }
    fn keep<T: Clone>(
        old: &[T],
        new: &mut Vec<T>,
        key: impl Fn(&T) -> String,
        renamed: impl Fn(&T) -> Option<String>,
    ) {
        let known: Vec<String> = new.iter().map(&key).chain(new.iter().filter_map(&renamed)).collect();
        new.extend(old.iter().filter(|item| !known.contains(&key(item))).cloned());
    }
    keep(&old.sources, &mut new.sources, |s| s.key.clone(), |_| None);
    keep(&old.computed_traits, &mut new.computed_traits, |t| t.key.clone(), |t| t.renamed_from.clone());
    keep(&old.audiences, &mut new.audiences, |a| a.key.clone(), |a| a.renamed_from.clone());
    keep(&old.destinations, &mut new.destinations, |d| d.key.clone(), |_| None);
    new
}

/// What would change, and the catalogue that it would make; everything that is wrong, of whatever kind, at once.
fn prepare(
    current: &Catalogue,
    document: Document,
    prune: bool,
) -> Result<(Vec<Difference>, Catalogue), Refused> {
    let previous = (current.version.0 != 0).then_some(current);
    if let Some(known) = previous {
        document.of(&known.workspace).map_err(|other| unusable(vec![wrong(other)]))?;
    }
    let mut workspace = document.over(previous.map(|known| &known.workspace));
    secrets::reveal(&current.workspace, &mut workspace).map_err(unusable)?;
    let workspace = target(&current.workspace, workspace, prune);
    let differences = differences(&current.workspace, &workspace);
    let mut problems: Vec<Place> = document::problems(&workspace).into_iter().map(wrong).collect();
    for destination in &workspace.destinations {
        if let Err(error) = onefold_destinations::connect(destination) {
            let place = format!("destinations.{}", destination.key);
            problems.push(Place { place, detail: error.to_string() });
        }
    }
    match next(previous, workspace, "api") {
        Ok(catalogue) if problems.is_empty() => Ok((differences, catalogue)),
        Ok(_) => Err(unusable(problems)),
        Err(more) => Err(unusable(problems.into_iter().chain(more.into_iter().map(place)).collect())),
    }
}

fn wrong(wrong: Wrong) -> Place {
    let place = if wrong.place.is_empty() { "workspace".to_owned() } else { wrong.place };
    Place { place, detail: wrong.detail }
}

fn read(body: Value) -> Result<Document, Refused> {
    Document::read(body).map_err(|problems| unusable(problems.into_iter().map(wrong).collect()))
}

fn place(problem: Problem) -> Place {
    Place { place: problem.place, detail: problem.detail }
}

fn unusable(problems: Vec<Place>) -> Refused {
    let count = problems.len();
    let detail =
        format!("the workspace cannot be applied: {count} problem{}", if count == 1 { "" } else { "s" });
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_workspace", detail).with(problems)
}

async fn plan(
    State(admin): State<Admin>,
    Query(how): Query<How>,
    Body(body): Body<Value>,
) -> Answer<Planned> {
    let compiled = admin.0.reader.handle().catalogue();
    let (changes, catalogue) = prepare(&compiled.catalogue, read(body)?, how.prune)?;
    let identity = admin.preview(&compiled.catalogue, &catalogue).await?;
    Ok(Json(Planned { changes, identity }))
}

async fn apply(
    State(admin): State<Admin>,
    Query(how): Query<How>,
    Body(body): Body<Value>,
) -> Answer<Applied> {
    admin.apply(read(body)?, how.prune).await.map(Json)
}

fn preview(known: rules_change::Preview) -> Preview {
    fn ids(known: Vec<onefold_types::Identifier>) -> Vec<Identifier> {
        known.into_iter().map(Into::into).collect()
    }
    let example = |from, into| Example { from: ids(from), into: ids(into) };
    Preview {
        profiles_before: known.profiles_before,
        profiles_after: known.profiles_after,
        merges: known.merges,
        merge_examples: known
            .merge_examples
            .into_iter()
            .map(|known| example(known.from, known.into))
            .collect(),
        splits: known.splits,
        split_examples: known
            .split_examples
            .into_iter()
            .map(|known| example(known.from, known.into))
            .collect(),
        moved_messages: known.moved_messages,
        dropped_identifiers: known.dropped_identifiers,
        gained_identifiers: known.gained_identifiers,
    }
}

impl Admin {
    /// What other identity rules would make of everybody; `None` if they are those in force.
    async fn preview(&self, old: &Catalogue, new: &Catalogue) -> Result<Option<Preview>, Refused> {
        if old.version.0 == 0 || old.workspace.identity == new.workspace.identity {
            return Ok(None);
        }
        let (admin, identity) = (self.clone(), new.workspace.identity.clone());
        let previewed = blocking(move || Ok(admin.0.reader.preview(&identity))).await?;
        previewed.map(|known| Some(preview(known))).map_err(|error| match error {
            PreviewError::Rules(error) => {
                unusable(vec![Place { place: "identity".to_owned(), detail: error.to_string() }])
            }
            PreviewError::Fold(error) => error.into(),
        })
    }

    /// Applies a workspace and waits until it is in force; one that changes nothing appends nothing.
    async fn apply(&self, document: Document, prune: bool) -> Result<Applied, Refused> {
        let _alone = self.0.applying.lock().await;
        // The catalogue that this one follows is the last in the log, not the last that is folded: made over an older one
        // it would give ids anew that are given already, or say again what was said.
        if !self.folded(self.0.log.tail(), CAUGHT_UP_WITHIN).await? {
            let detail = format!(
                "nothing was applied: the fold did not come to the end of the log within {CAUGHT_UP_WITHIN:?}; try again \
                 once /api/status has `folded_position` near `log_tail`"
            );
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, BEHIND, detail));
        }
        let compiled = self.0.reader.handle().catalogue();
        let (changes, catalogue) = prepare(&compiled.catalogue, document, prune)?;
        if changes.is_empty() {
            return Ok(Applied { changes, identity: None, version: compiled.catalogue.version.0 });
        }
        self.backfilled(CAUGHT_UP_WITHIN).await?;
        // Made here, beside the fold, the other graph is at hand when the fold comes to the record.
        let identity = self.preview(&compiled.catalogue, &catalogue).await?;
        let json = serde_json::to_vec(&catalogue).map_err(|error| Refused::bad(error.to_string()))?;
        self.append(Record::Catalogue(json)).await?;
        Ok(Applied { changes, identity, version: catalogue.version.0 })
    }

    /// Applies a workspace at start and waits until it is in force, however long the backlog of the fold is.
    ///
    /// # Errors
    /// What is wrong with it, a line each.
    pub async fn apply_at_start(&self, document: Document) -> Result<(), String> {
        loop {
            match self.apply(document.clone(), false).await {
                Ok(_) => return Ok(()),
                Err(refused) if [BEHIND, NOT_FOLDED].contains(&refused.code()) => {
                    tracing::info!("the workspace file waits for the fold, which has a backlog");
                }
                Err(refused) => return Err(refused.to_string()),
            }
        }
    }

    /// Waits for the end of a running backfill. A catalogue in the log behind one would hold up everything that comes after
    /// it: events, timers, the live view. Nobody else appends one meanwhile.
    async fn backfilled(&self, within: Duration) -> Result<(), Refused> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let status = self.0.reader.handle().status();
            let Some((done, of)) = status.backfill else { return Ok(()) };
            if let Some(failed) = status.failed {
                let detail = format!("the fold stopped: {failed}");
                return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "state_failed", detail));
            }
            if tokio::time::Instant::now() >= until {
                let detail = format!(
                    "nothing was applied: the workspace in force is still being carried out over history ({done} of {of} \
                     profiles), and did not come to the end within {within:?}; try again once /api/audiences has no `backfill`"
                );
                return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, BEHIND, detail));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether everything before `position` is folded within that time. In steps: a thread that waits holds a stop up.
    async fn folded(&self, position: Position, within: Duration) -> Result<bool, Refused> {
        let until = tokio::time::Instant::now() + within;
        loop {
            let handle = self.0.reader.handle().clone();
            if blocking(move || Ok(handle.wait(position, Duration::from_millis(500)))).await? {
                return Ok(true);
            }
            if let Some(failed) = self.0.reader.handle().status().failed {
                let detail = format!("the fold stopped: {failed}");
                return Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "state_failed", detail));
            }
            if tokio::time::Instant::now() >= until {
                return Ok(false);
            }
        }
    }

    /// Appends a record and waits until it is folded.
    pub(crate) async fn append(&self, record: Record) -> Result<(), Refused> {
        let failed = |detail: String| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "log_failed", detail);
        let (done, durable) = tokio::sync::oneshot::channel();
        self.0.log.append(record.encode(), Box::new(move |outcome| drop(done.send(outcome))));
        let appended = durable.await.map_err(|_| failed("the server is stopping".to_owned()))?;
        let appended = appended.map_err(|error| failed(error.to_string()))?;
        if self.folded(appended.next, FOLDED_WITHIN).await? {
            return Ok(());
        }
        let detail = format!(
            "accepted, but not folded within {FOLDED_WITHIN:?}; it will be once the backlog is done, so do not send it again"
        );
        Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, NOT_FOLDED, detail))
    }
}
