//! What `onefold check` says of an expression: a table of explanations and notes, and what holds for every tree.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod tables;
mod trees;

use onefold_audience::ast::{Event, ExprKind};
use onefold_audience::explain::{explain, explain_selector, notes, selector_notes};
use onefold_audience::names::{Known, Names as Mentions, unknown};
use onefold_audience::{Expr, Span, check_condition, check_value, parse, parse_selector};
use proptest::prelude::*;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use trees::{Names, condition, selector, value};

/// What the table's workspace knows.
fn known() -> Known {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    Known {
        events: names(&[
            "Checkout Started",
            "Invite Sent",
            "Order Completed",
            "Product Viewed",
            "Project Created",
            "Signed Up",
            "Support Ticket Opened",
            "Video Played",
        ]),
        properties: names(&[
            "category",
            "order_id",
            "path",
            "price",
            "product_id",
            "products",
            "quantity",
            "revenue",
        ]),
        traits: names(&["age", "company", "country", "email", "plan", "seats", "tags", "title", "trial_end"]),
        audiences: names(&["churned", "vip"]),
        computed: names(&["revenue_90d", "revenue_prior_90d", "visits"]),
    }
}

fn described(text: &str) -> String {
    let expr = parse(text).unwrap_or_else(|error| panic!("{}", error.render(text)));
    check_condition(&expr)
        .or_else(|_| check_value(&expr))
        .unwrap_or_else(|error| panic!("{}", error.render(text)));
    let mut said = explain(&expr);
    let mut add = |what: &str, all: Vec<(Span, String)>| {
        for (span, note) in all {
            said.push_str(&format!("\n{what} at `{}`: {note}", &text[span.start..span.end]));
        }
    };
    add("note", notes(&expr));
    add("name", unknown(&expr, &known()));
    said
}

#[test]
fn the_table_of_explanations() {
    assert!(tables::check("explained", described) > 90);
}

/// EXPL-1: one line, or points that are indented one below the other.
fn plain(text: &str) -> Result<(), TestCaseError> {
    let point = Regex::new("^(  )+- [^ ]").unwrap();
    prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    prop_assert!(text.lines().skip(1).all(|line| point.is_match(line)), "{text}");
    prop_assert!(!text.is_empty() && text.lines().all(|line| !line.ends_with(' ') || line.ends_with("\" ")));
    Ok(())
}

/// How many points the explanation of a condition has: the parts of what is joined, where a point is a line of its own.
fn points(expr: &Expr) -> usize {
    match &expr.kind {
        ExprKind::And(parts) | ExprKind::Or(parts) => parts.len() + parts.iter().map(points).sum::<usize>(),
        ExprKind::Not(inner) => points(inner),
        _ => 0,
    }
}

/// For each value of an event that must be the same in the steps of a sequence, how often more it is mentioned than written.
fn mentioned_again(expr: &Expr, more: &mut BTreeMap<String, usize>) {
    match &expr.kind {
        ExprKind::And(parts) | ExprKind::Or(parts) => {
            parts.iter().for_each(|part| mentioned_again(part, more))
        }
        ExprKind::Not(inner) => mentioned_again(inner, more),
        ExprKind::Did(did) => {
            for path in &did.same {
                *more.entry(first_name(path)).or_default() += did.steps.len() - 1;
            }
        }
        _ => {}
    }
}

fn first_name(path: &onefold_audience::ast::Path) -> String {
    match path.segments.first() {
        Some(onefold_audience::ast::Segment::Name(name)) => name.clone(),
        other => panic!("{other:?}"),
    }
}

/// The telling names of a letter, as they come in the text.
fn written(text: &str, letter: char) -> Vec<String> {
    let name = Regex::new(&format!(r"\b{letter}\d+\b")).unwrap();
    name.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

fn counted(names: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

fn in_order(spans: &[Span]) -> bool {
    spans.is_sorted_by_key(|span| span.start)
}

/// NAME-1 and NAME-2 against the text itself.
fn names_are_the_texts(text: &str, expr: &Expr) -> Result<(), TestCaseError> {
    let names = Mentions::of(expr);
    let at = |span: Span| &text[span.start..span.end];
    for (letter, mentions) in [('a', &names.audiences), ('c', &names.computed)] {
        let whats: Vec<String> = mentions.iter().map(|mention| mention.what.clone()).collect();
        prop_assert_eq!(written(text, letter), whats);
        for mention in mentions {
            let whole = if letter == 'a' {
                format!("in audience(\"{}\")", mention.what)
            } else {
                format!("computed.{}", mention.what)
            };
            prop_assert_eq!(at(mention.span), whole);
        }
    }
    prop_assert_eq!(written(text, 't'), names.traits.iter().map(|t| first_name(&t.what)).collect::<Vec<_>>());
    for mention in &names.traits {
        prop_assert_eq!(at(mention.span), mention.what.to_string());
    }
    let tracks = names.events.iter().filter_map(|mention| match &mention.what {
        Event::Track(name) => Some(name.clone()),
        _ => None,
    });
    prop_assert_eq!(written(text, 'e'), tracks.collect::<Vec<_>>());
    let mut expected = counted(written(text, 'p'));
    let mut more = BTreeMap::new();
    mentioned_again(expr, &mut more);
    more.into_iter().for_each(|(name, count)| *expected.entry(name).or_default() += count);
    prop_assert_eq!(expected, counted(names.properties.iter().map(|p| first_name(&p.what.path))));
    for property in &names.properties {
        prop_assert!(at(property.span).contains(&property.what.path.to_string()));
        // An event's value belongs to the event around it; one that several share, to an event within.
        let touches = |outer: Span, inner: Span| outer.start <= inner.start && inner.end <= outer.end;
        let around = names.events.iter().find(|event| touches(event.span, property.span));
        let of = around.is_some_and(|event| event.what == property.what.event);
        let within = || {
            let mut within = names.events.iter().filter(|event| touches(property.span, event.span));
            within.any(|event| event.what == property.what.event)
        };
        prop_assert!(of || around.is_none() && within(), "{property:?}");
    }
    let spans = [
        names.events.iter().map(|m| m.span).collect::<Vec<_>>(),
        names.properties.iter().map(|m| m.span).collect(),
        names.traits.iter().map(|m| m.span).collect(),
        names.audiences.iter().map(|m| m.span).collect(),
        names.computed.iter().map(|m| m.span).collect(),
    ];
    prop_assert!(spans.iter().all(|spans| in_order(spans)), "{text}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, ..ProptestConfig::default() })]

    #[test]
    fn explanations_are_plain_text(expr in prop_oneof![2 => condition(Names::Any), 1 => value(Names::Any)]) {
        let said = explain(&expr);
        plain(&said)?;
        prop_assert_eq!(said.lines().count(), 1 + points(&expr), "{}", said);
        for (_, note) in notes(&expr).into_iter().chain(unknown(&expr, &known())) {
            prop_assert!(!note.chars().any(char::is_control), "{note:?}");
        }
        let texts: Vec<String> = notes(&expr).into_iter().map(|(_, note)| note).collect();
        prop_assert_eq!(texts.len(), texts.iter().collect::<BTreeSet<_>>().len(), "no text twice");
    }

    #[test]
    fn explanations_of_selectors_are_plain_text(selector in selector(Names::Any)) {
        let said = explain_selector(&selector);
        plain(&said)?;
        prop_assert_eq!(said.lines().count(), 1);
        for (_, note) in selector_notes(&selector) {
            prop_assert!(!note.chars().any(char::is_control), "{note:?}");
        }
    }

    #[test]
    fn names_come_in_the_order_of_the_text(
        expr in prop_oneof![3 => condition(Names::Telling), 1 => value(Names::Telling)],
    ) {
        let text = expr.to_string();
        names_are_the_texts(&text, &parse(&text).unwrap())?;
    }

    #[test]
    fn a_selector_mentions_its_event_and_values(selector in selector(Names::Telling)) {
        let text = selector.to_string();
        let names = Mentions::of_selector(&parse_selector(&text).unwrap());
        prop_assert_eq!(names.events.len(), 1);
        prop_assert_eq!(&names.events[0].what, &selector.event);
        prop_assert_eq!(written(&text, 'p'), names.properties.iter().map(|p| first_name(&p.what.path)).collect::<Vec<_>>());
        prop_assert!(names.properties.iter().all(|property| property.what.event == selector.event));
        prop_assert!(names.traits.is_empty() && names.audiences.is_empty() && names.computed.is_empty());
    }

    /// What is known is not noted; with nothing known everything is; not knowing what exists, nothing is.
    #[test]
    fn only_what_is_not_known_is_noted(expr in condition(Names::Telling)) {
        prop_assert_eq!(unknown(&expr, &Known::default()), vec![]);
        let all = |letter: char| Some((0..30).map(|number| format!("{letter}{number}")).collect());
        let known = Known {
            events: all('e'), properties: all('p'), traits: all('t'), audiences: all('a'), computed: all('c'),
        };
        prop_assert_eq!(unknown(&expr, &known), vec![]);
        let none = Some(BTreeSet::new());
        let nothing = Known {
            events: none.clone(), properties: none.clone(), traits: none.clone(), audiences: none.clone(), computed: none,
        };
        let names = Mentions::of(&expr);
        let events = names.events.iter().filter(|event| matches!(event.what, Event::Track(_))).count();
        let is_property = |root| root == onefold_audience::ast::Root::Properties;
        let properties = names.properties.iter().filter(|p| is_property(p.what.path.root)).count();
        let traits = names.traits.iter().filter(|t| t.what.root == onefold_audience::ast::Root::Traits).count();
        let expected = events + properties + traits + names.audiences.len() + names.computed.len();
        prop_assert_eq!(unknown(&expr, &nothing).len(), expected);
    }
}
