//! Why something was not done.

use crate::Identifier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A problem (RFC 9457), as every error of the management and profile API is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A page about this kind of problem: `about:blank` where the title says it all.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The reason, machine-readable.
    pub code: String,
    /// What happened, and what was expected.
    pub detail: String,
    /// Further problems of the same request, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Place>,
    /// Of a decision that is refused: the rule that forbids it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Of a decision that is refused: the identifiers that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Identifier>,
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Where: `audiences.high_intent`.
    pub place: String,
    /// What.
    pub detail: String,
}

impl Problem {
    /// A problem without a page of its own.
    pub fn new(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            problem_type: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            problems: Vec::new(),
            rule: None,
            witnesses: Vec::new(),
        }
    }
}
