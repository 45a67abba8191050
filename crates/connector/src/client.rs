//! The HTTP client of every connector: bounded in time and size, no redirects, and only to addresses that are allowed.

use crate::guard::is_public;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
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
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of an answer that are read; the rest is not waited for.
const REPLY_BYTES: usize = 64 << 10;

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

/// An answer: all of it, or its first 64 KiB.
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
}

/// See the module. Cheap to clone; connections are pooled.
#[derive(Clone)]
pub struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    allow_private: bool,
    timeout: Duration,
}

impl Client {
    /// A client that waits at most `timeout` for a whole answer.
    #[must_use]
    pub fn new(allow_private: bool, timeout: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver { allow_private });
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
            .build(connector);
        Self { hyper, allow_private, timeout }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// No answer came.
    pub async fn send(&self, request: Request) -> Result<Reply, ClientError> {
        let request = self.build(request)?;
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout(self.timeout))?
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
        let response = tokio::time::timeout(self.timeout, self.hyper.request(request))
            .await
            .map_err(|_| ClientError::Timeout(self.timeout))?
            .map_err(|error| ClientError::Connection(chain(&error)))?;
        let status = response.status();
        let mut incoming = response.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| ClientError::Connection(chain(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            if !status.is_success() {
                rest.extend_from_slice(&data[..data.len().min(REPLY_BYTES - rest.len())]);
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

    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> Result<Reply, ClientError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let response = self.hyper.request(request).await.map_err(|error| {
            let chain = chain(&error);
            if chain.contains(PRIVATE) {
                ClientError::Private { host }
            } else {
                ClientError::Connection(chain)
            }
        })?;
        let (parts, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| ClientError::Connection(chain(&error)))?;
            if let Some(data) = frame.data_ref() {
                body.extend_from_slice(&data[..data.len().min(REPLY_BYTES - body.len())]);
            }
            if body.len() >= REPLY_BYTES {
                break;
            }
        }
        let headers = parts.headers.iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok(Reply { status: parts.status.as_u16(), headers: headers.collect(), body })
    }
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

const PRIVATE: &str = "resolves to a loopback or private address";

/// Resolves a name and drops the addresses that are not allowed: what is checked is what is connected to.
#[derive(Clone, Debug)]
struct Resolver {
    allow_private: bool,
}

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|a| allow_private || is_public(a.ip())).collect();
            if allowed.is_empty() {
                return Err(io::Error::other(format!("{} {PRIVATE}", name.as_str())));
            }
            Ok(allowed.into_iter())
        })
    }
}
