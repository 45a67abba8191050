//! What is refused, word for word: the message, the place, what was expected and the help. `tables/errors.txt` is the
//! table; inputs too long to read are here.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod tables;

use onefold_audience::types::check_selector;
use onefold_audience::{
    MAX_DEPTH, MAX_LENGTH, check_condition, check_value, parse, parse_selector, unsupported,
};

/// As `apply` judges an audience: `value:` a computed trait, `events:` a destination's line.
fn refused(input: &str) -> String {
    let (kind, text) = match input.split_once(": ") {
        Some((kind @ ("value" | "events"), text)) => (kind, text),
        _ => ("audience", input),
    };
    if kind == "events" {
        let judged = parse_selector(text).and_then(|selector| check_selector(&selector));
        return judged.err().unwrap_or_else(|| panic!("{text} is accepted")).render(text);
    }
    let check = if kind == "value" { check_value } else { check_condition };
    match parse(text).and_then(|expr| check(&expr).map(|()| expr)) {
        Err(error) => error.render(text),
        Ok(expr) => {
            let missing = unsupported(&expr);
            assert!(!missing.is_empty(), "{text} is accepted");
            let line = |(span, what): (onefold_audience::Span, String)| {
                format!("`{}`: {what}", &text[span.start..span.end])
            };
            missing.into_iter().map(line).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn the_table_of_errors() {
    assert!(tables::check("errors", refused) >= 100);
}

fn first_lines(text: &str) -> String {
    let error = parse(text).unwrap_err();
    assert!(error.span.end <= text.len());
    let rendered = error.render(text);
    assert!(rendered.lines().all(|line| line.chars().count() <= 170), "{rendered}");
    rendered.lines().next().unwrap_or_default().to_owned()
}

/// A level too deep is refused where it is; one less is not.
#[test]
fn nesting_has_a_limit() {
    for (open, close, levels) in [("(", ")", MAX_DEPTH), ("not ", "", MAX_DEPTH), ("-", "", MAX_DEPTH)] {
        let nested = |levels: usize| format!("{}traits.a{}", open.repeat(levels), close.repeat(levels));
        assert!(parse(&nested(levels - 1)).is_ok(), "{open}");
        let column = levels * open.len() + 1;
        let message = format!("nested deeper than 100 levels (line 1, column {column})");
        assert_eq!(first_lines(&nested(levels)), message, "{open}");
    }
    let mixed = format!("{}traits.a > 1{}", "not (".repeat(60), ")".repeat(60));
    assert_eq!(first_lines(&mixed), "nested deeper than 100 levels (line 1, column 251)");
}

/// A chain of operators is as deep a tree as it is long.
#[test]
fn chains_of_operators_have_a_limit() {
    let chain = |operators: usize| format!("1{}", " + 1".repeat(operators));
    assert!(parse(&chain(200)).is_ok());
    assert_eq!(first_lines(&chain(201)), "more than 200 arithmetic operators (line 1, column 803)");
    // `and` and `or` are flat, and limited by length alone.
    assert!(parse(&vec!["traits.a = 1"; 1_000].join(" and ")).is_ok());
}

#[test]
fn the_length_has_a_limit() {
    let list =
        |length: usize| format!("traits.a in (\"{}\")", "é".repeat(length - "traits.a in ()".len() - 2));
    assert!(parse(&list(MAX_LENGTH)).is_ok());
    let text = list(MAX_LENGTH + 1);
    assert_eq!(first_lines(&text), "the expression is longer than 20000 characters (line 1, column 20001)");
}

/// Of a long line the surroundings of the place are shown, and the caret is below it.
#[test]
fn a_place_far_to_the_right_is_shown() {
    let text = format!("traits.a in ({}) or trats.b = 1", vec!["\"é\""; 100].join(", "));
    let rendered = parse(&text).unwrap_err().render(&text);
    let lines: Vec<&str> = rendered.lines().collect();
    assert_eq!(lines[0], "`trats` does not belong here (line 1, column 517)");
    let at = lines[2].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[1].chars().skip(at).take(5).collect::<String>(), "trats");
    assert_eq!(lines[2].trim_start_matches([' ', '|']), "^^^^^");
}
