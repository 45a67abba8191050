//! `onefold serve`.

use crate::args::{LogFormat, Serve};
use crate::http::Failed;
use crate::{server, workspace_file};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Logs to stderr, at `info` unless `ONEFOLD_LOG` says otherwise.
pub(crate) fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("ONEFOLD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Another subscriber is there already only in tests.
    drop(match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    });
}

pub(crate) async fn run(serve: Serve) -> Result<ExitCode, Failed> {
    start_logging(serve.log_format);
    let workspace = match serve.workspace.as_slice() {
        [] => None,
        files => {
            let read = workspace_file::read(files, &|name| std::env::var(name).ok());
            Some(read.map_err(|error| Failed::new(error.to_string()))?)
        }
    };
    let running = server::start(&serve).await?;
    if let Some(workspace) = workspace {
        running.admin.apply_at_start(workspace).await.map_err(Failed)?;
    }
    if let Some(token) = &running.new_token {
        println!("admin token (shown once): {token}");
    }
    println!(
        "onefold is ready on http://{} · next: onefold apply FILE, then send events to it",
        running.address
    );
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failed::new(error.to_string()))?;
    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
        () = running.fold_failed() => ExitCode::FAILURE,
    };
    running.stop().await;
    Ok(code)
}
