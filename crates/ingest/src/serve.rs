//! The HTTP server under the whole surface: bounded connections, a time for heads and for bodies, a drain at the end.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::{BoxError, Router};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tower::ServiceExt;

/// How the server serves.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Time for a request's head to arrive, and for an idle connection to send the next one.
    pub header_timeout: Duration,
    /// Time for a request's body to arrive, whoever reads it; the tracking API's own is shorter and has its own answer.
    pub body_timeout: Duration,
    /// Time for requests under way to end after the shutdown signal.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            connections: 20_000,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(8),
        }
    }
}

/// Serves `router` on `listener` until `shutdown` is ready, then lets the requests under way end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(options.connections));
    let stop = tokio::sync::watch::channel(false).0;
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (router, mut stopping) = (router.clone(), stop.subscribe());
        connections.spawn(async move {
            let _place = place;
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                router.clone().oneshot(request.map(|body| timed(body, options.body_timeout)))
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(options.header_timeout)
                .max_buf_size(64 << 10);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            // The client's end of a broken connection is no concern of ours.
            drop(connection.await);
        });
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(options.drain, drained).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections were still open at the end of the drain; closing them"
        );
    }
}

/// `body`, broken off when it has not arrived after `timeout`.
fn timed(body: Incoming, timeout: Duration) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(Timed { body, timeout, deadline: Instant::now().checked_add(timeout), timer: None })
}

struct Timed {
    body: Incoming,
    timeout: Duration,
    /// None if that is further than time goes.
    deadline: Option<Instant>,
    /// Made when the body lets wait for it, which few do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // Of a kind that whoever reads the body can tell from a connection that broke.
        let late = format!("the body did not arrive within {:?}", self.timeout);
        Poll::Ready(Some(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, late).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, Place)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and whole: waiting to fill a packet only adds latency.
            drop(stream.set_nodelay(true));
            Some((stream, peer, place))
        }
        Err(error) => {
            // Out of file descriptors: the listener stays readable, so a pause keeps it from spinning.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
