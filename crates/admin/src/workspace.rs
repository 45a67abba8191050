//! The workspace: what is in force, what an apply would change, and the apply.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking};
use crate::describe::{Described, operation};
use crate::extract::{Body, Query};
use crate::keys::Keys;
use crate::secrets;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::Place;
use onefold_fold::catalogue::{Problem, next};
use onefold_fold::rules_change::{Preview, PreviewError};
use onefold_log::record::Record;
use onefold_types::document::{self, Document, Wrong};
use onefold_types::workspace::Workspace;
use onefold_types::{Catalogue, Position};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
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
        .post(
            "/api/check",
            operation("What an expression is, or where it is wrong").body::<Expression>(),
            check,
        )
        .get("/api/audiences", operation("Audiences and how many are in each").query::<Keys>(), audiences)
}

/// A workspace, as in a workspace file: `version`, `workspace`, `timezone`, `sources`, `identity`, `computed_traits`,
/// `audiences`, `destinations`. Without `timezone` or `identity` the one in force is kept.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the description of a body; the handlers read a `Document`")]
struct WorkspaceFile {
    /// 1.
    version: u32,
    /// The workspace's key.
    workspace: String,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, Value>,
}

/// How long an apply waits to be folded.
const FOLDED_WITHIN: Duration = Duration::from_secs(60);

/// How long it waits for the fold to come to the end of the log before that.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(20);

/// The codes of what is only a matter of time.
const BEHIND: &str = "behind";
const NOT_FOLDED: &str = "not_folded";

#[derive(Deserialize, JsonSchema)]
struct How {
    /// Remove what the file does not name.
    #[serde(default)]
    prune: bool,
}

/// The workspace in force, secrets hidden.
async fn current(State(admin): State<Admin>) -> Answer {
    let compiled = admin.0.reader.handle().catalogue();
    let mut workspace = serde_json::to_value(&compiled.catalogue.workspace).unwrap_or_default();
    secrets::hide(&mut workspace);
    Ok(Json(
        json!({ "version": compiled.catalogue.version, "author": compiled.catalogue.author, "workspace": workspace }),
    ))
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Difference {
    action: &'static str,
    kind: &'static str,
    key: String,
    /// The key that a renamed object had.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
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
                (None, Some(old)) if gone.remove(&old).is_some() => ("rename", Some(old)),
                (None, _) => ("create", None),
                (Some(known), _) if without_rename(known) != without_rename(value) => ("change", None),
                (Some(_), _) => continue,
            };
            found.push(Difference { action, kind, key: key.clone(), from });
        }
        for key in gone.into_keys() {
            found.push(Difference { action: "remove", kind, key: key.clone(), from: None });
        }
    }
    if old.identity != new.identity {
        found.push(Difference { action: "change", kind: "identity", key: "rules".to_owned(), from: None });
    }
    if (&old.workspace, &old.timezone) != (&new.workspace, &new.timezone) {
        found.push(Difference {
            action: "change",
            kind: "workspace",
            key: new.workspace.clone(),
            from: None,
        });
    }
    found
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

async fn plan(State(admin): State<Admin>, Query(how): Query<How>, Body(body): Body<Value>) -> Answer {
    let compiled = admin.0.reader.handle().catalogue();
    let (differences, catalogue) = prepare(&compiled.catalogue, read(body)?, how.prune)?;
    let identity = admin.preview(&compiled.catalogue, &catalogue).await?;
    Ok(Json(json!({ "changes": differences, "identity": identity })))
}

async fn apply(State(admin): State<Admin>, Query(how): Query<How>, Body(body): Body<Value>) -> Answer {
    let applied = admin.apply(read(body)?, how.prune).await?;
    Ok(Json(json!({ "changes": applied.changes, "identity": applied.identity, "version": applied.version })))
}

/// What an apply did.
struct Applied {
    changes: Vec<Difference>,
    identity: Option<Preview>,
    version: u32,
}

impl Admin {
    /// What other identity rules would make of everybody; `None` if they are those in force.
    async fn preview(&self, old: &Catalogue, new: &Catalogue) -> Result<Option<Preview>, Refused> {
        if old.version.0 == 0 || old.workspace.identity == new.workspace.identity {
            return Ok(None);
        }
        let (admin, identity) = (self.clone(), new.workspace.identity.clone());
        let preview = blocking(move || Ok(admin.0.reader.preview(&identity))).await?;
        preview.map(Some).map_err(|error| match error {
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

#[derive(Deserialize, JsonSchema)]
struct Expression {
    /// In the audience language.
    expression: String,
}

/// Parses an expression and says what it is, or where it is wrong.
async fn check(Body(given): Body<Expression>) -> Answer {
    let text = given.expression;
    let wrong = |error: onefold_audience::SyntaxError| {
        let place = Place { place: "expression".to_owned(), detail: error.render(&text) };
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_expression", "the expression cannot be used")
            .with(vec![place])
    };
    let expr = onefold_audience::parse(&text).map_err(&wrong)?;
    let is_condition = onefold_audience::check_condition(&expr).is_ok();
    if !is_condition {
        onefold_audience::check_value(&expr).map_err(&wrong)?;
    }
    let texts = |notes: Vec<(_, String)>| notes.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let unsupported = texts(onefold_audience::unsupported(&expr));
    let notes = texts(onefold_audience::explain::notes(&expr));
    let kind = if is_condition { "condition" } else { "value" };
    let explanation = onefold_audience::explain::explain(&expr);
    Ok(Json(
        json!({ "canonical": expr.to_string(), "kind": kind, "explanation": explanation, "notes": notes, "unsupported": unsupported }),
    ))
}

async fn audiences(State(admin): State<Admin>, Query(keys): Query<Keys>) -> Answer {
    let compiled = admin.0.reader.handle().catalogue();
    let status = admin.0.reader.handle().status();
    let all = compiled.catalogue.workspace.audiences.iter().collect();
    let (page, cursor) = keys.page(all, |audience| &audience.key);
    let list: Vec<Value> = page
        .into_iter()
        .map(|audience| {
            let id = compiled.catalogue.audiences.get(&audience.key).copied().unwrap_or_default();
            let size = admin.0.reader.handle().audience_size(id);
            json!({ "key": audience.key, "name": audience.labels.name, "where": audience.condition, "size": size, "enabled": audience.labels.enabled })
        })
        .collect();
    let backfill = status.backfill.map(|(done, of)| json!({ "done": done, "of": of }));
    Ok(Json(json!({ "data": list, "cursor": cursor, "backfill": backfill })))
}
