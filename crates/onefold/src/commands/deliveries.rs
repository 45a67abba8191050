//! `onefold deliveries`: destinations and their dead letters.

use crate::args::{Deliveries, Letters};
use crate::commands::text::clean;
use crate::http::{Failed, Remote, encoded};
use crate::out::say;
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn run(deliveries: Deliveries) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&deliveries.server);
    let as_json = deliveries.server.json;
    let refused = match deliveries.what {
        Letters::List { destination } => {
            list(&remote, destination.as_deref(), as_json).await?;
            0
        }
        Letters::Retry { destination, all: true, .. } => retry_all(&remote, &destination, as_json).await?,
        Letters::Retry { destination, number, .. } => retry(&remote, &destination, &number, as_json).await?,
        Letters::Discard { destination, number } => {
            discard(&remote, &destination, &number, as_json).await?;
            0
        }
    };
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(remote: &Remote, wanted: Option<&str>, as_json: bool) -> Result<(), Failed> {
    let all = remote.all("/api/destinations", &Value::Null).await?;
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
        say!(
            "{key}: {} delivered, {} queued, {} failed attempts, {} dead",
            known["delivered"],
            known["queued"],
            known["failed"],
            known["dead"]
        );
        if let Some(trouble) = known["trouble"].as_str() {
            say!("  nothing goes on: {}", clean(trouble));
        }
        if known["last_error"].is_object() {
            let rests =
                if known["breaker"] == "closed" { "" } else { "; it is left alone, and asked now and then" };
            say!("  last error: {}{rests}", said(&known["last_error"]));
        }
        for letter in letters {
            say!(
                "  {} {} after {} attempts: {}",
                letter["number"],
                letter["at"],
                letter["attempts"],
                said(&letter["answer"])
            );
        }
    }
    if as_json {
        say!("{}", json!({ "data": listed }));
    }
    Ok(())
}

/// How many are still refused. A line as soon as a letter is tried: what was delivered is known even if the next one fails.
async fn retry(remote: &Remote, destination: &str, numbers: &[u64], as_json: bool) -> Result<u64, Failed> {
    let mut refused = 0;
    for number in numbers {
        let letter = format!("{}/dead-letters/{number}/retry", path(destination));
        let answer = remote.ask(Method::POST, &letter, None).await?;
        let delivered = answer["delivered"] == true;
        refused += u64::from(!delivered);
        if as_json {
            say!("{}", json!({ "number": number, "delivered": delivered, "answer": answer["answer"] }));
            continue;
        }
        let outcome = if delivered { "delivered" } else { "still refused" };
        say!("{number}: {outcome} ({})", said(&answer["answer"]));
    }
    Ok(refused)
}

/// Gives letters up. A line as soon as one is: what was done is known even if the next one fails.
async fn discard(remote: &Remote, destination: &str, numbers: &[u64], as_json: bool) -> Result<(), Failed> {
    for number in numbers {
        let letter = format!("{}/dead-letters/{number}/discard", path(destination));
        remote.ask(Method::POST, &letter, None).await?;
        if as_json {
            say!("{}", json!({ "number": number, "outcome": "discarded" }));
        } else {
            say!("{number}: discarded");
        }
    }
    Ok(())
}

/// Letters that one request sends again: few enough to see how it goes.
const LETTERS: usize = 200;

/// All of a destination's letters, until there is none left or it takes nothing; what was told till then is so.
/// How many are still refused.
async fn retry_all(remote: &Remote, destination: &str, as_json: bool) -> Result<u64, Failed> {
    let count = |answer: &Value, what: &str| answer[what].as_u64().unwrap_or_default();
    let (mut cursor, mut delivered, mut failed) = (0, 0, 0);
    loop {
        let page = format!("{}/dead-letters/retry-all?cursor={cursor}&limit={LETTERS}", path(destination));
        let answer = remote.ask(Method::POST, &page, None).await?;
        delivered += count(&answer, "delivered");
        failed += count(&answer, "failed");
        if as_json {
            say!("{answer}");
        } else {
            for one in answer["failures"].as_array().into_iter().flatten() {
                say!("{}: still refused ({})", one["number"], said(&one["answer"]));
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
            say!("{delivered} delivered, {failed} still refused, going on from {next}");
        }
        cursor = next;
    }
    if !as_json {
        say!("{delivered} delivered, {failed} still refused");
    }
    Ok(failed)
}

/// What a receiver answered: the status, and its words as one quoted line.
fn said(answer: &Value) -> String {
    format!("{} {}", answer["status"], clean(&answer["text"].to_string()))
}

/// Where the API has a destination.
fn path(key: &str) -> String {
    format!("/api/destinations/{}", encoded(key))
}

async fn letters(remote: &Remote, key: &str) -> Result<Vec<Value>, Failed> {
    remote.all(&format!("{}/dead-letters", path(key)), &Value::Null).await
}
