//! What holds of rules whatever a client sends: no panic, one form per identifier, one order.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]

mod common;

use onefold_identity::rules::{Limit, Rules, RulesError};
use onefold_types::workspace::{IdentityConfig, Scope};
use proptest::prelude::*;
use std::cmp::Ordering;

const TYPES: &[&str] =
    &["user_id", "email", "phone", "anonymous_id", "ios.id", "crm_id", "loyalty_id", "nick"];

/// None, and countries whose dialling differs: trunk prefixes, prefixes that turn into others, calls abroad.
const REGIONS: &[&str] =
    &["", "NL", "US", "BR", "AR", "DE", "IT", "MX", "JP", "FI", "RU", "CO", "GB", "AU", "SG", "HU", "UY"];

fn compile(json: &str) -> Result<Rules, RulesError> {
    let config: IdentityConfig = serde_json::from_str(json).expect("the configuration reads");
    Rules::compile(&config)
}

fn rules(region: &str) -> Rules {
    let region = if region.is_empty() { String::new() } else { format!(r#","phone_region":"{region}""#) };
    compile(&format!(r#"{{"identifiers":[{{"type":"nick","normalise":"lowercase"}}]{region}}}"#)).unwrap()
}

/// Text that a phone number's parser may stumble over, and text at large.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ +(]{0,3}[0-9]{0,4}[ ()./~x;=-]{0,2}[0-9]{0,14}[ ()./~x#-]{0,2}[0-9]{0,8}",
        "(tel:)?\\+?[0-9()\\-. ]{0,20}(;(ext|phone-context|isub)=[+0-9a-z.]{0,8})?(x|ext\\.?)?[0-9]{0,9}",
        "[+\u{ff0b}]?[0-9\u{660}-\u{669}\u{ff10}-\u{ff19}]{1,15}",
        "\\PC{0,40}",
        any::<String>(),
        "[ \t\n]{0,2}[A-Za-z\u{130}\u{df}\u{3a3}.]{0,6}@[A-Z.]{0,6}[ \u{a0}]{0,2}",
    ]
}

proptest! {
    #![proptest_config(common::cases(1024))]

    #[test]
    fn a_normal_form_is_its_own_normal_form(
        id_type in prop::sample::select(TYPES),
        region in prop::sample::select(REGIONS),
        raw in value(),
    ) {
        let rules = rules(region);
        if let Ok(id) = rules.normalise(id_type, &raw) {
            prop_assert_eq!(rules.normalise(id_type, &id.value), Ok(id));
        }
    }

    /// What a number is called from abroad does not depend on where the workspace is at home.
    #[test]
    fn an_international_number_is_the_same_from_everywhere(
        regions in prop::sample::subsequence(REGIONS, 2),
        raw in "[+][0-9]{1,3}[ ()./-]{0,2}[0-9]{3,6}[ ()./-]{0,2}[0-9]{0,8}",
    ) {
        let found = regions.into_iter().map(|region| rules(region).normalise("phone", &raw)).collect::<Vec<_>>();
        prop_assert_eq!(&found[0], &found[1]);
        if let Ok(id) = &found[0] {
            let digits = id.value.strip_prefix('+').unwrap();
            prop_assert!((7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()), "{}", id);
        }
    }

    #[test]
    fn usable_identifiers_are_in_strict_order(raw in prop::collection::vec((prop::sample::select(TYPES), value()), 0..8)) {
        let rules = rules("NL");
        let raw: Vec<(String, String)> = raw.into_iter().map(|(id_type, value)| (id_type.to_owned(), value)).collect();
        let usable = rules.usable(&raw);
        prop_assert!(usable.ids.windows(2).all(|pair| rules.order(&pair[0], &pair[1]) == Ordering::Less));
        prop_assert!(usable.ids.len() + usable.blocked.len() <= raw.len());
        let mut reversed = raw;
        reversed.reverse();
        prop_assert_eq!(rules.usable(&reversed).ids, usable.ids);
    }
}

#[test]
fn what_cannot_be_meant_is_named_with_its_place() {
    let wrong = [
        (r#"{"hub_threshold":0}"#, "identity.hub_threshold"),
        (r#"{"size_cap":0}"#, "identity.size_cap"),
        (r#"{"retro_window":"soon"}"#, "identity.retro_window"),
        (r#"{"phone_region":"XX"}"#, "identity.phone_region"),
        (r#"{"phone_region":"AQ"}"#, "identity.phone_region"),
        (r#"{"blocked":["/(/"]}"#, "/(/"),
        (r#"{"identifiers":[{"type":"email","limit":1},{"type":"email","limit":3}]}"#, "email"),
        (r#"{"identifiers":[{"type":"Bad Type"}]}"#, "Bad Type"),
        (r#"{"identifiers":[{"type":"email","rank":0}]}"#, "email.rank"),
        (r#"{"identifiers":[{"type":"email","limit":0}]}"#, "email.limit"),
        (r#"{"identifiers":[{"type":"email","within":"0d"}]}"#, "email.within"),
        (r#"{"identifiers":[{"type":"email","within":"7 fortnights"}]}"#, "email.within"),
        (r#"{"identifiers":[{"type":"email","length":[9,2]}]}"#, "email.length"),
        (r#"{"identifiers":[{"type":"email","normalise":"lower"}]}"#, "email.normalise"),
        (r#"{"identifiers":[{"type":"anonymous_id","person_key":true}]}"#, "anonymous_id.person_key"),
        (r#"{"identifiers":[{"type":"anonymous_id","rank":4}]}"#, "anonymous_id"),
        (r#"{"identifiers":[{"type":"loyalty_id","rank":5}]}"#, "loyalty_id"),
    ];
    for (json, place) in wrong {
        let error = compile(json).expect_err(json).to_string();
        assert!(error.contains(place), "{json}: {error}");
    }
}

#[test]
fn a_retro_window_may_be_none_at_all() {
    let window = |json: &str| compile(json).unwrap().retro_window_ms();
    assert_eq!(window("{}"), None);
    assert_eq!(window(r#"{"retro_window":"0d"}"#), Some(0));
    assert_eq!(window(r#"{"retro_window":"36h"}"#), Some(36 * 3_600_000));
    assert!(compile(r#"{"retro_window":"-1d"}"#).is_err());
}

#[test]
fn a_rule_is_merged_over_its_preset() {
    let rules = compile(
        r#"{"preset":"b2b","identifiers":[
            {"type":"anonymous_id","limit":3}, {"type":"email","within":"2w"}, {"type":"cookie","scope":"device","rank":7},
            {"type":"crm_id","rank":3}, {"type":"loyalty_id","limit":1,"person_key":true}]}"#,
    )
    .unwrap();
    // A limit without a window is for ever; a window without a limit keeps the preset's.
    assert_eq!(rules.rule("anonymous_id").limit, Limit::Ever(3));
    assert_eq!(rules.rule("email").limit, Limit::Within(5, 14 * common::notation::DAY_MS));
    assert_eq!((rules.rule("cookie").scope, rules.rule("cookie").rank), (Scope::Device, 7));
    assert!(
        rules.rule("crm_id").unique && rules.rule("loyalty_id").unique && rules.rule("loyalty_id").person_key
    );
    assert!(rules.rule("email").person_key && !rules.rule("phone").person_key && !rules.rule("email").unique);
    let unnamed = rules.rule("gym_card");
    assert_eq!((unnamed.rank, unnamed.scope, unnamed.limit), (2, Scope::Person, Limit::Ever(5)));
}
