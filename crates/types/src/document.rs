//! The workspace as an operator writes it: what a file and the body of an apply have in common.
//!
//! - **DOC-1:** nothing is swallowed: a key that is not known here, and a value of another kind than its key has, is a
//!   problem with its place.
//! - **DOC-2:** what is not said stays: a document without `timezone` or `identity` keeps what is in force.
//! - **DOC-3:** a document of another workspace than the one in force is refused, unless it says that it renames it.
//!
//! The kinds of values are in `shape.rs`; what one value has to do with another is in `sense.rs`.

mod sense;
mod shape;

use crate::workspace::{Audience, ComputedTrait, Destination, IdentityConfig, Source, Workspace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use sense::{notes, problems};
pub use shape::check;

/// Something in a document that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where: `audiences[2].where`, or of a whole workspace by key, `sources.web.origins`.
    pub place: String,
    /// What is wrong, what was expected, and the nearest that would have been right.
    pub detail: String,
}

impl Wrong {
    pub(crate) fn new(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { place: place.into(), detail: detail.into() }
    }
}

/// A workspace as it was written. What stands for itself where it is not said is `None`; the rest is as in [`Workspace`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of the shape: 1.
    pub version: u32,
    /// The workspace's key.
    pub workspace: String,
    /// The key it had: without it a document is of the workspace in force or of none ([`Self::of`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// IANA time zone; `None` keeps the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Where messages come from.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Who is who, all of it; `None` keeps the rules in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityConfig>,
    /// Values computed per profile.
    #[serde(default)]
    pub computed_traits: Vec<ComputedTrait>,
    /// Who is in what.
    #[serde(default)]
    pub audiences: Vec<Audience>,
    /// Where changes go.
    #[serde(default)]
    pub destinations: Vec<Destination>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// Everything whose shape is wrong, not only the first.
    pub fn read(value: Value) -> Result<Self, Vec<Wrong>> {
        let mut wrong = check(&value);
        wrong.extend(shape::missing(&value));
        if !wrong.is_empty() {
            return Err(wrong);
        }
        // What the shapes let through and this does not is a slip of ours: it has no place, but it is not lost.
        serde_json::from_value(value).map_err(|error| vec![Wrong::new("workspace", error.to_string())])
    }

    /// Whether it is of the workspace that is in force: of its key, or of another that says that it was renamed from that.
    /// A document of a workspace of its own would be merged into the one in force, which takes its key.
    ///
    /// # Errors
    /// It is of another; both are named.
    pub fn of(&self, in_force: &Workspace) -> Result<(), Wrong> {
        let (said, known) = (&self.workspace, &in_force.workspace);
        if said == known || self.renamed_from.as_ref() == Some(known) {
            return Ok(());
        }
        let before = self.renamed_from.as_ref().map(|before| format!(", renamed from `{before}`,"));
        let before = before.unwrap_or_default();
        Err(Wrong::new(
            "workspace",
            format!(
                "this is of the workspace `{said}`{before} and `{known}` is in force; is it meant for another server? To \
                 rename `{known}`, add `renamed_from: {known}`"
            ),
        ))
    }

    /// The workspace that it says, over the one that is in force; the defaults if there is none.
    #[must_use]
    pub fn over(self, in_force: Option<&Workspace>) -> Workspace {
        let timezone = self.timezone.or_else(|| in_force.map(|known| known.timezone.clone()));
        let identity = self.identity.or_else(|| in_force.map(|known| known.identity.clone()));
        Workspace {
            version: self.version,
            workspace: self.workspace,
            timezone: timezone.unwrap_or_else(|| "UTC".to_owned()),
            sources: self.sources,
            identity: identity.unwrap_or_default(),
            computed_traits: self.computed_traits,
            audiences: self.audiences,
            destinations: self.destinations,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Document {
        Document::read(value).unwrap()
    }

    #[test]
    fn what_is_not_said_is_kept_and_the_default_where_nothing_is_in_force() {
        let first = read(json!({ "version": 1, "workspace": "acme" })).over(None);
        assert_eq!((first.timezone.as_str(), &first.identity), ("UTC", &IdentityConfig::default()));
        let said = json!({ "version": 1, "workspace": "acme", "timezone": "Europe/Amsterdam",
            "identity": { "preset": "b2b", "size_cap": 7 } });
        let in_force = read(said).over(Some(&first));
        assert_eq!((in_force.timezone.as_str(), in_force.identity.size_cap), ("Europe/Amsterdam", 7));
        let after = read(json!({ "version": 1, "workspace": "acme" })).over(Some(&in_force));
        assert_eq!((&after.timezone, &after.identity), (&in_force.timezone, &in_force.identity));
        // Said, if only as an empty group, it is said.
        let reset = read(json!({ "version": 1, "workspace": "acme", "identity": {} })).over(Some(&in_force));
        assert_eq!(reset.identity, IdentityConfig::default());
    }

    #[test]
    fn a_document_of_another_workspace_is_none_of_this_one_unless_it_renames_it() {
        let document = |key: &str, before: Option<&str>| {
            let mut value = json!({ "version": 1, "workspace": key });
            if let Some(before) = before {
                value["renamed_from"] = before.into();
            }
            read(value)
        };
        let acme = document("acme", None).over(None);
        for (key, before) in [("acme", None), ("other", Some("acme")), ("acme", Some("older"))] {
            assert_eq!(document(key, before).of(&acme), Ok(()), "{key} {before:?}");
        }
        for (key, before, both) in [
            ("other", None, "workspace `other` and `acme` is in force"),
            ("other", Some("third"), "workspace `other`, renamed from `third`, and `acme` is in force"),
            ("Acme", None, "workspace `Acme` and `acme` is in force"),
        ] {
            let wrong = document(key, before).of(&acme).unwrap_err();
            assert_eq!(wrong.place, "workspace");
            assert!(wrong.detail.contains(both), "{}", wrong.detail);
            assert!(wrong.detail.ends_with("add `renamed_from: acme`"), "{}", wrong.detail);
        }
        // It says what was, and is no part of what is.
        let renamed = serde_json::to_value(document("other", Some("acme")).over(Some(&acme))).unwrap();
        assert_eq!((&renamed["workspace"], renamed.get("renamed_from")), (&json!("other"), None));
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let wrong = Document::read(json!({
            "version": 1, "timezoen": "UTC", "audiences": [{ "key": "a", "where": "true", "enabld": false }],
            "sources": [{ "key": "web", "kind": "brower", "rate_limt": 5 }],
        }));
        let mut told: Vec<String> =
            wrong.unwrap_err().into_iter().map(|w| format!("{}: {}", w.place, w.detail)).collect();
        told.sort();
        assert_eq!(
            told,
            [
                "audiences[0].enabld: unknown key; did you mean `enabled`?",
                "sources[0].kind: expected one of browser, mobile, server, import, crm, webhook, found \"brower\"; did you \
                 mean `browser`?",
                "sources[0].rate_limt: unknown key; did you mean `rate_limit`?",
                "timezoen: unknown key; did you mean `timezone`?",
                "workspace: missing; expected text",
            ]
        );
    }
}
