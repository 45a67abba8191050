//! Random dense histories: few identifiers and instants, so that limits, windows, hubs, shared devices and ties occur
//! in most of them.

use super::notation::{DAY_MS, raw};
use onefold_identity::oracle::{OracleEvent, accepts};
use onefold_identity::rules::Rules;
use onefold_types::decision::Decision;
use onefold_types::workspace::{IdentifierRule, IdentityConfig, Preset};
use onefold_types::{Identifier, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Raw identifiers; the more often one is named the more often it is drawn.
const RAW: &[&str] = &[
    "u1",
    "u1",
    "u2",
    "u2",
    "u3",
    "u4",
    "e1",
    "e1",
    "e1",
    "e2",
    "e2",
    "e3",
    "e4",
    "e=E1@X.test ",
    "p1",
    "p2",
    "p3",
    "c1",
    "c2",
    "c3",
    "l1",
    "l2",
    "a1",
    "a1",
    "a1",
    "a2",
    "a2",
    "a3",
    "a4",
    "d1",
    "d1",
    "d2",
    "u=null",
    "u=0000",
    "e=nobody",
    "a=",
];

/// Identifiers that a decision can name; the more often one is named the more often it is drawn.
const NAMED: &[&str] = &[
    "u1", "u1", "u2", "u2", "e1", "e1", "e2", "e2", "e3", "p1", "c1", "c2", "l1", "a1", "a1", "a2", "a2",
    "d1", "d1", "u=null",
];

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A message arrives.
    Event(OracleEvent),
    /// An operator decides.
    Decide(Decision),
}

/// Rules, and what happens under them.
#[derive(Clone, Debug)]
pub struct History {
    /// The rules.
    pub config: IdentityConfig,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl History {
    /// The compiled rules.
    pub fn rules(&self) -> Rules {
        Rules::compile(&self.config).unwrap()
    }

    /// All events, in order of arrival.
    pub fn events(&self) -> Vec<OracleEvent> {
        let event = |step: &Step| match step {
            Step::Event(event) => Some(event.clone()),
            Step::Decide(_) => None,
        };
        self.steps.iter().filter_map(event).collect()
    }

    /// The decisions that the oracle accepts when their turn comes, numbered from 1.
    pub fn operations(&self) -> Vec<(u64, Decision)> {
        let rules = self.rules();
        let mut events = Vec::new();
        let mut operations: Vec<(u64, Decision)> = Vec::new();
        for step in &self.steps {
            match step {
                Step::Event(event) => events.push(event.clone()),
                Step::Decide(decision) => {
                    if accepts(&events, &operations, &rules, decision).is_ok() {
                        operations.push((operations.len() as u64 + 1, decision.clone()));
                    }
                }
            }
        }
        operations
    }
}

/// A history of up to `events` events and decisions.
pub fn history(events: usize) -> impl Strategy<Value = History> {
    let event = event().prop_map(Step::Event);
    let steps = vec(prop_oneof![5 => event, 2 => decision().prop_map(Step::Decide)], 1..=events);
    (config(), steps).prop_map(|(config, mut steps)| {
        name_messages(&mut steps);
        History { config, steps }
    })
}

/// A history in which operators link values that only a window keeps apart, and later events move into it.
pub fn windowed_links(events: usize) -> impl Strategy<Value = History> {
    const PAIRS: &[(&str, &str)] = &[("e1", "e2"), ("e1", "e2"), ("e2", "e3"), ("a1", "a2"), ("u1", "e2")];
    let seen = (0i64..16, vec(select(&["e1", "e1", "e2", "e2", "e3", "a1", "a2", "u1"][..]), 1..=2));
    let event = seen.prop_map(|(half_days, tokens)| {
        Step::Event(OracleEvent {
            message_id: String::new(),
            ts: Timestamp(half_days * DAY_MS / 2),
            ids: tokens.into_iter().map(raw).collect(),
        })
    });
    let pair = |(a, b)| (super::notation::id(a), super::notation::id(b));
    let link = select(PAIRS).prop_map(pair).prop_map(|(a, b)| Step::Decide(Decision::Link { a, b }));
    let other = decision().prop_map(Step::Decide);
    let steps = vec(prop_oneof![5 => event, 5 => link, 1 => other], 4..=events);
    let window = || select(&["36h", "2d", "3d"][..]).prop_map(str::to_owned);
    (config(), steps, window(), window()).prop_map(|(mut config, mut steps, first, second)| {
        for rule in &mut config.identifiers {
            rule.limit = Some(1);
            rule.within = Some(if rule.id_type == "email" { first.clone() } else { second.clone() });
        }
        name_messages(&mut steps);
        History { config, steps }
    })
}

/// A history without decisions.
pub fn evidence(events: usize) -> impl Strategy<Value = History> {
    (config(), vec(event().prop_map(Step::Event), 1..=events)).prop_map(|(config, mut steps)| {
        name_messages(&mut steps);
        History { config, steps }
    })
}

/// Distinct ids whose order is neither that of arrival nor that of time.
fn name_messages(steps: &mut [Step]) {
    for (index, step) in steps.iter_mut().enumerate() {
        if let Step::Event(event) = step {
            event.message_id = format!("m{:04}", index * 7_919 % 10_007);
        }
    }
}

/// An event with one to four raw identifiers, at one of few instants.
pub fn event() -> impl Strategy<Value = OracleEvent> {
    (0i64..16, vec(select(RAW), 1..=4)).prop_map(|(half_days, tokens)| OracleEvent {
        message_id: String::new(),
        ts: Timestamp(half_days * DAY_MS / 2),
        ids: tokens.into_iter().map(raw).collect(),
    })
}

/// A decision about some of the identifiers, not always a sensible one.
pub fn decision() -> impl Strategy<Value = Decision> {
    let named = || {
        select(NAMED).prop_map(|token| {
            let (id_type, value) = raw(token);
            Identifier::new(id_type, value)
        })
    };
    prop_oneof![
        3 => (named(), named()).prop_map(|(a, b)| Decision::Link { a, b }),
        3 => (named(), named()).prop_map(|(a, b)| Decision::Cut { a, b }),
        1 => select(&[("u1", "u2"), ("u2", "u3"), ("e1", "e2"), ("c1", "c2"), ("a1", "a2"), ("u1", "e1")][..]).prop_map(|(a, b)| {
            Decision::Force { a: super::notation::id(a), b: super::notation::id(b) }
        }),
        1 => named().prop_map(|id| Decision::Block { id }),
        1 => named().prop_map(|id| Decision::Unblock { id }),
        2 => (1u64..4).prop_map(|number| Decision::Undo { number }),
    ]
}

/// Tight rules: every preset, small limits and windows, low hub threshold and size cap.
pub fn config() -> impl Strategy<Value = IdentityConfig> {
    let preset = select(&[Preset::Product, Preset::B2b, Preset::B2c][..]);
    let window = || option::of(select(&["1d", "36h", "2d", "7d"][..]).prop_map(str::to_owned));
    let limit = |most| option::of(1u32..=most);
    let flag = || option::weighted(0.3, Just(true));
    let named = (limit(3), window(), flag(), limit(3), window(), flag(), limit(2));
    let retro = option::of(select(&["0d", "1d", "36h", "2d", "7d"][..]).prop_map(str::to_owned));
    (preset, named, 1u32..=3, prop_oneof![Just(1_000u32), 3u32..=8], retro).prop_map(
        |(preset, named, hub_threshold, size_cap, retro_window)| {
            let (emails, email_window, email_last, browsers, browser_window, browser_last, phones) = named;
            let rule = |id_type: &str, limit, within, last_wins| IdentifierRule {
                id_type: id_type.to_owned(),
                rank: None,
                scope: None,
                limit,
                within,
                person_key: None,
                last_wins,
                length: None,
                normalise: None,
            };
            let identifiers = vec![
                rule("email", emails, email_window.filter(|_| emails.is_some()), email_last),
                rule("anonymous_id", browsers, browser_window.filter(|_| browsers.is_some()), browser_last),
                rule("phone", phones, None, None),
            ];
            IdentityConfig {
                preset,
                identifiers,
                hub_threshold,
                size_cap,
                retro_window,
                ..IdentityConfig::default()
            }
        },
    )
}
