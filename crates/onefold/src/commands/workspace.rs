//! `onefold plan`, `onefold apply` and `onefold export`: configuration as code.

use crate::args::{Apply, Export, Plan};
use crate::commands::question::confirmed;
use crate::http::{Failed, Remote};
use crate::out::{put, say};
use crate::workspace_file;
use hyper::Method;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

fn read(files: &[PathBuf]) -> Result<Value, Failed> {
    let workspace = workspace_file::read(files, &|name| std::env::var(name).ok())
        .map_err(|error| Failed::because(&error))?;
    serde_json::to_value(workspace).map_err(|e| Failed::new(e.to_string()))
}

fn changes(answer: &Value) -> &[Value] {
    answer["changes"].as_array().map_or(&[], Vec::as_slice)
}

/// What changes, for people: a line each.
fn shown(answer: &Value) -> String {
    let mut text = String::new();
    for change in changes(answer) {
        let sign = match change["action"].as_str() {
            Some("create") => '+',
            Some("remove") => '-',
            _ => '~',
        };
        let from = change["from"].as_str().map(|from| format!(" (was {from})")).unwrap_or_default();
        text.push_str(&format!(
            "{sign} {} {}{from}\n",
            change["kind"].as_str().unwrap_or_default(),
            change["key"].as_str().unwrap_or_default()
        ));
    }
    text + &shown_identity(&answer["identity"])
}

/// What other identity rules make of everybody, with some examples.
fn shown_identity(preview: &Value) -> String {
    if preview.is_null() {
        return String::new();
    }
    let count = |name: &str| preview[name].as_u64().unwrap_or_default();
    let mut text = format!("  {} profiles become {}\n", count("profiles_before"), count("profiles_after"));
    let names = |list: &Value| -> String {
        let names = list.as_array().into_iter().flatten().map(|id| {
            format!("{}:{}", id["type"].as_str().unwrap_or_default(), id["id"].as_str().unwrap_or_default())
        });
        names.collect::<Vec<_>>().join(", ")
    };
    for (what, count, examples) in [
        ("come of several", count("merges"), &preview["merge_examples"]),
        ("become several", count("splits"), &preview["split_examples"]),
    ] {
        if count > 0 {
            text.push_str(&format!("  {count} {what}:\n"));
        }
        let examples = examples.as_array().map_or(&[][..], Vec::as_slice);
        for example in examples {
            text.push_str(&format!("    {} -> {}\n", names(&example["from"]), names(&example["into"])));
        }
        if count > examples.len() as u64 && !examples.is_empty() {
            text.push_str(&format!("    and {} more\n", count - examples.len() as u64));
        }
    }
    for (name, what) in [
        ("moved_messages", "messages are another profile's"),
        ("dropped_identifiers", "identifiers count no more"),
        ("gained_identifiers", "identifiers begin to count"),
    ] {
        if count(name) > 0 {
            text.push_str(&format!("  {} {what}\n", count(name)));
        }
    }
    text
}

pub(crate) async fn plan(plan: Plan) -> Result<ExitCode, Failed> {
    let workspace = read(&plan.files)?;
    let answer = Remote::of(&plan.server)
        .ask(Method::POST, &format!("/api/plan?prune={}", plan.prune), Some(&workspace))
        .await?;
    let count = changes(&answer).len();
    if plan.server.json {
        say!("{answer}");
    } else if count == 0 {
        say!("{}nothing would change", shown(&answer));
    } else {
        say!("{}{count} would change", shown(&answer));
    }
    Ok(code(count))
}

fn code(changes: usize) -> ExitCode {
    if changes == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

pub(crate) async fn apply(apply: Apply) -> Result<ExitCode, Failed> {
    let workspace = read(&apply.files)?;
    let remote = Remote::of(&apply.server);
    if !apply.yes {
        let planned =
            remote.ask(Method::POST, &format!("/api/plan?prune={}", apply.prune), Some(&workspace)).await?;
        let nothing = changes(&planned).is_empty();
        match (apply.server.json, nothing) {
            (true, true) => say!("{planned}"),
            // Who is asked reads it; stdout is the answer's alone.
            (true, false) => eprint!("{}", shown(&planned)),
            (false, true) => say!("{}nothing to change", shown(&planned)),
            (false, false) => put!("{}", shown(&planned)),
        }
        if nothing {
            return Ok(ExitCode::SUCCESS);
        }
        if !confirmed("apply?")? {
            return Err(Failed::new("not applied; run with --yes to apply without being asked"));
        }
    }
    let answer =
        remote.ask(Method::POST, &format!("/api/apply?prune={}", apply.prune), Some(&workspace)).await?;
    if apply.server.json {
        say!("{answer}");
    } else {
        // Who was asked has seen the changes already.
        let shown = if apply.yes { shown(&answer) } else { String::new() };
        say!("{shown}applied: {} changed, version {}", changes(&answer).len(), answer["version"]);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn export(export: Export) -> Result<ExitCode, Failed> {
    let answer = Remote::of(&export.server).ask(Method::GET, "/api/workspace", None).await?;
    let mut workspace = answer["workspace"].clone();
    if answer["version"] == 0 {
        return Err(Failed::new("the server has no workspace yet; apply one first"));
    }
    without_defaults(&mut workspace);
    if export.server.json {
        say!("{workspace}");
        return Ok(ExitCode::SUCCESS);
    }
    let yaml = serde_saphyr::to_string(&Plain(&workspace)).map_err(|error| Failed::new(error.to_string()))?;
    put!(
        "# The workspace in force, version {}. `***` stands for a secret, which is never printed; applied to this server it\n\
         # keeps the secret in force.\n{yaml}",
        answer["version"]
    );
    Ok(ExitCode::SUCCESS)
}

/// JSON as the YAML of a workspace file, in which `${` is a variable's; `arbitrary_precision` gives a number a form that only
/// `serde_json` reads back.
struct Plain<'a>(&'a Value);

impl serde::Serialize for Plain<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => serializer.serialize_i64(whole),
                (None, Some(broken)) => serializer.serialize_f64(broken),
                (None, None) => serializer.serialize_str(&number.to_string()),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(members) => {
                serializer.collect_map(members.iter().map(|(key, item)| (key, Plain(item))))
            }
            Value::String(text) => serializer.serialize_str(&workspace_file::escaped(text)),
            other => other.serialize(serializer),
        }
    }
}

/// A file says what differs from the defaults: members that are `null`, empty or `enabled: true` go. A destination's config
/// stays as it was written: only its kind knows what its defaults are.
fn without_defaults(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object
                .iter_mut()
                .filter(|(key, _)| *key != "config")
                .for_each(|(_, item)| without_defaults(item));
            object.retain(|key, item| match item {
                _ if key == "config" => !item.is_null(),
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) => !members.is_empty(),
                Value::Bool(flag) => !(key == "enabled" && *flag),
                Value::Number(_) => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        _ => {}
    }
}
