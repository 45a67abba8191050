//! `onefold deliveries`: destinations and their dead letters.

use crate::args::{Deliveries, Letters};
use crate::http::{Failed, Remote};
use hyper::Method;
use serde_json::Value;
use std::process::ExitCode;

pub(crate) async fn run(deliveries: Deliveries) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&deliveries.server);
    match &deliveries.what {
        Letters::List { destination } => {
            let status = remote.ask(Method::GET, "/api/destinations", None).await?;
            for known in status["data"].as_array().into_iter().flatten() {
                let key = known["key"].as_str().unwrap_or_default();
                if destination.as_ref().is_some_and(|wanted| wanted != key) {
                    continue;
                }
                println!(
                    "{key}: {} delivered, {} queued, {} failed attempts, {} dead",
                    known["delivered"], known["queued"], known["failed"], known["dead"]
                );
                for letter in letters(&remote, key).await? {
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
        }
        Letters::Retry { destination, number } => {
            let numbers: Vec<u64> = if number.is_empty() {
                letters(&remote, destination)
                    .await?
                    .iter()
                    .filter_map(|letter| letter["number"].as_u64())
                    .collect()
            } else {
                number.clone()
            };
            for number in numbers {
                let path = format!("/api/destinations/{destination}/dead-letters/{number}/retry");
                let answer = remote.ask(Method::POST, &path, None).await?;
                let outcome = if answer["delivered"] == true { "delivered" } else { "still refused" };
                println!("{number}: {outcome} ({} {})", answer["answer"]["status"], answer["answer"]["text"]);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn letters(remote: &Remote, key: &str) -> Result<Vec<Value>, Failed> {
    let answer =
        remote.ask(Method::GET, &format!("/api/destinations/{key}/dead-letters?limit=1000"), None).await?;
    Ok(answer["data"].as_array().cloned().unwrap_or_default())
}
