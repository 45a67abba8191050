//! `onefold deliveries`: destinations and their dead letters.

use crate::args::{Deliveries, Letters};
use crate::commands::text::clean;
use crate::http::{Failed, Remote, encoded};
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn run(deliveries: Deliveries) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&deliveries.server);
    let as_json = deliveries.server.json;
    match deliveries.what {
        Letters::List { destination } => list(&remote, destination.as_deref(), as_json).await?,
        Letters::Retry { destination, all: true, .. } => retry_all(&remote, &destination, as_json).await?,
        Letters::Retry { destination, number, .. } => retry(&remote, &destination, &number, as_json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(remote: &Remote, wanted: Option<&str>, as_json: bool) -> Result<(), Failed> {
    let all = pages(remote, "/api/destinations").await?;
    if let Some(wanted) = wanted.filter(|wanted| !all.iter().any(|known| known["key"] == **wanted)) {
        return Err(Failed::new(format!("no enabled destination is called `{wanted}`")));
    }
    let mut listed = Vec::new();
    for known in &all {
        let key = known["key"].as_str().unwrap_or_default();
        if wanted.is_some_and(|wanted| wanted != key) {
            continue;
        }
        let letters = letters(remote, key).await?;
        if as_json {
            let mut destination = known.clone();
            destination["dead_letters"] = letters.into();
            listed.push(destination);
            continue;
        }
        println!(
            "{key}: {} delivered, {} queued, {} failed attempts, {} dead",
            known["delivered"], known["queued"], known["failed"], known["dead"]
        );
        if known["last_error"].is_object() {
            let rests =
                if known["breaker"] == "closed" { "" } else { "; it is left alone, and asked now and then" };
            println!("  last error: {}{rests}", said(&known["last_error"]));
        }
        for letter in letters {
            println!(
                "  {} {} after {} attempts: {}",
                letter["number"],
                letter["at"],
                letter["attempts"],
                said(&letter["answer"])
            );
        }
    }
    if as_json {
        println!("{}", json!({ "data": listed }));
    }
    Ok(())
}

/// A line as soon as a letter is tried: what was delivered is known even if the next one fails.
async fn retry(remote: &Remote, destination: &str, numbers: &[u64], as_json: bool) -> Result<(), Failed> {
    for number in numbers {
        let path = format!("/api/destinations/{destination}/dead-letters/{number}/retry");
        let answer = remote.ask(Method::POST, &path, None).await?;
        let delivered = answer["delivered"] == true;
        if as_json {
            println!("{}", json!({ "number": number, "delivered": delivered, "answer": answer["answer"] }));
            continue;
        }
        let outcome = if delivered { "delivered" } else { "still refused" };
        println!("{number}: {outcome} ({})", said(&answer["answer"]));
    }
    Ok(())
}

/// Letters that one request sends again: few enough to see how it goes.
const LETTERS: usize = 200;

/// All of a destination's letters, until there is none left or it takes nothing; what was told till then is so.
async fn retry_all(remote: &Remote, destination: &str, as_json: bool) -> Result<(), Failed> {
    let count = |answer: &Value, what: &str| answer[what].as_u64().unwrap_or_default();
    let (mut cursor, mut delivered, mut failed) = (0, 0, 0);
    loop {
        let path =
            format!("/api/destinations/{destination}/dead-letters/retry-all?cursor={cursor}&limit={LETTERS}");
        let answer = remote.ask(Method::POST, &path, None).await?;
        delivered += count(&answer, "delivered");
        failed += count(&answer, "failed");
        if as_json {
            println!("{answer}");
        } else {
            for one in answer["failures"].as_array().into_iter().flatten() {
                println!("{}: still refused ({})", one["number"], said(&one["answer"]));
            }
        }
        let next = answer["cursor"].as_u64();
        if let (Some(next), true) = (next, answer["stopped"].is_object()) {
            return Err(Failed::new(format!(
                "{delivered} delivered, then {destination} took nothing: {}\nhint: letter {next} and those after it wait; \
                 say this again when it is back",
                said(&answer["stopped"])
            )));
        }
        let Some(next) = next else { break };
        if !as_json {
            println!("{delivered} delivered, {failed} still refused, going on from {next}");
        }
        cursor = next;
    }
    if !as_json {
        println!("{delivered} delivered, {failed} still refused");
    }
    Ok(())
}

/// What a receiver answered: the status, and its words as one quoted line.
fn said(answer: &Value) -> String {
    format!("{} {}", answer["status"], clean(&answer["text"].to_string()))
}

async fn letters(remote: &Remote, key: &str) -> Result<Vec<Value>, Failed> {
    pages(remote, &format!("/api/destinations/{}/dead-letters", encoded(key))).await
}

/// All of a list, a page at a time. A page has few enough letters for one answer, however large they are.
async fn pages(remote: &Remote, path: &str) -> Result<Vec<Value>, Failed> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = remote.ask(Method::GET, &format!("{path}?limit=200{cursor}"), None).await?;
        if let Value::Array(items) = page["data"].take() {
            all.extend(items);
        }
        cursor = match &page["cursor"] {
            Value::Null => return Ok(all),
            Value::String(key) => format!("&cursor={}", encoded(key)),
            number => format!("&cursor={number}"),
        };
    }
}
