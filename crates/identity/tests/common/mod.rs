//! What the tests of this crate share: two resolvers of one question, the notation of the worked cases, and generators
//! of dense evidence: few people, addresses, browsers and devices, so that every rule bites.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

pub mod dense;
pub mod engine;
pub mod legal;
pub mod notation;
pub mod raw;

use onefold_identity::oracle::{self, OracleEvent, Resolution};
use onefold_identity::rules::Rules;
use onefold_types::decision::Decision;
use onefold_types::workspace::IdentityConfig;

/// Something that answers who is who.
pub trait Resolver {
    /// Its name in failures.
    fn name(&self) -> &'static str;

    /// R(evidence, operator decisions, rules); events arrive in the order given, then the decisions.
    fn resolve(
        &mut self,
        events: &[OracleEvent],
        operations: &[(u64, Decision)],
        config: &IdentityConfig,
    ) -> Resolution;
}

/// The definitions themselves.
pub struct OracleResolver;

impl Resolver for OracleResolver {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn resolve(
        &mut self,
        events: &[OracleEvent],
        operations: &[(u64, Decision)],
        config: &IdentityConfig,
    ) -> Resolution {
        oracle::resolve(events, operations, &Rules::compile(config).unwrap())
    }
}

/// All resolvers: each must give the same answer.
pub fn resolvers() -> Vec<Box<dyn Resolver>> {
    vec![Box::new(OracleResolver), Box::new(engine::EngineResolver)]
}

/// `resolution` without what the engine does not keep: the edges it rejected.
pub fn comparable(mut resolution: Resolution) -> Resolution {
    resolution.edges.rejected.clear();
    resolution.edges.accepted.iter_mut().for_each(|edge| edge.operation = None);
    resolution.edges.accepted.sort();
    resolution
}

/// How many random inputs a property gets: `default`, or what `PROPTEST_CASES` says.
pub fn cases(default: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(default);
    proptest::test_runner::Config {
        cases,
        max_global_rejects: cases.saturating_mul(8),
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    }
}
