//! Calling a Onefold server, as the commands and the demo do.

use crate::args::Server;
use crate::commands::text::clean_lines;
use hyper::Method;
use onefold_connector::{Client, ClientError, Request};
use serde_json::Value;
use std::time::Duration;

/// What stops a command: in words, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(pub(crate) String);

impl Failed {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An error with all that caused it.
    pub(crate) fn because(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

/// Bytes of an answer: more than a workspace and a page of any list can be.
const ANSWER_BYTES: usize = 256 << 20;

/// A server to call.
#[derive(Clone)]
pub(crate) struct Remote {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Remote {
    pub(crate) fn new(base: &str, token: Option<String>) -> Self {
        Self {
            client: Client::new(true, Duration::from_secs(90)).with_reply_bytes(ANSWER_BYTES),
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    pub(crate) fn of(server: &Server) -> Self {
        Self::new(&server.server, server.token.clone())
    }

    /// Calls `path`; the status and the JSON of the answer. One of success has it whole; of a failure that says no reason in
    /// JSON, as a proxy's, the JSON is `null`.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failed> {
        let request = self.request(method, path, body)?;
        let reply = self.client.send(request).await.map_err(|error| self.unanswered(&error))?;
        match serde_json::from_slice(&reply.body) {
            Ok(answer) => Ok((reply.status, answer)),
            Err(error) if (200..300).contains(&reply.status) => Err(Failed::new(format!(
                "{}{path} answered {} with what is no JSON ({error})\nhint: is that a Onefold server? name it with \
                 --server URL",
                self.base, reply.status
            ))),
            Err(_) => Ok((reply.status, Value::Null)),
        }
    }

    /// Reads `path` as it comes, until `on` answers false or the server ends it.
    pub(crate) async fn stream(&self, path: &str, on: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Failed> {
        let request = self.request(Method::GET, path, None)?;
        let (status, rest) =
            self.client.stream(request, on).await.map_err(|error| self.unanswered(&error))?;
        if status == 200 {
            return Ok(());
        }
        let answer: Value = serde_json::from_slice(&rest).unwrap_or_default();
        Err(Failed::new(
            answer["detail"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned),
        ))
    }

    /// All of a list from the cursor `from`, or from its beginning for `null`, a page at a time. A page has few enough items
    /// for one answer, however large they are.
    pub(crate) async fn all(&self, path: &str, from: &Value) -> Result<Vec<Value>, Failed> {
        let mut all = Vec::new();
        let mut cursor = from.clone();
        loop {
            let from = match &cursor {
                Value::Null => String::new(),
                Value::String(key) => format!("&cursor={}", encoded(key)),
                number => format!("&cursor={number}"),
            };
            let mut page = self.ask(Method::GET, &format!("{path}?limit=200{from}"), None).await?;
            if let Value::Array(items) = page["data"].take() {
                all.extend(items);
            }
            cursor = page["cursor"].take();
            if cursor.is_null() {
                return Ok(all);
            }
        }
    }

    fn unanswered(&self, error: &ClientError) -> Failed {
        let hint = match error {
            ClientError::TooLarge(_) => "ask for less",
            _ => "is the server running? name it with --server URL",
        };
        Failed::new(format!("no answer from {}: {error}\nhint: {hint}", self.base))
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Request, Failed> {
        let uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| Failed::new(format!("{} is not an address", self.base)))?;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(token) = &self.token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        Ok(Request { method, uri, headers, body })
    }

    /// Calls `path` and takes only success.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let (status, answer) = self.call(method, path, body).await?;
        Self::taken(status, answer)
    }

    /// An answer if it is one of success, else what it says went wrong.
    pub(crate) fn taken(status: u16, answer: Value) -> Result<Value, Failed> {
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        // The tracking API has its reason under `error`, as Segment's clients expect it.
        let detail = answer["detail"].as_str().or(answer["error"]["detail"].as_str());
        let mut text = detail.map_or_else(|| format!("the server answered {status}"), str::to_owned);
        for problem in answer["problems"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "\n\n{}:\n{}",
                problem["place"].as_str().unwrap_or_default(),
                problem["detail"].as_str().unwrap_or_default()
            ));
        }
        // It can name what clients sent.
        Err(Failed(clean_lines(&text)))
    }
}

/// Percent-encodes everything but what stands in a path or query as itself (RFC 3986, unreserved).
pub(crate) fn encoded(text: &str) -> String {
    let keep =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@');
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
