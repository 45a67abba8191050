//! The signed webhook: Standard Webhooks (standardwebhooks.com, specification 1.0.0) to any URL.
//!
//! With `batch` in the config a body is `{"batch":[…]}`, however many messages it has, and its `webhook-id` is made of
//! theirs. A batch that is refused with 400, 409, 413 or 422 may be refused for one message, so it is
//! [`Outcome::RefusedTogether`]: delivery sends its halves, and theirs, until what is refused is alone. Every other refusal
//! (401, 403, 404, 405, 410, a redirect, a private address, …) is about the sender or the address, and would be the same
//! for each part: it is the outcome of each message, after one request. A receiver that says 400 for a wrong signature
//! costs two requests a message until it is mended: answer 401.

mod config;
mod sign;

pub use config::Config;
pub use sign::{Key, signature};

use hyper::Method;
use onefold_connector::{
    Answer, Client, ClientError, ConfigError, Connector, Outcome, Outcomes, Rendered, Reply, Request,
    retry_after,
};

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
            ("webhook-id".to_owned(), id.to_owned()),
            ("webhook-timestamp".to_owned(), now.to_string()),
            ("webhook-signature".to_owned(), signature(&self.config.keys, id, now, &body)),
        ];
        if !self.config.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            let agent = concat!("onefold/", env!("CARGO_PKG_VERSION"));
            headers.push(("user-agent".to_owned(), agent.to_owned()));
        }
        headers.extend(
            self.config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())),
        );
        let request = Request { method: Method::POST, uri: self.config.url.clone(), headers, body };
        // Whoever answered with a status has read the request: what becomes of the rest of the answer is no reason
        // to send it again.
        match self.client.send_for_status(request).await {
            Ok(reply) => judge(&reply, now),
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
fn judge(reply: &Reply, now: i64) -> Outcome {
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
        408 | 425 | 429 | 500.. => Outcome::Retry { after: retry_after(reply, now), answer },
        _ => Outcome::Refused(answer),
    }
}

/// What an answer to a request with `count` messages says of each of them.
fn of_each(outcome: Outcome, count: usize) -> Outcome {
    match outcome {
        Outcome::Refused(answer) if count > 1 && matches!(answer.status, 400 | 409 | 413 | 422) => {
            Outcome::RefusedTogether(answer)
        }
        outcome => outcome,
    }
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
                    let outcome = of_each(self.post(&batch_id(items), body, now).await, items.len());
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

#[cfg(test)]
mod tests {
    use super::{judge, of_each};
    use onefold_connector::{Outcome, Reply};
    use std::time::Duration;

    #[test]
    fn a_status_decides() {
        let judged = |status: u16| {
            let headers = vec![("retry-after".to_owned(), "7".to_owned())];
            match judge(&Reply { status, headers, body: Vec::new() }, 0) {
                Outcome::Delivered(_) => "delivered",
                Outcome::Retry { after, .. } if after == Some(Duration::from_secs(7)) => "retry",
                Outcome::Retry { .. } => "retry at will",
                Outcome::Refused(_) => "refused",
                Outcome::RefusedTogether(_) => "refused together",
            }
        };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status), "delivered", "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599, 999] {
            assert_eq!(judged(status), "retry", "{status}");
        }
        for status in [101, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 422, 499] {
            assert_eq!(judged(status), "refused", "{status}");
        }
    }

    #[test]
    fn a_batch_is_refused_together_only_if_one_message_may_be_why() {
        let is_together = |status: u16, count: usize| {
            let outcome = judge(&Reply { status, headers: Vec::new(), body: Vec::new() }, 0);
            matches!(of_each(outcome, count), Outcome::RefusedTogether(answer) if answer.status == status)
        };
        for status in [400, 409, 413, 422] {
            assert!(is_together(status, 2) && is_together(status, 1_000), "{status}");
            assert!(!is_together(status, 1), "{status}: a message alone is refused");
        }
        for status in [
            200, 204, 301, 308, 401, 402, 403, 404, 405, 406, 407, 408, 410, 411, 415, 425, 429, 451, 500,
            503,
        ] {
            assert!(!is_together(status, 2), "{status}");
        }
        // No answer at all: the address is private.
        assert!(!is_together(0, 2));
    }

    #[test]
    fn a_redirect_names_where_it_would_lead() {
        let headers = vec![("location".to_owned(), "http://169.254.169.254/".to_owned())];
        let outcome = judge(&Reply { status: 302, headers, body: Vec::new() }, 0);
        let Outcome::Refused(answer) = outcome else { panic!("{outcome:?}") };
        assert!(answer.text.contains("http://169.254.169.254/") && answer.status == 302);
    }
}
