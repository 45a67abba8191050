//! Secrets in the configs of destinations: never printed, and kept where the printed form comes back.

use onefold_api::Place;
use onefold_types::workspace::Workspace;
use serde_json::Value;

/// What stands for a secret that is not printed; in a document that is applied, for the one in force.
const HIDDEN: &str = "***";

/// Hides every secret of a destination's config, which is printed then. Nothing else of a workspace has any.
pub(crate) fn hide(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, item) in object.iter_mut() {
                let secret = ["secret", "token", "password", "api_key", "headers"]
                    .iter()
                    .any(|word| key.contains(word));
                match item {
                    // One form each, so that one of them can be replaced at its place.
                    Value::Array(items) if secret => items.iter_mut().for_each(|item| *item = HIDDEN.into()),
                    _ if secret && !item.is_null() => *item = HIDDEN.into(),
                    _ => hide(item),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) => {
            if let Some(hidden) = with_values(text, &mut |_, _| HIDDEN.to_owned()) {
                *text = hidden;
            }
        }
        _ => {}
    }
}

/// Which value of a query: by its name, or of those without one by how many such stand before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which<'a> {
    Named(&'a str),
    Nameless(usize),
}

/// The parts of a query, each with its value; none for one that has no value (`a=`) or is empty.
fn values(query: &str) -> impl Iterator<Item = (&str, Option<(Which<'_>, &str)>)> {
    let mut nameless = 0;
    query.split('&').map(move |part| match part.split_once('=') {
        Some((_, "")) => (part, None),
        Some((name, given)) => (part, Some((Which::Named(name), given))),
        None if part.is_empty() => (part, None),
        None => {
            nameless += 1;
            (part, Some((Which::Nameless(nameless - 1), part)))
        }
    })
}

/// A URL whose query values are what `value` makes of them; `None` if it has no query. Keys in URLs go by many names, or
/// by none, so every value counts as one.
fn with_values(text: &str, value: &mut dyn FnMut(Which<'_>, &str) -> String) -> Option<String> {
    let (before, query) = text.split_once('?').filter(|(before, _)| is_url(before))?;
    let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let parts = values(query).map(|(part, known)| match known {
        Some((which @ Which::Named(name), given)) => format!("{name}={}", value(which, given)),
        Some((which @ Which::Nameless(_), given)) => value(which, given),
        None => part.to_owned(),
    });
    let mut text = format!("{before}?{}", parts.collect::<Vec<_>>().join("&"));
    if let Some(fragment) = fragment {
        text.push_str(&format!("#{fragment}"));
    }
    Some(text)
}

fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
}

/// This value of a URL's query.
fn value_in<'a>(url: &'a str, which: Which<'_>) -> Option<&'a str> {
    let query = url.split_once('?')?.1.split('#').next()?;
    values(query).filter_map(|(_, value)| value).find(|(known, _)| *known == which).map(|(_, given)| given)
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
            let revealed = with_values(text, &mut |which, given| {
                if given != HIDDEN {
                    return given.to_owned();
                }
                let known = value_in(known, which);
                if known.is_none() {
                    miss(&match which {
                        Which::Named(name) => format!(" for `{name}`"),
                        Which::Nameless(_) => " for the value without a name".to_owned(),
                    });
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
        Value::Array(items) => reveal_list(items, known, place, unknown),
        _ => {}
    }
}

/// In a list `***` stands for the secret in force at its place, a single one being a list of one. A list that leaves some
/// away and has `***` does not say which: it is refused.
fn reveal_list(items: &mut [Value], known: Option<&Value>, place: &str, unknown: &mut Vec<Place>) {
    let known = match known {
        Some(Value::Array(known)) => known.as_slice(),
        None | Some(Value::Null) => &[],
        Some(one) => std::slice::from_ref(one),
    };
    let hidden = items.iter().filter(|item| **item == HIDDEN).count();
    if hidden > 0 && items.len() < known.len() {
        let detail = format!(
            "{} are in force and this is a list of {}, so it is not said which `{HIDDEN}` stands for; write one `{HIDDEN}` for \
             each that stays at its place, or give those that stay as they are",
            known.len(),
            items.len()
        );
        unknown.push(Place { place: place.to_owned(), detail });
        return;
    }
    // One that is kept is that one, wherever the new ones stand.
    let is_one = hidden == 1 && known.len() == 1;
    for (index, item) in items.iter_mut().enumerate() {
        let known = if is_one && *item == HIDDEN { known.first() } else { known.get(index) };
        reveal_in(item, known, &format!("{place}[{index}]"), unknown);
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
            json!({ "url": "https://a.example/hook?S3&x=1&&S4#part" }),
            json!({}),
            json!(null),
        ] {
            let in_force = with(&config);
            let mut hidden = config_of(&in_force);
            hide(&mut hidden);
            let mut again = with(&hidden);
            reveal(&in_force, &mut again).unwrap();
            assert_eq!(config_of(&again), config);
        }
    }

    #[test]
    fn in_a_list_the_hidden_form_is_the_secret_at_its_place() {
        let revealed = |in_force: Value, said: Value| {
            let mut new = with(&json!({ "secret": said }));
            reveal(&with(&json!({ "secret": in_force })), &mut new)
                .map(|()| config_of(&new)["secret"].clone())
                .map_err(|wrong| {
                    wrong.into_iter().map(|p| format!("{}: {}", p.place, p.detail)).collect::<Vec<_>>()
                })
        };
        for (in_force, said, becomes) in [
            // A rotation begins, with the new one first or last, goes on, and ends.
            (json!("a"), json!(["***", "new"]), json!(["a", "new"])),
            (json!("a"), json!(["new", "***"]), json!(["new", "a"])),
            (json!(["a"]), json!(["new", "***", "newer"]), json!(["new", "a", "newer"])),
            (json!(["a", "b"]), json!(["***", "***", "new"]), json!(["a", "b", "new"])),
            (json!(["a", "b"]), json!(["new", "***"]), json!(["new", "b"])),
            (json!(["a", "b"]), json!(["***", "new"]), json!(["a", "new"])),
            (json!(["a", "b"]), json!(["b"]), json!(["b"])),
            // One for all, as it is printed of what is no list.
            (json!(["a", "b"]), json!("***"), json!(["a", "b"])),
            (json!("a"), json!(["***"]), json!(["a"])),
        ] {
            assert_eq!(revealed(in_force.clone(), said.clone()), Ok(becomes), "{said} over {in_force}");
        }
        let fewer = revealed(json!(["a", "b"]), json!(["***"])).unwrap_err();
        assert_eq!(
            fewer,
            [
                "destinations.hook.config.secret: 2 are in force and this is a list of 1, so it is not said which `***` stands \
                 for; write one `***` for each that stays at its place, or give those that stay as they are"
            ]
        );
        let none = |index: usize| {
            format!(
                "destinations.hook.config.secret[{index}]: `***` stands for the secret in force, and there is none; give the \
                 secret"
            )
        };
        assert_eq!(revealed(json!("a"), json!(["***", "***"])), Err(vec![none(1)]));
        assert_eq!(revealed(json!(["a", "b"]), json!(["***", "new", "***"])), Err(vec![none(2)]));
        assert_eq!(revealed(json!(null), json!(["***"])), Err(vec![none(0)]));
    }

    #[test]
    fn of_several_secrets_each_is_printed_as_one() {
        let mut config = json!({ "secret": ["a", "b"], "token": "c" });
        hide(&mut config);
        assert_eq!(config, json!({ "secret": ["***", "***"], "token": "***" }));
    }

    #[test]
    fn no_value_of_a_query_is_printed_and_names_are() {
        let mut config = json!({ "url": "https://a.example/?token=S3CRET&api=S3CRET#S", "note": "http://b.example/?",
            "other": "https://c.example/hook?S3CRET&name=" });
        hide(&mut config);
        let expected = json!({ "url": "https://a.example/?token=***&api=***#S", "note": "http://b.example/?",
            "other": "https://c.example/hook?***&name=" });
        assert_eq!(config, expected);
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
