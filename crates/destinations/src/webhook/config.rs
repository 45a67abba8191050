//! What a webhook's `config` says.

use super::sign::Key;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use onefold_connector::{ConfigError, Secret};
use onefold_types::suggest;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A webhook's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to.
    pub(super) url: Uri,
    /// The keys it is signed with; several while rotating.
    pub(super) keys: Vec<Key>,
    /// Messages in one request; absent means one, unwrapped.
    pub(super) batch: Option<usize>,
    /// Further headers.
    pub(super) headers: Vec<(String, Secret)>,
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// Whether loopback and private addresses may be called.
    pub(super) allow_private: bool,
}

const KEYS: &[&str] = &["url", "secret", "batch", "headers", "timeout_ms", "allow_private"];

impl Config {
    pub(super) fn read(value: &Value) -> Result<Self, ConfigError> {
        let object = value
            .as_object()
            .ok_or_else(|| ConfigError::new("url", "expected `config: { url: …, secret: … }`"))?;
        if let Some(unknown) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let near = suggest::nearest(unknown, KEYS.iter().copied());
            let hint = near.map_or_else(
                || format!("expected one of {}", KEYS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(ConfigError::new(unknown, format!("unknown key; {hint}")));
        }
        let url = url(object)?;
        let keys = keys(object)?;
        let batch = whole(object, "batch", "a whole number from 1 to 1000", 1..=1_000)?;
        let timeout = whole(object, "timeout_ms", "a whole number from 100 to 120000", 100..=120_000)?;
        Ok(Self {
            url,
            keys,
            batch: batch.and_then(|batch| usize::try_from(batch).ok()),
            headers: headers(object)?,
            timeout: Duration::from_millis(timeout.unwrap_or(15_000)),
            allow_private: flag(object, "allow_private")?,
        })
    }
}

type Object = serde_json::Map<String, Value>;

/// The value of a key; one that is `null` says nothing.
fn given<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn url(object: &Object) -> Result<Uri, ConfigError> {
    const EXPECTED: &str = "expected an http or https address";
    let wrong = |detail: String| ConfigError::new("url", detail);
    let text = match given(object, "url") {
        None => return Err(wrong(format!("missing; {EXPECTED}"))),
        Some(Value::String(text)) => text,
        Some(other) => return Err(wrong(format!("{EXPECTED}, found {}", kind(other)))),
    };
    let url: Uri = text.parse().map_err(|_| wrong(EXPECTED.to_owned()))?;
    let Some(authority) = url.authority().filter(|_| matches!(url.scheme_str(), Some("http" | "https")))
    else {
        return Err(wrong(EXPECTED.to_owned()));
    };
    if authority.as_str().contains('@') {
        let detail = "has a user in it, which would not be sent; put it into `config.headers.authorization`";
        return Err(wrong(detail.to_owned()));
    }
    // A port that is none is taken for the scheme's by whoever connects.
    let port = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    if authority.host().is_empty() {
        return Err(wrong(EXPECTED.to_owned()));
    }
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        let port = port.trim_start_matches(':');
        return Err(wrong(format!("`{port}` is no port; expected one from 1 to 65535")));
    }
    Ok(url)
}

/// The keys to sign with: one, or a list while they are rotated.
fn keys(object: &Object) -> Result<Vec<Key>, ConfigError> {
    const EXPECTED: &str = "expected `whsec_` and base64 of 24 to 64 random bytes";
    let key = |place: String, value: &Value| match value {
        Value::String(text) => {
            Key::parse(&Secret::new(text)).ok_or_else(|| ConfigError::new(place, EXPECTED))
        }
        other => Err(ConfigError::new(place, format!("{EXPECTED}, found {}", kind(other)))),
    };
    match given(object, "secret") {
        None => Err(ConfigError::new("secret", format!("missing; {EXPECTED}"))),
        Some(Value::Array(items)) if items.is_empty() => {
            Err(ConfigError::new("secret", format!("an empty list; {EXPECTED}, one or more")))
        }
        Some(Value::Array(items)) => {
            items.iter().enumerate().map(|(index, item)| key(format!("secret[{index}]"), item)).collect()
        }
        Some(one) => Ok(vec![key("secret".to_owned(), one)?]),
    }
}

fn whole(
    object: &Object,
    name: &str,
    expected: &str,
    within: RangeInclusive<u64>,
) -> Result<Option<u64>, ConfigError> {
    let Some(value) = given(object, name) else { return Ok(None) };
    if let Some(number) = value.as_u64().filter(|number| within.contains(number)) {
        return Ok(Some(number));
    }
    let hint = match value {
        Value::String(text) if text.parse::<u64>().is_ok() => "; without quotes it is a number",
        _ => "",
    };
    Err(ConfigError::new(name, format!("expected {expected}, found {}{hint}", shown(value))))
}

fn flag(object: &Object, name: &str) -> Result<bool, ConfigError> {
    match object.get(name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => {
            let detail = format!("expected true or false, found {}", shown(other));
            Err(ConfigError::new(name, detail))
        }
    }
}

fn headers(object: &Object) -> Result<Vec<(String, Secret)>, ConfigError> {
    let members = match object.get("headers") {
        None => return Ok(Vec::new()),
        Some(Value::Object(members)) => members,
        Some(other) => {
            let detail =
                format!("expected names and their values, as `{{ x-team: web }}`, found {}", kind(other));
            return Err(ConfigError::new("headers", detail));
        }
    };
    let header = |(name, value): (&String, &Value)| match value {
        Value::String(text) => {
            let value = Secret::new(text);
            check_header(name, &value).map(|()| (name.clone(), value))
        }
        other => {
            let hint = if matches!(other, Value::Number(_) | Value::Bool(_)) {
                "; in quotes it is text"
            } else {
                ""
            };
            let detail = format!("expected text, found {}{hint}", kind(other));
            Err(ConfigError::new(format!("headers.{name}"), detail))
        }
    };
    let mut read = members.iter().map(header).collect::<Result<Vec<_>, _>>()?;
    read.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(read)
}

/// What kind of value something is, without the value: it may be a secret.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a group of keys",
    }
}

/// Bytes of a value that are shown.
const SHOWN_MAX: usize = 40;

/// A value that is no secret, if it is short.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = value.to_string();
            if text.len() <= SHOWN_MAX { text } else { kind(value).to_owned() }
        }
        _ => kind(value).to_owned(),
    }
}

/// Headers that are not the operator's: they frame the request, or say what it is and by whom it is signed.
const OURS: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

fn check_header(name: &str, value: &Secret) -> Result<(), ConfigError> {
    let key = format!("headers.{name}");
    let known = name.parse::<HeaderName>();
    let known = known.map_err(|_| ConfigError::new(&key, "expected the name of an HTTP header"))?;
    if OURS.contains(&known.as_str()) {
        return Err(ConfigError::new(key, "is set by Onefold; expected another header"));
    }
    // Never the value: it may be a secret.
    HeaderValue::from_str(value.expose())
        .map(|_| ())
        .map_err(|_| ConfigError::new(key, "expected a value of visible ASCII characters"))
}

#[cfg(test)]
mod tests {
    use super::Config;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_shown() {
        let secret = "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=";
        let error = |config: serde_json::Value| Config::read(&config).unwrap_err().to_string();
        assert_eq!(error(json!({ "ulr": "x" })), "config.ulr: unknown key; did you mean `url`?");
        assert!(error(json!({ "url": "ftp://x", "secret": secret })).contains("http or https"));
        assert!(!error(json!({ "url": "http://x", "secret": "whsec_shhh" })).contains("shhh"));
        assert!(
            error(json!({ "url": "http://me:hush@x/", "secret": secret }))
                .starts_with("config.url: has a user")
        );
        for name in ["Webhook-Id", "content-length", "Host", "a b", ""] {
            let config = json!({ "url": "http://x", "secret": secret, "headers": { name: "hush" } });
            let text = error(config);
            assert!(
                text.starts_with(&format!("config.headers.{name}: ")) && !text.contains("hush"),
                "{text}"
            );
        }
        let smuggled = json!({ "url": "http://x", "secret": secret, "headers": { "x": "hush\r\nhost: y" } });
        assert!(!error(smuggled).contains("hush"));
        let config =
            Config::read(&json!({ "url": "http://x/y", "secret": secret, "headers": { "x": "hidden" } }))
                .unwrap();
        assert!(!format!("{config:?}").contains("hidden") && !format!("{config:?}").contains("example"));
    }
    #[test]
    fn a_value_of_another_kind_is_told_with_its_key_and_no_secret_with_its_value() {
        let secret = "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=";
        let error = |more: serde_json::Value| {
            let mut config = json!({ "url": "http://x/y", "secret": secret });
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Config::read(&config).unwrap_err().to_string()
        };
        let batch = "config.batch: expected a whole number from 1 to 1000, found";
        let headers = "config.headers: expected names and their values, as `{ x-team: web }`, found";
        let key = "expected `whsec_` and base64 of 24 to 64 random bytes";
        for (more, expected) in [
            (json!({ "batch": "10" }), format!("{batch} \"10\"; without quotes it is a number")),
            (json!({ "batch": "ten" }), format!("{batch} \"ten\"")),
            (json!({ "batch": 0 }), format!("{batch} 0")),
            (json!({ "batch": 1.5 }), format!("{batch} 1.5")),
            (json!({ "batch": [10] }), format!("{batch} a list")),
            (
                json!({ "timeout_ms": 99 }),
                "config.timeout_ms: expected a whole number from 100 to 120000, found 99".to_owned(),
            ),
            (
                json!({ "allow_private": "yes" }),
                "config.allow_private: expected true or false, found \"yes\"".to_owned(),
            ),
            (
                json!({ "allow_private": null }),
                "config.allow_private: expected true or false, found nothing".to_owned(),
            ),
            (
                json!({ "headers": { "x": 12345 } }),
                "config.headers.x: expected text, found a number; in quotes it is text".to_owned(),
            ),
            (
                json!({ "headers": { "x": ["12345"] } }),
                "config.headers.x: expected text, found a list".to_owned(),
            ),
            (json!({ "headers": ["x: 12345"] }), format!("{headers} a list")),
            (json!({ "headers": null }), format!("{headers} nothing")),
            (json!({ "secret": 12345 }), format!("config.secret: {key}, found a number")),
            (json!({ "secret": [secret, 12345] }), format!("config.secret[1]: {key}, found a number")),
            (json!({ "secret": [secret, "12345"] }), format!("config.secret[1]: {key}")),
            (json!({ "secret": [] }), format!("config.secret: an empty list; {key}, one or more")),
            (json!({ "secret": null }), format!("config.secret: missing; {key}")),
            (
                json!({ "url": 12345 }),
                "config.url: expected an http or https address, found a number".to_owned(),
            ),
            (json!({ "url": null }), "config.url: missing; expected an http or https address".to_owned()),
        ] {
            assert_eq!(error(more.clone()), expected, "{more}");
        }
        let config =
            json!({ "url": "http://x/y", "secret": [secret, secret], "batch": null, "timeout_ms": null });
        let read = Config::read(&config).unwrap();
        assert_eq!((read.keys.len(), read.batch, read.timeout.as_secs()), (2, None, 15));
    }

    #[test]
    fn a_port_that_is_none_is_refused_and_not_taken_for_the_usual_one() {
        let read = |url: &str| {
            let config = json!({ "url": url, "secret": "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=" });
            Config::read(&config).map(|read| read.url.port_u16()).map_err(|error| error.to_string())
        };
        for (url, port) in
            [("http://x:99999/y", "99999"), ("https://x:0/", "0"), ("http://[::1]:65536/", "65536")]
        {
            let expected = format!("config.url: `{port}` is no port; expected one from 1 to 65535");
            assert_eq!(read(url), Err(expected), "{url}");
        }
        // Not every one of these is an address for the parser; none may go to port 80.
        for url in ["http://x:/", "http://x:80a/", "http://:80/", "http://x:-1/"] {
            assert!(read(url).is_err(), "{url}");
        }
        for (url, port) in [
            ("http://x/:99999", None),
            ("http://x:1/", Some(1)),
            ("https://x:65535/?a=:0", Some(65_535)),
            ("http://[::1]/", None),
            ("http://[::1]:8080", Some(8_080)),
        ] {
            assert_eq!(read(url), Ok(port), "{url}");
        }
    }
}
