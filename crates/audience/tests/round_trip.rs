//! LANG-1 and LANG-2 over generated trees and texts: what is printed reads back as the same tree, in one canonical form;
//! no text makes the parser panic, and every error has its place in the text.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod trees;

use onefold_audience::names::{Known, Names as Mentions, unknown};
use onefold_audience::{
    Expr, Selector, SyntaxError, check_condition, check_value, explain, parse, parse_selector, unsupported,
};
use proptest::prelude::*;
use trees::{Names, any_text, condition, selector, sloppy, value};

fn read(text: &str) -> Result<Expr, TestCaseError> {
    parse(text).map_err(|error| TestCaseError::fail(error.render(text)))
}

/// Everything that looks at a tree does so without a panic.
fn looked_at(expr: &Expr) {
    let _ = (check_condition(expr), check_value(expr), unsupported(expr));
    let _ = (explain::explain(expr), explain::notes(expr), Mentions::of(expr));
    let nothing = Some(Default::default());
    let known = Known {
        events: nothing.clone(),
        properties: nothing.clone(),
        traits: nothing.clone(),
        audiences: nothing.clone(),
        computed: nothing,
    };
    unknown(expr, &known);
}

/// A text that is refused, is refused at a place of it, in plain characters.
fn well_placed(text: &str, error: &SyntaxError) -> Result<(), TestCaseError> {
    let span = error.span;
    prop_assert!(span.start <= span.end && span.end <= text.len(), "{span:?} of {}", text.len());
    prop_assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end), "{span:?}");
    let rendered = error.render(text);
    prop_assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
    prop_assert!(rendered.lines().count() >= 3, "{rendered}");
    prop_assert!(
        rendered.lines().nth(2).unwrap().trim_start_matches([' ', '|']).starts_with('^'),
        "{rendered}"
    );
    Ok(())
}

fn survives(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(expr) => {
            looked_at(&expr);
            for error in [check_condition(&expr).err(), check_value(&expr).err()].into_iter().flatten() {
                well_placed(text, &error)?;
            }
            for (span, _) in explain::notes(&expr).into_iter().chain(unsupported(&expr)) {
                prop_assert!(text.get(span.start..span.end).is_some(), "{span:?}");
            }
            prop_assert_eq!(read(&expr.to_string())?, expr);
        }
        Err(error) => well_placed(text, &error)?,
    }
    if let Err(error) = parse_selector(text) {
        well_placed(text, &error)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, ..ProptestConfig::default() })]

    #[test]
    fn a_condition_reads_back_as_it_was(expr in condition(Names::Any), choices in any::<[u8; 23]>()) {
        let text = expr.to_string();
        let again = read(&text)?;
        prop_assert_eq!(&again, &expr, "{}", text);
        prop_assert_eq!(again.to_string(), text.as_str());
        check_condition(&again).map_err(|error| TestCaseError::fail(error.render(&text)))?;
        prop_assert!(check_value(&again).is_err());
        let sloppy = sloppy(&text, &choices);
        prop_assert_eq!(read(&sloppy)?.to_string(), text.as_str(), "{}", sloppy);
        looked_at(&again);
    }

    #[test]
    fn a_value_reads_back_as_it_was(expr in value(Names::Any), choices in any::<[u8; 23]>()) {
        let text = expr.to_string();
        let again = read(&text)?;
        prop_assert_eq!(&again, &expr, "{}", text);
        prop_assert_eq!(again.to_string(), text.as_str());
        check_value(&again).map_err(|error| TestCaseError::fail(error.render(&text)))?;
        let sloppy = sloppy(&text, &choices);
        prop_assert_eq!(read(&sloppy)?.to_string(), text.as_str(), "{}", sloppy);
        looked_at(&again);
    }

    #[test]
    fn a_selector_reads_back_as_it_was(selector in selector(Names::Any)) {
        let text = selector.to_string();
        let again = parse_selector(&text).map_err(|error| TestCaseError::fail(error.render(&text)))?;
        prop_assert_eq!(&again, &selector, "{}", text);
        prop_assert_eq!(again.to_string(), text);
        let _ = (explain::explain_selector(&again), explain::selector_notes(&again), Selector::compile(&again));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        survives(&text)?;
    }

    /// Words of the language in any order get further into the parser than noise does.
    #[test]
    fn no_words_panic(words in proptest::collection::vec(word(), 0..40), blanks in any::<u64>()) {
        let mut text = String::new();
        for (at, word) in words.iter().enumerate() {
            text.push_str(word);
            text.push_str(if blanks >> (at % 64) & 1 == 1 { " " } else { "" });
        }
        survives(&text)?;
    }

    /// A tree's text with a piece taken out, doubled, or another in its place.
    #[test]
    fn no_slip_panics(
        expr in condition(Names::Any), from in any::<prop::sample::Index>(), len in 0..12usize, put in any_text(),
    ) {
        let text = expr.to_string();
        let chars: Vec<char> = text.chars().collect();
        let from = from.index(chars.len() + 1);
        let to = (from + len).min(chars.len());
        let part = |range: std::ops::Range<usize>| chars[range].iter().collect::<String>();
        survives(&format!("{}{put}{}", part(0..from), part(to..chars.len())))?;
        survives(&format!("{}{}", part(0..to), part(from..chars.len())))?;
    }
}

fn word() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "(",
        ")",
        "[*]",
        ",",
        ".",
        "=",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "==",
        "and",
        "or",
        "not",
        "in",
        "audience",
        "last",
        "next",
        "session",
        "this",
        "month",
        "today",
        "between",
        "ago",
        "since",
        "within",
        "without",
        "then",
        "same",
        "where",
        "count",
        "sum",
        "list",
        "did",
        "sessions",
        "gap",
        "any",
        "member",
        "page",
        "screen",
        "identify",
        "traits",
        "account",
        "computed",
        "properties",
        "context",
        "exists",
        "contains",
        "starts",
        "with",
        "matches",
        "/a(/",
        "/b/",
        "before",
        "ignoring",
        "case",
        "true",
        "\"A\"",
        "'b'",
        "7",
        "7d",
        "30",
        "m",
        "2.50",
        "2026-02-30",
        "2026-02-28",
        "99999999999999999999",
        "plan",
        "$x",
        "é",
        "\"",
        "'",
        "/",
        "\\",
        "[",
        "!",
        "\u{0}",
    ]);
    prop_oneof![20 => words.prop_map(str::to_owned), 1 => any_text()]
}
