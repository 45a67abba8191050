//! Health, readiness, metrics, the description of the API.

use crate::Admin;
use crate::answer::Answer;
use crate::describe::{Described, operation};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use onefold_api::status::Status;
use onefold_delivery::{BreakerState, Delivery, Status as Destination};
use std::fmt::Write;

pub(crate) fn routes() -> Described {
    let text = |summary| operation(summary).open();
    Described::default().get_as("/healthz", text("Whether the process answers"), || async { "ok\n" }).get_as(
        "/readyz",
        text("Whether it accepts events and delivers"),
        ready,
    )
}

pub(crate) fn guarded_routes() -> Described {
    Described::default().get_as("/metrics", operation("Counters and gauges for Prometheus"), metrics).get(
        "/api/status",
        operation("How far the fold is, and what it counted"),
        status,
    )
}

/// Loaded and accepting; not that the backlog is drained.
async fn ready(State(admin): State<Admin>) -> Response {
    let status = admin.0.reader.handle().status();
    if let Some(reason) = status.failed {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("the fold stopped: {reason}\n")).into_response();
    }
    if let Some(reason) = admin.0.delivery.failure() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("delivery stopped: {reason}\n")).into_response();
    }
    if !(admin.0.accepting)() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no workspace is loaded yet\n").into_response();
    }
    "ready\n".into_response()
}

async fn status(State(admin): State<Admin>) -> Answer<Status> {
    let status = admin.0.reader.handle().status();
    Ok(Json(Status {
        folded_position: status.position.0,
        log_tail: admin.0.log.tail().0,
        engine_time: status.engine_time.0,
        persons: status.counters.persons,
        folded: status.counters.folded,
        duplicates: status.counters.duplicates,
        conflicts: status.counters.conflicts,
        transitions: status.counters.next_transition,
        effects: status.counters.next_outbox,
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
            "onefold_fold_identifiers_over_total",
            "counter",
            "Identifiers that did not count, for their message had more than 64.",
            counters.identifiers_over,
        ),
        (
            "onefold_fold_traits_over_total",
            "counter",
            "Traits that were not kept, for a profile or an account had more than 10,000.",
            counters.traits_over,
        ),
        (
            "onefold_fold_accounts_over_total",
            "counter",
            "Accounts that were not kept of a profile, for it had more than 10,000.",
            counters.accounts_over,
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
    delivery_metrics(&mut text, &admin.0.delivery);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn delivery_metrics(text: &mut String, delivery: &Delivery) {
    let destinations = delivery.status();
    text.push_str("# HELP onefold_delivery_effects_total Effects by destination and outcome.\n# TYPE onefold_delivery_effects_total counter\n");
    for destination in &destinations {
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
    gauges(text, &destinations);
    let stopped = u8::from(delivery.failure().is_some());
    let _ = write!(
        text,
        "# HELP onefold_delivery_stopped Whether delivery has stopped by itself and the server has to be started again.\n\
         # TYPE onefold_delivery_stopped gauge\nonefold_delivery_stopped {stopped}\n"
    );
    text.push_str("# HELP onefold_delivery_removed_rows_total Rows of removed destinations that were cleared away.\n# TYPE onefold_delivery_removed_rows_total counter\n");
    let removed = delivery.removed_rows();
    for (table, value) in
        [("outbox", removed.outbox), ("journal", removed.journal), ("dead_letters", removed.dead_letters)]
    {
        let _ = writeln!(text, "onefold_delivery_removed_rows_total{{table=\"{table}\"}} {value}");
    }
}

/// A gauge of each destination: its name, its help, its value.
type Gauge = (&'static str, &'static str, fn(&Destination) -> f64);

/// How each destination is now.
fn gauges(text: &mut String, destinations: &[Destination]) {
    let one: [Gauge; 6] = [
        ("queued", "Effects that wait to be sent.", |known| known.queued as f64),
        ("oldest_seconds", "Age of the effect that has waited longest; 0 if none waits.", |known| {
            known.oldest_age.unwrap_or_default().as_secs_f64()
        }),
        ("in_flight", "Requests under way.", |known| known.in_flight as f64),
        ("trouble", "Whether nothing goes on, for the outbox or the journal fails.", |known| {
            f64::from(u8::from(known.trouble.is_some()))
        }),
        ("unreadable", "Rows of the outbox that this release cannot read.", |known| known.unreadable as f64),
        ("enabled", "Whether the destination is enabled.", |known| f64::from(u8::from(known.enabled))),
    ];
    for (name, help, value) in one {
        let _ = write!(text, "# HELP onefold_delivery_{name} {help}\n# TYPE onefold_delivery_{name} gauge\n");
        for known in destinations {
            let _ =
                writeln!(text, "onefold_delivery_{name}{{destination=\"{}\"}} {}", known.key, value(known));
        }
    }
    text.push_str("# HELP onefold_delivery_breaker Whether the breaker of a destination is in that state.\n# TYPE onefold_delivery_breaker gauge\n");
    for known in destinations {
        for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
            let _ = writeln!(
                text,
                "onefold_delivery_breaker{{destination=\"{}\",state=\"{}\"}} {}",
                known.key,
                state.as_str(),
                u8::from(known.breaker == state)
            );
        }
    }
}
