//! `onefold check`: what an expression is, or where it is wrong.

use crate::args::Check;
use crate::http::Failed;
use crate::workspace_file;
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) fn run(check: &Check) -> Result<ExitCode, Failed> {
    let path = PathBuf::from(&check.what);
    if path.is_file() {
        return file(path, check.json);
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
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{}\n  {expr}\nmeans: {}",
        if is_condition { "a condition, for an audience:" } else { "a value, for a computed trait:" },
        onefold_audience::explain::explain(&expr)
    );
    for note in notes {
        println!("note: {note}");
    }
    for (_, note) in onefold_audience::unsupported(&expr) {
        println!("note: {note}");
    }
    Ok(ExitCode::SUCCESS)
}

fn file(path: PathBuf, as_json: bool) -> Result<ExitCode, Failed> {
    let workspace = workspace_file::read(&[path], &|name| {
        Some(std::env::var(name).unwrap_or_else(|_| format!("${{{name}}}")))
    });
    let workspace = workspace.map_err(|error| Failed::new(error.to_string()))?;
    let catalogue = onefold_fold::catalogue::next(None, workspace, "check").map_err(|problems| {
        let text: Vec<String> = problems.iter().map(|p| format!("{}:\n{}", p.place, p.detail)).collect();
        Failed(text.join("\n\n"))
    })?;
    let (audiences, traits) = (catalogue.audiences.len(), catalogue.traits.len());
    let (destinations, sources) = (catalogue.destinations.len(), catalogue.sources.len());
    if as_json {
        let answer = serde_json::json!({
            "kind": "workspace", "audiences": audiences, "computed_traits": traits,
            "destinations": destinations, "sources": sources,
        });
        println!("{answer}");
    } else {
        println!(
            "the workspace is usable: {audiences} audiences, {traits} computed traits, \
             {destinations} destinations, {sources} sources"
        );
    }
    Ok(ExitCode::SUCCESS)
}
