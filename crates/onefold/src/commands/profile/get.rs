//! `onefold profile get`: who someone is.

use super::{NAME_COLUMNS, VALUE_COLUMNS, items, text};
use crate::commands::profiles::Profiles;
use crate::commands::text::{clean, counted, cut, table};
use crate::http::Failed;
use crate::out::{put, say};
use serde_json::{Map, Value};

pub(super) async fn run(profiles: &Profiles<'_>, id: &str, as_json: bool) -> Result<(), Failed> {
    if as_json {
        let mut whole = Map::new();
        whole.insert("metadata".to_owned(), profiles.part(id, "metadata").await?);
        for part in ["external_ids", "audiences", "traits?verbose=true", "links"] {
            let name = part.split('?').next().unwrap_or(part);
            whole.insert(name.to_owned(), profiles.list(id, part, u64::MAX).await?);
        }
        say!("{:#}", Value::Object(whole));
        return Ok(());
    }
    let metadata = profiles.part(id, "metadata").await?;
    let ids = profiles.part(id, "external_ids?limit=200").await?;
    let plain = profiles.part(id, "traits?class=trait&verbose=true").await?;
    let computed = profiles.part(id, "traits?class=computed_trait&verbose=true").await?;
    let audiences = profiles.part(id, "audiences?limit=200&verbose=true").await?;
    let links = profiles.part(id, "links?limit=200").await?;
    say!("{}\n{}", clean(id), table(&summary(&metadata["metadata"])).trim_end());
    section("identifiers", items(&ids).iter().map(identifier), &ids);
    section("traits", members(&plain).map(held), &plain);
    section("computed traits", members(&computed).map(held), &computed);
    let audience = |audience: &Value| vec![text(&audience["key"]), since(audience)];
    section("audiences", items(&audiences).iter().map(audience), &audiences);
    section("accounts", items(&links).iter().map(account), &links);
    Ok(())
}

/// A title with a row for each item; `list` says whether there are more than were asked for.
fn section(title: &str, rows: impl Iterator<Item = Vec<String>>, list: &Value) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        say!("{title}: none");
        return;
    }
    put!("{title}\n{}", table(&rows));
    if list["cursor"]["has_more"] == true {
        say!("  and more: --json has them all");
    }
}

fn members(traits: &Value) -> impl Iterator<Item = (&str, &Value)> {
    traits["traits"].as_object().into_iter().flatten().map(|(key, held)| (key.as_str(), held))
}

fn summary(metadata: &Value) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let count = |name: &str| metadata[name].as_u64().unwrap_or_default();
    let key = metadata["customer_key"].as_str().map_or_else(|| "none yet".to_owned(), clean);
    let mut events = counted(count("events"), "event");
    for (word, time) in [("first", "created_at"), ("last", "updated_at")] {
        if let Some(time) = metadata[time].as_str() {
            events.push_str(&format!(", {word} {}", clean(time)));
        }
    }
    if count("events_trimmed") > 0 {
        events.push_str(&format!("; {} of them trimmed from the log", count("events_trimmed")));
    }
    vec![row("profile", text(&metadata["profile_id"])), row("customer key", key), row("events", events)]
}

fn identifier(id: &Value) -> Vec<String> {
    vec![text(&id["type"]), cut(id["id"].as_str().unwrap_or_default(), VALUE_COLUMNS)]
}

/// A trait with what set it, a source or Onefold itself, and when.
fn held((key, held): (&str, &Value)) -> Vec<String> {
    vec![
        cut(key, NAME_COLUMNS),
        cut(&held["value"].to_string(), VALUE_COLUMNS),
        text(&held["source_id"]),
        text(&held["updated_at"]),
    ]
}

fn account(link: &Value) -> Vec<String> {
    let id = cut(link["external_ids"][0]["id"].as_str().unwrap_or_default(), VALUE_COLUMNS);
    vec![id, since(link)]
}

/// Since when something holds, if it is known.
fn since(item: &Value) -> String {
    item["since"].as_str().map(|time| format!("since {}", clean(time))).unwrap_or_default()
}
