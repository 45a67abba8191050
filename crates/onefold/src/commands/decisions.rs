//! `onefold decisions`: what an operator decides about people, and what was decided.
//!
//! The API answers once a decision counts, so who has an identifier is asked before and after: the difference is what
//! the decision did, and what came in meanwhile.

use crate::args::{Decide, Decisions, Why};
use crate::commands::profiles::Profiles;
use crate::commands::question::confirmed;
use crate::commands::text::{clean, counted, cut};
use crate::http::{Failed, Remote};
use crate::out::{put, say};
use hyper::Method;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Columns of an identifier or a message id in a line.
const ID_COLUMNS: usize = 80;
/// Identifiers of a profile that are named before it is deleted.
const NAMED: usize = 10;

pub(crate) async fn run(decisions: Decisions) -> Result<ExitCode, Failed> {
    let remote = Remote::of(&decisions.server);
    let as_json = decisions.server.json;
    let (decision, why) = match decisions.what {
        Decide::List { from } => {
            list(&remote, from, as_json).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Decide::Link(two) => (Decision::Link { a: two.a, b: two.b }, two.why),
        Decide::Cut(two) => (Decision::Cut { a: two.a, b: two.b }, two.why),
        Decide::Force(two) => (Decision::Force { a: two.a, b: two.b }, two.why),
        Decide::Block(one) => (Decision::Block { id: one.id }, one.why),
        Decide::Unblock(one) => (Decision::Unblock { id: one.id }, one.why),
        Decide::Undo { number, why } => (Decision::Undo { number }, why),
        Decide::IssueCustomerKey(one) => (Decision::IssueCustomerKey { id: one.id }, one.why),
        Decide::DeleteMessage { message_id, yes, why } => {
            if !yes {
                let shown = cut(&message_id, ID_COLUMNS);
                sure(&format!("forget the message {shown} for good?"))?;
            }
            (Decision::DeleteMessage { message_id }, why)
        }
        Decide::DeleteProfile { id, yes, why } => {
            if !yes {
                sure(&format!("{}\nforget it for good?", doomed(&remote, &id).await?))?;
            }
            (Decision::DeleteProfile { id }, why)
        }
    };
    take(&remote, decision, why, as_json).await?;
    Ok(ExitCode::SUCCESS)
}

fn sure(question: &str) -> Result<(), Failed> {
    if confirmed(question)? {
        return Ok(());
    }
    Err(Failed::new("not deleted; run with --yes to delete without being asked"))
}

/// The profile that would be deleted, in words.
async fn doomed(remote: &Remote, id: &Identifier) -> Result<String, Failed> {
    let profiles = Profiles::of(remote).await?;
    let metadata = profiles.part(&id.to_string(), "metadata").await?;
    let ids = profiles.part(&id.to_string(), "external_ids?limit=200").await?;
    let ids = ids["data"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |id: &Value| cut(&format!("{}:{}", text(&id["type"]), text(&id["id"])), ID_COLUMNS);
    let mut names = ids.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", ");
    if ids.len() > NAMED {
        names.push_str(" and others");
    }
    Ok(format!("{}: {names}", Holder::of(&metadata)))
}

/// Asks for a decision and tells what became of it.
async fn take(remote: &Remote, decision: Decision, why: Why, as_json: bool) -> Result<(), Failed> {
    let mut asked = serde_json::to_value(&decision).map_err(|error| Failed::new(error.to_string()))?;
    asked["reason"] = why.reason.into();
    asked["operator"] =
        why.operator.filter(|name| !name.is_empty()).or_else(login).unwrap_or_default().into();
    if as_json {
        say!("{}", remote.ask(Method::POST, "/api/decisions", Some(&asked)).await?);
        return Ok(());
    }
    let profiles = Profiles::of(remote).await?;
    let taken_back = match &decision {
        Decision::Undo { number } => kept(remote, *number).await?,
        _ => None,
    };
    let about = about(taken_back.as_ref().unwrap_or(&decision));
    let before = holders(&profiles, &about).await?;
    let answer = remote.ask(Method::POST, "/api/decisions", Some(&asked)).await?;
    // Told at once: it is taken, even if what follows fails.
    put!("decision {}: {}", answer["number"], in_words(&decision));
    say!("{}", taken_back.map(|undone| format!(", {}", in_words(&undone))).unwrap_or_default());
    if let Some(key) = answer["customer_key"].as_str() {
        say!("  customer key {}", clean(key));
    }
    let after = holders(&profiles, &about).await?;
    let ids = |all: &[Option<Holder>]| -> Vec<Option<String>> {
        all.iter().map(|one| one.as_ref().map(|known| known.profile_id.clone())).collect()
    };
    // Events alone come in without a decision.
    if ids(&before) != ids(&after) {
        let changed = about.iter().zip(before.iter().zip(&after)).filter(|(_, (was, is))| was != is);
        for (id, (was, is)) in changed {
            say!("  {}: {} -> {}", named(id), whose(was.as_ref()), whose(is.as_ref()));
        }
    } else if !matches!(decision, Decision::IssueCustomerKey { .. } | Decision::DeleteMessage { .. }) {
        say!("  no profile is another by it");
    }
    Ok(())
}

/// Who is logged in, as the system says.
fn login() -> Option<String> {
    ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
}

/// The identifiers that a decision is about.
fn about(decision: &Decision) -> Vec<Identifier> {
    match decision {
        Decision::Link { a, b } | Decision::Cut { a, b } | Decision::Force { a, b } => {
            vec![a.clone(), b.clone()]
        }
        Decision::Block { id }
        | Decision::Unblock { id }
        | Decision::DeleteProfile { id }
        | Decision::IssueCustomerKey { id } => vec![id.clone()],
        Decision::Undo { .. } | Decision::DeleteMessage { .. } | Decision::Release { .. } => Vec::new(),
    }
}

/// Whose an identifier is.
#[derive(PartialEq, Eq)]
struct Holder {
    profile_id: String,
    events: u64,
}

impl Holder {
    fn of(metadata: &Value) -> Self {
        let metadata = &metadata["metadata"];
        Self {
            profile_id: metadata["profile_id"].as_str().unwrap_or_default().to_owned(),
            events: metadata["events"].as_u64().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "profile {} with {}", self.profile_id, counted(self.events, "event"))
    }
}

async fn holders(profiles: &Profiles<'_>, ids: &[Identifier]) -> Result<Vec<Option<Holder>>, Failed> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let metadata = profiles.part_if_known(&id.to_string(), "metadata").await?;
        found.push(metadata.as_ref().map(Holder::of));
    }
    Ok(found)
}

fn whose(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "nobody".to_owned(), Holder::to_string)
}

/// An identifier as a line shows it.
fn named(id: &Identifier) -> String {
    cut(&id.to_string(), ID_COLUMNS)
}

/// A decision as a line shows it.
fn in_words(decision: &Decision) -> String {
    match decision {
        Decision::Link { a, b } => format!("link {} and {}", named(a), named(b)),
        Decision::Cut { a, b } => format!("cut {} from {}", named(a), named(b)),
        Decision::Force { a, b } => format!("force {} and {} to count as one", named(a), named(b)),
        Decision::Block { id } => format!("block {}", named(id)),
        Decision::Unblock { id } => format!("unblock {}", named(id)),
        Decision::Undo { number } => format!("undo {number}"),
        Decision::DeleteMessage { message_id } => {
            format!("delete the message {}", cut(message_id, ID_COLUMNS))
        }
        Decision::DeleteProfile { id } => format!("delete the profile of {}", named(id)),
        Decision::IssueCustomerKey { id } => format!("issue the customer key of {}", named(id)),
        Decision::Release { number } => format!("release item {number} of the quarantine"),
    }
}

/// The decision of a listed item; `None` for a kind that this version does not know.
fn decision_of(item: &Value) -> Option<Decision> {
    serde_json::from_value(item["decision"].clone()).ok()
}

/// Decision `number` with who took it, when and why; `None` if there is none.
pub(crate) async fn item(remote: &Remote, number: u64) -> Result<Option<Value>, Failed> {
    let page = remote.ask(Method::GET, &format!("/api/decisions?cursor={number}&limit=1"), None).await?;
    Ok(page["data"].get(0).filter(|item| item["number"] == number).cloned())
}

async fn kept(remote: &Remote, number: u64) -> Result<Option<Decision>, Failed> {
    Ok(item(remote, number).await?.as_ref().and_then(decision_of))
}

async fn list(remote: &Remote, from: u64, as_json: bool) -> Result<(), Failed> {
    let all = remote.all("/api/decisions", &from.into()).await?;
    if as_json {
        say!("{}", json!({ "data": all }));
        return Ok(());
    }
    let undoing = |item: &Value| match decision_of(item)? {
        Decision::Undo { number } => Some((number, item["number"].as_u64()?)),
        _ => None,
    };
    let undone: BTreeMap<u64, u64> = all.iter().filter_map(undoing).collect();
    for item in &all {
        let undone = item["number"].as_u64().and_then(|number| undone.get(&number));
        say!("{}", line(item, undone.copied()));
    }
    say!("{}", counted(all.len() as u64, "decision"));
    Ok(())
}

/// A listed decision as a line, with the number of the one that took it back.
fn line(item: &Value, undone_by: Option<u64>) -> String {
    let text = |name: &str| clean(item[name].as_str().unwrap_or_default());
    let what =
        decision_of(item).map_or_else(|| clean(&item["decision"].to_string()), |known| in_words(&known));
    let mut line = format!("{} {} {}: {what}", item["number"], text("at"), text("operator"));
    if !text("reason").is_empty() {
        line.push_str(&format!(" ({})", text("reason")));
    }
    if let Some(number) = undone_by {
        line.push_str(&format!(", undone by {number}"));
    }
    line
}
