//! `onefold demo`: a server, a sample shop's traffic through its public API, a webhook receiver, and a table of what happens.

mod receiver;
mod shop;

use crate::args::{Demo, LogFormat, Serve};
use crate::http::{Failed, Remote};
use crate::{commands, server, workspace_file};
use hyper::Method;
use receiver::Receiver;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The sample shop's write key.
const WRITE_KEY: &str = "wk_shop_web";

pub(crate) async fn run(demo: Demo) -> Result<ExitCode, Failed> {
    commands::serve::start_logging(LogFormat::Text);
    let (data, temporary) = match &demo.data {
        Some(data) => (data.clone(), false),
        None => (std::env::temp_dir().join(format!("onefold-demo-{}", std::process::id())), true),
    };
    let receiver = Receiver::start()
        .await
        .map_err(|error| Failed::new(format!("the receiver cannot be started: {error}")))?;
    let workspace = workspace(&data, &receiver.url())?;
    let serve = Serve::small(&data, demo.listen).map_err(Failed)?;
    let running = server::start(&serve).await?;
    running.admin.apply_at_start(workspace).await.map_err(Failed)?;
    let base = format!("http://{}", running.address);
    println!("onefold is ready on {base} · the shop opens; webhooks go to {}", receiver.url());
    println!("try: onefold profile get user_id:user-1 --server {base}\n");

    let sent = Arc::new(AtomicU64::new(0));
    let visitors = tokio::spawn(open_shop(Remote::new(&base, None), demo.seed, demo.visitors, sent.clone()));
    let remote = Remote::new(&base, None);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut seconds = 0;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = ticks.tick() => {}
        }
        show(&remote, &sent, &receiver).await?;
        seconds += 1;
        if demo.seconds.is_some_and(|most| seconds > most) {
            break;
        }
    }
    visitors.abort();
    let summary = summary(&remote, &sent, &receiver).await?;
    println!("\n{summary:#}");
    running.stop().await;
    if temporary {
        std::fs::remove_dir_all(&data)
            .map_err(|error| Failed::new(format!("{} cannot be removed: {error}", data.display())))?;
    }
    let badly_signed = receiver.badly_signed();
    if badly_signed > 0 {
        return Err(Failed::new(format!("{badly_signed} webhooks were not signed as they should be")));
    }
    Ok(ExitCode::SUCCESS)
}

/// The sample workspace, which is a file that a reader can look at.
fn workspace(data: &PathBuf, receiver: &str) -> Result<onefold_types::workspace::Workspace, Failed> {
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
    println!(
        "{:>6} events · {:>5} people · {:>4} stitched · {:>5} webhooks │ {}",
        now["folded"].to_string(),
        now["persons"].to_string(),
        now["identity_transitions"].to_string(),
        receiver.total(),
        sizes.join(" · ")
    );
    Ok(())
}
