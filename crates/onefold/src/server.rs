//! One process that does everything: log, fold, delivery, the tracking API and the rest of the HTTP surface.

use crate::args::Serve;
use crate::http::Failed;
use crate::journal_folder;
use crate::standing::Folded;
use crate::trimming::keep_trimming;
use arc_swap::ArcSwapOption;
use onefold_admin::{Access, Admin, Live, LiveObserver, Parts};
use onefold_delivery::Delivery;
use onefold_fold::query::Reader;
use onefold_fold::{CacheSizes, Handle, Options, Worker};
use onefold_ingest::{ClientBundle, Ingest, IngestOptions, Limits, ServeOptions};
use onefold_log::{Clock, FileLog, FileLogOptions, HeldClock, OnPoisoned, Retention, SharedLog};
use onefold_store::{FjallOptions, FjallStore, Store};
use onefold_types::Catalogue;
use onefold_types::event::TEXT_BYTES_MAX;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Admin,
    /// The admin token, if one was made now.
    pub(crate) new_token: Option<String>,
    handle: Handle,
    fold: std::thread::JoinHandle<()>,
    delivery: Arc<Delivery>,
    live: Live,
    stop: watch::Sender<bool>,
    http: tokio::task::JoinHandle<()>,
    /// Becomes true if the fold stops by itself.
    fold_failed: watch::Receiver<bool>,
    /// Becomes true if the log takes nothing more.
    log_failed: watch::Receiver<bool>,
}

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> Failed + '_ {
    move |error| Failed::new(format!("{what}: {error}"))
}

/// Opens the data folder and starts everything.
pub(crate) async fn start(serve: &Serve) -> Result<Running, Failed> {
    let limits = limits(&serve.limits)?;
    let data = &serve.data;
    fs::create_dir_all(data)
        .map_err(|e| failed(&format!("the data folder {} cannot be made", data.display()))(&e))?;
    // Before log and state, which are made with it, and which show that a journal that is not there is lost.
    let secret = secret(data).map_err(|e| failed("the workspace secret cannot be read")(&e))?;
    let journal = journal_folder::open(serve).map_err(|e| Failed::new(e.to_string()))?;
    let retention = Retention {
        bytes: serve.retention.log_max_mib.map(|mib| mib << 20),
        age: serve.retention.log_max_days.map(|days| Duration::from_secs(days * 86_400)),
    };
    let room = Some(room_on_the_disk_of(data.join("log")));
    // One for all: what a jump of the wall clock does to the log it would do to the rest.
    let clock: Arc<dyn Clock> = Arc::new(HeldClock::system());
    let (poisoned, log_failed) = watch::channel(false);
    let on_poisoned: OnPoisoned = Arc::new(move |reason: &str| {
        tracing::error!(
            reason,
            "the log stopped; nothing that was acknowledged is lost: it is read again at the next start"
        );
        poisoned.send_replace(true);
    });
    let log = FileLog::open(FileLogOptions {
        retention,
        room,
        clock: clock.clone(),
        on_poisoned: Some(on_poisoned),
        ..FileLogOptions::new(data.join("log"))
    })
    .map_err(|e| failed("the log cannot be opened")(&e))?;
    let log: SharedLog = Arc::new(log);
    // An eighth to the store's blocks, which the kernel keeps too; the rest to rows: one found there costs a tenth.
    let cache = serve.cache_mib << 20;
    let fjall = FjallOptions { cache_bytes: cache / 8, ..FjallOptions::default() };
    let store = FjallStore::open(&data.join("state"), &fjall)
        .map_err(|e| failed("the state cannot be opened")(&e))?;
    let store: Arc<dyn Store> = Arc::new(store);
    let worker = Worker::open(
        log.clone(),
        store.clone(),
        Options {
            secret,
            caches: CacheSizes::of(cache / 8 * 7),
            quarantine_cap: serve.quarantine_cap,
            ..Options::default()
        },
    )
    .map_err(|e| failed("the fold cannot be started")(&e))?;
    let handle = worker.handle();

    let reader = Reader::new(store.clone(), log.clone(), handle.clone(), secret);
    let delivery = Arc::new(Delivery::new(
        store.clone(),
        Arc::new(journal),
        log.clone(),
        Arc::new(Folded(reader.clone())),
        clock.clone(),
        onefold_delivery::Options {
            seed: u64::from_le_bytes(secret[..8].try_into().unwrap_or_default()),
            ..Default::default()
        },
    ));
    let catalogue = Arc::new(ArcSwapOption::empty());
    let live = Live::default();
    let (fold, failed_fold) = run_fold(worker, &handle, &delivery, &catalogue, &live);

    let taken_over = catalogue.clone();
    let body_timeout = limits.body_timeout;
    let options = IngestOptions { limits, client: client(), trust_proxy: serve.trust_proxy };
    let ingest = Ingest::new(log.clone(), clock, catalogue, options);
    let (access, new_token) = access(serve).map_err(|e| failed("the admin token cannot be kept")(&e))?;
    let (metrics, again) = (ingest.metrics(), ingest.clone());
    let admin = Admin::new(Parts {
        reader,
        log: log.clone(),
        store,
        delivery: delivery.clone(),
        live: live.clone(),
        access,
        send_again: Box::new(move |source, item, message_id, received_at| {
            let ingest = again.clone();
            Box::pin(async move {
                let sent = ingest.send_again(&source, &item, &message_id, received_at).await;
                sent.map_err(|refusal| (refusal.code.to_owned(), refusal.detail))
            })
        }),
        accepting: Box::new(move || taken_over.load().is_some()),
        ingest_metrics: Box::new(move || prometheus(&metrics.snapshot())),
        applying: tokio::sync::Mutex::new(()),
    });
    let listener = TcpListener::bind(serve.listen).await.map_err(|e| {
        Failed::new(format!(
            "cannot listen on {}: {e}\nhint: another server may be there; choose with --listen ADDR",
            serve.listen
        ))
    })?;
    let address = listener.local_addr().map_err(|e| failed("the address cannot be read")(&e))?;
    let router = onefold_ingest::router(ingest).merge(onefold_admin::router(admin.clone()));
    let (stop, mut stopped) = watch::channel(false);
    let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
    let http = tokio::spawn(onefold_ingest::serve(listener, router, serve_options(body_timeout), shutdown));
    keep_trimming(log, handle.clone(), stop.subscribe());
    Ok(Running {
        address,
        admin,
        new_token,
        handle,
        fold,
        delivery,
        live,
        stop,
        http,
        fold_failed: failed_fold,
        log_failed,
    })
}

/// Left free when the log takes a further segment: a state that finds no room cannot go on without a restart, while
/// the log only answers "later". So the log has to be the first to stop.
const LEFT_TO_THE_STATE: u64 = 128 << 20;

/// Whether the log in `folder` may take so many bytes more.
fn room_on_the_disk_of(folder: PathBuf) -> Arc<dyn Fn(u64) -> bool + Send + Sync> {
    Arc::new(move |bytes| {
        // A file system that does not say is asked by writing to it.
        rustix::fs::statvfs(&folder).map_or(true, |disk| {
            disk.f_bavail.saturating_mul(disk.f_frsize) >= bytes.saturating_add(LEFT_TO_THE_STATE)
        })
    })
}

/// Files that log, state and outgoing connections may have open at once.
const FILES_KEPT: u64 = 512;

/// What a body that the tracking API does not read has longer: it can be a workspace.
const BODY_LONGER: Duration = Duration::from_secs(30);

/// As many connections as there are file descriptors for: one that took the last would make the log's next segment fail.
fn serve_options(body_timeout: Duration) -> ServeOptions {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let soft = std::mem::replace(&mut limit.current, limit.maximum);
    let files = if setrlimit(Resource::Nofile, limit).is_ok() { limit.current } else { soft };
    let options = ServeOptions { body_timeout: body_timeout + BODY_LONGER, ..ServeOptions::default() };
    let Some(files) = files else { return options };
    let connections = usize::try_from(files.saturating_sub(FILES_KEPT).max(files / 2)).unwrap_or(usize::MAX);
    ServeOptions { connections: connections.clamp(1, options.connections), ..options }
}

/// The least bytes that a body is allowed: less takes no message that says anything.
const BODY_BYTES_MIN: usize = 1 << 10;

/// The limits as the tracking API has them. A batch is one record of the log, which bounds it.
fn limits(given: &crate::args::Limits) -> Result<Limits, Failed> {
    let within = |name: &str, value: usize, least: usize, most: usize| match value {
        _ if value < least => Err(Failed::new(format!("--{name} is {value}; expected at least {least}"))),
        _ if value > most => Err(Failed::new(format!("--{name} is {value}; expected at most {most}"))),
        _ => Ok(value),
    };
    let seconds = usize::try_from(given.limit_body_seconds).unwrap_or(usize::MAX);
    let limits = Limits {
        single_bytes: within("limit-single-bytes", given.limit_single_bytes, BODY_BYTES_MIN, 8 << 20)?,
        batch_bytes: within("limit-batch-bytes", given.limit_batch_bytes, BODY_BYTES_MIN, 8 << 20)?,
        item_bytes: within("limit-item-bytes", given.limit_item_bytes, 1, usize::MAX)?,
        batch_items: within("limit-batch-items", given.limit_batch_items, 1, 50_000)?,
        depth: within("limit-depth", given.limit_depth, 1, 120)?,
        properties: given.limit_properties,
        name_bytes: within("limit-name-bytes", given.limit_name_bytes, 1, TEXT_BYTES_MAX)?,
        message_id_chars: within("limit-message-id-chars", given.limit_message_id_chars, 1, 1_000)?,
        rejected_bytes: within("limit-rejected-bytes", given.limit_rejected_bytes, 0, 8 << 20)?,
        rejected_per_minute: given.limit_rejected_per_minute,
        record_bytes: FileLogOptions::new("").record_bytes_max,
        in_flight_bytes: given.limit_in_flight_bytes,
        body_timeout: Duration::from_secs(within("limit-body-seconds", seconds, 1, 3_600)? as u64),
    };
    // Less would refuse the largest request for ever, and its sender would come back for ever.
    within("limit-in-flight-bytes", limits.in_flight_bytes, limits.request_bytes_max(), usize::MAX)?;
    Ok(limits)
}

/// Starts the fold's thread; what it commits reaches delivery, ingest and the live stream.
fn run_fold(
    worker: Worker,
    handle: &Handle,
    delivery: &Arc<Delivery>,
    catalogue: &Arc<ArcSwapOption<Catalogue>>,
    live: &Live,
) -> (std::thread::JoinHandle<()>, watch::Receiver<bool>) {
    let runtime = tokio::runtime::Handle::current();
    let (configured, catalogue) = (delivery.clone(), catalogue.clone());
    handle.on_catalogue(move |compiled| {
        if compiled.catalogue.version.0 > 0 {
            let _inside = runtime.enter();
            configured.configure(&compiled.catalogue);
            catalogue.store(Some(Arc::new(compiled.catalogue.clone())));
        }
    });
    let waker = delivery.clone();
    let mut written = None;
    let then = Box::new(move |status: &onefold_fold::Status| {
        let next = status.counters.next_outbox;
        if written.replace(next) != Some(next) {
            waker.wake();
        }
    });
    let observer = Box::new(LiveObserver::new(live.clone(), then));
    let (failing, failed) = watch::channel(false);
    let thread = std::thread::spawn(move || {
        if let Err(error) = worker.run(observer) {
            tracing::error!(%error, "the fold stopped; nothing is lost: what was accepted is in the log");
            failing.send_replace(true);
        }
    });
    (thread, failed)
}

/// A stop takes so long at most: those who run services kill soon after.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Of that, what is kept for noting outcomes and for the state's last sync.
const LAST_WRITES: Duration = Duration::from_secs(1);

impl Running {
    /// Waits until the log, the fold or delivery stops by itself: a restart is needed then. Each has said why.
    pub(crate) async fn failed(&self) {
        let (mut fold, mut log) = (self.fold_failed.clone(), self.log_failed.clone());
        tokio::select! {
            // A thread that is gone without a word has failed too.
            _ = fold.wait_for(|failed| *failed) => {}
            _ = log.wait_for(|failed| *failed) => {}
            () = self.delivery.failed() => {}
        }
    }

    /// Drains and stops: no new connection, requests under way end, the state is synced.
    pub(crate) async fn stop(self) {
        let asked = Instant::now();
        self.stop.send_replace(true);
        self.live.close();
        drop(self.http.await);
        // What has no answer by then is sent again after a restart.
        let left = STOP_WITHIN.saturating_sub(asked.elapsed() + LAST_WRITES);
        self.delivery.stop_within(left.max(LAST_WRITES)).await;
        self.handle.stop();
        let fold = self.fold;
        drop(tokio::task::spawn_blocking(move || drop(fold.join())).await);
    }
}

/// The 32 bytes that key profile ids: made once, kept beside the log for ever.
fn secret(data: &Path) -> std::io::Result<[u8; 32]> {
    let path = &data.join("secret");
    if path.exists() {
        return read_secret(path);
    }
    // With another secret everyone would get another id, and every message id would be new.
    if data.join("log").exists() || data.join("state").exists() {
        return Err(std::io::Error::other(format!(
            "{} is gone, and what is in {} was made with it; put it back from a backup",
            path.display(),
            data.display()
        )));
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| std::io::Error::other(error.to_string()))?;
    write_private(path, &secret)?;
    Ok(secret)
}

/// The 32 bytes in the file at `path`.
pub(crate) fn read_secret(path: &Path) -> std::io::Result<[u8; 32]> {
    let wrong = |_| std::io::Error::other(format!("{} does not hold 32 bytes", path.display()));
    fs::read(path)?.try_into().map_err(wrong)
}

/// Writes a file that only its owner reads, whole and durably, before anything relies on it.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let unfinished = path.with_extension("tmp");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// On loopback everyone; elsewhere the token that was given, kept or made now.
fn access(serve: &Serve) -> std::io::Result<(Access, Option<String>)> {
    if let Some(token) = serve.admin_token.clone().filter(|token| !token.is_empty()) {
        return Ok((Access::Token(token), None));
    }
    if serve.listen.ip().is_loopback() {
        return Ok((Access::Loopback, None));
    }
    let path = serve.data.join("admin-token");
    if path.exists() {
        let token = fs::read_to_string(&path)?.trim().to_owned();
        if token.is_empty() {
            let text = format!("{} is empty; remove it, and a new token is made and shown", path.display());
            return Err(std::io::Error::other(text));
        }
        return Ok((Access::Token(token), None));
    }
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(&path, token.as_bytes())?;
    Ok((Access::Token(token.clone()), Some(token)))
}

fn client() -> Option<ClientBundle> {
    include!(concat!(env!("OUT_DIR"), "/client.rs"))
}

fn prometheus(metrics: &onefold_ingest::MetricsSnapshot) -> String {
    let mut text = format!(
        "# HELP onefold_ingest_accepted_total Messages accepted.\n# TYPE onefold_ingest_accepted_total counter\n\
         onefold_ingest_accepted_total {}\n# HELP onefold_ingest_accepted_bytes_total Bytes of accepted messages.\n\
         # TYPE onefold_ingest_accepted_bytes_total counter\nonefold_ingest_accepted_bytes_total {}\n\
         # HELP onefold_ingest_rejected_unkept_total Rejected items that were counted and not kept.\n\
         # TYPE onefold_ingest_rejected_unkept_total counter\nonefold_ingest_rejected_unkept_total {}\n\
         # HELP onefold_ingest_rejected_total Items rejected, by reason.\n# TYPE onefold_ingest_rejected_total counter\n",
        metrics.accepted, metrics.accepted_bytes, metrics.rejected_unkept
    );
    for (code, count) in &metrics.rejected {
        text.push_str(&format!("onefold_ingest_rejected_total{{code=\"{code}\"}} {count}\n"));
    }
    text.push_str("# HELP onefold_ingest_answers_total Answers, by HTTP status.\n# TYPE onefold_ingest_answers_total counter\n");
    for (status, count) in &metrics.answers {
        text.push_str(&format!("onefold_ingest_answers_total{{status=\"{status}\"}} {count}\n"));
    }
    text
}
