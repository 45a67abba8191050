//! What a whole workspace says that cannot be meant, beyond the shape of its values and the language of its expressions.

use super::Wrong;
use crate::suggest;
use crate::workspace::{Source, Workspace};

/// Everything of that kind in a workspace, by key: `sources.web.origins`.
#[must_use]
pub fn problems(workspace: &Workspace) -> Vec<Wrong> {
    let mut found = Vec::new();
    if let Err(detail) = timezone(&workspace.timezone) {
        found.push(Wrong::new("timezone", detail));
    }
    for source in &workspace.sources {
        source_problems(source, &mut found);
    }
    found
}

/// What is worth a second look and no reason to refuse: keys that a page may read and that are nobody's definition. They can
/// be plain traits, which clients set and no file names.
#[must_use]
pub fn notes(workspace: &Workspace) -> Vec<Wrong> {
    let audiences = workspace.audiences.iter().map(|audience| audience.key.as_str());
    let known: Vec<&str> =
        audiences.chain(workspace.computed_traits.iter().map(|computed| computed.key.as_str())).collect();
    let mut found = Vec::new();
    for source in &workspace.sources {
        for key in source.personalize.iter().filter(|key| !known.contains(&key.as_str())) {
            let near = suggest::nearest(key, known.iter().copied());
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let detail = format!(
                "`{key}` is no audience and no computed trait, so a page reads the plain trait{near}"
            );
            found.push(Wrong::new(format!("sources.{}.personalize", source.key), detail));
        }
    }
    found
}

fn source_problems(source: &Source, found: &mut Vec<Wrong>) {
    let place = |key: &str| format!("sources.{}.{key}", source.key);
    if source.write_key.is_empty() && source.labels.enabled {
        let detail = "missing; nothing can be sent through an enabled source without one: give it a value, or say \
                      `enabled: false`";
        found.push(Wrong::new(place("write_key"), detail));
    }
    if source.rate_limit == Some(0) {
        let detail = "0 lets no message through; expected messages a second, at least 1; without the key there is no \
                      limit, and `enabled: false` closes a source";
        found.push(Wrong::new(place("rate_limit"), detail));
    }
    for origin in &source.origins {
        if let Err(detail) = is_origin(origin) {
            found.push(Wrong::new(place("origins"), detail));
        }
    }
}

/// An origin as a browser sends it: scheme, host and, if it is not the scheme's, port (RFC 6454); or `*`.
fn is_origin(origin: &str) -> Result<(), String> {
    let wrong = |near: &str| {
        Err(format!(
            "`{origin}` is not what a browser sends; expected an origin such as `{near}`, or `*` for any"
        ))
    };
    if origin == "*" {
        return Ok(());
    }
    let (scheme, rest) = match origin.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("https", origin),
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.contains(char::is_whitespace) || scheme.is_empty() {
        return wrong("https://shop.example");
    }
    let sent = format!("{scheme}://{host}").to_lowercase();
    if sent == origin { Ok(()) } else { wrong(&sent) }
}

/// Whether a time zone is one of the IANA database. A system without the database knows none, so it takes any.
fn timezone(name: &str) -> Result<(), String> {
    let known = jiff::tz::db();
    if name == "UTC" || known.is_definitively_empty() || known.get(name).is_ok() {
        return Ok(());
    }
    let names: Vec<String> = known.available().map(|name| name.to_string()).collect();
    let near = suggest::nearest(name, names.iter().map(String::as_str));
    let hint = near.map_or_else(
        || "expected a name such as `UTC` or `Europe/Amsterdam`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Err(format!("there is no time zone `{name}`; {hint}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use crate::document::Document;
    use serde_json::{Value, json};

    fn told(mut document: Value, of: fn(&Workspace) -> Vec<Wrong>) -> Vec<String> {
        document["version"] = 1.into();
        document["workspace"] = "acme".into();
        let workspace = Document::read(document).unwrap().over(None);
        of(&workspace).into_iter().map(|wrong| format!("{}: {}", wrong.place, wrong.detail)).collect()
    }

    fn source(more: &Value) -> Value {
        let mut source = json!({ "key": "web", "kind": "browser", "write_key": "wk" });
        source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "sources": [source] })
    }

    #[test]
    fn a_time_zone_is_one_that_there_is() {
        assert_eq!(told(json!({ "timezone": "UTC" }), problems), Vec::<String>::new());
        if jiff::tz::db().is_definitively_empty() {
            return;
        }
        assert_eq!(told(json!({ "timezone": "Europe/Amsterdam" }), problems), Vec::<String>::new());
        assert_eq!(
            told(json!({ "timezone": "Europe/Amsterdm" }), problems),
            ["timezone: there is no time zone `Europe/Amsterdm`; did you mean `Europe/Amsterdam`?"]
        );
        assert_eq!(
            told(json!({ "timezone": "Mars/Olympus" }), problems),
            [
                "timezone: there is no time zone `Mars/Olympus`; expected a name such as `UTC` or `Europe/Amsterdam`"
            ]
        );
    }

    #[test]
    fn a_source_that_lets_nothing_through_is_told() {
        assert_eq!(told(source(&json!({ "rate_limit": 1 })), problems), Vec::<String>::new());
        let wrong = told(source(&json!({ "rate_limit": 0 })), problems);
        assert!(wrong.len() == 1 && wrong[0].starts_with("sources.web.rate_limit: 0 lets no"), "{wrong:?}");
        let wrong = told(source(&json!({ "write_key": [] })), problems);
        assert!(wrong.len() == 1 && wrong[0].starts_with("sources.web.write_key: missing"), "{wrong:?}");
        assert!(told(source(&json!({ "write_key": [], "enabled": false })), problems).is_empty());
    }

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for origin in ["*", "https://shop.example", "http://localhost:3000", "capacitor://localhost"] {
            assert!(is_origin(origin).is_ok(), "{origin}");
        }
        for (origin, near) in [
            ("shop.example", "https://shop.example"),
            ("https://Shop.example", "https://shop.example"),
            ("https://shop.example/", "https://shop.example"),
            ("https://shop.example/cart", "https://shop.example"),
            ("", "https://shop.example"),
        ] {
            let detail = is_origin(origin).unwrap_err();
            assert!(detail.contains(&format!("such as `{near}`")), "{detail}");
        }
        let wrong = told(source(&json!({ "origins": ["shop.example"] })), problems);
        assert!(wrong.len() == 1 && wrong[0].starts_with("sources.web.origins: `shop.example`"), "{wrong:?}");
    }

    #[test]
    fn what_a_page_may_read_and_no_file_defines_is_worth_a_note() {
        let mut document = source(&json!({ "personalize": ["buyers", "buyer", "plan"] }));
        document["audiences"] = json!([{ "key": "buyers", "where": "did(\"X\")" }]);
        assert_eq!(told(document.clone(), problems), Vec::<String>::new());
        assert_eq!(
            told(document, notes),
            [
                "sources.web.personalize: `buyer` is no audience and no computed trait, so a page reads the plain trait; did \
                 you mean `buyers`?",
                "sources.web.personalize: `plan` is no audience and no computed trait, so a page reads the plain trait",
            ]
        );
    }
}
