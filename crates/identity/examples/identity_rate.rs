//! What one event costs the engine in memory: normal traffic, a chain, a hub, a kiosk; in order of time and shuffled.
//!
//! `cargo run --release -p onefold-identity --example identity_rate [users]`

use onefold_identity::engine::observe;
use onefold_identity::graph::{MemoryGraph, Stamp};
use onefold_identity::rules::Rules;
use onefold_types::workspace::IdentityConfig;
use onefold_types::{Identifier, Timestamp};
use std::time::{Duration, Instant};

struct Event {
    ts: i64,
    ids: Vec<Identifier>,
}

fn event(ts: usize, ids: &[(&str, String)]) -> Event {
    let ids = ids.iter().map(|(id_type, value)| Identifier::new(*id_type, value.as_str())).collect();
    Event { ts: ts as i64 * 1_000, ids }
}

/// Two anonymous visits, a login with an e-mail, three more visits; a second browser for every third user.
fn normal(users: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for user in 0..users {
        let (u, e) = (format!("u{user}"), format!("e{user}@example.com"));
        let a = format!("a{user}");
        let at = user * 10;
        events.push(event(at, &[("anonymous_id", a.clone())]));
        events.push(event(at + 1, &[("anonymous_id", a.clone())]));
        events.push(event(at + 2, &[("user_id", u.clone()), ("email", e), ("anonymous_id", a.clone())]));
        for visit in 3..6 {
            events.push(event(at + visit, &[("user_id", u.clone()), ("anonymous_id", a.clone())]));
        }
        if user % 3 == 0 {
            events.push(event(at + 6, &[("user_id", u), ("anonymous_id", format!("b{user}"))]));
        }
    }
    events
}

/// Each user shares an address with the next.
fn chain(users: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for user in 0..users {
        let own = [("user_id", format!("u{user}")), ("email", format!("e{user}@example.com"))];
        events.push(event(user * 2, &own));
        let next = [("user_id", format!("u{}", user + 1)), ("email", format!("e{user}@example.com"))];
        events.push(event(user * 2 + 1, &next));
    }
    events
}

/// Everyone has the same address, and one of their own.
fn hub(users: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for user in 0..users {
        let u = ("user_id", format!("u{user}"));
        events.push(event(user * 2, &[u.clone(), ("email", "team@example.com".to_owned())]));
        events.push(event(user * 2 + 1, &[u, ("email", format!("e{user}@example.com"))]));
    }
    events
}

/// Everyone logs in on one browser, and it is used in between.
fn kiosk(users: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let a = ("anonymous_id", "kiosk".to_owned());
    for user in 0..users {
        let (u, e) = (format!("u{user}"), format!("e{user}@example.com"));
        events.push(event(user * 3, &[("user_id", u), ("email", e), a.clone()]));
        events.push(event(user * 3 + 1, std::slice::from_ref(&a)));
    }
    events
}

fn shuffle(events: &mut [Event]) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for index in (1..events.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        events.swap(index, (state % (index as u64 + 1)) as usize);
    }
}

fn run(name: &str, rules: &Rules, events: &[Event]) {
    let mut graph = MemoryGraph::new();
    let mut times = Vec::with_capacity(events.len());
    let mut rebuilds = 0;
    for (order, event) in (0u64..).zip(events) {
        let message_id = format!("m{}", event.ts);
        let begin = Instant::now();
        let Ok(observed) = observe(rules, &mut graph, &event.ids, Timestamp(event.ts), &message_id);
        times.push(begin.elapsed());
        rebuilds += observed.changes.rebuild.len();
        if let Some(stream) = observed.stream {
            graph.add_row(stream, &Stamp::new(Timestamp(event.ts), &message_id), observed.set, order);
        }
    }
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{name:<18} events {:>8}  per s {:>8.0}  p50 {:>9.1?}  p99 {:>9.1?}  p99.9 {:>9.1?}  max {:>9.1?}  rebuilds {rebuilds}",
        times.len(),
        times.len() as f64 / total.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}

fn main() {
    let users = std::env::args().nth(1).and_then(|users| users.parse().ok()).unwrap_or(100_000);
    let rules = match Rules::compile(&IdentityConfig::default()) {
        Ok(rules) => rules,
        Err(error) => {
            eprintln!("the rules do not compile: {error}");
            return;
        }
    };
    type Scenario = (&'static str, fn(usize) -> Vec<Event>);
    let scenarios: [Scenario; 4] = [("normal", normal), ("chain", chain), ("hub", hub), ("kiosk", kiosk)];
    for (name, build) in scenarios {
        let mut events = build(users);
        run(name, &rules, &events);
        shuffle(&mut events);
        run(&format!("{name}, shuffled"), &rules, &events);
    }
}
