//! Secrets in the configs of destinations: never printed, and kept where the printed form comes back.

use onefold_api::Place;
use onefold_types::workspace::Workspace;
use serde_json::Value;

/// What stands for a secret that is not printed; in a document that is applied, for the one in force.
const HIDDEN: &str = "***";

/// Hides every secret of a workspace that is printed. Only destinations have any.
pub(crate) fn hide(workspace: &mut Value) {
    for destination in workspace["destinations"].as_array_mut().into_iter().flatten() {
        hide_in(&mut destination["config"]);
    }
}

fn hide_in(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                let secret = ["secret", "token", "password", "api_key", "headers"]
                    .iter()
                    .any(|word| key.contains(word));
                if secret && !item.is_null() { *item = HIDDEN.into() } else { hide_in(item) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_in),
        Value::String(text) => {
            if let Some(hidden) = with_values(text, &mut |_, _| HIDDEN.to_owned()) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// A URL whose query values are what `value` makes of their names and themselves; `None` if it has no query. Keys in URLs
/// go by many names, so every value counts as one.
fn with_values(text: &str, value: &mut dyn FnMut(&str, &str) -> String) -> Option<String> {
    let (before, query) = text.split_once('?').filter(|(before, _)| is_url(before))?;
    let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, given)) if !given.is_empty() => format!("{name}={}", value(name, given)),
        _ => pair.to_owned(),
    });
    let mut text = format!("{before}?{}", pairs.collect::<Vec<_>>().join("&"));
    if let Some(fragment) = fragment {
        text.push_str(&format!("#{fragment}"));
    }
    Some(text)
}

fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

/// The value of `name` in a URL's query.
fn value_in<'a>(url: &'a str, name: &str) -> Option<&'a str> {
    let query = url.split_once('?')?.1;
    let query = query.split('#').next()?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(known, _)| *known == name).map(|(_, v)| v)
}

/// Puts the secrets in force where `new` has the form in which they are printed.
///
/// # Errors
/// Each place where there is no secret in force to put there.
pub(crate) fn reveal(old: &Workspace, new: &mut Workspace) -> Result<(), Vec<Place>> {
    let mut unknown = Vec::new();
    for destination in &mut new.destinations {
        let known = old.destinations.iter().find(|known| known.key == destination.key);
        let place = format!("destinations.{}.config", destination.key);
        reveal_in(&mut destination.config, known.map(|known| &known.config), &place, &mut unknown);
    }
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

fn reveal_in(value: &mut Value, known: Option<&Value>, place: &str, unknown: &mut Vec<Place>) {
    let mut miss = |what: &str| {
        let detail =
            format!("`{HIDDEN}` stands for the secret in force, and there is none{what}; give the secret");
        unknown.push(Place { place: place.to_owned(), detail });
    };
    match value {
        Value::String(text) if text == HIDDEN => match known {
            Some(known) => *value = known.clone(),
            None => miss(""),
        },
        Value::String(text) => {
            let known = known.and_then(Value::as_str).unwrap_or_default();
            let revealed = with_values(text, &mut |name, given| {
                if given != HIDDEN {
                    return given.to_owned();
                }
                let known = value_in(known, name);
                if known.is_none() {
                    miss(&format!(" for `{name}`"));
                }
                known.unwrap_or(HIDDEN).to_owned()
            });
            if let Some(revealed) = revealed {
                *text = revealed;
            }
        }
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                let known = known.and_then(|known| known.get(key));
                reveal_in(item, known, &format!("{place}.{key}"), unknown);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let known = known.and_then(|known| known.get(index));
                reveal_in(item, known, &format!("{place}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use onefold_types::document::Document;
    use serde_json::json;

    fn with(config: &Value) -> Workspace {
        let hook = json!({ "key": "hook", "kind": "webhook", "config": config });
        let document = json!({ "version": 1, "workspace": "acme", "destinations": [hook] });
        Document::read(document).unwrap().over(None)
    }

    fn config_of(workspace: &Workspace) -> Value {
        workspace.destinations[0].config.clone()
    }

    #[test]
    fn what_was_hidden_comes_back_as_it_was() {
        for config in [
            json!({ "url": "https://a.example/?token=S3&x=1&&e=&f#part", "secret": ["whsec_1", "whsec_2"] }),
            json!({ "url": "http://a.example/", "headers": { "authorization": "Bearer S3" }, "batch": null }),
            json!({ "url": "https://a.example/hook?S3", "text": "why? a=b" }),
            json!({}),
            json!(null),
        ] {
            let in_force = with(&config);
            let mut printed = serde_json::to_value(&in_force).unwrap();
            hide(&mut printed);
            let hidden = printed["destinations"][0]["config"].clone();
            let mut again = with(&hidden);
            reveal(&in_force, &mut again).unwrap();
            assert_eq!(config_of(&again), config);
        }
    }

    #[test]
    fn no_value_of_a_query_is_printed_and_names_are() {
        let config =
            json!({ "url": "https://a.example/?token=S3CRET&api=S3CRET#S", "note": "http://b.example/?" });
        let mut printed = serde_json::to_value(with(&config)).unwrap();
        printed["audiences"] = json!([{ "description": "https://wiki.example/?page=12" }]);
        hide(&mut printed);
        let expected =
            json!({ "url": "https://a.example/?token=***&api=***#S", "note": "http://b.example/?" });
        assert_eq!(printed["destinations"][0]["config"], expected);
        assert_eq!(printed["audiences"][0]["description"], "https://wiki.example/?page=12");
    }

    #[test]
    fn a_hidden_form_without_a_secret_in_force_is_told() {
        let in_force = with(&json!({ "url": "https://a.example/?token=S3" }));
        let mut moved = with(&json!({ "url": "https://b.example/?token=***&new=1" }));
        reveal(&in_force, &mut moved).unwrap();
        assert_eq!(config_of(&moved)["url"], "https://b.example/?token=S3&new=1");
        let mut unknown = with(&json!({ "url": "https://a.example/?key=***", "secret": "***" }));
        let told: Vec<String> = reveal(&in_force, &mut unknown)
            .unwrap_err()
            .into_iter()
            .map(|p| format!("{}: {}", p.place, p.detail))
            .collect();
        assert_eq!(
            told,
            [
                "destinations.hook.config.url: `***` stands for the secret in force, and there is none for `key`; give the \
                 secret",
                "destinations.hook.config.secret: `***` stands for the secret in force, and there is none; give the secret",
            ]
        );
    }
}
