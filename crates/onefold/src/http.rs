//! Calling a Onefold server, as the commands and the demo do.

use crate::args::Server;
use hyper::Method;
use onefold_connector::{Client, Request};
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
}

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
            client: Client::new(true, Duration::from_secs(90)),
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    pub(crate) fn of(server: &Server) -> Self {
        Self::new(&server.server, server.token.clone())
    }

    /// Calls `path`; the status and the JSON of the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), Failed> {
        let uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| Failed::new(format!("{} is not an address", self.base)))?;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(token) = &self.token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let reply = self.client.send(Request { method, uri, headers, body }).await.map_err(|error| {
            Failed::new(format!(
                "no answer from {}: {error}\nhint: is the server running? name it with --server URL",
                self.base
            ))
        })?;
        Ok((reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null)))
    }

    /// Calls `path` and takes only success.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failed> {
        let (status, answer) = self.call(method, path, body).await?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let mut text =
            answer["detail"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
        for problem in answer["problems"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "\n\n{}:\n{}",
                problem["place"].as_str().unwrap_or_default(),
                problem["detail"].as_str().unwrap_or_default()
            ));
        }
        Err(Failed(text))
    }
}
