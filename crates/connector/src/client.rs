//! The HTTP client of every connector: bounded in time and size, no redirects, and only to addresses that are allowed.

use crate::guard::is_public;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of an answer that are read unless a client is made for larger ones.
const REPLY_BYTES: usize = 64 << 10;

/// Bytes of an answer's head, and of what is read at once.
const HEAD_BYTES: usize = 128 << 10;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub uri: Uri,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer: all of it, or of one whose status alone counts the part within the client's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of header `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address is one that only this server can reach.
    #[error(
        "{host} is a loopback or private address; set `allow_private: true` in the destination's config if that is meant"
    )]
    Private {
        /// The host.
        host: String,
    },
    /// The request cannot be made.
    #[error("the request cannot be made: {0}")]
    Invalid(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is larger than the client takes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// See the module. Cheap to clone; connections are pooled.
#[derive(Clone)]
pub struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    allow_private: bool,
    timeout: Duration,
    reply_bytes: usize,
}

impl Client {
    /// A client that waits at most `timeout` for a whole answer.
    #[must_use]
    pub fn new(allow_private: bool, timeout: Duration) -> Self {
        Self::with_lookup(allow_private, timeout, Arc::new(system_lookup))
    }

    fn build_with(resolver: Resolver, timeout: Duration) -> Self {
        let allow_private = resolver.allow_private;
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(timeout.min(Duration::from_secs(10))));
        http.set_nodelay(true);
        let provider = rustls::crypto::ring::default_provider();
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots.clone()).with_no_client_auth())
            // Ring has every default protocol version; the plain builder is the same set.
            .unwrap_or_else(|_| {
                rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
            });
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let hyper = Hyper::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(HEAD_BYTES)
            .build(connector);
        Self { hyper, allow_private, timeout, reply_bytes: REPLY_BYTES }
    }

    /// The same with answers of at most so many bytes instead of 64 KiB.
    #[must_use]
    pub fn with_reply_bytes(self, reply_bytes: usize) -> Self {
        Self { reply_bytes, ..self }
    }

    /// The same with another way to look names up, for tests; what it answers is checked as any answer is.
    #[must_use]
    pub fn with_lookup(allow_private: bool, timeout: Duration, lookup: Lookup) -> Self {
        Self::build_with(Resolver { allow_private, lookup }, timeout)
    }

    /// Sends a request and reads all of its answer.
    ///
    /// # Errors
    /// No answer came, it broke off, or it is larger than the limit.
    pub async fn send(&self, request: Request) -> Result<Reply, ClientError> {
        let (reply, rest) = self.exchange(request).await?;
        rest.map(|()| reply)
    }

    /// Sends a request whose answer is its status: once that is there, a body that breaks off, never ends or is larger than
    /// the limit is no failure.
    ///
    /// # Errors
    /// No status came.
    pub async fn send_for_status(&self, request: Request) -> Result<Reply, ClientError> {
        self.exchange(request).await.map(|(reply, _)| reply)
    }

    fn build(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
        self.check_literal(&request.uri)?;
        let mut builder = hyper::Request::builder().method(request.method).uri(request.uri);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        builder.body(Full::new(Bytes::from(request.body))).map_err(|e| ClientError::Invalid(e.to_string()))
    }

    /// Sends a request and hands its answer's body to `on` as it comes, until `on` answers false; the timeout is for the
    /// head alone. An answer that is no success is not handed over but returned, its first part at most.
    ///
    /// # Errors
    /// No answer came, or it broke off.
    pub async fn stream(
        &self,
        request: Request,
        on: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(u16, Vec<u8>), ClientError> {
        let request = self.build(request)?;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let response = tokio::time::timeout(self.timeout, self.hyper.request(request))
            .await
            .map_err(|_| ClientError::Timeout(self.timeout))?
            .map_err(|error| failure(&error, &host))?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| ClientError::Connection(chain(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            if !status.is_success() {
                rest.extend_from_slice(&data[..data.len().min(REPLY_BYTES - rest.len())]);
                if rest.len() >= REPLY_BYTES {
                    break;
                }
            } else if !on(data) {
                break;
            }
        }
        Ok((status.as_u16(), rest))
    }

    /// A host that is an address is not resolved, so the resolver's check never sees it.
    fn check_literal(&self, uri: &Uri) -> Result<(), ClientError> {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) if !self.allow_private && !is_public(address) => {
                Err(ClientError::Private { host: host.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The answer, and what became of the rest of its body.
    async fn exchange(&self, request: Request) -> Result<(Reply, Result<(), ClientError>), ClientError> {
        let request = self.build(request)?;
        let host = request.uri().host().unwrap_or_default().to_owned();
        let until = tokio::time::Instant::now() + self.timeout;
        let late = || ClientError::Timeout(self.timeout);
        let response = tokio::time::timeout_at(until, self.hyper.request(request)).await;
        let response = response.map_err(|_| late())?.map_err(|error| failure(&error, &host))?;
        let (parts, incoming) = response.into_parts();
        let mut body = Vec::new();
        let rest = tokio::time::timeout_at(until, read(incoming, &mut body, self.reply_bytes)).await;
        let headers = parts.headers.iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let reply = Reply { status: parts.status.as_u16(), headers: headers.collect(), body };
        Ok((reply, rest.unwrap_or_else(|_| Err(late()))))
    }
}

/// Reads a body, its first `most` bytes; what is beyond them is not waited for.
async fn read(mut incoming: Incoming, body: &mut Vec<u8>, most: usize) -> Result<(), ClientError> {
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| ClientError::Connection(chain(&error)))?;
        let Some(data) = frame.data_ref() else { continue };
        let room = most - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Err(ClientError::TooLarge(most));
        }
    }
    Ok(())
}

/// Why there is no answer.
fn failure(error: &(dyn std::error::Error + 'static), host: &str) -> ClientError {
    let mut cause = Some(error);
    while let Some(known) = cause {
        if known.is::<PrivateHost>() {
            return ClientError::Private { host: host.to_owned() };
        }
        cause = known.source();
    }
    ClientError::Connection(chain(error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// A name that stands only for addresses that are not allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0} resolves to a loopback or private address")]
struct PrivateHost(String);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks a name up.
pub type Lookup = Arc<dyn Fn(String) -> Found + Send + Sync>;

fn system_lookup(name: String) -> Found {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// Resolves a name and drops the addresses that are not allowed: what is checked is what is connected to.
#[derive(Clone)]
struct Resolver {
    allow_private: bool,
    lookup: Lookup,
}

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let mut allowed = found.await?;
            allowed.retain(|address| allow_private || is_public(address.ip()));
            if allowed.is_empty() {
                return Err(PrivateHost(name.as_str().to_owned()).into());
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
