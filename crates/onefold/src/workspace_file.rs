//! Reading workspace files: YAML with the line of each value, and `${NAME}` from the environment; `$${` is a plain `${`. What
//! the keys are is the document's to say.
//!
//! Several files make one workspace: lists are joined, what is one for all (`timezone`, `identity`) is in one file, and the
//! rest must agree.

mod yaml;

use onefold_types::document::{self, Document, Wrong};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use yaml::Lines;

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
    /// Something in it is wrong: a line each, with file, line, the key's path and what was expected.
    #[error("{}", .0.join("\n"))]
    Content(Vec<String>),
    /// No file was named.
    #[error("no workspace file was named; expected at least one")]
    None,
}

/// Reads `paths` as one workspace.
///
/// # Errors
/// Everything that is wrong with the first file that is, with its place.
pub fn read(paths: &[PathBuf], environment: &dyn Fn(&str) -> Option<String>) -> Result<Document, Error> {
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
    Document::read(Value::Object(whole)).map_err(|wrong| content(&path, wrong, &Lines::default()))
}

fn content(path: &Path, wrong: Vec<Wrong>, lines: &Lines) -> Error {
    let told = |Wrong { place, detail }: Wrong| {
        let line = lines.of(&place).map(|line| format!(":{line}")).unwrap_or_default();
        let place = if place.is_empty() { String::new() } else { format!(" {place}:") };
        format!("{}{line}:{place} {detail}", path.display())
    };
    Error::Content(wrong.into_iter().map(told).collect())
}

/// Reads one file's text into a checked tree.
fn parse(
    path: &Path,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Map<String, Value>, Error> {
    let (mut value, lines) =
        yaml::read(text).map_err(|detail| Error::Syntax { path: path.to_owned(), detail })?;
    expand(&mut value, "", environment).map_err(|wrong| content(path, vec![wrong], &lines))?;
    let wrong = document::check(&value);
    match value {
        Value::Object(object) if wrong.is_empty() => Ok(object),
        _ => Err(content(path, wrong, &lines)),
    }
}

fn expand(value: &mut Value, place: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), Wrong> {
    match value {
        Value::String(text) if text.contains("${") => {
            let expanded = expand_text(text, environment);
            *text = expanded.map_err(|detail| Wrong { place: place.to_owned(), detail })?;
            Ok(())
        }
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, item)| expand(item, &format!("{place}[{index}]"), environment)),
        Value::Object(object) => {
            object.iter_mut().try_for_each(|(key, item)| expand(item, &child(place, key), environment))
        }
        _ => Ok(()),
    }
}

fn expand_text(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        if let Some(before) = rest[..start].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(&rest[..start]);
        let end = after
            .find('}')
            .ok_or_else(|| "`${` has no closing `}`; a plain `${` is written `$${`".to_owned())?;
        let name = &after[..end];
        let value = environment(name).ok_or_else(|| {
            format!("the environment variable {name} is not set; a plain `${{` is written `$${{`")
        })?;
        out.push_str(&value);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Text that is read as `text` where variables are expanded.
pub(crate) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

fn child(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// What is one for the whole workspace, and so is in one file.
const ONCE: &[&str] = &["timezone", "identity"];

fn join(
    path: &Path,
    mut whole: Map<String, Value>,
    more: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    for (key, value) in more {
        let once = ONCE.contains(&key.as_str());
        match (whole.get_mut(&key), value) {
            (Some(Value::Array(known)), Value::Array(items)) => known.extend(items),
            (Some(known), value) if once || *known != value => {
                let detail = if once {
                    "an earlier file has it too; of several files at most one can"
                } else {
                    "an earlier file says otherwise; files of one workspace agree on it"
                };
                let wrong = Wrong { place: key, detail: detail.to_owned() };
                return Err(content(path, vec![wrong], &Lines::default()));
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
        assert_eq!(
            error,
            "w.yaml:4: audiences[0].wher: unknown key; did you mean `where`?\n\
             w.yaml:4: audiences[0].where: missing; expected text"
        );
    }

    #[test]
    fn a_variable_is_taken_from_the_environment_or_named() {
        let text = "version: 1\nworkspace: acme\ndestinations:\n  - { key: h, kind: webhook, config: { secret: '${HOOK_SECRET}' } }\n";
        assert_eq!(read_text(text).unwrap()["destinations"][0]["config"]["secret"], "s3cret");
        let error = read_text("workspace: '${NOPE}'").unwrap_err();
        assert_eq!(
            error,
            "w.yaml:1: workspace: the environment variable NOPE is not set; a plain `${` is written `$${`"
        );
    }

    #[test]
    fn a_variable_is_escaped_with_a_second_dollar() {
        let environment = |name: &str| (name == "A").then(|| "${B}".to_owned());
        for (text, expected) in [
            ("$${A}", Ok("${A}")),
            ("a$${A}b${A}$${", Ok("a${A}b${B}${")),
            ("$$${A}", Ok("$${A}")),
            ("$$ $5 {A} $", Ok("$$ $5 {A} $")),
            ("${A", Err("`${` has no closing `}`; a plain `${` is written `$${`")),
        ] {
            let read = expand_text(text, &environment);
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{text}");
        }
        for text in ["${A}", "$${A}", "$$${", "plain $ {A}", "${${A}}", "$$"] {
            assert_eq!(expand_text(&escaped(text), &environment).as_deref(), Ok(text));
        }
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
        let workspace = Document::read(Value::Object(read_text(text).unwrap())).unwrap();
        assert_eq!(workspace.sources[1].write_key, ["wk_server", "wk_server_next"]);
        assert_eq!(workspace.computed_traits[0].labels.name, "Revenue in 90 days");
        assert!(workspace.destinations[0].audiences.contains("high_intent"));
    }

    #[test]
    fn a_value_of_another_kind_is_told_with_its_file_line_and_place() {
        let head = "version: 1\nworkspace: acme\n";
        for (text, expected) in [
            (
                "sources:\n  - key: web\n    kind: brower\n    write_key: 12345\n",
                "w.yaml:5: sources[0].kind: expected one of browser, mobile, server, import, crm, webhook, found \"brower\"; \
                 did you mean `browser`?\n\
                 w.yaml:6: sources[0].write_key: expected text or a list of text, found the number 12345; in quotes it is \
                 text",
            ),
            (
                "destinations:\n  - key: hook\n    kind: webhook\n    audiences: all\n",
                "w.yaml:6: destinations[0].audiences: expected \"*\" for all, or a list of keys, found \"all\"; one alone is a \
                 list too: [\"all\"]",
            ),
            (
                "identity:\n  identifiers:\n\n    - { type: crm_id, rank: high }\n",
                "w.yaml:6: identity.identifiers[0].rank: expected a whole number from 0 to 255, found \"high\"",
            ),
            (
                "audiences:\n  - key: off\n    where: true\n",
                "w.yaml:4: audiences[0].key: expected text, found false; YAML takes words such as off, no and true for true or \
                 false: put it in quotes\n\
                 w.yaml:5: audiences[0].where: expected text, found true; YAML takes words such as off, no and true for true or \
                 false: put it in quotes",
            ),
        ] {
            assert_eq!(read_text(&format!("{head}{text}")).unwrap_err(), expected);
        }
        assert_eq!(
            read_text("- version: 1\n").unwrap_err(),
            "w.yaml:1: expected keys such as `version: 1` and `workspace: …`"
        );
    }

    fn read_files(texts: &[&str]) -> Result<Document, String> {
        let folder = tempfile::tempdir().unwrap();
        let name = |index| folder.path().join(format!("{index}.yaml"));
        let paths: Vec<PathBuf> = (0..texts.len()).map(name).collect();
        paths.iter().zip(texts).for_each(|(path, text)| std::fs::write(path, text).unwrap());
        let before = format!("{}/", folder.path().display());
        read(&paths, &|_| None).map_err(|error| error.to_string().replace(&before, ""))
    }

    #[test]
    fn of_several_files_one_has_the_identity_rules_and_one_the_time_zone() {
        let first = "version: 1\nworkspace: acme\ntimezone: UTC\naudiences: [{ key: a, where: 'true' }]\n";
        let second = "workspace: acme\nidentity: { preset: b2b }\naudiences: [{ key: b, where: 'true' }]\n";
        let both = read_files(&[first, second]).unwrap();
        assert_eq!((both.timezone.as_deref(), both.audiences.len()), (Some("UTC"), 2));
        assert!(both.identity.is_some());
        let third = |key: &str| format!("version: 1\nworkspace: acme\n{key}\n");
        for (key, place) in [("timezone: UTC", "timezone"), ("identity: { preset: b2b }", "identity")] {
            assert_eq!(
                read_files(&[first, second, &third(key)]).unwrap_err(),
                format!("2.yaml: {place}: an earlier file has it too; of several files at most one can")
            );
        }
        assert_eq!(
            read_files(&[first, "workspace: other"]).unwrap_err(),
            "1.yaml: workspace: an earlier file says otherwise; files of one workspace agree on it"
        );
        assert_eq!(
            read_files(&[second]).unwrap_err(),
            "0.yaml: version: missing; expected a whole number from 0 to 4294967295"
        );
    }
}
