//! `GET /v1/projects/{key}/settings`: what makes analytics.js and the mobile clients talk to this host.
//!
//! Shape: reference/segment.md 1.10.

use axum::http::{HeaderMap, header};
use onefold_types::workspace::Source;
use serde_json::{Value, json};

/// The address by which the client reached us: behind a proxy as the proxy says, else the `Host` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) protocol: &'static str,
    pub(crate) host: String,
}

impl Origin {
    /// As the request itself says.
    pub(crate) fn direct(headers: &HeaderMap) -> Self {
        Self::at("http", first(headers, header::HOST.as_str()))
    }

    /// As a trusted proxy says; anybody else could have a shared cache hand out scripts that send to their host.
    pub(crate) fn forwarded(headers: &HeaderMap) -> Self {
        let https = first(headers, "x-forwarded-proto").is_some_and(|p| p.eq_ignore_ascii_case("https"));
        let host = first(headers, "x-forwarded-host").or_else(|| first(headers, header::HOST.as_str()));
        Self::at(if https { "https" } else { "http" }, host)
    }

    fn at(protocol: &'static str, host: Option<&str>) -> Self {
        let host = host.unwrap_or("localhost");
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
        let host = if host.len() <= 255 && host.chars().all(is_host) { host } else { "localhost" };
        Self { protocol, host: host.to_owned() }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.protocol, self.host)
    }
}

fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim)
}

/// The settings of `source`, reached under `write_key` at `origin`.
pub(crate) fn settings(source: &Source, write_key: &str, origin: &Origin) -> Value {
    json!({
        "integrations": {
            "Segment.io": {
                "apiKey": write_key,
                "apiHost": format!("{}/v1", origin.host),
                "protocol": origin.protocol,
                "unbundledIntegrations": [],
                "addBundledMetadata": true,
                "maybeBundledConfigIds": {},
                "versionSettings": { "version": "4.4.7", "componentTypes": ["browser"] },
                "retryQueue": true,
            },
        },
        "plan": {
            "track": { "__default": { "enabled": true, "integrations": {} } },
            "identify": { "__default": { "enabled": true } },
            "group": { "__default": { "enabled": true } },
        },
        "edgeFunction": {},
        "analyticsNextEnabled": true,
        "middlewareSettings": { "routingRules": [] },
        "enabledMiddleware": {},
        "metrics": { "sampleRate": 0, "host": format!("{}/v1", origin.host) },
        "legacyVideoPluginsEnabled": false,
        "remotePlugins": [],
        "autoInstrumentationSettings": { "disableTraffic": true, "sampleRate": 0 },
        "tracking": { "source": source.key },
    })
}
