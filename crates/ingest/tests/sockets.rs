//! What only a socket shows: slow clients, idle connections, a drain at the end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failure in a test's own helper is a failed test"
)]

mod common;

use axum::Router;
use axum::routing::post;
use common::Api;
use onefold_ingest::{Limits, ServeOptions, serve};
use onefold_log::MemoryLogOptions;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

async fn start(options: ServeOptions) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>, Api) {
    let limits = Limits { body_timeout: Duration::from_millis(150), ..Limits::default() };
    let api = Api::with(limits, MemoryLogOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let reads = |body: axum::body::Bytes| async move { body.len().to_string() };
    let router = api.router.clone().merge(Router::new().route("/reads", post(reads)));
    let server = tokio::spawn(serve(listener, router, options, async move { drop(stopped.await) }));
    (address, stop, server, api)
}

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

const PAGE: &str = r#"{"userId":"u","writeKey":"wk_server"}"#;

async fn page(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/page HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{PAGE}",
        PAGE.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_drips_its_head_is_closed() {
    let options = ServeOptions { header_timeout: Duration::from_millis(150), ..ServeOptions::default() };
    let (address, _stop, _server, _api) = start(options).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"POST /v1/page HT").await.unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(page(address).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_drips_its_body_is_told_to_come_back() {
    let (address, _stop, _server, _api) = start(ServeOptions::default()).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"POST /v1/page HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
}

/// What a client gets that sends the head and the beginning of a body, and keeps its connection; until it is closed.
async fn begun(address: SocketAddr, head: &str) -> String {
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut answer)).await.unwrap().unwrap();
    // An image is no text.
    String::from_utf8_lossy(&answer).into_owned()
}

/// A body that never ends holds nothing for longer than its time, whoever reads it: the tracking API, what takes it and
/// throws it away, what does not look at it, a handler that knows of no time.
#[tokio::test]
async fn no_body_holds_its_connection_for_ever() {
    let options = ServeOptions { body_timeout: Duration::from_millis(150), ..ServeOptions::default() };
    let (address, _stop, _server, _api) = start(options).await;
    for (head, status) in [
        ("POST /v1/page", "503"),
        ("POST /v1/m", "200"),
        ("GET /v1/pixel/track", "200"),
        ("POST /v1/nothing", "404"),
        ("POST /reads", "400"),
    ] {
        let answer = begun(address, head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
    // Nor has it to be all of it: what is thrown away has a limit.
    let mut open = TcpStream::connect(address).await.unwrap();
    let head = b"POST /v1/m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n20000\r\n";
    open.write_all(&[head.as_slice(), &[b' '; 0x12000]].concat()).await.unwrap();
    let mut answer = [0; 12];
    open.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn idle_connections_harm_nobody() {
    let (address, _stop, _server, _api) = start(ServeOptions::default()).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(page(address).await.starts_with("HTTP/1.1 200"));
    drop(idle);
}

#[tokio::test]
async fn a_stopping_server_ends_what_it_began_and_takes_nothing_new() {
    let (address, stop, server, api) = start(ServeOptions::default()).await;
    let mut open = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /v1/page HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{{", PAGE.len());
    open.write_all(head.as_bytes()).await.unwrap();
    assert!(page(address).await.starts_with("HTTP/1.1 200"));
    stop.send(()).unwrap();
    open.write_all(&PAGE.as_bytes()[1..]).await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.await.unwrap();
    assert_eq!(api.messages().len(), 2);
    assert!(TcpStream::connect(address).await.is_err());
}
