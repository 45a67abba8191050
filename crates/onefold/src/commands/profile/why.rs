//! `onefold profile why`: why two identifiers are one person, or why they are not.

use super::{VALUE_COLUMNS, text};
use crate::commands::decisions;
use crate::commands::text::{counted, cut};
use crate::http::{Failed, Remote, encoded};
use crate::out::say;
use hyper::Method;
use serde_json::Value;

pub(super) async fn run(remote: &Remote, a: &str, b: &str, as_json: bool) -> Result<(), Failed> {
    let path = format!("/api/why?a={}&b={}", encoded(a), encoded(b));
    let answer = remote.ask(Method::GET, &path, None).await?;
    if as_json {
        say!("{answer:#}");
        return Ok(());
    }
    let (a, b) = (cut(a, VALUE_COLUMNS), cut(b, VALUE_COLUMNS));
    if answer["together"] == true {
        let hops = answer["path"].as_array().map_or(&[][..], Vec::as_slice);
        if hops.is_empty() {
            say!("{a} and {b} are one identifier");
            return Ok(());
        }
        say!("{a} and {b} are one person, by {}:", counted(hops.len() as u64, "link"));
        for hop in hops {
            print_hop(remote, hop, "  ").await?;
        }
        return Ok(());
    }
    say!("{a} and {b} are not one person:");
    let reason = &answer["reason"];
    if reason["kind"] == "rejected" {
        say!("  what would link them:");
        print_hop(remote, &reason["hop"], "    ").await?;
        say!("  what forbids it: {}", text(&reason["rule"]));
        let witnesses = reason["witnesses"].as_array().into_iter().flatten().map(name);
        say!("    shown by {}", witnesses.collect::<Vec<_>>().join(" and "));
        return Ok(());
    }
    // What this version does not know is shown as the server says it.
    let detail = reason["detail"].as_str().map_or_else(|| reason.to_string(), str::to_owned);
    say!("  {}", cut(&detail, 3 * VALUE_COLUMNS));
    Ok(())
}

/// An identifier that the server names.
fn name(id: &Value) -> String {
    let part = |name: &str| id[name].as_str().unwrap_or_default();
    cut(&format!("{}:{}", part("type"), part("id")), VALUE_COLUMNS)
}

/// A link, and below it what says so.
async fn print_hop(remote: &Remote, hop: &Value, indent: &str) -> Result<(), Failed> {
    say!("{indent}{} – {}", name(&hop["from"]), name(&hop["to"]));
    let because = &hop["because"];
    match (because["kind"].as_str(), because["decision"].as_u64()) {
        (Some("operator"), Some(number)) => say!("{indent}  {}", decision(remote, number).await?),
        _ => say!("{indent}  {}", events(because)),
    }
    Ok(())
}

/// The events that hold both, with their times and the ids of some.
fn events(because: &Value) -> String {
    let count = because["count"].as_u64().unwrap_or_default();
    let mut line = format!("{}, first {}", counted(count, "event"), text(&because["first"]));
    if count > 1 && because["last"].is_string() {
        line.push_str(&format!(", last {}", text(&because["last"])));
    }
    let ids = because["message_ids"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<_> =
        ids.iter().map(|id| cut(id.as_str().unwrap_or_default(), VALUE_COLUMNS / 2)).collect();
    if !names.is_empty() {
        let word = if count == 1 { "message" } else { "messages" };
        let more = if count > ids.len() as u64 { ", …" } else { "" };
        line.push_str(&format!(": {word} {}{more}", names.join(", ")));
    }
    line
}

/// An operator's decision, with who took it, when and why.
async fn decision(remote: &Remote, number: u64) -> Result<String, Failed> {
    let Some(item) = decisions::item(remote, number).await? else { return Ok(format!("decision {number}")) };
    let mut line = format!("decision {number} of {} at {}", text(&item["operator"]), text(&item["at"]));
    if !text(&item["reason"]).is_empty() {
        line.push_str(&format!(": {}", text(&item["reason"])));
    }
    Ok(line)
}
