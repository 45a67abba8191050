//! ATOM, ONCE and SAME under crashes: a store that loses any number of its last commits, a worker that starts again,
//! and in the end the same effects under the same ids as if nothing had happened.

mod common;

use common::Fold;
use onefold_store::MemoryStore;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// A message of a small, quarrelsome world: few people, shared devices, late events.
fn message() -> impl Strategy<Value = Value> {
    let user = proptest::option::of(0u8..3);
    let device = proptest::option::of(0u8..3);
    (user, device, 0u8..3, 0i64..20).prop_filter_map("someone", |(user, device, kind, late)| {
        if user.is_none() && device.is_none() {
            return None;
        }
        let mut body = match kind {
            0 => json!({ "type": "identify", "traits": { "plan": if late > 9 { "pro" } else { "free" } } }),
            1 => json!({ "type": "track", "event": "Y" }),
            _ => json!({ "type": "track", "event": "X" }),
        };
        if let Some(user) = user {
            body["userId"] = format!("u{user}").into();
        }
        if let Some(device) = device {
            body["anonymousId"] = format!("a{device}").into();
        }
        body["late"] = late.into();
        Some(body)
    })
}

const MINUTE: i64 = common::MINUTE;

fn fold() -> Fold {
    Fold::with_audiences(
        &[
            ("some", "count(\"X\" in last 7m) >= 2"),
            ("quiet", "not did(\"Y\" in last 5m)"),
            ("pro", "traits.plan = \"pro\" and in audience(\"quiet\")"),
        ],
        &[("views", "count(\"X\" in last 9m)")],
    )
}

proptest! {
    #[test]
    fn whatever_is_lost_the_end_is_the_same(
        steps in proptest::collection::vec((0i64..4, message(), proptest::option::weighted(0.3, any::<prop::sample::Index>())), 1..40),
    ) {
        let (mut calm, mut crashing) = (fold(), fold());
        crashing.store = Arc::new(MemoryStore::crashable());
        crashing.restart();
        let mut now = 0;
        for (gap, mut body, crash) in steps {
            now += gap * MINUTE;
            body["ts"] = (now - body["late"].as_i64().unwrap_or(0) * MINUTE).into();
            for world in [&mut calm, &mut crashing] {
                world.at(now).receive(&[body.clone()]);
            }
            if let Some(keep) = crash {
                let unsynced = crashing.store.unsynced();
                crashing.store.crash(keep.index(unsynced + 1));
                crashing.restart();
            }
        }
        calm.at(now + 30 * MINUTE);
        crashing.at(now + 30 * MINUTE);
        let ids = |fold: &Fold| fold.effects().iter().map(|effect| effect.id).collect::<Vec<_>>();
        prop_assert_eq!(calm.told(), crashing.told());
        prop_assert_eq!(ids(&calm), ids(&crashing));
    }
}
