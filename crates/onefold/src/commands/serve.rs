//! `onefold serve`.

use crate::args::{LogFormat, Serve};
use crate::http::Failed;
use crate::server::Running;
use crate::stop::Stop;
use crate::{server, workspace_file};
use onefold_types::document::Document;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Logs to stderr, at `info` unless `ONEFOLD_LOG` says otherwise.
pub(crate) fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("ONEFOLD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // That a line cannot be written would be told on stderr too, by a macro that panics if it cannot.
    let builder = builder.log_internal_errors(false);
    // Another subscriber is there already only in tests.
    drop(match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    });
}

/// How long a start waits for its workspace file to be in force.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);

/// Waits for an apply that long and lets it go on beside the server if it takes longer: what a fold with a backlog needs is
/// time, not a server that does not start. What is wrong with the file by then is an error, later a line of the log.
async fn applied(
    applying: impl Future<Output = Result<(), String>> + Send + 'static,
    within: Duration,
) -> Result<(), String> {
    let mut applying = tokio::spawn(applying);
    let broken_off =
        |error: tokio::task::JoinError| Err(format!("the workspace file was not applied: {error}"));
    match tokio::time::timeout(within, &mut applying).await {
        Ok(outcome) => outcome.unwrap_or_else(broken_off),
        Err(_) => {
            tracing::warn!("the fold has a backlog; the workspace file is applied when that is done");
            tokio::spawn(async move {
                match applying.await.unwrap_or_else(broken_off) {
                    Ok(()) => tracing::info!("the workspace file is applied"),
                    Err(error) => tracing::error!(%error, "the workspace file could not be applied"),
                }
            });
            Ok(())
        }
    }
}

pub(crate) async fn run(serve: Serve) -> Result<ExitCode, Failed> {
    start_logging(serve.log_format);
    if serve.trust_proxy
        && serve.listen.ip().is_loopback()
        && serve.admin_token.as_deref().unwrap_or_default().is_empty()
    {
        return Err(Failed::new(format!(
            "--trust-proxy says that a proxy passes requests on to {}, and without an admin token everyone behind that \
             proxy would be taken for this machine\nhint: give a token too, with --admin-token or ONEFOLD_ADMIN_TOKEN",
            serve.listen
        )));
    }
    let workspace = match serve.workspace.as_slice() {
        [] => None,
        files => {
            let read = workspace_file::read(files, &|name| std::env::var(name).ok());
            Some(read.map_err(|error| Failed::because(&error))?)
        }
    };
    // From here on a signal asks: a start can take long, and what it has begun has to end in order.
    let mut stop = Stop::listen()?;
    let running = server::start(&serve).await?;
    let outcome = until_stopped(&running, workspace, &mut stop).await;
    running.stop().await;
    outcome
}

/// Applies the workspace file, says that the server is ready, and waits until somebody stops it or it cannot go on.
async fn until_stopped(
    running: &Running,
    workspace: Option<Document>,
    stop: &mut Stop,
) -> Result<ExitCode, Failed> {
    if let Some(workspace) = workspace {
        let admin = running.admin.clone();
        let applying = applied(async move { admin.apply_at_start(workspace).await }, APPLIED_WITHIN);
        tokio::select! {
            outcome = applying => outcome.map_err(Failed)?,
            () = stop.asked() => return Ok(ExitCode::SUCCESS),
            () = running.failed() => return Ok(ExitCode::FAILURE),
        }
    }
    let shown = running.new_token.iter().map(|token| format!("admin token (shown once): {token}\n"));
    let ready = format!(
        "onefold is ready on http://{} · next: onefold apply FILE, then send events to it\n",
        running.address
    );
    // A server serves, whether anybody reads this or not.
    drop(std::io::stdout().write_all((shown.collect::<String>() + &ready).as_bytes()));
    Ok(tokio::select! {
        () = stop.asked() => ExitCode::SUCCESS,
        () = running.failed() => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_start_waits_for_its_workspace_file_only_so_long() {
        let wrong = async { Err("audiences.a: no".to_owned()) };
        assert_eq!(applied(wrong, Duration::MAX).await, Err("audiences.a: no".to_owned()));
        assert_eq!(applied(async { Ok(()) }, Duration::MAX).await, Ok(()));
        let (folded, backlog) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let applying = async move {
            let _ = backlog.await;
            done.send(()).map_err(|()| "nobody waits".to_owned())
        };
        assert_eq!(applied(applying, Duration::ZERO).await, Ok(()));
        // It goes on for all that.
        folded.send(()).unwrap();
        is_done.await.unwrap();
    }
}
