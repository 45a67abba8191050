//! Health, readiness, metrics, the description of the API.

use crate::Admin;
use crate::describe::{Described, operation};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::fmt::Write;

pub(crate) fn routes() -> Described {
    let text = |summary| operation(summary).answers("text/plain").open();
    Described::default().get("/healthz", text("Whether the process answers"), || async { "ok\n" }).get(
        "/readyz",
        text("Whether it accepts events"),
        ready,
    )
}

pub(crate) fn guarded_routes() -> Described {
    Described::default()
        .get("/metrics", operation("Counters and gauges for Prometheus").answers("text/plain"), metrics)
        .get("/api/status", operation("How far the fold is, and what it counted"), status)
}

/// Loaded and accepting; not that the backlog is drained.
async fn ready(State(admin): State<Admin>) -> Response {
    let status = admin.0.reader.handle().status();
    if let Some(reason) = status.failed {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("the fold stopped: {reason}\n")).into_response();
    }
    if !(admin.0.accepting)() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no workspace is loaded yet\n").into_response();
    }
    "ready\n".into_response()
}

async fn status(State(admin): State<Admin>) -> Json<serde_json::Value> {
    let status = admin.0.reader.handle().status();
    Json(json!({
        "folded_position": status.position,
        "log_tail": admin.0.log.tail(),
        "engine_time": status.engine_time,
        "persons": status.counters.persons,
        "folded": status.counters.folded,
        "duplicates": status.counters.duplicates,
        "conflicts": status.counters.conflicts,
        "transitions": status.counters.next_transition,
        "effects": status.counters.next_outbox,
    }))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let status = admin.0.reader.handle().status();
    let mut text = (admin.0.ingest_metrics)();
    let counters = &status.counters;
    for (name, kind, help, value) in [
        ("onefold_fold_messages_total", "counter", "Messages folded.", counters.folded),
        (
            "onefold_fold_duplicates_total",
            "counter",
            "Messages whose id was known, with the same content.",
            counters.duplicates,
        ),
        (
            "onefold_fold_conflicts_total",
            "counter",
            "Messages whose id was known, with other content; quarantined.",
            counters.conflicts,
        ),
        (
            "onefold_fold_trimmed_total",
            "counter",
            "Messages that a rebuild or a backfill could not read any more, for retention had trimmed them.",
            counters.trimmed,
        ),
        (
            "onefold_fold_no_usable_id_total",
            "counter",
            "Folded messages without a usable identifier.",
            counters.no_usable_id,
        ),
        (
            "onefold_fold_hub_only_total",
            "counter",
            "Folded messages whose only identifiers are hubs.",
            counters.hub_only,
        ),
        (
            "onefold_quarantine_dropped_total",
            "counter",
            "Quarantined items that the cap dropped.",
            counters.quarantine_dropped,
        ),
        ("onefold_persons", "gauge", "Profiles that own an event.", counters.persons.max(0).unsigned_abs()),
        ("onefold_log_bytes", "gauge", "Bytes of the log.", admin.0.log.size()),
        ("onefold_store_bytes", "gauge", "Bytes of the state.", admin.0.store.disk_bytes()),
        (
            "onefold_fold_backlog_bytes",
            "gauge",
            "Bytes of the log that wait to be folded.",
            admin.0.log.tail().0.saturating_sub(status.position.0),
        ),
    ] {
        // Writing to a String does not fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    text.push_str("# HELP onefold_delivery_effects_total Effects by destination and outcome.\n# TYPE onefold_delivery_effects_total counter\n");
    for destination in admin.0.delivery.status() {
        for (outcome, value) in
            [("delivered", destination.delivered), ("failed", destination.failed), ("dead", destination.dead)]
        {
            let _ = writeln!(
                text,
                "onefold_delivery_effects_total{{destination=\"{}\",outcome=\"{outcome}\"}} {value}",
                destination.key
            );
        }
    }
    text.push_str("# HELP onefold_delivery_removed_rows_total Rows of removed destinations that were cleared away.\n# TYPE onefold_delivery_removed_rows_total counter\n");
    let removed = admin.0.delivery.removed_rows();
    for (table, value) in
        [("outbox", removed.outbox), ("journal", removed.journal), ("dead_letters", removed.dead_letters)]
    {
        let _ = writeln!(text, "onefold_delivery_removed_rows_total{{table=\"{table}\"}} {value}");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
