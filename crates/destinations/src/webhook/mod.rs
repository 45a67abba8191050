//! The signed webhook: Standard Webhooks (standardwebhooks.com, specification 1.0.0) to any URL.

mod config;
mod sign;

pub use config::Config;
pub use sign::{Key, signature};

use hyper::Method;
use onefold_connector::{
    Answer, Client, ClientError, ConfigError, Connector, Outcome, Outcomes, Rendered, Reply, Request,
};
use std::time::Duration;

/// Characters of an answer that are kept.
const ANSWER_CHARS: usize = 2_000;

/// A webhook, ready to be sent to.
pub struct Webhook {
    config: Config,
    client: Client,
}

impl Webhook {
    /// Reads the config of a destination of kind `webhook`.
    ///
    /// # Errors
    /// Which key cannot be used, and what was expected.
    pub fn new(config: &serde_json::Value) -> Result<Self, ConfigError> {
        let config = Config::read(config)?;
        let client = Client::new(config.allow_private, config.timeout);
        Ok(Self { config, client })
    }

    async fn post(&self, id: &str, body: Vec<u8>, now: i64) -> Outcome {
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), concat!("onefold/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("webhook-id".to_owned(), id.to_owned()),
            ("webhook-timestamp".to_owned(), now.to_string()),
            ("webhook-signature".to_owned(), signature(&self.config.keys, id, now, &body)),
        ];
        headers.extend(
            self.config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())),
        );
        let request = Request { method: Method::POST, uri: self.config.url.clone(), headers, body };
        match self.client.send(request).await {
            Ok(reply) => judge(&reply),
            Err(error) => {
                let answer = Answer { status: 0, text: error.to_string() };
                match error {
                    ClientError::Private { .. } | ClientError::Invalid(_) => Outcome::Refused(answer),
                    ClientError::Connection(_) | ClientError::Timeout(_) => {
                        Outcome::Retry { after: None, answer }
                    }
                }
            }
        }
    }
}

/// What a status means: 2xx has it; 408, 425, 429 and 5xx may have it later; the rest never will.
fn judge(reply: &Reply) -> Outcome {
    let text: String = String::from_utf8_lossy(&reply.body).chars().take(ANSWER_CHARS).collect();
    let answer = Answer { status: reply.status, text };
    match reply.status {
        200..300 => Outcome::Delivered(answer),
        300..400 => {
            let to = reply.header("location").unwrap_or("nowhere");
            let text = format!(
                "redirects to {to}; redirects are not followed: put the final address into `config.url`"
            );
            Outcome::Refused(Answer { text, ..answer })
        }
        408 | 425 | 429 | 500.. => {
            Outcome::Retry { after: reply.header("retry-after").and_then(retry_after), answer }
        }
        _ => Outcome::Refused(answer),
    }
}

/// `Retry-After` (RFC 9110, 10.2.3) as seconds; a date is left to the caller's own back-off.
fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

impl Connector for Webhook {
    fn batch_items(&self) -> usize {
        self.config.batch.unwrap_or(1)
    }

    fn deliver<'a>(&'a self, items: &'a [Rendered], now: i64) -> Outcomes<'a> {
        Box::pin(async move {
            match (self.config.batch, items) {
                (None, [item]) => vec![self.post(&item.id, item.body.clone(), now).await],
                (_, items) => {
                    let bodies: Vec<&[u8]> = items.iter().map(|item| item.body.as_slice()).collect();
                    let body = [b"{\"batch\":[".as_slice(), &bodies.join(b",".as_slice()), b"]}"].concat();
                    let outcome = self.post(&batch_id(items), body, now).await;
                    vec![outcome; items.len()]
                }
            }
        })
    }
}

/// The id of a batch: the same for the same items, so that a receiver knows a retry.
fn batch_id(items: &[Rendered]) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for item in items {
        hasher.update(item.id.as_bytes());
        hasher.update(b"\n");
    }
    let digest: String = hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("ofb_{digest}")
}
