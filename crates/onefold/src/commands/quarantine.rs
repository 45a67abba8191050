//! `onefold quarantine`: what was refused, and sending it again.

use crate::args::{Quarantine, Refused};
use crate::commands::text::{clean, counted};
use crate::http::{Failed, Remote};
use crate::out::say;
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn run(quarantine: Quarantine) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&quarantine.server);
    let as_json = quarantine.server.json;
    match quarantine.what {
        Refused::List { from, bodies } => list(&remote, from, bodies, as_json).await?,
        Refused::Send { number, body } => {
            if body.is_some() && number.len() > 1 {
                return Err(Failed::new("--body is one item; name one number with it"));
            }
            let body: Option<Value> = body
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| Failed::new(format!("--body is not JSON: {error}")))?;
            for number in number {
                let path = format!("/api/quarantine/{number}/send");
                remote.ask(Method::POST, &path, Some(&json!({ "body": body }))).await?;
                tell(number, "sent", as_json);
            }
        }
        Refused::Discard { number } => {
            for number in number {
                remote.ask(Method::POST, &format!("/api/quarantine/{number}/discard"), None).await?;
                tell(number, "discarded", as_json);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line as soon as an item is done: what was done is known even if the next one fails.
fn tell(number: u64, outcome: &str, as_json: bool) {
    if as_json {
        say!("{}", json!({ "number": number, "outcome": outcome }));
    } else {
        say!("{number}: {outcome}");
    }
}

async fn list(remote: &Remote, from: u64, bodies: bool, as_json: bool) -> Result<(), Failed> {
    // A page with bodies is large: asked for only where they are shown.
    let wanted = if bodies { "&bodies=true" } else { "" };
    let mut cursor = Some(from);
    let mut all = Vec::new();
    let mut shown = 0;
    let mut dropped = Value::Null;
    while let Some(from) = cursor {
        let mut page = remote
            .ask(Method::GET, &format!("/api/quarantine?cursor={from}&limit=500{wanted}"), None)
            .await?;
        dropped = page["dropped"].take();
        cursor = page["cursor"].as_u64();
        let Value::Array(items) = page["data"].take() else { continue };
        shown += items.len() as u64;
        if as_json {
            all.extend(items);
            continue;
        }
        for item in items {
            print_item(&item, bodies);
        }
    }
    if as_json {
        say!("{}", json!({ "data": all, "dropped": dropped }));
    } else {
        say!("{}; {dropped} dropped by the cap so far", counted(shown, "item"));
    }
    Ok(())
}

fn print_item(item: &Value, bodies: bool) {
    let text = |name: &str| clean(item[name].as_str().unwrap_or_default());
    let (at, source) = (text("received_at"), text("source"));
    say!("{} {at} {source} {}: {}", item["number"], text("code"), text("detail"));
    if bodies {
        say!("    {}", text("body"));
    }
}
