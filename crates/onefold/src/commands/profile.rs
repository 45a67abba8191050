//! `onefold profile`: who someone is, what they did, and why.

mod get;
mod timeline;
mod why;

use crate::args::{Ask, Profile};
use crate::commands::profiles::Profiles;
use crate::commands::text::clean;
use crate::http::{Failed, Remote};
use serde_json::Value;
use std::process::ExitCode;

/// Columns of the name of a trait or an event in a line.
const NAME_COLUMNS: usize = 40;
/// Columns of a value in a line.
const VALUE_COLUMNS: usize = 80;

pub(crate) async fn run(profile: Profile) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&profile.server);
    let as_json = profile.server.json;
    match &profile.ask {
        Ask::Get { id } => get::run(&Profiles::of(&remote).await?, id, as_json).await?,
        Ask::Timeline { id, limit, all } => {
            let most = if *all { u64::MAX } else { *limit };
            timeline::run(&Profiles::of(&remote).await?, id, most, as_json).await?;
        }
        Ask::Why { a, b } => why::run(&remote, a, b, as_json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The string in `value`, clean; empty if there is none.
fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or_default())
}

/// The items of a list.
fn items(list: &Value) -> &[Value] {
    list["data"].as_array().map_or(&[], Vec::as_slice)
}
