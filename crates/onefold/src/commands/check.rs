//! `onefold check`: what an expression is, or where it is wrong.

use crate::args::Check;
use crate::http::Failed;
use crate::out::say;
use crate::workspace_file;
use onefold_destinations::{KINDS, connect};
use onefold_types::document::{self, Wrong};
use onefold_types::workspace::Workspace;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) fn run(check: &Check) -> Result<ExitCode, Failed> {
    let path = PathBuf::from(&check.what);
    if path.is_file() {
        return file(path, check.json);
    }
    if is_meant_as_file(&path) {
        return Err(Failed::new(format!(
            "there is no file {}\nhint: what to check is an expression or a workspace file",
            path.display()
        )));
    }
    let text = check.what.as_str();
    let failed = |error: onefold_audience::SyntaxError| Failed(error.render(text));
    let expr = onefold_audience::parse(text).map_err(failed)?;
    let is_condition = onefold_audience::check_condition(&expr).is_ok();
    if !is_condition {
        onefold_audience::check_value(&expr).map_err(failed)?;
    }
    let kind = if is_condition { "condition" } else { "value" };
    let notes: Vec<String> =
        onefold_audience::explain::notes(&expr).into_iter().map(|(_, note)| note).collect();
    let later: Vec<String> = onefold_audience::unsupported(&expr).into_iter().map(|(_, note)| note).collect();
    if check.json {
        let explanation = onefold_audience::explain::explain(&expr);
        let answer = serde_json::json!({
            "kind": kind, "canonical": expr.to_string(), "explanation": explanation, "notes": notes, "unsupported": later,
        });
        say!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{}\n  {expr}\nmeans: {}",
        if is_condition { "a condition, for an audience:" } else { "a value, for a computed trait:" },
        onefold_audience::explain::explain(&expr)
    );
    for note in notes {
        say!("note: {note}");
    }
    for (_, note) in onefold_audience::unsupported(&expr) {
        say!("note: {note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether something that is no file was meant as one. An expression has quotes or parentheses wherever it has a `/` or a dot
/// before such an end.
fn is_meant_as_file(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let ends = path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
    (ends || text.contains(std::path::MAIN_SEPARATOR)) && !text.contains(['"', '\'', '(', ')'])
}

/// Everything that an apply to an empty server would refuse.
fn problems(workspace: &Workspace, unchecked: &mut Vec<String>) -> Vec<Wrong> {
    let mut found = document::problems(workspace);
    for destination in &workspace.destinations {
        let place = format!("destinations.{}", destination.key);
        match connect(destination) {
            Ok(_) => {}
            // What a variable holds is known where the server is told.
            Err(_) if KINDS.contains(&destination.kind.as_str()) && has_variable(&destination.config) => {
                unchecked
                    .push(format!("{place}.config: not checked: it has a variable that is not set here"));
            }
            Err(error) => found.push(Wrong { place, detail: error.to_string() }),
        }
    }
    found
}

/// Whether a variable of the environment was left as it is.
fn has_variable(config: &Value) -> bool {
    match config {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(has_variable),
        Value::Object(members) => members.values().any(has_variable),
        _ => false,
    }
}

fn file(path: PathBuf, as_json: bool) -> Result<ExitCode, Failed> {
    let document = workspace_file::read(&[path], &|name| {
        Some(std::env::var(name).unwrap_or_else(|_| format!("${{{name}}}")))
    });
    let workspace = document.map_err(|error| Failed::because(&error))?.over(None);
    let mut notes = Vec::new();
    let mut wrong: Vec<String> = problems(&workspace, &mut notes)
        .into_iter()
        .map(|wrong| format!("{}:\n{}", wrong.place, wrong.detail))
        .collect();
    notes.extend(
        document::notes(&workspace).into_iter().map(|note| format!("{}: {}", note.place, note.detail)),
    );
    let next = onefold_fold::catalogue::next(None, workspace, "check");
    let catalogue = match next {
        Ok(catalogue) if wrong.is_empty() => catalogue,
        next => {
            let more = next.err().unwrap_or_default();
            wrong.extend(more.iter().map(|p| format!("{}:\n{}", p.place, p.detail)));
            return Err(Failed(wrong.join("\n\n")));
        }
    };
    let (audiences, traits) = (catalogue.audiences.len(), catalogue.traits.len());
    let (destinations, sources) = (catalogue.destinations.len(), catalogue.sources.len());
    if as_json {
        let answer = serde_json::json!({
            "kind": "workspace", "audiences": audiences, "computed_traits": traits,
            "destinations": destinations, "sources": sources, "notes": notes,
        });
        say!("{answer}");
    } else {
        say!(
            "the workspace is usable: {audiences} audiences, {traits} computed traits, \
             {destinations} destinations, {sources} sources"
        );
        for note in notes {
            say!("note: {note}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
