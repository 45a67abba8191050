//! The language page's examples: they parse, print canonically, are well typed, and hostile input ends in an error.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use onefold_audience::{MAX_LENGTH, check_condition, parse, parse_selector, unsupported};

/// Text and canonical text; an empty second part means that the text is canonical already.
const EXAMPLES: &[(&str, &str)] = &[
    (r#"count("Product Viewed" in last 7d) >= 3 and not did("Order Completed" in last 7d)"#, ""),
    (
        r#"count(page where path = "/pricing" in last 7 days) >= 3"#,
        r#"count(page where path = "/pricing" in last 7d) >= 3"#,
    ),
    (r#"did("Checkout Started" then not "Order Completed" within 30m same order_id)"#, ""),
    (r#"did("Signed Up" then "Project Created" within 1d without "Support Ticket Opened")"#, ""),
    (
        r#"did("Product Viewed" where category = 'shoes' then "Order Completed" within 14d same product_id)"#,
        r#"did("Product Viewed" where category = "shoes" then "Order Completed" within 14d same product_id)"#,
    ),
    (
        r#"did("Order Completed" where revenue > 50 and products[*].category = "shoes" between 60d and 30d ago)"#,
        "",
    ),
    (r#"sum("Order Completed".revenue in last 90d) > 1000"#, ""),
    (r#"avg("Order Completed".revenue) >= 40 or max("Order Completed".revenue in last 365d) >= 500"#, ""),
    (r#"unique(any.context.device.id in last 30d) >= 2"#, ""),
    (r#"most_frequent("Product Viewed".category in last 30d) = "shoes""#, ""),
    (r#"first(page.context.campaign.source) = "newsletter""#, ""),
    (r#"count("Video Played" in session 30m) >= 3"#, ""),
    (r#"sessions(gap 30m in last 7d) >= 5"#, ""),
    (r#"count(any today) = 0 and count(any yesterday) > 0"#, ""),
    (r#"traits.plan in ("pro", "team") and traits.country = "NL" and traits.email exists"#, ""),
    (r#"traits.trial_end within next 3d"#, ""),
    (r#"traits.company contains "bank" ignoring case or traits.title starts with "VP""#, ""),
    (r#"account.plan = "enterprise" and any member did("Invite Sent" in last 14d)"#, ""),
    (r#"in audience("vip") and not in audience("churned")"#, ""),
    (r#"computed.revenue_90d > 2 * computed.revenue_prior_90d"#, ""),
];

#[test]
fn the_examples_print_canonically_and_are_conditions() {
    for (text, canonical) in EXAMPLES {
        let canonical = if canonical.is_empty() { text } else { canonical };
        let expr = parse(text).unwrap_or_else(|e| panic!("{}", e.render(text)));
        assert_eq!(expr.to_string(), *canonical);
        assert_eq!(parse(canonical).unwrap(), expr);
        check_condition(&expr).unwrap_or_else(|e| panic!("{}", e.render(text)));
    }
}

#[test]
fn a_selector_stands_alone() {
    let text = r#""Order Completed" where revenue > 100"#;
    assert_eq!(parse_selector(text).unwrap().to_string(), text);
}

#[test]
fn sequences_are_named_as_not_evaluated() {
    assert!(unsupported(&parse(EXAMPLES[0].0).unwrap()).is_empty());
    assert_eq!(unsupported(&parse(EXAMPLES[3].0).unwrap())[0].1, "sequences are not evaluated yet");
}

#[test]
fn errors_point_and_suggest() {
    let text = "cuont(page) > 1";
    let rendered = parse(text).unwrap_err().render(text);
    assert!(
        rendered
            .starts_with("`cuont` does not belong here (line 1, column 1)\n  | cuont(page) > 1\n  | ^^^^^\n"),
        "{rendered}"
    );
    assert!(rendered.contains("did you mean `count`?"), "{rendered}");
}

#[test]
fn hostile_input_is_an_error() {
    assert!(parse(&"1+".repeat(50_000)).is_err());
    assert!(parse(&"1+".repeat(MAX_LENGTH / 2)).is_err());
    for (open, close) in [("(", ")"), ("not ", ""), ("-", "")] {
        assert!(parse(&format!("{}traits.a = 1{}", open.repeat(500), close.repeat(500))).is_err());
    }
}

#[test]
fn cut_and_spliced_examples_never_panic_and_round_trip() {
    for (text, _) in EXAMPLES {
        for cut in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            for middle in ["", "(", ")", "\"", "not ", " in ", " 7", ".", "é"] {
                for source in
                    [format!("{}{middle}", &text[..cut]), format!("{}{middle}{}", &text[..cut], &text[cut..])]
                {
                    match parse(&source) {
                        Ok(expr) => assert_eq!(parse(&expr.to_string()).ok(), Some(expr), "{source}"),
                        Err(error) => drop(error.render(&source)),
                    }
                }
            }
        }
    }
}

/// Bug: a name `matches` in front of a division began a pattern.
#[test]
fn a_name_may_be_a_word_of_the_language() {
    for text in
        ["traits.matches / 2 > 1", "count(any where properties.matches / 2 > 1) > 0", "computed.matches / 2"]
    {
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}

/// Bug: the place of a text that is too long ended within a character.
#[test]
fn a_text_that_is_too_long_is_refused_at_a_character() {
    let text = "é".repeat(MAX_LENGTH + 1);
    let error = parse(&text).unwrap_err();
    assert_eq!(&text[error.span.start..error.span.end], "é");
}
