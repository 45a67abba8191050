//! `onefold deliveries`: destinations and their dead letters.

use crate::args::{Deliveries, Letters};
use crate::http::{Failed, Remote};
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn run(deliveries: Deliveries) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&deliveries.server);
    let as_json = deliveries.server.json;
    match deliveries.what {
        Letters::List { destination } => list(&remote, destination.as_deref(), as_json).await?,
        Letters::Retry { destination, number } => retry(&remote, &destination, number, as_json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(remote: &Remote, wanted: Option<&str>, as_json: bool) -> Result<(), Failed> {
    let status = remote.ask(Method::GET, "/api/destinations", None).await?;
    let all = status["data"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(wanted) = wanted.filter(|wanted| !all.iter().any(|known| known["key"] == **wanted)) {
        return Err(Failed::new(format!("no enabled destination is called `{wanted}`")));
    }
    let mut listed = Vec::new();
    for known in all {
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
        for letter in letters {
            println!(
                "  {} {} after {} attempts: {} {}",
                letter["number"],
                letter["at"],
                letter["attempts"],
                letter["answer"]["status"],
                letter["answer"]["text"]
            );
        }
    }
    if as_json {
        println!("{}", json!({ "data": listed }));
    }
    Ok(())
}

/// A line as soon as a letter is tried: what was delivered is known even if the next one fails.
async fn retry(
    remote: &Remote,
    destination: &str,
    mut numbers: Vec<u64>,
    as_json: bool,
) -> Result<(), Failed> {
    if numbers.is_empty() {
        let all = letters(remote, destination).await?;
        numbers = all.iter().filter_map(|letter| letter["number"].as_u64()).collect();
    }
    for number in numbers {
        let path = format!("/api/destinations/{destination}/dead-letters/{number}/retry");
        let answer = remote.ask(Method::POST, &path, None).await?;
        let delivered = answer["delivered"] == true;
        if as_json {
            println!("{}", json!({ "number": number, "delivered": delivered, "answer": answer["answer"] }));
            continue;
        }
        let outcome = if delivered { "delivered" } else { "still refused" };
        println!("{number}: {outcome} ({} {})", answer["answer"]["status"], answer["answer"]["text"]);
    }
    Ok(())
}

async fn letters(remote: &Remote, key: &str) -> Result<Vec<Value>, Failed> {
    let answer =
        remote.ask(Method::GET, &format!("/api/destinations/{key}/dead-letters?limit=1000"), None).await?;
    Ok(answer["data"].as_array().cloned().unwrap_or_default())
}
