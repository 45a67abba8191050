//! The server under measurement: a child process with a folder of its own.

use crate::http::{Connection, get};
use crate::{Args, Outcome};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A running server; killed when it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    child: Child,
    /// How long it took from start to ready.
    pub(crate) ready: Duration,
    peak: Arc<AtomicU64>,
    watching: Arc<AtomicBool>,
}

/// The folder and the workspace of a server, which outlive it.
pub(crate) struct Place {
    folder: TempDir,
    binary: PathBuf,
    options: Vec<String>,
}

impl Place {
    pub(crate) fn new(args: &Args, workspace: &str) -> Outcome<Self> {
        let folder = TempDir::new_in(&args.data)?;
        fs::write(folder.path().join("workspace.yaml"), workspace)?;
        let beside = std::env::current_exe()?.with_file_name("onefold");
        let binary = args.onefold.clone().unwrap_or(beside);
        Ok(Self { folder, binary, options: Vec::new() })
    }

    /// Further options for `serve`.
    pub(crate) fn with(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self
    }

    /// Starts a server here and waits until it is ready.
    pub(crate) async fn start(&self) -> Outcome<Server> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = self.folder.path().join("data");
        let workspace = self.folder.path().join("workspace.yaml");
        let began = Instant::now();
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("server.log"))?;
        let child = Command::new(&self.binary)
            .arg("serve")
            .args(["--listen", &address])
            .arg("--data")
            .arg(&data)
            .arg("--workspace")
            .arg(&workspace)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", self.binary.display()))?;
        let id = child.id().ok_or("the server ended at once")?;
        let (peak, watching) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        watch(id, peak.clone(), watching.clone());
        let mut server = Server { address, child, ready: Duration::ZERO, peak, watching };
        loop {
            if server.child.try_wait()?.is_some() {
                let said = fs::read_to_string(self.folder.path().join("server.log"))?;
                return Err(format!("the server ended: {said}").into());
            }
            if let Ok(mut connection) = Connection::open(&server.address).await
                && matches!(connection.call(&get("/readyz")).await, Ok((200, _)))
            {
                break;
            }
            if began.elapsed() > Duration::from_secs(120) {
                return Err("the server was not ready after two minutes".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.ready = began.elapsed();
        Ok(server)
    }
}

fn watch(id: u32, peak: Arc<AtomicU64>, watching: Arc<AtomicBool>) {
    tokio::spawn(async move {
        while watching.load(Ordering::Relaxed) {
            let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("RssAnon:"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse().ok());
            peak.fetch_max(kib.unwrap_or(0), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

impl Server {
    /// `/api/status`.
    pub(crate) async fn status(&self) -> Outcome<serde_json::Value> {
        Connection::open(&self.address).await?.json(&get("/api/status")).await
    }

    /// Messages folded.
    pub(crate) async fn folded(&self) -> Outcome<u64> {
        Ok(self.status().await?["folded"].as_u64().unwrap_or_default())
    }

    /// Bytes of the log that are not folded yet.
    pub(crate) async fn backlog(&self) -> Outcome<u64> {
        let status = self.status().await?;
        let at = |name: &str| status[name].as_u64().unwrap_or_default();
        Ok(at("log_tail").saturating_sub(at("folded_position")))
    }

    /// Waits until everything accepted is folded.
    pub(crate) async fn drained(&self) -> Outcome<()> {
        while self.backlog().await? > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// One of the gauges of `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> Outcome<u64> {
        let mut connection = Connection::open(&self.address).await?;
        let text = connection.text(&get("/metrics")).await?;
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        Ok(line
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|value| value.parse().ok())
            .unwrap_or_default())
    }

    /// The most anonymous memory it had so far, from now on counted afresh.
    pub(crate) fn peak(&self) -> String {
        format!("{} MiB", self.peak.swap(0, Ordering::Relaxed) >> 10)
    }

    /// Processor time it took so far.
    pub(crate) fn cpu(&self) -> Duration {
        let id = self.child.id().unwrap_or_default();
        let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // After the name in brackets; utime and stime are the 14th and 15th fields, in hundredths of a second.
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> Outcome<()> {
        self.watching.store(false, Ordering::Relaxed);
        self.child.kill().await?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watching.store(false, Ordering::Relaxed);
    }
}
