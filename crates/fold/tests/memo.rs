//! MEMO-1: a fold that keeps identity's answers holds the same rows as one that asks each time.

mod common;

use common::{Fold, MINUTE};
use onefold_fold::CacheSizes;
use onefold_types::Identifier;
use onefold_types::decision::Decision;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What is received, or what an operator decides.
#[derive(Clone, Debug)]
enum Step {
    Messages(Vec<Value>),
    Decision(Decision),
}

fn identifier() -> impl Strategy<Value = Identifier> {
    prop_oneof![
        (0u8..4).prop_map(|n| Identifier::new("user_id", format!("u{n}"))),
        (0u8..4).prop_map(|n| Identifier::new("anonymous_id", format!("a{n}"))),
        (0u8..3).prop_map(|n| Identifier::new("email", format!("p{n}@shop.example"))),
    ]
}

/// Few people and few devices, so that the same identifiers come together again and again.
fn message() -> impl Strategy<Value = Value> {
    let user = proptest::option::weighted(0.8, 0u8..4);
    let device = proptest::option::weighted(0.8, 0u8..4);
    let email = proptest::option::weighted(0.2, 0u8..3);
    (user, device, email, 0i64..12).prop_filter_map("someone", |(user, device, email, late)| {
        if user.is_none() && device.is_none() {
            return None;
        }
        let mut body = json!({ "type": "track", "event": "X", "late": (late - 8).max(0) });
        if let Some(user) = user {
            body["userId"] = format!("u{user}").into();
        }
        if let Some(device) = device {
            body["anonymousId"] = format!("a{device}").into();
        }
        if let Some(email) = email {
            body["type"] = "identify".into();
            body["traits"] = json!({ "email": format!("p{email}@shop.example") });
        }
        Some(body)
    })
}

fn step() -> impl Strategy<Value = Step> {
    let decision = prop_oneof![
        (identifier(), identifier()).prop_map(|(a, b)| Decision::Link { a, b }),
        (identifier(), identifier()).prop_map(|(a, b)| Decision::Cut { a, b }),
        identifier().prop_map(|id| Decision::Block { id }),
        identifier().prop_map(|id| Decision::Unblock { id }),
        (1u64..4).prop_map(|number| Decision::Undo { number }),
        (1u32..40).prop_map(|n| Decision::DeleteMessage { message_id: format!("m{n:04}") }),
        identifier().prop_map(|id| Decision::DeleteProfile { id }),
    ];
    prop_oneof![
        8 => proptest::collection::vec(message(), 1..4).prop_map(Step::Messages),
        1 => decision.prop_map(Step::Decision),
    ]
}

proptest! {
    #[test]
    fn kept_answers_change_nothing(steps in proptest::collection::vec((0i64..4, step()), 1..60)) {
        let audiences = [("some", "count(\"X\" in last 7m) >= 2"), ("quiet", "not did(\"X\" in last 5m)")];
        let (mut keeping, mut asking) = (Fold::with_audiences(&audiences, &[]), Fold::with_audiences(&audiences, &[]));
        keeping.restart();
        asking.restart_with(CacheSizes { answers: 0, ..CacheSizes::default() });
        let mut now = 0;
        for (gap, step) in steps {
            now += gap * MINUTE;
            for world in [&mut keeping, &mut asking] {
                world.at(now);
                match step.clone() {
                    Step::Messages(mut bodies) => {
                        for body in &mut bodies {
                            body["ts"] = (now - body["late"].as_i64().unwrap_or(0) * MINUTE).into();
                        }
                        world.receive(&bodies);
                    }
                    Step::Decision(decision) => {
                        world.decide(decision);
                    }
                }
            }
        }
        prop_assert_eq!(keeping.told(), asking.told());
        prop_assert!(keeping.store.dump() == asking.store.dump(), "the same effects, but other rows");
    }
}
