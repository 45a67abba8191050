//! Values that say nothing about anyone (identity.md 1.1). One creates no node; the raw value stays in the stored event.

use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;

/// Compared without case, after normalisation.
const BUILT_IN: &[&str] = &[
    "",
    "null",
    "undefined",
    "none",
    "unknown",
    "anonymous",
    "guest",
    "n/a",
    "-1",
    "[object object]",
    "nan",
    "true",
    "false",
    "test",
];

/// Memory that one of the workspace's regular expressions may take when built.
const REGEX_BYTES: usize = 1 << 20;

/// The built-in list and the workspace's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocked {
    values: BTreeSet<String>,
    patterns: Vec<Regex>,
}

impl Blocked {
    /// Reads the workspace's list: values, and `/regular expressions/`.
    pub(crate) fn compile(list: &[String]) -> Result<Self, String> {
        let mut blocked = Self::default();
        for entry in list {
            match entry.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
                Some(pattern) => {
                    let built =
                        RegexBuilder::new(pattern).case_insensitive(true).size_limit(REGEX_BYTES).build();
                    blocked.patterns.push(
                        built.map_err(|error| {
                            format!("the blocked pattern {entry} cannot be used: {error}")
                        })?,
                    );
                }
                None => {
                    blocked.values.insert(entry.trim().to_lowercase());
                }
            }
        }
        Ok(blocked)
    }

    /// Whether `value`, normalised, is blocked.
    pub(crate) fn holds(&self, value: &str) -> bool {
        let zeros = value.bytes().all(|byte| byte == b'0' || byte == b'-');
        let lower = value.to_lowercase();
        zeros
            || BUILT_IN.contains(&lower.as_str())
            || self.values.contains(&lower)
            || self.patterns.iter().any(|pattern| pattern.is_match(value))
    }
}

#[cfg(test)]
mod tests {
    use super::Blocked;

    #[test]
    fn what_says_nothing_is_blocked_and_what_says_something_is_not() {
        let blocked = Blocked::compile(&["test@example.com".to_owned(), "/^qa-.*$/".to_owned()]).unwrap();
        for value in ["", "NULL", "0", "0000-0000", "-", "[object Object]", "Test@Example.com", "QA-7", "N/A"]
        {
            assert!(blocked.holds(value), "{value}");
        }
        for value in ["u1", "00a", "nullable", "x@y.com", "my-qa-7"] {
            assert!(!blocked.holds(value), "{value}");
        }
        assert!(Blocked::compile(&["/(/".to_owned()]).is_err());
    }
}
