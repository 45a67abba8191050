//! Retention: once a minute the log gives up what it may, and never what says how to read the rest.
//!
//! The catalogue in force is a record like any other. Before the log is trimmed past it, it is said once more at the
//! end, so that a state made anew from what is left has sources, definitions and rules. Operator decisions are not said
//! again: each is numbered and judged at its place among the messages, and elsewhere it would be another.

use onefold_fold::Handle;
use onefold_fold::catalogue::Compiled;
use onefold_fold::worker::Status;
use onefold_log::{Error, Log, Record, SharedLog};
use std::time::Duration;
use tokio::sync::watch;

/// Trims the log once a minute, up to what a synced state covers, as far as retention gives it up.
pub(crate) fn keep_trimming(log: SharedLog, handle: Handle, mut stop: watch::Receiver<bool>) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(Duration::from_secs(60)) => {}
            }
            let (log, status, compiled) = (log.clone(), handle.status(), handle.catalogue());
            let trimmed = tokio::task::spawn_blocking(move || trim(log.as_ref(), &status, &compiled));
            if let Ok(Err(error)) = trimmed.await {
                tracing::error!(%error, "the log could not be trimmed");
            }
        }
    });
}

/// Trims the log as far as it still says the catalogue in force. Where that is less than retention gives up, the
/// catalogue is appended once more: the fold notes where it stands, and the next trim goes past the older one.
fn trim(log: &dyn Log, status: &Status, compiled: &Compiled) -> Result<(), Error> {
    if compiled.catalogue.version.0 == 0 {
        // There is none yet.
        return log.trim(status.synced).map(drop);
    }
    if log.trims_to(status.synced) > status.catalogue_at {
        match serde_json::to_vec(&compiled.catalogue) {
            Ok(json) => log.append(
                Record::Catalogue(json).encode(),
                Box::new(|outcome| {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "the catalogue could not be said once more; the log is not trimmed past it");
                    }
                }),
            ),
            Err(error) => tracing::error!(%error, "the catalogue in force cannot be written"),
        }
    }
    log.trim(status.synced.min(status.catalogue_at)).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use onefold_fold::catalogue::next;
    use onefold_fold::{Options, Step, Worker};
    use onefold_log::{MemoryLog, MemoryLogOptions, Retention};
    use onefold_store::MemoryStore;
    use onefold_types::Position;
    use std::sync::Arc;

    fn append(log: &MemoryLog, record: &Record) {
        log.append(record.encode(), Box::new(|outcome| assert!(outcome.is_ok())));
    }

    fn fold(worker: &mut Worker) -> Status {
        while worker.step().unwrap().0 == Step::Worked {}
        worker.sync().unwrap();
        worker.handle().status()
    }

    #[test]
    fn the_log_always_says_the_catalogue_in_force() {
        let retention = Retention { bytes: Some(0), age: None };
        let log =
            Arc::new(MemoryLog::new(MemoryLogOptions { segment_bytes: 1, retention, ..Default::default() }));
        let open = || Worker::open(log.clone(), Arc::new(MemoryStore::new()), Options::default()).unwrap();
        let mut worker = open();
        let text =
            r#"{"version":1,"workspace":"acme","sources":[{"key":"web","kind":"browser","write_key":"wk"}]}"#;
        let catalogue = next(None, serde_json::from_str(text).unwrap(), "test").unwrap();
        append(&log, &Record::Catalogue(serde_json::to_vec(&catalogue).unwrap()));
        let mut begun = Position::default();
        for _ in 0..5 {
            append(&log, &Record::Messages(Vec::new()));
            let status = fold(&mut worker);
            trim(log.as_ref(), &status, &worker.handle().catalogue()).unwrap();
            // At every moment, also between the two: a state made anew knows the catalogue.
            let mut other = open();
            fold(&mut other);
            assert_eq!(other.handle().catalogue().catalogue, catalogue);
            begun = log.first();
        }
        assert!(begun > Position::default(), "retention gets what it asks for");
        // One that nothing is in front of is not said again.
        let status = fold(&mut worker);
        trim(log.as_ref(), &status, &worker.handle().catalogue()).unwrap();
        let status = fold(&mut worker);
        trim(log.as_ref(), &status, &worker.handle().catalogue()).unwrap();
        let tail = log.tail();
        let status = fold(&mut worker);
        trim(log.as_ref(), &status, &worker.handle().catalogue()).unwrap();
        assert_eq!(log.tail(), tail);
    }
}
