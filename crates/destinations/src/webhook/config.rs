//! What a webhook's `config` says.

use super::sign::Key;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use onefold_connector::{ConfigError, Secret};
use onefold_types::suggest;
use serde::Deserialize;
use std::collections::BTreeMap;
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

#[derive(Deserialize)]
struct Raw {
    url: Option<String>,
    secret: Option<OneOrMany>,
    batch: Option<usize>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    allow_private: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Secret),
    Many(Vec<Secret>),
}

const KEYS: &[&str] = &["url", "secret", "batch", "headers", "timeout_ms", "allow_private"];

impl Config {
    pub(super) fn read(value: &serde_json::Value) -> Result<Self, ConfigError> {
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
        let raw: Raw = serde_json::from_value(value.clone()).map_err(|_| {
            ConfigError::new("", "a value has the wrong type; expected url and secret as text, batch and timeout_ms as numbers")
        })?;
        let url: Uri = raw
            .url
            .ok_or_else(|| ConfigError::new("url", "missing; expected an http or https address"))?
            .parse()
            .map_err(|_| ConfigError::new("url", "expected an http or https address"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(ConfigError::new("url", "expected an http or https address"));
        }
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let detail =
                "has a user in it, which would not be sent; put it into `config.headers.authorization`";
            return Err(ConfigError::new("url", detail));
        }
        let secrets = match raw.secret {
            Some(OneOrMany::One(secret)) => vec![secret],
            Some(OneOrMany::Many(secrets)) if !secrets.is_empty() => secrets,
            _ => {
                return Err(ConfigError::new(
                    "secret",
                    "missing; expected `whsec_` and base64 of 24 to 64 random bytes",
                ));
            }
        };
        let keys = secrets.iter().map(Key::parse).collect::<Option<Vec<_>>>();
        let keys = keys.ok_or_else(|| {
            ConfigError::new("secret", "expected `whsec_` and base64 of 24 to 64 random bytes")
        })?;
        if raw.batch.is_some_and(|batch| !(1..=1_000).contains(&batch)) {
            return Err(ConfigError::new("batch", "expected 1 to 1000"));
        }
        let timeout = raw.timeout_ms.unwrap_or(15_000);
        if !(100..=120_000).contains(&timeout) {
            return Err(ConfigError::new("timeout_ms", "expected 100 to 120000"));
        }
        for (name, value) in &raw.headers {
            check_header(name, value)?;
        }
        Ok(Self {
            url,
            keys,
            batch: raw.batch,
            headers: raw.headers.into_iter().collect(),
            timeout: Duration::from_millis(timeout),
            allow_private: raw.allow_private,
        })
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
}
