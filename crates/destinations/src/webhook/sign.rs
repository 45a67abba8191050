//! Signing: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, one for each key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use onefold_connector::Secret;
use sha2::Sha256;
use std::fmt;

/// A signing key; cannot be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Key {
    /// Reads `whsec_<base64>` of 24 to 64 bytes, as the specification asks.
    #[must_use]
    pub fn parse(secret: &Secret) -> Option<Self> {
        let bytes = STANDARD.decode(secret.expose().strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }
}

/// The value of `webhook-signature`.
#[must_use]
pub fn signature(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    let sign = |key: &Key| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    keys.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Key, signature};
    use onefold_connector::Secret;

    /// The example of the reference libraries' own tests.
    #[test]
    fn signs_as_the_reference_does() {
        let key = Key::parse(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signed =
            signature(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
