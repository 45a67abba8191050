//! B8 by counts: an event costs the distinct filters on its name, and a formula for each audience whose ground changed;
//! never more, whatever else is defined.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test says what it expects"
)]

mod common;

use common::random::{definitions, said};
use common::{PlainTraits, compile, track, workspace};
use onefold_audience::ast::{Aggregate, Event, ExprKind};
use onefold_audience::names::Names;
use onefold_audience::oracle::{Definitions, OracleEvent, traits_at};
use onefold_audience::{Expr, FlipKind, Plan, State, Touched, parse};
use onefold_types::workspace::Workspace;
use onefold_types::{AudienceId, MessageType, Timestamp};
use proptest::prelude::*;
use regex::Regex;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What an instant cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cost {
    filters: u64,
    formulas: u64,
}

/// What a definition rests on, found without the plan.
struct Ground {
    /// Thresholds, each as an expression of its own.
    thresholds: Vec<Expr>,
    /// Keys of plain traits.
    traits: BTreeSet<String>,
    audiences: BTreeSet<String>,
    computed: BTreeSet<String>,
}

fn grounds(workspace_: &Workspace) -> BTreeMap<String, Ground> {
    // Alone, an audience needs its own thresholds; what it asks for is not there, so a trait stands in.
    let asked = Regex::new(r#"in audience\("\w+"\)|computed\.\w+ \S+ [0-9.-]+"#).unwrap();
    let ground = |text: &str| {
        let alone = asked.replace_all(text, "traits.stand_in = 1").into_owned();
        let texts = Plan::primitive_texts(&workspace(&[("a", &alone)], &[])).unwrap();
        let names = Names::of(&parse(text).unwrap());
        Ground {
            thresholds: texts.iter().map(|text| parse(text).unwrap()).collect(),
            traits: names
                .traits
                .iter()
                .map(|t| t.what.to_string().split('.').nth(1).unwrap().to_owned())
                .collect(),
            audiences: names.audiences.into_iter().map(|mention| mention.what).collect(),
            computed: names.computed.into_iter().map(|mention| mention.what).collect(),
        }
    };
    workspace_.audiences.iter().map(|audience| (audience.key.clone(), ground(&audience.condition))).collect()
}

/// The distinct filters that an event has to pass, by what the definitions say.
fn filters_on(workspace: &Workspace, event: &OracleEvent) -> usize {
    let texts = Plan::primitive_texts(workspace).unwrap();
    let selector = |text: &String| {
        let kind = parse(text).unwrap().kind;
        let count = match kind {
            ExprKind::Compare { left, .. } => left.kind,
            kind => kind,
        };
        let ExprKind::Aggregate(Aggregate { selector, .. }) = count else { panic!("{text}") };
        selector
    };
    let is_of = |wanted: &Event| match wanted {
        Event::Any => true,
        Event::Track(name) => event.message_type == MessageType::Track && *name == event.name,
        Event::Page(name) => {
            event.message_type == MessageType::Page && name.as_ref().is_none_or(|name| *name == event.name)
        }
        Event::Identify => event.message_type == MessageType::Identify,
        other => panic!("{other:?}"),
    };
    let selectors = texts.iter().map(selector).filter(|selector| is_of(&selector.event));
    selectors.map(|selector| selector.to_string()).collect::<BTreeSet<_>>().len()
}

/// One profile and what the law allows.
struct World {
    plan: Plan,
    definitions: Definitions,
    workspace: Workspace,
    keys: BTreeMap<AudienceId, String>,
    grounds: BTreeMap<String, Ground>,
    events: Vec<OracleEvent>,
    state: State,
    settled: i64,
}

impl World {
    fn new(workspace: &Workspace) -> Self {
        let (catalogue, plan) = compile(workspace.clone());
        Self {
            plan,
            definitions: Definitions::parse(workspace).unwrap(),
            workspace: workspace.clone(),
            keys: catalogue.audiences.iter().map(|(key, id)| (*id, key.clone())).collect(),
            grounds: grounds(workspace),
            events: Vec::new(),
            state: State::default(),
            settled: -1,
        }
    }

    /// The audiences whose ground is another now than it was when `before` of the events had come, at `then`.
    fn changed(&self, before: usize, then: i64, now: i64) -> BTreeSet<&str> {
        let (old, new) = (&self.events[..before], &self.events[..]);
        let (then, now) = (Timestamp(then), Timestamp(now));
        let holds = |expr: &Expr, events, at| self.definitions.holds(expr, events, at).unwrap();
        let values = |events, at| self.definitions.values(events, at).unwrap();
        let (old_values, new_values) = (values(old, then), values(new, now));
        let (old_traits, new_traits) = (traits_at(old, then), traits_at(new, now));
        let named =
            |event: &OracleEvent, key: &str| event.body.get("traits").is_some_and(|t| t.get(key).is_some());
        let of = |ground: &Ground| {
            ground.thresholds.iter().any(|expr| holds(expr, old, then) != holds(expr, new, now))
                || ground.computed.iter().any(|key| old_values.get(key) != new_values.get(key))
                || ground.traits.iter().any(|key| {
                    // The caller says which traits changed; ours says so of every one that a message names.
                    old_traits.get(key.as_str()) != new_traits.get(key.as_str())
                        || new[before..].iter().any(|event| named(event, key))
                })
        };
        self.grounds.iter().filter(|(_, ground)| of(ground)).map(|(key, _)| key.as_str()).collect()
    }

    /// Audiences that someone who did nothing is in, and those that ask for them.
    fn initial(&self) -> BTreeSet<&str> {
        let first = |(key, condition): (&'_ String, &Expr)| {
            let holds = self.definitions.holds(condition, &[], Timestamp(0)).unwrap();
            holds.then(|| self.grounds.get_key_value(key).unwrap().0.as_str())
        };
        let mut found: BTreeSet<&str> = self.definitions.audiences.iter().filter_map(first).collect();
        loop {
            let asks = |ground: &Ground| ground.audiences.iter().any(|key| found.contains(key.as_str()));
            let more: BTreeSet<&str> =
                self.grounds.iter().filter(|(_, ground)| asks(ground)).map(|(key, _)| key.as_str()).collect();
            if more.is_subset(&found) {
                return found;
            }
            found.extend(more);
        }
    }

    /// Settles `touched` at `now` and compares its cost with the law's.
    fn settle(&mut self, mut touched: Touched, before: usize, now: i64) -> Result<Cost, TestCaseError> {
        let traits = PlainTraits::of(&self.events);
        let flips = self.plan.settle(&mut self.state, &mut touched, &traits, Timestamp(now));
        let flipped: BTreeSet<&str> = flips
            .iter()
            .filter_map(|flip| match flip.kind {
                FlipKind::Entered(id) | FlipKind::Exited(id) => Some(self.keys[&id].as_str()),
                FlipKind::Computed(..) => None,
            })
            .collect();
        let mut allowed = self.changed(before, self.settled, now);
        if before == 0 {
            allowed.extend(self.initial());
        }
        let asks = |ground: &Ground| ground.audiences.iter().any(|key| flipped.contains(key.as_str()));
        allowed.extend(self.grounds.iter().filter(|(_, ground)| asks(ground)).map(|(key, _)| key.as_str()));
        prop_assert!(
            touched.formulas_evaluated <= allowed.len() as u64,
            "{} formulas at {now}, allowed {allowed:?}",
            touched.formulas_evaluated
        );
        self.settled = now;
        Ok(Cost { filters: touched.filters_evaluated, formulas: touched.formulas_evaluated })
    }

    /// What time alone changes before `until`: no filter, and a formula only where something flips.
    fn rest(&mut self, until: i64) -> Result<Vec<Cost>, TestCaseError> {
        let mut costs = Vec::new();
        while let Some(due) = self.plan.next_due(&self.state).filter(|due| due.0 < until) {
            let cost = self.settle(Touched::default(), self.events.len(), due.0)?;
            prop_assert_eq!(cost.filters, 0);
            costs.push(cost);
        }
        Ok(costs)
    }

    fn event(&mut self, event: OracleEvent) -> Result<Cost, TestCaseError> {
        let (now, before) = (event.rt, self.events.len());
        let mut touched = Touched::default();
        if before == 0 {
            self.plan.begin(&mut self.state, &mut touched);
        }
        for key in
            event.body.get("traits").and_then(|t| t.as_object()).into_iter().flat_map(serde_json::Map::keys)
        {
            if event.message_type == MessageType::Identify {
                self.plan.trait_changed(key, &mut touched);
            }
        }
        let body = event.body.to_string();
        let (kind, ts) = (event.message_type, event.ts);
        self.plan.observe(&mut self.state, &mut touched, kind, &event.name, body.as_bytes(), ts);
        prop_assert_eq!(touched.filters_evaluated, filters_on(&self.workspace, &event) as u64);
        prop_assert_eq!(self.plan.is_of_interest(kind, &event.name), touched.filters_evaluated > 0);
        self.events.push(event);
        self.settle(touched, before, now.0)
    }
}

/// Events with how long after the one before they come; each in a millisecond of its own.
fn script(events: usize) -> impl Strategy<Value = Vec<OracleEvent>> {
    let gaps = prop_oneof![4 => 1..4i64, 1 => 4..25i64];
    proptest::collection::vec((gaps, 0..8i64, said()), 1..events).prop_map(|all| {
        let mut now = 0;
        let event = |(number, (gap, late, said)): (usize, (i64, i64, common::random::Said))| {
            now += gap;
            said.at(&format!("m{number}"), now - late, now)
        };
        all.into_iter().enumerate().map(event).collect()
    })
}

fn play(workspace: &Workspace, events: &[OracleEvent]) -> Result<Vec<Cost>, TestCaseError> {
    let mut world = World::new(workspace);
    let mut costs = Vec::new();
    for event in events {
        if !world.events.is_empty() {
            costs.extend(world.rest(event.rt.0)?);
        }
        costs.push(world.event(event.clone())?);
    }
    costs.extend(world.rest(i64::MAX)?);
    Ok(costs)
}

proptest! {
    #[test]
    fn an_event_costs_its_filters_and_what_flips(workspace in definitions(), events in script(20)) {
        play(&workspace, &events)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6 + ProptestConfig::default().cases / 64, ..ProptestConfig::default() })]

    /// Ten thousand further audiences on other events, pages and traits, and on each other: not one count more.
    #[test]
    fn audiences_on_other_events_change_no_count(workspace in definitions(), events in script(12)) {
        let mut more = workspace.clone();
        let further = |at: usize| match at % 5 {
            0 => format!("count(\"Other {at}\" where a = {at} in last 4ms) >= 2"),
            1 => format!("did(page(\"Other {at}\") between 9ms and 4ms ago)"),
            2 => format!("traits.other_{at} > 1 and did(\"Other {}\" where a = 1)", at % 50),
            3 => format!("in audience(\"z{}\") and count(screen where a = {at}) > 1", at - 1),
            _ => format!("count(\"Other {}\" where b != {at} in last {at}ms) = 3", at % 50),
        };
        let texts: Vec<(String, String)> = (0..10_000).map(|at| (format!("z{at}"), further(at))).collect();
        let pairs = common::random::borrowed(&texts);
        more.audiences.extend(common::workspace(&pairs, &[]).audiences);
        let (_, alone) = compile(workspace);
        let (_, among) = compile(more);
        let play = |plan: &Plan| {
            let (mut state, mut costs) = (State::default(), Vec::new());
            let mut first = true;
            for event in &events {
                let mut touched = Touched::default();
                let traits = PlainTraits::of(&events);
                while let Some(due) = plan.next_due(&state).filter(|due| *due < event.rt && !first) {
                    plan.settle(&mut state, &mut touched, &traits, due);
                }
                if std::mem::take(&mut first) {
                    plan.begin(&mut state, &mut touched);
                }
                let body = event.body.to_string();
                plan.observe(&mut state, &mut touched, event.message_type, &event.name, body.as_bytes(), event.ts);
                plan.settle(&mut state, &mut touched, &traits, event.rt);
                costs.push((touched.filters_evaluated, touched.formulas_evaluated));
            }
            costs
        };
        prop_assert_eq!(play(&alone), play(&among));
    }
}

/// An event that matches a filter costs no formula if the count's truth stays; a value that stays costs none either.
#[test]
fn what_does_not_flip_costs_no_formula() {
    let mut world = World::new(&workspace(
        &[("often", "count(\"X\" in last 9ms) >= 3"), ("many", "computed.n > 5")],
        &[("n", "count(\"X\" in last 2ms)")],
    ));
    let mut cost = |at: i64| {
        let events = world.events.len();
        world.rest(at).unwrap();
        world.event(track(&format!("m{events}"), at, at, "X", json!({}))).unwrap()
    };
    // The count, and the value that changed from 0 to 1.
    assert_eq!(cost(0), Cost { filters: 1, formulas: 1 });
    assert_eq!(cost(1), Cost { filters: 1, formulas: 1 });
    // One leaves as another comes: two within 2 ms as before. The third within 9 ms flips the other.
    assert_eq!(cost(2), Cost { filters: 1, formulas: 1 });
    assert_eq!(cost(3), Cost { filters: 1, formulas: 0 });
}
