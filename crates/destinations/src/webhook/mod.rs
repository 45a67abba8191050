//! The signed webhook: Standard Webhooks (standardwebhooks.com, specification 1.0.0) to any URL.
//!
//! With `batch` in the config a body is `{"batch":[…]}`, however many messages it has, and its `webhook-id` is made of
//! theirs.
//!
//! What an answer means (`judge`, which is the whole of it):
//!
//! | answer | is about | what follows |
//! |---|---|---|
//! | 2xx | the message | delivered |
//! | 400, 409, 413, 422 | the message | refused for good; of a batch: sent in halves ([`Outcome::RefusedTogether`]) |
//! | 410 | the endpoint | tried again, an hour later if it names no time |
//! | 408, 425, 429, 5xx | the moment | tried again, at the time of its `Retry-After` if it names one |
//! | every other status: 401, 403, 404, 405, 415, 451, … | the endpoint | tried again, likewise |
//! | 3xx | the endpoint | tried again; never followed |
//! | none: no connection, no answer in time, a private address, a request that cannot be made | the endpoint | tried again |
//!
//! Standard Webhooks and Svix take everything but 2xx for a failure that is tried again, redirects too. We do so where the
//! answer would be the same for the next message: a route that is missing for a minute or a secret that was rotated too
//! early must not cost a dead letter a message. What says that this one message will never do is final at once, for its
//! person's next message waits behind it. 410 asks the sender to disable the endpoint: that is the operator's to do, so
//! until then it is asked as rarely as makes sense. A receiver that says 400 for a wrong signature makes dead letters, and
//! of a batch costs two requests a message, until it is mended: answer 401.

mod config;
mod sign;

pub use config::Config;
pub use sign::{Key, signature};

use hyper::Method;
use onefold_connector::{
    Answer, Client, ConfigError, Connector, Outcome, Outcomes, Rendered, Reply, Request, retry_after,
};
use std::time::Duration;

/// Characters of an answer that are kept.
const ANSWER_CHARS: usize = 2_000;

/// How long an endpoint is left alone that says it is gone for good.
const GONE_PAUSE: Duration = Duration::from_secs(3_600);

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
            // Each kind is about the endpoint or the way to it, and would be the same for every message.
            Err(error) => {
                Outcome::Retry { after: None, answer: Answer { status: 0, text: error.to_string() } }
            }
        }
    }
}

/// What an answer means: the table in the module's head.
fn judge(reply: &Reply, now: i64) -> Outcome {
    let text: String = String::from_utf8_lossy(&reply.body).chars().take(ANSWER_CHARS).collect();
    let answer = Answer { status: reply.status, text };
    let named = retry_after(reply, now);
    match reply.status {
        200..300 => Outcome::Delivered(answer),
        300..400 => {
            let to = reply.header("location").unwrap_or("nowhere");
            let text = format!(
                "redirects to {to}; redirects are not followed: put the final address into `config.url`"
            );
            Outcome::Retry { after: named, answer: Answer { text, ..answer } }
        }
        400 | 409 | 413 | 422 => Outcome::Refused(answer),
        410 => Outcome::Retry { after: named.or(Some(GONE_PAUSE)), answer },
        _ => Outcome::Retry { after: named, answer },
    }
}

/// What an answer to a request with `count` messages says of each of them.
fn of_each(outcome: Outcome, count: usize) -> Outcome {
    match outcome {
        // Whatever is about a message may be about one of these.
        Outcome::Refused(answer) if count > 1 => Outcome::RefusedTogether(answer),
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
                    let outcome = of_each(self.post(&batch_id(items), batch(items), now).await, items.len());
                    vec![outcome; items.len()]
                }
            }
        })
    }
}

/// The body of a batch, made in one piece: it is as large as all of them.
fn batch(items: &[Rendered]) -> Vec<u8> {
    const OPEN: &[u8] = b"{\"batch\":[";
    let bytes = items.iter().map(|item| item.body.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(OPEN.len() + bytes + 2);
    body.extend_from_slice(OPEN);
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item.body);
    }
    body.extend_from_slice(b"]}");
    body
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
        for status in 100..=999 {
            let expected = match status {
                200..=299 => "delivered",
                400 | 409 | 413 | 422 => "refused",
                _ => "retry",
            };
            assert_eq!(judged(status), expected, "{status}");
        }
    }

    #[test]
    fn who_is_gone_is_left_alone_for_an_hour_unless_it_names_a_time() {
        let after = |status: u16, headers: Vec<(String, String)>| match judge(
            &Reply { status, headers, body: Vec::new() },
            0,
        ) {
            Outcome::Retry { after, .. } => after,
            outcome => panic!("{outcome:?}"),
        };
        let named = |seconds: &str| vec![("retry-after".to_owned(), seconds.to_owned())];
        assert_eq!(after(410, Vec::new()), Some(Duration::from_secs(3_600)));
        assert_eq!(after(410, named("5")), Some(Duration::from_secs(5)));
        for status in [301, 401, 403, 404, 405, 503] {
            assert_eq!(after(status, Vec::new()), None, "{status}");
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
        let Outcome::Retry { after: None, answer } = outcome else { panic!("{outcome:?}") };
        assert!(answer.text.contains("http://169.254.169.254/") && answer.status == 302);
    }
}
