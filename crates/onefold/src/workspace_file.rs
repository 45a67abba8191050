//! Reading workspace files: YAML, `${NAME}` from the environment, unknown keys with the nearest known one.
//!
//! Several files make one workspace: lists are joined, single values must agree.

use onefold_types::suggest;
use onefold_types::workspace::Workspace;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A workspace file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not YAML.
    #[error("{path}: not YAML: {detail}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        detail: String,
    },
    /// Something in it is wrong.
    #[error("{path}: {place}: {detail}")]
    Content {
        /// Which.
        path: PathBuf,
        /// The key's path: `audiences[2].where`.
        place: String,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// No file was named.
    #[error("no workspace file was named; expected at least one")]
    None,
}

const LABELS: &[&str] = &["name", "description", "owner", "tags", "enabled"];

/// The known keys at each place; `[]` stands for any element of a list.
const KNOWN: &[(&str, &[&str], bool)] = &[
    (
        "",
        &[
            "version",
            "workspace",
            "timezone",
            "sources",
            "identity",
            "computed_traits",
            "audiences",
            "destinations",
        ],
        false,
    ),
    ("sources[]", &["key", "kind", "write_key", "personalize", "origins", "rate_limit"], true),
    (
        "identity",
        &["preset", "identifiers", "blocked", "hub_threshold", "size_cap", "retro_window", "phone_region"],
        false,
    ),
    (
        "identity.identifiers[]",
        &["type", "rank", "scope", "limit", "within", "person_key", "last_wins", "length", "normalise"],
        false,
    ),
    ("computed_traits[]", &["key", "value", "renamed_from"], true),
    ("audiences[]", &["key", "where", "renamed_from"], true),
    ("destinations[]", &["key", "kind", "config", "audiences", "traits", "events"], true),
];

/// Reads `paths` as one workspace.
///
/// # Errors
/// The first thing that is wrong, with its file and place.
pub fn read(paths: &[PathBuf], environment: &dyn Fn(&str) -> Option<String>) -> Result<Workspace, Error> {
    let mut merged: Option<(PathBuf, Map<String, Value>)> = None;
    for path in paths {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let object = parse(path, &text, environment)?;
        merged = Some(match merged {
            None => (path.clone(), object),
            Some((first, whole)) => (first, join(path, whole, object)?),
        });
    }
    let (path, whole) = merged.ok_or(Error::None)?;
    serde_json::from_value(Value::Object(whole)).map_err(|error| Error::Content {
        path,
        place: "workspace".to_owned(),
        detail: error.to_string(),
    })
}

/// Reads one file's text into a checked tree.
fn parse(
    path: &Path,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Map<String, Value>, Error> {
    let mut value: Value = serde_saphyr::from_str(text)
        .map_err(|error| Error::Syntax { path: path.to_owned(), detail: error.to_string() })?;
    let wrong = |(place, detail): (String, String)| Error::Content { path: path.to_owned(), place, detail };
    expand(&mut value, "", environment).map_err(wrong)?;
    check_keys(&value, "", "").map_err(wrong)?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(wrong((
            "file".to_owned(),
            "expected keys such as `version: 1` and `workspace: …`".to_owned(),
        ))),
    }
}

type Wrong = (String, String);

fn expand(value: &mut Value, place: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), Wrong> {
    match value {
        Value::String(text) if text.contains("${") => {
            *text = expand_text(text, environment).map_err(|detail| (place.to_owned(), detail))?;
            Ok(())
        }
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, item)| expand(item, &format!("{place}[{index}]"), environment)),
        Value::Object(object) => object.iter_mut().try_for_each(|(key, item)| {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            expand(item, &place, environment)
        }),
        _ => Ok(()),
    }
}

fn expand_text(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find('}').ok_or_else(|| "`${` has no closing `}`".to_owned())?;
        let name = &after[..end];
        let value = environment(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
        out.push_str(&value);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn check_keys(value: &Value, pattern: &str, place: &str) -> Result<(), Wrong> {
    match value {
        Value::Object(object) => {
            let known = KNOWN.iter().find(|(known, ..)| *known == pattern);
            for (key, item) in object {
                if let Some((_, names, labelled)) = known {
                    let labels = if *labelled { LABELS } else { &[] };
                    if !names.contains(&key.as_str()) && !labels.contains(&key.as_str()) {
                        let near = suggest::nearest(key, names.iter().chain(labels).copied());
                        let hint = near.map_or_else(
                            || format!("expected one of {}", names.join(", ")),
                            |near| format!("did you mean `{near}`?"),
                        );
                        return Err((child(place, key), format!("unknown key; {hint}")));
                    }
                }
                // A destination's config has its own shape, which its kind checks.
                if !(pattern == "destinations[]" && key == "config") {
                    check_keys(item, &child(pattern, key), &child(place, key))?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            check_keys(item, &format!("{pattern}[]"), &format!("{place}[{index}]"))
        }),
        _ => Ok(()),
    }
}

fn child(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

fn join(
    path: &Path,
    mut whole: Map<String, Value>,
    more: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    for (key, value) in more {
        match (whole.get_mut(&key), value) {
            (Some(Value::Array(known)), Value::Array(items)) => known.extend(items),
            (Some(known), value) if *known != value => {
                let detail = "an earlier file says otherwise; a single value may be given once".to_owned();
                return Err(Error::Content { path: path.to_owned(), place: key, detail });
            }
            (Some(_), _) => {}
            (None, value) => {
                whole.insert(key, value);
            }
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Map<String, Value>, String> {
        let environment = |name: &str| (name == "HOOK_SECRET").then(|| "s3cret".to_owned());
        parse(Path::new("w.yaml"), text, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest() {
        let error =
            read_text("version: 1\nworkspace: acme\naudiences:\n  - { key: a, wher: 'did(\"X\")' }\n")
                .unwrap_err();
        assert_eq!(error, "w.yaml: audiences[0].wher: unknown key; did you mean `where`?");
    }

    #[test]
    fn a_variable_is_taken_from_the_environment_or_named() {
        let text = "version: 1\nworkspace: acme\ndestinations:\n  - { key: h, kind: webhook, config: { secret: '${HOOK_SECRET}' } }\n";
        assert_eq!(read_text(text).unwrap()["destinations"][0]["config"]["secret"], "s3cret");
        let error = read_text("workspace: '${NOPE}'").unwrap_err();
        assert_eq!(error, "w.yaml: workspace: the environment variable NOPE is not set");
    }

    #[test]
    fn the_example_of_the_interface_page_reads_as_a_workspace() {
        let text = r#"
version: 1
workspace: acme
timezone: Europe/Amsterdam
sources:
  - { key: web,    kind: browser, write_key: wk_web }
  - { key: server, kind: server,  write_key: [wk_server, wk_server_next] }
identity:
  preset: product
  identifiers:
    - { type: crm_id, rank: 2, limit: 1 }
    - { type: anonymous_id, rank: 5, limit: 5, within: 7d }
  blocked: ["test@example.com", "/^qa-.*$/"]
computed_traits:
  - { key: revenue_90d, name: Revenue in 90 days, value: 'sum("Order Completed".revenue in last 90d)' }
audiences:
  - key: high_intent
    name: High intent
    where: 'count(page where path = "/pricing" in last 7d) >= 3'
destinations:
  - key: hook
    kind: webhook
    enabled: true
    config: { url: "http://127.0.0.1:9001/hook", allow_private: true }
    audiences: [high_intent]
    traits: [revenue_90d, plan]
    events: ['"Order Completed" where revenue > 100']
"#;
        let workspace: Workspace = serde_json::from_value(Value::Object(read_text(text).unwrap())).unwrap();
        assert_eq!(workspace.sources[1].write_key, ["wk_server", "wk_server_next"]);
        assert_eq!(workspace.computed_traits[0].labels.name, "Revenue in 90 days");
        assert!(workspace.destinations[0].audiences.contains("high_intent"));
    }
}
