//! The workspace: what is in force, what an apply would change, and the apply.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking};
use crate::describe::{Described, operation};
use crate::extract::{Body, Query};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use onefold_api::Place;
use onefold_fold::catalogue::{Problem, next};
use onefold_fold::rules_change::{Preview, PreviewError};
use onefold_log::record::Record;
use onefold_types::Catalogue;
use onefold_types::workspace::Workspace;
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

/// A workspace, as in a workspace file: `version`, `workspace`, `sources`, `identity`, `computed_traits`, `audiences`,
/// `destinations`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the description of a body; the handlers read a `Workspace`")]
struct WorkspaceFile {
    /// 1.
    version: u32,
    /// The workspace's key.
    workspace: String,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, Value>,
}

/// Which part of a list that is in order of key.
#[derive(Deserialize, JsonSchema)]
struct Keys {
    /// The last key of the page before.
    cursor: Option<String>,
    /// At most so many; 200 if it is not given, 1,000 at most.
    limit: Option<usize>,
}

/// How long an apply waits to be folded.
const FOLDED_WITHIN: Duration = Duration::from_secs(60);

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
    hide_secrets(&mut workspace);
    Ok(Json(
        json!({ "version": compiled.catalogue.version, "author": compiled.catalogue.author, "workspace": workspace }),
    ))
}

/// A secret is never printed back.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                let secret = ["secret", "token", "password", "api_key", "headers"]
                    .iter()
                    .any(|word| key.contains(word));
                if secret && !item.is_null() { *item = HIDDEN.into() } else { hide_secrets(item) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

/// What stands for a secret that is not printed; in a file that is applied, for the one in force.
const HIDDEN: &str = "***";

/// Puts the secrets in force where a file that was exported has `***`.
fn with_secrets(old: &Workspace, mut new: Workspace) -> Result<Workspace, Refused> {
    for destination in &mut new.destinations {
        let known = old.destinations.iter().find(|known| known.key == destination.key);
        let place = format!("destinations.{}.config", destination.key);
        reveal(&mut destination.config, known.map(|known| &known.config), &place)?;
    }
    Ok(new)
}

fn reveal(value: &mut Value, known: Option<&Value>, place: &str) -> Result<(), Refused> {
    match value {
        Value::String(text) if text == HIDDEN => match known {
            Some(known) => *value = known.clone(),
            None => {
                let detail =
                    "`***` stands for the secret in force, and there is none; give the secret".to_owned();
                return Err(unusable(vec![Place { place: place.to_owned(), detail }]));
            }
        },
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                reveal(item, known.and_then(|known| known.get(key)), &format!("{place}.{key}"))?;
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                reveal(item, known.and_then(|known| known.get(index)), &format!("{place}[{index}]"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Difference {
    action: &'static str,
    kind: &'static str,
    key: String,
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
        for (key, value) in &after {
            let action = match before.get(key) {
                None => "create",
                Some(known) if without_rename(known) != without_rename(value) => "change",
                Some(_) => continue,
            };
            found.push(Difference { action, kind, key: key.clone() });
        }
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            found.push(Difference { action: "remove", kind, key: key.clone() });
        }
    }
    if old.identity != new.identity {
        found.push(Difference { action: "change", kind: "identity", key: "rules".to_owned() });
    }
    if (&old.workspace, &old.timezone) != (&new.workspace, &new.timezone) {
        found.push(Difference { action: "change", kind: "workspace", key: new.workspace.clone() });
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

fn prepare(
    current: &Catalogue,
    workspace: Workspace,
    prune: bool,
) -> Result<(Vec<Difference>, Catalogue), Refused> {
    let first = current.version.0 == 0;
    let workspace = with_secrets(&current.workspace, workspace)?;
    let workspace = target(&current.workspace, workspace, prune);
    let differences = differences(&current.workspace, &workspace);
    for destination in &workspace.destinations {
        if let Err(error) = onefold_destinations::connect(destination) {
            let place =
                Place { place: format!("destinations.{}", destination.key), detail: error.to_string() };
            return Err(unusable(vec![place]));
        }
    }
    let previous = (!first).then_some(current);
    let catalogue = next(previous, workspace, "api")
        .map_err(|problems| unusable(problems.into_iter().map(place).collect()))?;
    Ok((differences, catalogue))
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
    Body(workspace): Body<Workspace>,
) -> Answer {
    let compiled = admin.0.reader.handle().catalogue();
    let (differences, catalogue) = prepare(&compiled.catalogue, workspace, how.prune)?;
    let identity = admin.preview(&compiled.catalogue, &catalogue).await?;
    Ok(Json(json!({ "changes": differences, "identity": identity })))
}

async fn apply(
    State(admin): State<Admin>,
    Query(how): Query<How>,
    Body(workspace): Body<Workspace>,
) -> Answer {
    let applied = admin.apply(workspace, how.prune).await?;
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
    async fn apply(&self, workspace: Workspace, prune: bool) -> Result<Applied, Refused> {
        let _alone = self.0.applying.lock().await;
        let compiled = self.0.reader.handle().catalogue();
        let (changes, catalogue) = prepare(&compiled.catalogue, workspace, prune)?;
        if changes.is_empty() {
            return Ok(Applied { changes, identity: None, version: compiled.catalogue.version.0 });
        }
        // Made here, beside the fold, the other graph is at hand when the fold comes to the record.
        let identity = self.preview(&compiled.catalogue, &catalogue).await?;
        let json = serde_json::to_vec(&catalogue).map_err(|error| Refused::bad(error.to_string()))?;
        self.append(Record::Catalogue(json)).await?;
        Ok(Applied { changes, identity, version: catalogue.version.0 })
    }

    /// Applies a workspace at start.
    ///
    /// # Errors
    /// What is wrong with it, a line each.
    pub async fn apply_at_start(&self, workspace: Workspace) -> Result<(), String> {
        self.apply(workspace, false).await.map(drop).map_err(|refused| refused.to_string())
    }

    /// Appends a record and waits until it is folded.
    pub(crate) async fn append(&self, record: Record) -> Result<(), Refused> {
        let failed = |detail: String| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "log_failed", detail);
        let (done, durable) = tokio::sync::oneshot::channel();
        self.0.log.append(record.encode(), Box::new(move |outcome| drop(done.send(outcome))));
        let appended = durable.await.map_err(|_| failed("the server is stopping".to_owned()))?;
        let appended = appended.map_err(|error| failed(error.to_string()))?;
        let handle = self.0.reader.handle().clone();
        let folded = blocking(move || Ok(handle.wait(appended.next, FOLDED_WITHIN))).await?;
        if folded {
            Ok(())
        } else {
            Err(failed(format!(
                "accepted, but not folded within {FOLDED_WITHIN:?}; it will be once the backlog is done"
            )))
        }
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
    let limit = keys.limit.unwrap_or(200).clamp(1, 1_000);
    let mut sorted: Vec<_> = compiled.catalogue.workspace.audiences.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let start = keys.cursor.as_ref().map_or(0, |after| sorted.partition_point(|known| known.key <= *after));
    let page: Vec<_> = sorted.iter().skip(start).take(limit).collect();
    let cursor = page.last().filter(|_| start + page.len() < sorted.len()).map(|last| last.key.clone());
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
