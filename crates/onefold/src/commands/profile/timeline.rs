//! `onefold profile timeline`: what someone did.

use super::{NAME_COLUMNS, VALUE_COLUMNS, items, text};
use crate::commands::profiles::Profiles;
use crate::commands::text::{counted, cut, table};
use crate::http::Failed;
use crate::out::{put, say};
use serde_json::Value;

/// Shows the latest events, at most `most`, and says whether there are more.
pub(super) async fn run(profiles: &Profiles<'_>, id: &str, most: u64, as_json: bool) -> Result<(), Failed> {
    let events = profiles.list(id, "events", most).await?;
    if as_json {
        say!("{events:#}");
        return Ok(());
    }
    let rows: Vec<_> = items(&events).iter().map(row).collect();
    put!("{}", table(&rows));
    let shown = counted(rows.len() as u64, "event");
    if events["cursor"]["has_more"] == true {
        say!("{shown}, the latest; there are more: --limit N shows N, --all every one");
    } else {
        say!("{shown}");
    }
    Ok(())
}

fn row(event: &Value) -> Vec<String> {
    let name = cut(event["event"].as_str().unwrap_or_default(), NAME_COLUMNS);
    let properties = cut(&event["properties"].to_string(), VALUE_COLUMNS);
    vec![text(&event["timestamp"]), text(&event["type"]), name, properties]
}
