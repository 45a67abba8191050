//! Letters of a real fold, in words of the test: what each would say once it was overtaken.

use super::*;
use onefold_fold::{Options, Step, Worker, catalogue};
use onefold_log::record::Record;
use onefold_log::{Log, ManualClock, MemoryLog, MemoryLogOptions};
use onefold_store::{Direction, KeyRange, MemoryStore, Store, Table};
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::effect::Cause;
use onefold_types::event::extract;
use onefold_types::{Catalogue, EventRef, Identifier, Message, Position, Timestamp, outbox};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const SECRET: [u8; 32] = [7; 32];

struct World {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    worker: Worker,
    catalogue: Option<Catalogue>,
    numbered: i64,
}

impl World {
    /// A fold with audience `buyers`, computed trait `orders`, and a webhook that gets everything of them.
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        let log = Arc::new(MemoryLog::new(MemoryLogOptions {
            clock: clock.clone(),
            ..MemoryLogOptions::default()
        }));
        let store = Arc::new(MemoryStore::new());
        let options = Options { secret: SECRET, backfill_profiles: 1, ..Options::default() };
        let worker = Worker::open(log.clone(), store.clone(), options).unwrap();
        let mut world = Self { log, store, clock, worker, catalogue: None, numbered: 0 };
        world.apply(r#"did("Order")"#, r#"count("Order")"#);
        world.fold();
        world
    }

    /// Appends definitions of `buyers` and `orders`; an empty one is none.
    fn apply(&mut self, buyers: &str, orders: &str) {
        let audiences: Vec<Value> = [buyers]
            .iter()
            .filter(|text| !text.is_empty())
            .map(|w| json!({ "key": "buyers", "where": w }))
            .collect();
        let traits: Vec<Value> = [orders]
            .iter()
            .filter(|text| !text.is_empty())
            .map(|v| json!({ "key": "orders", "value": v }))
            .collect();
        let workspace = serde_json::from_value(json!({
            "version": 1, "workspace": "acme",
            "sources": [{ "key": "web", "kind": "browser", "write_key": "wk" }],
            "audiences": audiences, "computed_traits": traits,
            "destinations": [{ "key": "hook", "kind": "webhook", "audiences": "*", "traits": "*" }],
        }));
        let next = catalogue::next(self.catalogue.as_ref(), workspace.unwrap(), "test").unwrap();
        self.append(&Record::Catalogue(serde_json::to_vec(&next).unwrap()));
        self.catalogue = Some(next);
    }

    fn append(&self, record: &Record) {
        self.log.append(record.encode(), Box::new(|outcome| assert!(outcome.is_ok())));
    }

    fn fold(&mut self) {
        while self.worker.step().unwrap().0 == Step::Worked {}
    }

    /// Receives and folds a message, a minute after the one before.
    fn receive(&mut self, body: &Value) {
        self.numbered += 1;
        self.clock.set(Timestamp(self.numbered * 60_000));
        let text = body.to_string();
        let extracted = extract(&text, None).unwrap();
        let message = Message {
            message_type: extracted.message_type,
            ts: Timestamp::MAX,
            message_id: format!("m{}", self.numbered),
            source: "web".to_owned(),
            name: extracted.name,
            ids: extracted.ids,
            group_id: extracted.group_id,
            body: text.into_bytes(),
        };
        self.append(&Record::Messages(vec![message]));
        self.fold();
    }

    fn order(&mut self, user: &str) {
        self.receive(&json!({ "type": "track", "event": "Order", "userId": user }));
    }

    fn plan(&mut self, user: &str, plan: &Value) {
        self.receive(&json!({ "type": "identify", "userId": user, "traits": { "plan": plan } }));
    }

    fn decide(&mut self, decision: Decision) {
        self.numbered += 1;
        let request_id = format!("r{}", self.numbered);
        let (operator, reason) = ("ada".to_owned(), String::new());
        let record = DecisionRecord { request_id, operator, reason, decision };
        self.append(&Record::Decision(serde_json::to_vec(&record).unwrap()));
        self.fold();
    }

    /// The first effect that `holds`: the letter.
    fn letter(&self, holds: impl Fn(&Effect) -> bool) -> Effect {
        let mut found = None;
        let view = self.store.snapshot().unwrap();
        let all = KeyRange::prefix(b"");
        view.scan(Table::Outbox, &all, Direction::Forward, &mut |_, row| {
            found = outbox::decode(row).filter(|effect| holds(effect));
            found.is_none()
        })
        .unwrap();
        found.unwrap()
    }

    fn of(&self, effect: &Effect) -> Stands {
        let reader = Reader::new(self.store.clone(), self.log.clone(), self.worker.handle(), SECRET);
        Folded(reader).of(effect).unwrap()
    }

    /// Where a message stands in the log.
    fn place(&self, message_id: &str) -> EventRef {
        for entry in self.log.read(Position(0), usize::MAX).unwrap() {
            let Ok(Record::Messages(messages)) = Record::decode(&entry.payload) else { continue };
            if messages.iter().any(|message| message.message_id == message_id) {
                return EventRef { position: entry.position, index: 0 };
            }
        }
        panic!("no message {message_id}")
    }

    /// What is said in a letter's place.
    fn changed(&self, effect: &Effect) -> Effect {
        match self.of(effect) {
            Stands::Changed(current) => *current,
            other => panic!("{other:?}"),
        }
    }
}

fn user(value: &str) -> Identifier {
    Identifier::new("user_id", value)
}

fn entered(effect: &Effect) -> bool {
    matches!(effect.change, Change::Entered { .. })
}

fn exited(effect: &Effect) -> bool {
    matches!(effect.change, Change::Exited { .. })
}

/// The values of a computed or plain trait.
fn value(effect: &Effect) -> &str {
    match &effect.change {
        Change::TraitComputed { value, .. } | Change::TraitChanged { value, .. } => value,
        other => panic!("{other:?}"),
    }
}

fn computed(effect: &Effect) -> bool {
    matches!(effect.change, Change::TraitComputed { .. })
}

fn plan(effect: &Effect) -> bool {
    matches!(&effect.change, Change::TraitChanged { key, .. } if key == "plan")
}

#[test]
fn a_value_is_the_one_that_was_told_last() {
    let mut world = World::new();
    world.order("u");
    world.plan("u", &json!("free"));
    let (count, plan) = (world.letter(computed), world.letter(plan));
    assert_eq!((value(&count), value(&plan)), ("1", "\"free\""));
    assert_eq!((world.of(&count), world.of(&plan)), (Stands::AsSaid, Stands::AsSaid));
    world.order("u");
    world.plan("u", &json!({ "name": "pro" }));
    assert_eq!(value(&world.changed(&count)), "2");
    assert_eq!(value(&world.changed(&plan)), r#"{"name":"pro"}"#);
    world.plan("u", &Value::Null);
    assert_eq!(value(&world.changed(&plan)), "null");
    // And back: the letter is true again.
    world.plan("u", &json!("free"));
    assert_eq!(world.of(&plan), Stands::AsSaid);
    let all = world.changed(&count);
    assert_eq!((&all.ids, &all.profile_id), (&count.ids, &count.profile_id));
}

#[test]
fn a_membership_is_as_it_is_now_and_an_event_as_it_was() {
    let mut world = World::new();
    world.apply(r#"count("Order") = 1"#, "");
    world.order("u");
    let entry = world.letter(entered);
    assert_eq!(world.of(&entry), Stands::AsSaid);
    world.order("u");
    assert!(exited(&world.changed(&entry)));
    let exit = world.letter(exited);
    assert_eq!(world.of(&exit), Stands::AsSaid);
    let event = Change::Event { at: world.place("m1") };
    assert_eq!(world.of(&Effect { change: event, ..exit }), Stands::AsSaid);
}

/// A backfill under way has not told anybody yet: the letter says what was, and what it finds follows by itself.
#[test]
fn during_a_backfill_it_is_still_what_was_told() {
    let mut world = World::new();
    (0..40).for_each(|number| world.order(&format!("u{number}")));
    let last = world.letter(|effect| computed(effect) && effect.ids == [user("u39")]);
    world.apply(r#"did("Order")"#, r#"count("Order" in last 90 days)"#);
    world.worker.step().unwrap();
    let in_force = world.worker.handle().catalogue().catalogue.version.0;
    let reader = Reader::new(world.store.clone(), world.log.clone(), world.worker.handle(), SECRET);
    let person = reader.with(|query| query.person(last.profile)).unwrap().unwrap();
    assert_eq!((in_force, person.profile.catalogue), (2, 1), "the backfill has not come to this one");
    assert_eq!(world.of(&last), Stands::AsSaid);
    world.fold();
    assert_eq!(world.of(&last), Stands::AsSaid, "it counts the same");
}

#[test]
fn a_profile_that_was_merged_away_is_its_survivor() {
    let mut world = World::new();
    world.receive(&json!({ "type": "track", "event": "Order", "anonymousId": "p" }));
    world.order("q");
    world.plan("q", &json!("pro"));
    let of_q = |effect: &Effect| effect.ids == [user("q")];
    let count = world.letter(|effect| computed(effect) && of_q(effect));
    let (entry, plan) = (world.letter(|e| entered(e) && of_q(e)), world.letter(plan));
    world.receive(&json!({ "type": "identify", "userId": "q", "anonymousId": "p" }));
    let exit = world.letter(exited);
    assert_eq!(exit.profile, entry.profile, "q's profile was merged away");
    let both = [user("q"), Identifier::new("anonymous_id", "p")];
    for (letter, expected) in [(&count, "2"), (&plan, "\"pro\"")] {
        let current = world.changed(letter);
        assert_eq!((value(&current), current.ids.as_slice()), (expected, both.as_slice()));
        assert_ne!(current.profile_id, letter.profile_id);
    }
    // A receiver that knows q would take an exit for the survivor's, who is in it.
    let current = world.changed(&entry);
    assert!(entered(&current) && current.ids == both, "{current:?}");
}

/// What a receiver has that knows people by one kind of name: the names that are in the audience.
fn kept<T: Ord + Clone>(said: &[Effect], names: impl Fn(&Effect) -> Vec<T>) -> BTreeSet<T> {
    let mut kept = BTreeSet::new();
    for effect in said {
        match effect.change {
            Change::Entered { .. } => kept.extend(names(effect)),
            Change::Exited { .. } => {
                let gone = names(effect);
                kept.retain(|name| !gone.contains(name));
            }
            _ => {}
        }
    }
    kept
}

fn by_profile_id(effect: &Effect) -> Vec<String> {
    vec![effect.profile_id.clone()]
}

fn by_customer_key(effect: &Effect) -> Vec<String> {
    effect.customer_key.clone().into_iter().collect()
}

fn by_identifier(effect: &Effect) -> Vec<Identifier> {
    effect.ids.clone()
}

/// The merge's own exit was refused, and is sent again after everything else: whichever name a receiver joins on, it keeps
/// the survivor and loses whoever was absorbed.
#[test]
fn the_exit_of_one_who_was_merged_away_takes_nothing_from_the_survivor() {
    let mut world = World::new();
    world.order("q");
    world.receive(
        &json!({ "type": "track", "event": "Order", "context": { "traits": { "email": "e@x.com" } } }),
    );
    world.receive(&json!({ "type": "identify", "userId": "q", "traits": { "email": "e@x.com" } }));
    let exit = world.letter(exited);
    assert!(matches!(exit.cause, Cause::Merge { .. }));
    let survivor = world.letter(|effect| entered(effect) && effect.profile != exit.profile);
    let absorbed = world.letter(|effect| entered(effect) && effect.profile == exit.profile);
    let again = world.changed(&exit);
    assert!(exited(&again) && again.ids.is_empty(), "{again:?}");
    let said = [survivor.clone(), absorbed, again];
    assert_eq!(kept(&said, by_profile_id), BTreeSet::from([survivor.profile_id.clone()]));
    assert_eq!(kept(&said, by_customer_key), by_customer_key(&survivor).into_iter().collect());
    assert_eq!(kept(&said, by_identifier), BTreeSet::from([user("q"), Identifier::new("email", "e@x.com")]));
}

/// The survivor took over the absorbed one's key, for that is the older: under it nobody leaves.
#[test]
fn an_exit_of_one_who_was_merged_away_leaves_out_the_key_that_the_survivor_took_over() {
    let mut world = World::new();
    world.receive(&json!({ "type": "track", "event": "Other", "userId": "q" }));
    world.receive(
        &json!({ "type": "track", "event": "Order", "context": { "traits": { "email": "e@x.com" } } }),
    );
    world.order("q");
    world.receive(&json!({ "type": "identify", "userId": "q", "traits": { "email": "e@x.com" } }));
    let exit = world.letter(exited);
    let again = world.changed(&exit);
    assert!(exit.customer_key.is_some(), "in its turn it was told under its key");
    assert_eq!((again.customer_key, again.ids.len()), (None, 0));
    assert_eq!(again.profile_id, exit.profile_id);
    assert!(exited(&Effect { change: again.change, ..exit }));
}

#[test]
fn of_what_a_profile_gave_up_in_a_split_nothing_is_said() {
    let mut world = World::new();
    let traits = json!({ "email": "e@x.com", "plan": "pro" });
    world.receive(&json!({ "type": "identify", "userId": "u", "traits": traits }));
    world.receive(&json!({ "type": "track", "event": "Order", "userId": "u" }));
    let letters = [world.letter(plan), world.letter(entered), world.letter(computed)];
    let email = Identifier::new("email", "e@x.com");
    assert!(letters.iter().all(|letter| letter.ids == [user("u"), email.clone()]), "{letters:?}");
    world.decide(Decision::Cut { a: user("u"), b: email });
    // All of it is u's, and still true; the letters say it of the email address as well.
    for letter in &letters {
        let current = world.changed(letter);
        assert_eq!((&current.change, current.ids.as_slice()), (&letter.change, [user("u")].as_slice()));
    }
}

#[test]
fn of_somebody_who_was_deleted_only_what_takes_away_is_said() {
    let mut world = World::new();
    world.order("u");
    world.plan("u", &json!("pro"));
    let (count, plan, entry) = (world.letter(computed), world.letter(plan), world.letter(entered));
    world.decide(Decision::DeleteProfile { id: user("u") });
    assert_eq!((value(&world.changed(&count)), value(&world.changed(&plan))), ("null", "null"));
    let current = world.changed(&entry);
    assert!(exited(&current));
    assert_eq!((&current.ids, &current.profile_id), (&entry.ids, &entry.profile_id), "the names of then");
    assert_eq!(world.of(&world.letter(exited)), Stands::AsSaid);
    // Who comes again under the id is somebody else, of whom nothing is said.
    let exit = world.letter(exited);
    world.order("u");
    let again = world.letter(|effect| entered(effect) && effect.profile != entry.profile);
    assert_ne!(again.customer_key, entry.customer_key);
    for letter in [&exit, &entry, &plan, &count] {
        let current = world.changed(letter);
        assert_eq!((&current.profile_id, &current.customer_key), (&letter.profile_id, &entry.customer_key));
        assert!(current.ids.is_empty(), "the identifier is the new one's: {current:?}");
    }
    assert_eq!((value(&world.changed(&count)), value(&world.changed(&plan))), ("null", "null"));
    for letter in [&exit, &entry] {
        let said = [entry.clone(), again.clone(), world.changed(letter)];
        assert!(exited(&said[2]));
        assert_eq!(kept(&said, by_profile_id), BTreeSet::from([again.profile_id.clone()]));
        assert_eq!(kept(&said, by_customer_key), by_customer_key(&again).into_iter().collect());
        assert_eq!(kept(&said, by_identifier), BTreeSet::from([user("u")]));
    }
}

/// A merge, and then a deletion: who comes back under the absorbed one's identifier is somebody else all the same.
#[test]
fn of_somebody_who_was_merged_away_and_deleted_nothing_is_said_of_whoever_comes_back() {
    let mut world = World::new();
    world.receive(&json!({ "type": "track", "event": "Other", "anonymousId": "p" }));
    world.order("q");
    let entry = world.letter(entered);
    world.receive(&json!({ "type": "identify", "userId": "q", "anonymousId": "p" }));
    world.decide(Decision::DeleteProfile { id: Identifier::new("anonymous_id", "p") });
    world.order("q");
    let current = world.changed(&entry);
    assert!(exited(&current));
    assert_eq!((&current.profile_id, &current.customer_key), (&entry.profile_id, &entry.customer_key));
}

/// Without a deletion in between, one whose only message went and who comes back is the same: same id, same key.
#[test]
fn of_somebody_whose_message_was_deleted_is_said_what_is_true_when_they_come_back() {
    let mut world = World::new();
    world.order("u");
    let entry = world.letter(entered);
    world.decide(Decision::DeleteMessage { message_id: "m1".to_owned() });
    let exit = world.letter(exited);
    assert_eq!(world.of(&exit), Stands::AsSaid);
    world.order("u");
    let current = world.changed(&exit);
    assert!(entered(&current));
    assert_eq!((&current.profile_id, &current.customer_key), (&entry.profile_id, &entry.customer_key));
}

#[test]
fn an_event_stands_until_its_message_is_deleted() {
    let mut world = World::new();
    for user in ["u", "v", "w"] {
        world.order(user);
    }
    let event = |world: &World, of: &str| {
        let entry = world.letter(|effect| entered(effect) && effect.ids == [user(of)]);
        let Cause::Event { message_id, .. } = &entry.cause else { panic!("{entry:?}") };
        Effect { change: Change::Event { at: world.place(message_id) }, ..entry }
    };
    let events = ["u", "v", "w"].map(|user| event(&world, user));
    assert!(events.iter().all(|event| world.of(event) == Stands::AsSaid));
    world.decide(Decision::DeleteMessage { message_id: "m1".to_owned() });
    world.decide(Decision::DeleteProfile { id: user("v") });
    let [u, v, w] = events.map(|event| world.of(&event));
    for deleted in [u, v] {
        let Stands::Nowhere(text) = deleted else { panic!("{deleted:?}") };
        assert_eq!(text, "not sent: the message that it forwards was deleted; discard the letter");
    }
    assert_eq!(w, Stands::AsSaid);
}

#[test]
fn of_a_definition_that_is_gone_nothing_is_said() {
    let mut world = World::new();
    world.order("u");
    let (count, entry) = (world.letter(computed), world.letter(entered));
    world.apply("", "");
    world.fold();
    // The same names again are other definitions.
    world.apply(r#"did("Order")"#, r#"count("Order")"#);
    world.fold();
    for (letter, what) in [(&count, "computed trait"), (&entry, "audience")] {
        let Stands::Nowhere(text) = world.of(letter) else { panic!("{what}") };
        assert!(text.contains(&format!("the {what} that it tells of is not in the catalogue")), "{text}");
    }
}

/// With a backlog the clock is ahead of the fold: effects that it finds later would be older than the letter.
#[test]
fn what_is_said_now_is_as_of_the_commit_and_not_of_the_clock() {
    let mut world = World::new();
    world.order("u");
    world.order("u");
    let first = world.letter(computed);
    world.clock.set(Timestamp(999 * 60_000));
    let current = world.changed(&first);
    assert_eq!((value(&current), current.effective), ("2", Timestamp(2 * 60_000)));
}
