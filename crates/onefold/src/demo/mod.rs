//! `onefold demo`: a server, a sample shop's traffic through its public API, a webhook receiver, and a table of what happens.

mod receiver;
mod shop;

use crate::args::{Demo, LogFormat, Serve};
use crate::http::{Failed, Remote};
use crate::out::say;
use crate::server::Running;
use crate::stop::Stop;
use crate::{commands, server, workspace_file};
use hyper::Method;
use onefold_types::document::Document;
use receiver::Receiver;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The sample shop's write key.
const WRITE_KEY: &str = "wk_shop_web";

pub(crate) async fn run(demo: Demo) -> Result<ExitCode, Failed> {
    commands::serve::start_logging(LogFormat::Text);
    // From the first moment on, so that whatever ends the demo leaves nothing behind.
    let mut stop = Stop::listen()?;
    let folder = Folder::of(demo.data.as_deref());
    let receiver = Receiver::start()
        .await
        .map_err(|error| Failed::new(format!("the receiver cannot be started: {error}")))?;
    let workspace = workspace(&folder.path, &receiver.url())?;
    let serve = Serve::small(&folder.path, demo.listen).map_err(Failed)?;
    let running = server::start(&serve).await?;
    let outcome = show_all(&demo, &running, workspace, &receiver, &mut stop).await;
    running.stop().await;
    outcome?;
    folder.remove()?;
    let badly_signed = receiver.badly_signed();
    if badly_signed > 0 {
        return Err(Failed::new(format!("{badly_signed} webhooks were not signed as they should be")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the shop and tells what happens, until somebody stops it.
async fn show_all(
    demo: &Demo,
    running: &Running,
    workspace: Document,
    receiver: &Receiver,
    stop: &mut Stop,
) -> Result<(), Failed> {
    running.admin.apply_at_start(workspace).await.map_err(Failed)?;
    let base = format!("http://{}", reachable(running.address));
    let token = running.admin.token();
    say!("onefold is ready on {base} · the shop opens; webhooks go to {}", receiver.url());
    let given = token.as_ref().map(|token| format!(" --token {token}")).unwrap_or_default();
    say!("try: onefold profile get user_id:user-1 --server {base}{given}\n");

    let sent = Arc::new(AtomicU64::new(0));
    let remote = Remote::new(&base, token);
    let visitors = tokio::spawn(open_shop(remote.clone(), demo.seed, demo.visitors, sent.clone()));
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut seconds = 0;
    loop {
        tokio::select! {
            () = stop.asked() => break,
            _ = ticks.tick() => {}
        }
        show(&remote, &sent, receiver).await?;
        seconds += 1;
        if demo.seconds.is_some_and(|most| seconds > most) {
            break;
        }
    }
    visitors.abort();
    let summary = summary(&remote, &sent, receiver).await?;
    say!("\n{summary:#}");
    Ok(())
}

/// Where a server that listens on `address` answers on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// The data folder. One that nobody named goes when the demo ends, however it ends.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    fn of(named: Option<&Path>) -> Self {
        match named {
            Some(path) => Self { path: path.to_owned(), is_temporary: false },
            None => {
                let name = format!("onefold-demo-{}", std::process::id());
                Self { path: std::env::temp_dir().join(name), is_temporary: true }
            }
        }
    }

    fn remove(mut self) -> Result<(), Failed> {
        if !std::mem::take(&mut self.is_temporary) {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.path)
            .map_err(|error| Failed::new(format!("{} cannot be removed: {error}", self.path.display())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A server that could not start may be writing still, which can hold up one attempt; a failure is told already.
        let mut attempts = 10;
        while self.is_temporary && self.path.exists() && attempts > 0 {
            drop(std::fs::remove_dir_all(&self.path));
            attempts -= 1;
        }
    }
}

/// The sample workspace, which is a file that a reader can look at.
fn workspace(data: &Path, receiver: &str) -> Result<Document, Failed> {
    let failed =
        |error: &dyn std::fmt::Display| Failed::new(format!("the sample workspace cannot be used: {error}"));
    std::fs::create_dir_all(data).map_err(|error| failed(&error))?;
    let path = data.join("shop.yaml");
    std::fs::write(&path, include_str!("../../../../examples/shop.yaml")).map_err(|error| failed(&error))?;
    let environment = |name: &str| (name == "ONEFOLD_DEMO_RECEIVER").then(|| receiver.to_owned());
    workspace_file::read(&[path], &environment).map_err(|error| failed(&error))
}

/// Lets visitors in, for ever.
async fn open_shop(remote: Remote, seed: u64, per_second: u32, sent: Arc<AtomicU64>) {
    let mut number = 0;
    let mut door = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
    loop {
        door.tick().await;
        number += 1;
        let (remote, sent) = (remote.clone(), sent.clone());
        tokio::spawn(async move {
            for call in shop::visit(seed, number) {
                tokio::time::sleep(call.after).await;
                let mut body = call.body;
                body["writeKey"] = WRITE_KEY.into();
                for _ in 0..=usize::from(call.repeated) {
                    if remote.ask(Method::POST, call.path, Some(&body)).await.is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
}

async fn summary(remote: &Remote, sent: &AtomicU64, receiver: &Receiver) -> Result<Value, Failed> {
    let status = remote.ask(Method::GET, "/api/status", None).await?;
    let audiences = remote.ask(Method::GET, "/api/audiences", None).await?;
    let sizes = audiences["data"].as_array().into_iter().flatten();
    let sizes: serde_json::Map<String, Value> =
        sizes.map(|a| (a["key"].as_str().unwrap_or_default().to_owned(), a["size"].clone())).collect();
    Ok(json!({
        "accepted": sent.load(Ordering::Relaxed),
        "folded": status["folded"],
        "duplicates": status["duplicates"],
        "persons": status["persons"],
        "identity_transitions": status["transitions"],
        "audiences": sizes,
        "webhooks": receiver.counts(),
        "webhooks_badly_signed": receiver.badly_signed(),
    }))
}

async fn show(remote: &Remote, sent: &AtomicU64, receiver: &Receiver) -> Result<(), Failed> {
    let now = summary(remote, sent, receiver).await?;
    let sizes = now["audiences"].as_object().into_iter().flatten();
    let sizes: Vec<String> = sizes.map(|(key, size)| format!("{key} {size}")).collect();
    say!(
        "{:>6} events · {:>5} people · {:>4} stitched · {:>5} webhooks │ {}",
        now["folded"].to_string(),
        now["persons"].to_string(),
        now["identity_transitions"].to_string(),
        receiver.total(),
        sizes.join(" · ")
    );
    Ok(())
}
