//! Profiles in memory, driven through a plan as the fold drives them: records in order of receive time, timers in
//! between, memberships compared with the oracle at any millisecond.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::redundant_clone,
    dead_code,
    reason = "a test says what it expects"
)]

pub mod random;

use onefold_audience::oracle::{Definitions, OracleEvent, traits_at};
use onefold_audience::{Flip, FlipKind, Plan, State, Touched, Traits, Value};
use onefold_types::workspace::{Audience, ComputedTrait, Labels, Workspace};
use onefold_types::{AudienceId, Catalogue, CatalogueVersion, MessageType, PrimitiveId, Timestamp, TraitId};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn workspace(audiences: &[(&str, &str)], computed: &[(&str, &str)]) -> Workspace {
    let audience = |(key, condition): &(&str, &str)| Audience {
        key: (*key).to_owned(),
        condition: (*condition).to_owned(),
        renamed_from: None,
        labels: Labels::default(),
    };
    let computed_trait = |(key, value): &(&str, &str)| ComputedTrait {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        renamed_from: None,
        labels: Labels::default(),
    };
    Workspace {
        version: 1,
        audiences: audiences.iter().map(audience).collect(),
        computed_traits: computed.iter().map(computed_trait).collect(),
        ..Workspace::default()
    }
}

/// The next catalogue: known keys and texts keep their ids, what is gone loses its id for good.
pub fn catalogue(before: &Catalogue, workspace: Workspace) -> Catalogue {
    fn assign<Id: Copy>(
        known: &BTreeMap<String, Id>,
        keys: Vec<String>,
        next: &mut u32,
        id: fn(u32) -> Id,
    ) -> BTreeMap<String, Id> {
        let given = |key: String| {
            let known = known.get(&key).copied();
            let id = known.unwrap_or_else(|| {
                *next += 1;
                id(*next - 1)
            });
            (key, id)
        };
        keys.into_iter().map(given).collect()
    }
    let texts = Plan::primitive_texts(&workspace).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut next_id = before.next_id.max(1);
    let audiences = workspace.audiences.iter().map(|a| a.key.clone()).collect();
    let traits = workspace.computed_traits.iter().map(|t| t.key.clone()).collect();
    Catalogue {
        version: CatalogueVersion(before.version.0 + 1),
        audiences: assign(&before.audiences, audiences, &mut next_id, AudienceId),
        traits: assign(&before.traits, traits, &mut next_id, TraitId),
        primitives: assign(&before.primitives, texts.into_iter().collect(), &mut next_id, PrimitiveId),
        next_id,
        workspace,
        ..Catalogue::default()
    }
}

pub fn compile(workspace: Workspace) -> (Catalogue, Plan) {
    let catalogue = catalogue(&Catalogue::default(), workspace);
    let plan = Plan::compile(&catalogue).unwrap_or_else(|errors| panic!("{errors:?}"));
    (catalogue, plan)
}

/// A track event; `properties` is JSON.
pub fn track(id: &str, ts: i64, rt: i64, name: &str, properties: Json) -> OracleEvent {
    message(id, ts, rt, MessageType::Track, name, json!({ "properties": properties }))
}

pub fn identify(id: &str, ts: i64, rt: i64, traits: Json) -> OracleEvent {
    message(id, ts, rt, MessageType::Identify, "", json!({ "traits": traits }))
}

pub fn message(id: &str, ts: i64, rt: i64, kind: MessageType, name: &str, body: Json) -> OracleEvent {
    OracleEvent {
        // Resolved at ingest: nothing happens after it was received.
        ts: Timestamp(ts.min(rt)),
        rt: Timestamp(rt),
        message_id: id.to_owned(),
        message_type: kind,
        name: name.to_owned(),
        body,
    }
}

/// The plain traits of the owner of some events.
pub struct PlainTraits(BTreeMap<String, Value>);

impl PlainTraits {
    pub fn of(events: &[OracleEvent]) -> Self {
        let traits = traits_at(events, Timestamp::MAX);
        let value = |(key, json): (&str, &Json)| Some((key.to_owned(), Value::from_json(&json.to_string())?));
        Self(traits.into_iter().filter_map(value).collect())
    }
}

impl Traits for PlainTraits {
    fn get(&self, key: &str) -> Option<Value> {
        self.0.get(key).cloned()
    }
}

/// One profile as the fold keeps it.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    pub state: State,
    pub events: Vec<OracleEvent>,
    pub version: u32,
}

/// A change that was sent. `value` is a computed trait's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    pub profile: u64,
    pub effective: i64,
    pub key: String,
    /// The catalogue's: an audience that was removed and comes back is another one.
    pub id: u32,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Entered,
    Exited,
    Value(u64),
}

/// When a profile's timers run and new definitions reach it. Nothing that is sent may depend on it (B2, B12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Eager,
    /// Not before something else touches the profile.
    Lazy,
}

pub struct Engine {
    pub catalogue: Catalogue,
    pub plan: Plan,
    pub definitions: Definitions,
    pub profiles: BTreeMap<u64, Profile>,
    pub sent: Vec<Sent>,
    pub now: i64,
    pub evaluations: u64,
    pace: Pace,
    cut: i64,
    touched: BTreeMap<u64, Touched>,
    seen: BTreeSet<String>,
    keys: BTreeMap<u32, String>,
}

impl Engine {
    pub fn new(workspace: Workspace, pace: Pace) -> Self {
        let definitions = Definitions::parse(&workspace).unwrap();
        let (catalogue, plan) = compile(workspace);
        let mut engine = Self {
            catalogue,
            plan,
            definitions,
            profiles: BTreeMap::new(),
            sent: Vec::new(),
            now: i64::MIN,
            evaluations: 0,
            pace,
            cut: i64::MIN,
            touched: BTreeMap::new(),
            seen: BTreeSet::new(),
            keys: BTreeMap::new(),
        };
        engine.name_keys();
        engine
    }

    fn name_keys(&mut self) {
        let audiences = self.catalogue.audiences.iter().map(|(key, id)| (id.0, key.clone()));
        let traits = self.catalogue.traits.iter().map(|(key, id)| (id.0, key.clone()));
        self.keys.extend(audiences.chain(traits));
    }

    /// A record is received at `rt`: what is due before it happens first.
    pub fn begin(&mut self, rt: i64) {
        assert!(rt >= self.now, "receive times do not go back");
        assert!(self.touched.is_empty(), "the last record was not settled");
        self.now = rt;
        if self.pace == Pace::Eager {
            self.run_timers(rt);
        }
    }

    /// Every profile's timers before `until`.
    pub fn run_timers(&mut self, until: i64) {
        for handle in self.profiles.keys().copied().collect::<Vec<_>>() {
            self.bring_up(handle, until);
        }
    }

    /// One profile up to the catalogue in force and to `until`.
    fn bring_up(&mut self, handle: u64, until: i64) {
        let Some(mut profile) = self.profiles.remove(&handle) else { return };
        let traits = PlainTraits::of(&profile.events);
        if profile.version < self.catalogue.version.0 {
            let new = self.plan.added_since(&profile.state);
            let mut touched = Touched::default();
            self.plan.prune(&mut profile.state);
            for event in &profile.events {
                let body = event.body.to_string();
                self.plan.observe_new(
                    &new,
                    &mut profile.state,
                    &mut touched,
                    event.message_type,
                    &event.name,
                    body.as_bytes(),
                    event.ts,
                );
            }
            self.plan.complete(&mut profile.state);
            profile.version = self.catalogue.version.0;
            self.plan.touch_everything(&mut touched);
            let flips = self.plan.settle(&mut profile.state, &mut touched, &traits, Timestamp(self.cut));
            self.send(handle, flips);
        }
        while let Some(due) = self.plan.next_due(&profile.state).filter(|due| due.0 < until) {
            self.check_due(&profile, due);
            let flips = self.plan.run_timers(&mut profile.state, &traits, due.plus(1));
            self.send(handle, flips);
            assert!(self.plan.next_due(&profile.state).is_none_or(|next| next > due), "B17: time moves on");
        }
        self.profiles.insert(handle, profile);
    }

    /// B17: a timer fires where the truth of a primitive or a value changes, and nowhere else.
    fn check_due(&self, profile: &Profile, due: Timestamp) {
        let look = |expr: &onefold_audience::Expr, at: Timestamp| {
            let condition = self.definitions.holds(expr, &profile.events, at);
            condition.map_or_else(
                |_| self.definitions.value(expr, &profile.events, at).unwrap(),
                |truth| Some(Value::Bool(truth)),
            )
        };
        let changes = self.catalogue.primitives.keys().any(|text| {
            let expr = onefold_audience::parse(text).unwrap();
            look(&expr, due.minus(1)) != look(&expr, due)
        });
        assert!(changes, "B17: nothing changes at {due:?}");
    }

    fn send(&mut self, profile: u64, flips: Vec<Flip>) {
        for Flip { effective, kind } in flips {
            let (id, what) = match kind {
                FlipKind::Entered(id) => (id.0, What::Entered),
                FlipKind::Exited(id) => (id.0, What::Exited),
                FlipKind::Computed(id, value) => (id.0, What::Value(value)),
            };
            self.sent.push(Sent { profile, effective: effective.0, key: self.keys[&id].clone(), id, what });
        }
    }

    fn end_memberships(&mut self, handle: u64, profile: &Profile) {
        for id in profile.state.members() {
            let key = self.keys[&id.0].clone();
            let what = What::Exited;
            self.sent.push(Sent { profile: handle, effective: self.now, key, id: id.0, what });
        }
    }

    /// The profile and what touches it, up to date.
    fn touch(&mut self, handle: u64) -> (Profile, Touched) {
        // Between two messages of one record no time passes: what is due at this very instant waits for its end.
        self.bring_up(handle, self.now);
        let mut touched = self.touched.remove(&handle).unwrap_or_default();
        let mut profile = self.profiles.remove(&handle).unwrap_or_default();
        if profile.events.is_empty() {
            profile.version = self.catalogue.version.0;
            self.plan.begin(&mut profile.state, &mut touched);
        }
        (profile, touched)
    }

    fn put(&mut self, handle: u64, profile: Profile, touched: Touched) {
        self.profiles.insert(handle, profile);
        self.touched.insert(handle, touched);
    }

    /// A message that `handle` owns; a second one with its id changes nothing (B4).
    pub fn observe(&mut self, handle: u64, event: OracleEvent) {
        assert_eq!(event.rt.0, self.now);
        if !self.seen.insert(event.message_id.clone()) {
            return;
        }
        let (mut profile, mut touched) = self.touch(handle);
        self.note_traits(&event, &mut touched);
        let body = event.body.to_string();
        self.plan.observe(
            &mut profile.state,
            &mut touched,
            event.message_type,
            &event.name,
            body.as_bytes(),
            event.ts,
        );
        profile.events.push(event);
        self.put(handle, profile, touched);
    }

    /// Every trait that an identify call names may have another value now, a removed one included.
    fn note_traits(&self, event: &OracleEvent, touched: &mut Touched) {
        let traits = event.body.get("traits").and_then(Json::as_object);
        let traits = traits.filter(|_| event.message_type == MessageType::Identify);
        for key in traits.into_iter().flat_map(serde_json::Map::keys) {
            self.plan.trait_changed(key, touched);
        }
    }

    /// `from` becomes part of `into`.
    pub fn merge(&mut self, from: u64, into: u64) {
        if from == into || !self.profiles.contains_key(&from) || !self.profiles.contains_key(&into) {
            return;
        }
        let (absorbed, _) = self.touch(from);
        let (mut survivor, mut touched) = self.touch(into);
        self.end_memberships(from, &absorbed);
        survivor.state = self.plan.merge(&survivor.state, &absorbed.state);
        self.plan.touch_all(&survivor.state, &mut touched);
        for event in &absorbed.events {
            self.note_traits(event, &mut touched);
        }
        survivor.events.extend(absorbed.events);
        self.put(into, survivor, touched);
    }

    /// The events of `handle` that `stays` does not keep become `other`'s, or go for good.
    pub fn split(&mut self, handle: u64, other: Option<u64>, stays: impl Fn(&OracleEvent) -> bool) {
        if !self.profiles.contains_key(&handle)
            || other.is_some_and(|other| self.profiles.contains_key(&other))
        {
            return;
        }
        let (profile, _) = self.touch(handle);
        let (kept, gone) = profile.events.iter().cloned().partition(stays);
        self.rebuild(handle, profile, kept);
        if let Some(other) = other {
            self.rebuild(other, Profile::default(), gone);
        }
    }

    fn rebuild(&mut self, handle: u64, profile: Profile, events: Vec<OracleEvent>) {
        if events.is_empty() {
            self.end_memberships(handle, &profile);
            return;
        }
        let mut touched = Touched::default();
        let mut state = profile.state.emptied();
        self.plan.begin(&mut state, &mut touched);
        for event in &events {
            let body = event.body.to_string();
            self.plan.observe(
                &mut state,
                &mut touched,
                event.message_type,
                &event.name,
                body.as_bytes(),
                event.ts,
            );
        }
        self.plan.touch_everything(&mut touched);
        self.put(handle, Profile { state, events, version: self.catalogue.version.0 }, touched);
    }

    /// The record ends: everything it touched is settled, together with what is due at this instant. Timers of others
    /// that are due at this instant fire after it, for another record may follow within it.
    pub fn end(&mut self) {
        for (handle, mut touched) in std::mem::take(&mut self.touched) {
            let Some(mut profile) = self.profiles.remove(&handle) else { continue };
            let traits = PlainTraits::of(&profile.events);
            let flips = self.plan.settle(&mut profile.state, &mut touched, &traits, Timestamp(self.now));
            self.evaluations += touched.filters_evaluated + touched.formulas_evaluated;
            self.send(handle, flips);
            self.profiles.insert(handle, profile);
        }
    }

    /// One message, one record.
    pub fn record(&mut self, handle: u64, event: OracleEvent) {
        self.begin(event.rt.0);
        self.observe(handle, event);
        self.end();
    }

    /// New definitions, from this instant on.
    pub fn apply(&mut self, workspace: Workspace) {
        // What is left of the last change is done before the next one (backfill).
        self.run_timers(self.now);
        self.definitions = Definitions::parse(&workspace).unwrap();
        self.catalogue = catalogue(&self.catalogue, workspace);
        self.plan = Plan::compile(&self.catalogue).unwrap_or_else(|errors| panic!("{errors:?}"));
        self.cut = self.now;
        self.name_keys();
    }

    /// Every state through its bytes, as after a restart.
    pub fn restart(&mut self) {
        for profile in self.profiles.values_mut() {
            let mut bytes = Vec::new();
            profile.state.encode(&mut bytes);
            let state = State::decode(&bytes).unwrap();
            assert_eq!(state, profile.state);
            profile.state = state;
        }
    }

    /// The keys of the audiences that `handle` is in.
    pub fn members(&self, handle: u64) -> BTreeSet<String> {
        let profile = self.profiles.get(&handle);
        profile.into_iter().flat_map(|p| p.state.members()).map(|id| self.keys[&id.0].clone()).collect()
    }

    /// B1: memberships and values are the oracle's at `at`, for every profile.
    pub fn check(&self, at: i64) {
        for (handle, profile) in &self.profiles {
            let oracle = self.definitions.members(&profile.events, Timestamp(at)).unwrap();
            assert_eq!(self.members(*handle), oracle, "B1: profile {handle} at {at}");
            let oracle = self.definitions.values(&profile.events, Timestamp(at)).unwrap();
            let sent: BTreeMap<u32, u64> =
                profile.state.computed().iter().map(|(id, v)| (id.0, *v)).collect();
            for (key, id) in &self.catalogue.traits {
                let value = sent.get(&id.0).copied().unwrap_or(0);
                let expected = oracle.get(key).cloned();
                assert_eq!(Value::from_json(&value.to_string()), expected, "B1: {key} of {handle} at {at}");
                let read = self.plan.value_at(&profile.state, *id, Timestamp(at));
                assert_eq!(read, Some(value), "B1: {key} of {handle} as a reader sees it at {at}");
            }
        }
    }

    /// B9 and B10: entries and exits alternate, one per instant, in order; and adding them up gives the memberships.
    pub fn check_sent(&self) {
        let mut members: BTreeMap<(u64, u32), i64> = BTreeMap::new();
        let mut last: BTreeMap<(u64, u32), &Sent> = BTreeMap::new();
        for sent in &self.sent {
            let who = (sent.profile, sent.id);
            if let Some(before) = last.insert(who, sent) {
                assert!(before.effective <= sent.effective, "B2: {before:?} before {sent:?}");
            }
            match sent.what {
                What::Entered => *members.entry(who).or_default() += 1,
                What::Exited => *members.entry(who).or_default() -= 1,
                What::Value(_) => continue,
            }
            assert!((0..=1).contains(&members[&who]), "B9: {sent:?}");
        }
        let known: BTreeSet<u32> = self.catalogue.audiences.values().map(|id| id.0).collect();
        members.retain(|(_, id), is| *is > 0 && known.contains(id));
        let said: BTreeSet<(u64, u32)> = members.into_keys().collect();
        let are = |(handle, profile): (&u64, &Profile)| -> Vec<(u64, u32)> {
            profile.state.members().iter().map(|id| (*handle, id.0)).collect()
        };
        let are = self.profiles.iter().flat_map(are).collect();
        assert_eq!(said, are, "B9: what was sent adds up to the memberships");
    }
}
