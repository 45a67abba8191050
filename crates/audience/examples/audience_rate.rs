//! What one event costs the audiences: 100 of them, 10 of which look at the event; then 10,000 further ones on others.
//!
//! `cargo run --release -p onefold-audience --example audience_rate [events]`

#![allow(clippy::unwrap_used, reason = "an example says what it measures")]

use onefold_audience::{Plan, State, Touched, Traits, Value};
use onefold_types::workspace::{Audience, Labels, Workspace};
use onefold_types::{AudienceId, Catalogue, MessageType, PrimitiveId, Timestamp};
use std::time::Instant;

const PROFILES: usize = 10_000;
const DAY_MS: i64 = 86_400_000;

struct NoTraits;

impl Traits for NoTraits {
    fn get(&self, _: &str) -> Option<Value> {
        None
    }
}

fn compile(conditions: &[String]) -> Plan {
    let audience = |(number, condition): (usize, &String)| Audience {
        key: format!("a{number}"),
        condition: condition.clone(),
        renamed_from: None,
        labels: Labels::default(),
    };
    let audiences = conditions.iter().enumerate().map(audience).collect();
    let workspace = Workspace { version: 1, audiences, ..Workspace::default() };
    let texts = Plan::primitive_texts(&workspace).unwrap();
    let mut catalogue = Catalogue { next_id: 1_000_000, ..Catalogue::default() };
    catalogue.audiences =
        (1..).zip(&workspace.audiences).map(|(id, a)| (a.key.clone(), AudienceId(id))).collect();
    catalogue.primitives = (100_000..).zip(texts).map(|(id, text)| (text, PrimitiveId(id))).collect();
    catalogue.workspace = workspace;
    Plan::compile(&catalogue).unwrap()
}

/// A hundred audiences on ten events: each event is looked at by ten.
fn hundred() -> Vec<String> {
    let on_event = |event: usize| {
        (0..10).map(move |kind| match kind % 5 {
            0 => format!("count(\"E{event}\" in last {}d) >= 3", kind + 7),
            1 => format!("did(\"E{event}\" where revenue > {} in last 30d)", kind * 10),
            2 => format!("not did(\"E{event}\" where category = \"c{kind}\" in last 14d)"),
            3 => format!("did(\"E{event}\" between {}d and 3d ago)", kind + 7),
            _ => format!("count(\"E{event}\" where products[*].category = \"c{kind}\") >= 5"),
        })
    };
    (0..10).flat_map(on_event).collect()
}

/// A message of about a kilobyte.
fn body(number: usize) -> String {
    format!(
        r#"{{"messageId":"m{number}","type":"track","userId":"u{number}","event":"E","context":{{"page":{{"url":"https://shop.example/{}"}},"userAgent":"{}"}},"properties":{{"revenue":{}.5,"category":"c{}","products":[{{"category":"c{}","price":1.5}},{{"category":"c9"}}],"note":"{}"}}}}"#,
        "x".repeat(200),
        "y".repeat(200),
        number % 100,
        number % 10,
        number % 7,
        "z".repeat(250),
    )
}

fn measure(what: &str, plan: &Plan, events: usize) {
    let bodies: Vec<String> = (0..64).map(body).collect();
    let names: Vec<String> = (0..10).map(|event| format!("E{event}")).collect();
    let mut states = vec![State::default(); PROFILES];
    for state in &mut states {
        plan.begin(state, &mut Touched::default());
    }
    let (mut flips, mut evaluations) = (0, 0);
    let start = Instant::now();
    for number in 0..events {
        // A multiplier without a common factor spreads the profiles.
        let state = &mut states[number * 7_919 % PROFILES];
        let ts = Timestamp(number as i64 * 60 * DAY_MS / events as i64);
        flips += plan.run_timers(state, &NoTraits, ts).len();
        let mut touched = Touched::default();
        let name = &names[number / PROFILES % names.len()];
        let body = bodies[number % bodies.len()].as_bytes();
        plan.observe(state, &mut touched, MessageType::Track, name, body, ts);
        flips += plan.settle(state, &mut touched, &NoTraits, ts).len();
        evaluations += touched.filters_evaluated + touched.formulas_evaluated;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut bytes = Vec::new();
    states.iter().for_each(|state| state.encode(&mut bytes));
    println!(
        "{what}: {:.0} events/s, {:.1} filters and formulas an event, {flips} flips, {} bytes a profile",
        events as f64 / seconds,
        evaluations as f64 / events as f64,
        bytes.len() / PROFILES,
    );
}

fn main() {
    let events = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(500_000);
    let mut conditions = hundred();
    measure("100 audiences, 10 on each event", &compile(&conditions), events);
    let further = |number: usize| format!("count(\"Other {number}\" where a = {number} in last 7d) >= 2");
    conditions.extend((0..10_000).map(further));
    let start = Instant::now();
    let plan = compile(&conditions);
    println!("10,100 audiences compiled in {} ms", start.elapsed().as_millis());
    measure("and 10,000 on other events", &plan, events);
    let same = |number: usize| format!("count(\"E0\" where note = \"{number}\" in last 7d) >= 2");
    let mut conditions = hundred();
    conditions.extend((0..1_000).map(same));
    measure("and 1,000 with filters of their own on one of the events", &compile(&conditions), events / 10);
}
