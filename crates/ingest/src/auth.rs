//! Whose write key it is: in the body, as the Basic user name, or as a Bearer token (with or without a key in the body).

use crate::answer::Refusal;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use onefold_types::Catalogue;
use onefold_types::workspace::Source;

/// The write key that the `Authorization` header names.
pub(crate) fn header_key(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(credentials).or_else(|_| STANDARD_NO_PAD.decode(credentials)).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    // `key:` is the documented form; `key` alone works "for backward compatibility".
    Some(decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user).to_owned())
}

/// The enabled source that one of `keys` belongs to: the first that is known wins, so a wrong header does not hide a
/// right key in the body.
pub(crate) fn source<'a>(catalogue: &'a Catalogue, keys: &[Option<&str>]) -> Result<&'a Source, Refusal> {
    let given: Vec<&str> = keys.iter().flatten().copied().filter(|key| !key.is_empty()).collect();
    for key in &given {
        for source in catalogue.workspace.sources.iter().filter(|source| source.labels.enabled) {
            if source.write_key.iter().any(|known| known == key) {
                return Ok(source);
            }
        }
    }
    let (code, detail) = if given.is_empty() {
        (
            "missing_write_key",
            "expected a write key: as `writeKey` in the body, as the Basic user name, or as Bearer token",
        )
    } else {
        ("unknown_write_key", "no enabled source has this write key; see `sources` in the workspace file")
    };
    Err(Refusal::final_(StatusCode::UNAUTHORIZED, code, detail))
}

#[cfg(test)]
mod tests {
    use super::header_key;
    use axum::http::{HeaderMap, HeaderValue, header};

    fn key(value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        header_key(&headers)
    }

    #[test]
    fn every_form_of_the_header_names_the_key() {
        assert_eq!(key("Basic d2tfd2ViOg==").as_deref(), Some("wk_web"));
        assert_eq!(key("basic d2tfd2Vi").as_deref(), Some("wk_web"));
        assert_eq!(key("Bearer wk_web").as_deref(), Some("wk_web"));
        assert_eq!(key("Basic %%%"), None);
        assert_eq!(key("Digest x"), None);
    }
}
