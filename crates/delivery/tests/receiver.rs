//! Delivery against a receiver on loopback: what it answers decides, and nothing is sent twice that was noted (OUT,
//! DELIVERY-1, DELIVERY-2, DELIVERY-5).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure in a test's own helper is a failed test")]

mod stood;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use onefold_delivery::{Delivered, Delivery, Options};
use onefold_log::{MemoryLog, SystemClock};
use onefold_store::{MemoryStore, Store, Table};
use onefold_types::effect::{Cause, Change, Effect};
use onefold_types::{AudienceId, Catalogue, DestinationId, Identifier, ProfileHandle, Timestamp, outbox};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stood::Stood;
use tokio::sync::broadcast::Receiver;

/// What the receiver is to answer next, and what it got: (path, webhook-id, body, what it answered).
#[derive(Default)]
struct Script {
    answers: VecDeque<u16>,
    /// A user of whom it takes nothing: 400.
    poison: Option<&'static str>,
    got: Vec<(String, String, Value, u16)>,
}

type Shared = Arc<Mutex<Script>>;

async fn receive(
    State(script): State<Shared>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, [(&'static str, &'static str); 2]) {
    let mut script = script.lock().unwrap();
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_str(&body).unwrap();
    let is_poison = script.poison.is_some_and(|user| users(&body).iter().any(|known| known == user));
    let status = match path.as_str() {
        "dead" => 503,
        _ if is_poison => 400,
        _ => script.answers.pop_front().unwrap_or(204),
    };
    script.got.push((path, id, body, status));
    (StatusCode::from_u16(status).unwrap(), [("retry-after", "0"), ("location", "http://elsewhere.example/")])
}

/// Whom a request is about: a message, or a batch of them.
fn users(body: &Value) -> Vec<String> {
    let alone = std::slice::from_ref(body);
    let messages = body["batch"].as_array().map_or(alone, Vec::as_slice);
    messages.iter().map(|message| message["userId"].as_str().unwrap().to_owned()).collect()
}

struct World {
    script: Shared,
    base: String,
    store: Arc<MemoryStore>,
    journal: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
    standing: Arc<Stood>,
}

impl World {
    async fn new() -> Self {
        let script = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/{path}", post(receive)).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let log = Arc::new(MemoryLog::default());
        Self { script, base, store: Arc::default(), journal: Arc::default(), log, standing: Arc::default() }
    }

    fn catalogue(&self) -> Catalogue {
        let hook = |key: &str, allow: bool| {
            let batch = if key == "batched" { json!(10) } else { Value::Null };
            json!({ "key": key, "kind": "webhook", "audiences": "*", "config": {
                "url": format!("{}/{key}", self.base), "secret": "whsec_b25lZm9sZC1leGFtcGxlLXNlY3JldC1rZXk=", "allow_private": allow, "batch": batch } })
        };
        serde_json::from_value(json!({
            "version": 1, "rules_version": 1, "next_id": 9, "sources": {}, "traits": {}, "primitives": {},
            "workspace": { "version": 1, "workspace": "acme", "destinations": [hook("live", true), hook("dead", true), hook("guarded", false), hook("batched", true)] },
            "audiences": { "vip": 1 }, "destinations": { "live": 1, "dead": 2, "guarded": 3, "batched": 4 },
            "audience_versions": {}, "trait_versions": {},
        }))
        .unwrap()
    }

    fn start(&self) -> (Delivery, Receiver<Delivered>) {
        self.start_with(Options::default())
    }

    fn start_with(&self, options: Options) -> (Delivery, Receiver<Delivered>) {
        let delivery = Delivery::new(
            self.store.clone(),
            self.journal.clone(),
            self.log.clone(),
            self.standing.clone(),
            Arc::new(SystemClock),
            options,
        );
        let events = delivery.subscribe();
        delivery.configure(&self.catalogue());
        (delivery, events)
    }

    /// Puts an effect into the outbox.
    fn put(&self, destination: u32, sequence: u64, profile: u64) {
        let effect = Self::effect(destination, sequence, profile);
        let mut txn = self.store.begin().unwrap();
        txn.put(Table::Outbox, outbox::key(DestinationId(destination), sequence), outbox::encode(&effect));
        txn.commit().unwrap();
    }

    fn effect(destination: u32, sequence: u64, profile: u64) -> Effect {
        Effect {
            id: u128::from(sequence),
            destination: DestinationId(destination),
            profile: ProfileHandle(profile),
            after: Vec::new(),
            effective: Timestamp(1_000),
            observed: Timestamp(1_000),
            change: Change::Entered { audience: AudienceId(1), initial: false },
            cause: Cause::Time,
            ids: vec![Identifier::new("user_id", format!("u{profile}"))],
            profile_id: "p".to_owned(),
            customer_key: Some("cus_1".to_owned()),
        }
    }

    fn answers(&self, statuses: &[u16]) {
        self.script.lock().unwrap().answers = statuses.iter().copied().collect();
    }

    fn got(&self, path: &str) -> Vec<(String, Value)> {
        let script = self.script.lock().unwrap();
        script
            .got
            .iter()
            .filter(|(to, ..)| to == path)
            .map(|(_, id, body, _)| (id.clone(), body.clone()))
            .collect()
    }
}

/// The sequences of the next `count` effects that got through, and whether each is a dead letter.
async fn through(events: &mut Receiver<Delivered>, count: usize) -> Vec<(u64, bool)> {
    let mut found = Vec::new();
    for _ in 0..count {
        let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
        found.push((u64::try_from(event.effect.id).unwrap(), event.dead));
    }
    found
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_body_and_the_next_of_its_lane_waits() {
    let world = World::new().await;
    world.answers(&[503, 429, 200]);
    world.put(1, 1, 7);
    world.put(1, 2, 7);
    let (delivery, mut events) = world.start();
    assert_eq!(through(&mut events, 2).await, [(1, false), (2, false)]);
    let got = world.got("live");
    assert_eq!(got.len(), 4);
    assert!(got[..3].iter().all(|sent| *sent == got[0]), "every attempt is the same request");
    assert_ne!(got[3].0, got[0].0);
    let body = &got[0].1;
    assert_eq!(
        (&body["event"], &body["properties"]["vip"], &body["messageId"]),
        (&json!("Audience Entered"), &json!(true), &json!(got[0].0))
    );
    assert_eq!(
        (&body["userId"], &body["context"]["onefold"]["customer_key"]),
        (&json!("u7"), &json!("cus_1"))
    );
    delivery.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_a_dead_letter_that_can_be_sent_again() {
    let world = World::new().await;
    world.answers(&[400, 422]);
    world.put(1, 1, 7);
    world.put(1, 2, 7);
    let (delivery, mut events) = world.start();
    assert_eq!(through(&mut events, 2).await, [(1, true), (2, true)]);
    let letters = delivery.dead_letters("live", 0, 10).unwrap();
    assert_eq!(letters.iter().map(|letter| letter.answer.status).collect::<Vec<_>>(), [400, 422]);
    // The profile has left by now: the letter that says it entered is sent as it is now.
    let change = Change::Exited { audience: AudienceId(1) };
    world.standing.is_now(Effect { change, ..World::effect(1, 1, 7) });
    delivery.retry("live", 1).await.unwrap();
    let last = world.got("live").pop().unwrap().1;
    assert_eq!((&last["event"], &last["properties"]["vip"]), (&json!("Audience Exited"), &json!(false)));
    assert_eq!(delivery.dead_letters("live", 0, 10).unwrap().len(), 1);
    assert!(delivery.retry("live", 1).await.is_err());
    delivery.stop().await;
}

#[tokio::test]
async fn a_rebuilt_outbox_sends_nothing_that_the_journal_knows() {
    let world = World::new().await;
    world.put(1, 1, 7);
    let (delivery, mut events) = world.start();
    assert_eq!(through(&mut events, 1).await, [(1, false)]);
    delivery.stop().await;
    world.put(1, 1, 7);
    world.put(1, 2, 7);
    let (delivery, mut events) = world.start();
    assert_eq!(through(&mut events, 1).await, [(2, false)]);
    assert_eq!(world.got("live").len(), 2);
    delivery.stop().await;
}

#[tokio::test]
async fn a_dead_destination_holds_up_itself_alone_and_a_private_address_is_not_called() {
    let world = World::new().await;
    for sequence in 0..50 {
        world.put(2, 100 + sequence, sequence);
        world.put(1, 200 + sequence, sequence);
    }
    world.put(3, 300, 1);
    let (delivery, mut events) = world.start();
    let mut found = through(&mut events, 50).await;
    found.sort_unstable();
    assert_eq!(found, (200..250).map(|sequence| (sequence, false)).collect::<Vec<_>>());
    let guarded = || delivery.status().into_iter().find(|status| status.key == "guarded").unwrap();
    soon(|| guarded().last_error.is_some()).await;
    let said = guarded().last_error.unwrap().text;
    assert!(said.contains("allow_private"), "{said}");
    assert!(world.got("guarded").is_empty() && delivery.dead_letters("guarded", 0, 1).unwrap().is_empty());
    delivery.stop().await;
}

async fn soon(mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < until, "it never came to hold");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What would be the same for every message costs no message: a route that is missing, a secret that is not known, an
/// address that moved.
#[tokio::test]
async fn an_endpoint_that_refuses_everything_for_a_while_makes_no_dead_letters() {
    // As many as open the breaker, and two that ask afterwards.
    const REFUSED: usize = onefold_delivery::breaker::LANES + 2;
    for (status, text) in [(401, ""), (403, ""), (404, ""), (405, ""), (410, ""), (308, "elsewhere.example")]
    {
        let world = World::new().await;
        world.answers(&[status; REFUSED]);
        (1..=60).for_each(|number| world.put(1, number, number));
        let (delivery, mut events) = world.start_with(Options { in_flight: 1, ..Options::default() });
        let mut found = through(&mut events, 60).await;
        found.sort_unstable();
        assert_eq!(found, (1..=60).map(|number| (number, false)).collect::<Vec<_>>(), "{status}");
        assert!(delivery.dead_letters("live", 0, 1).unwrap().is_empty());
        let live = delivery.status().into_iter().find(|known| known.key == "live").unwrap();
        let error = live.last_error.unwrap();
        assert!(error.status == status && error.text.contains(text), "{error:?}");
        assert_eq!(
            world.got("live").len(),
            60 + REFUSED,
            "{status}: what was refused came again, and nothing twice"
        );
        delivery.stop().await;
    }
}

#[tokio::test]
async fn of_a_batch_with_a_poison_message_that_message_alone_is_dead() {
    let world = World::new().await;
    world.script.lock().unwrap().poison = Some("u5");
    (1..=10).for_each(|number| world.put(4, number, number));
    let (delivery, mut events) = world.start();
    let mut found = through(&mut events, 10).await;
    found.sort_unstable();
    assert_eq!(found, (1..=10).map(|number| (number, number == 5)).collect::<Vec<_>>());
    let letters = delivery.dead_letters("batched", 0, 10).unwrap();
    assert_eq!(letters.iter().map(|l| (l.sequence, l.answer.status)).collect::<Vec<_>>(), [(5, 400)]);
    let got = world.script.lock().unwrap().got.clone();
    assert!(got.iter().all(|(_, _, body, _)| body["batch"].is_array()), "one message is a batch as well");
    let mut taken: Vec<String> =
        got.iter().filter(|(.., status)| *status < 300).flat_map(|(_, _, body, _)| users(body)).collect();
    taken.sort_unstable();
    let mut nine: Vec<String> = (1..=10).filter(|n| *n != 5).map(|n| format!("u{n}")).collect();
    nine.sort_unstable();
    assert_eq!(taken, nine, "each once");
    let mut ids: Vec<&String> = got.iter().map(|(_, id, ..)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), got.len(), "another batch has another id");
    // Sent again once the receiver is mended, it goes as a batch of one with the body that it had.
    world.script.lock().unwrap().poison = None;
    delivery.retry("batched", 5).await.unwrap();
    let (id, last) = world.got("batched").pop().unwrap();
    assert_eq!(users(&last), ["u5"]);
    let refused = got.iter().rfind(|(.., status)| *status == 400).unwrap();
    assert_eq!((&id, &last), (&refused.1, &refused.2));
    assert!(delivery.dead_letters("batched", 0, 10).unwrap().is_empty());
    delivery.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_for_its_secret_goes_again_as_it_was() {
    let world = World::new().await;
    world.answers(&[401]);
    (1..=10).for_each(|number| world.put(4, number, number));
    let (delivery, mut events) = world.start();
    let found = through(&mut events, 10).await;
    assert!(found.iter().all(|(_, dead)| !dead), "{found:?}");
    let got = world.got("batched");
    assert!(got.len() == 2 && got[0] == got[1], "one request, and the same again");
    delivery.stop().await;
}
