//! Well-typed trees of the whole language, also of what cannot be evaluated yet, as the parser can give them.
//!
//! Names tell what they are and where they are from, so that a test can find them in the text: `p1` is a value of an
//! event, `t1` a trait, `a1` an audience, `c1` a computed trait, `e1` an event; [`Names::Any`] takes all texts instead.

#![allow(missing_docs, dead_code, reason = "not every test uses everything")]

use onefold_audience::ast::*;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

/// Longest duration, ms.
const CENTURY_MS: u64 = 100 * 365 * 86_400_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// A letter and a number.
    Telling,
    /// Words of the language, quotes, controls, other scripts, nothing at all.
    Any,
}

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

pub fn any_text() -> BoxedStrategy<String> {
    let words = select(vec![
        "a",
        "in",
        "not",
        "and",
        "or",
        "where",
        "last",
        "then",
        "within",
        "without",
        "same",
        "true",
        "false",
        "properties",
        "context",
        "traits",
        "account",
        "computed",
        "any",
        "page",
        "did",
        "count",
        "exists",
        "between",
        "matches",
        "ignoring",
        "case",
        "since",
        "today",
        "this",
        "gap",
        "session",
        "contains",
        "starts",
        "before",
        "",
        "Order Completed",
        "$set",
        "_x",
        "é",
        "日本",
        "7d",
        "a.b",
        "a[*]",
        "it's",
        "say \"hi\"",
        "\\",
        "\\n",
        "\n",
        "\t\r",
        "\u{0}\u{1b}[31m",
        "/",
        "//",
        "2026-01-01",
        "-1",
        " ",
        "ß",
        "\u{202e}",
        "\u{feff}",
    ]);
    prop_oneof![3 => words.prop_map(str::to_owned), 1 => any::<String>()].boxed()
}

fn named(names: Names, letter: char) -> BoxedStrategy<String> {
    match names {
        Names::Telling => (0..30u8).prop_map(move |number| format!("{letter}{number}")).boxed(),
        Names::Any => any_text(),
    }
}

fn number() -> impl Strategy<Value = Literal> {
    let whole = any::<i64>().prop_map(|n| n.to_string());
    let fraction = (any::<bool>(), 0..1_000_000u64, 1..10_000u32).prop_map(|(minus, whole, part)| {
        let text = format!("{}{whole}.{part:04}", if minus { "-" } else { "" });
        text.trim_end_matches('0').to_owned()
    });
    let odd = select(vec!["0", "1", "3", "-1", "0.000000000000000000000000000000000000001"])
        .prop_map(str::to_owned);
    let long = Just("9".repeat(40));
    prop_oneof![2 => whole, 2 => fraction, 4 => odd, 1 => long].prop_map(Literal::Number)
}

fn literal(names: Names) -> impl Strategy<Value = Literal> {
    // Constants are no names.
    let text = if names == Names::Any { any_text() } else { Just("text".to_owned()).boxed() };
    prop_oneof![text.prop_map(Literal::String), number(), any::<bool>().prop_map(Literal::Bool)]
}

fn path(names: Names, roots: &'static [Root], letter: char) -> impl Strategy<Value = Path> {
    let further = if names == Names::Any {
        any_text()
    } else {
        select(vec!["x", "y z"]).prop_map(str::to_owned).boxed()
    };
    let step = prop_oneof![2 => further.prop_map(Segment::Name), 1 => Just(Segment::Each)];
    (select(roots), named(names, letter), vec(step, 0..3)).prop_map(|(root, first, rest)| {
        let segments = std::iter::once(Segment::Name(first)).chain(rest).collect();
        Path { root, segments }
    })
}

fn event_path(names: Names) -> BoxedStrategy<Path> {
    path(names, &[Root::Properties, Root::Properties, Root::Context, Root::Traits], 'p').boxed()
}

pub fn duration() -> impl Strategy<Value = u64> {
    let unit = select(vec![1, 1_000, 60_000, 3_600_000, 86_400_000, 604_800_000u64]);
    prop_oneof![4 => (1..100u64, unit).prop_map(|(n, unit)| n * unit), 1 => 1..=CENTURY_MS]
}

fn date() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0..10_000u32, 1..=12u32, 1..=28u32).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}")),
        1 => select(vec!["2024-02-29", "2000-02-29", "2026-12-31", "2026-04-30"]).prop_map(str::to_owned),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    let unit =
        || select(vec![CalendarUnit::Week, CalendarUnit::Month, CalendarUnit::Quarter, CalendarUnit::Year]);
    prop_oneof![
        3 => Just(Window::Lifetime),
        3 => duration().prop_map(|ms| Window::InLast { ms }),
        2 => (2..=CENTURY_MS).prop_flat_map(|from_ms| (Just(from_ms), 1..from_ms))
            .prop_map(|(from_ms, to_ms)| Window::Between { from_ms, to_ms }),
        1 => duration().prop_map(|gap_ms| Window::Session { gap_ms }),
        1 => Just(Window::Today),
        1 => Just(Window::Yesterday),
        1 => unit().prop_map(Window::This),
        1 => unit().prop_map(Window::Last),
        1 => date().prop_map(Window::Since),
    ]
}

fn event(names: Names) -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => named(names, 'e').prop_map(Event::Track),
        1 => weighted(0.5, named(names, 'n')).prop_map(Event::Page),
        1 => weighted(0.5, named(names, 'n')).prop_map(Event::Screen),
        1 => Just(Event::Identify),
        1 => Just(Event::Group),
        1 => Just(Event::Any),
    ]
}

/// Every pattern is a regular expression. A backslash in front of a slash cannot be written: it is the slash's own.
fn pattern(names: Names) -> BoxedStrategy<String> {
    let odd =
        select(vec!["", "^a", "b$", "a/b", r"\d+", r"[/\\]", "(?i)x|y", "\n", r"\\", "é+", "a{2,3}", " "]);
    let odd = odd.prop_map(str::to_owned);
    match names {
        Names::Telling => odd.boxed(),
        Names::Any => prop_oneof![odd, any_text().prop_map(|text| regex::escape(&text))].boxed(),
    }
}

/// Strategies of one depth, for values and conditions of a person and of an event.
#[derive(Clone)]
struct Depth {
    /// What has a number, or what may turn out to be one.
    number: BoxedStrategy<Expr>,
    /// What has no type before an event or a trait arrives.
    open: BoxedStrategy<Expr>,
    condition: BoxedStrategy<Expr>,
}

fn comparisons(
    names: Names,
    number: &BoxedStrategy<Expr>,
    open: &BoxedStrategy<Expr>,
) -> BoxedStrategy<Expr> {
    let constant = |literal: BoxedStrategy<Literal>| literal.prop_map(|l| expr(ExprKind::Literal(l))).boxed();
    let text = || {
        let text = if names == Names::Any { any_text() } else { Just("text".to_owned()).boxed() };
        constant(text.prop_map(Literal::String).boxed())
    };
    let truth = constant(any::<bool>().prop_map(Literal::Bool).boxed());
    let any_op = || {
        use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
        select(vec![Eq, Ne, Lt, Le, Gt, Ge])
    };
    let textual = || prop_oneof![4 => open.clone(), 1 => text()].boxed();
    let compare = |left: BoxedStrategy<Expr>, op: BoxedStrategy<CompareOp>, right: BoxedStrategy<Expr>| {
        (left, op, right, any::<bool>(), any::<bool>()).prop_map(|(a, op, b, swapped, ignoring_case)| {
            let (left, right) = if swapped { (b, a) } else { (a, b) };
            expr(ExprKind::Compare { left: left.into(), op, right: right.into(), ignoring_case })
        })
    };
    let in_list = (open.clone(), vec(literal(names), 1..4), any::<bool>(), any::<bool>());
    let number_in = (number.clone(), number_literals(), any::<bool>(), any::<bool>());
    let listed = |(left, list, negated, ignoring_case): (Expr, Vec<Literal>, bool, bool)| {
        expr(ExprKind::InList { left: left.into(), list, negated, ignoring_case })
    };
    let tests = select(vec![TextTest::Contains, TextTest::StartsWith, TextTest::EndsWith]);
    let date_test = prop_oneof![
        date().prop_map(DateTest::Before),
        date().prop_map(DateTest::After),
        duration().prop_map(DateTest::WithinLast),
        duration().prop_map(DateTest::WithinNext),
    ];
    prop_oneof![
        4 => compare(number.clone(), any_op().boxed(), number.clone()),
        2 => compare(textual(), any_op().boxed(), textual()),
        1 => compare(open.clone(), select(vec![CompareOp::Eq, CompareOp::Ne]).boxed(), truth),
        2 => in_list.prop_map(listed),
        1 => number_in.prop_map(listed),
        2 => (textual(), tests, textual(), any::<bool>(), any::<bool>()).prop_map(
            |(left, test, right, negated, ignoring_case)| {
                expr(ExprKind::Text { left: left.into(), test, right: right.into(), negated, ignoring_case })
            }
        ),
        1 => (open.clone(), number.clone(), any::<bool>()).prop_map(|(left, right, negated)| {
            let (left, right) = (left.into(), right.into());
            expr(ExprKind::Text { left, test: TextTest::Contains, right, negated, ignoring_case: false })
        }),
        1 => (textual(), pattern(names), any::<bool>(), any::<bool>()).prop_map(
            |(left, pattern, negated, ignoring_case)| {
                let pattern_span = Span::default();
                expr(ExprKind::Matches { left: left.into(), pattern, pattern_span, negated, ignoring_case })
            }
        ),
        1 => (prop_oneof![open.clone(), number.clone()], any::<bool>())
            .prop_map(|(left, negated)| expr(ExprKind::Exists { left: left.into(), negated })),
        1 => (textual(), date_test, any::<bool>())
            .prop_map(|(left, test, negated)| expr(ExprKind::Date { left: left.into(), test, negated })),
    ]
    .boxed()
}

fn number_literals() -> impl Strategy<Value = Vec<Literal>> {
    vec(number(), 1..4)
}

fn joined(parts: Vec<Expr>, and: bool) -> Expr {
    let mut flat = Vec::new();
    for part in parts {
        match part.kind {
            ExprKind::And(inner) if and => flat.extend(inner),
            ExprKind::Or(inner) if !and => flat.extend(inner),
            kind => flat.push(expr(kind)),
        }
    }
    expr(if and { ExprKind::And(flat) } else { ExprKind::Or(flat) })
}

/// `-5` is a constant, not the negation of one.
fn negated(inner: Expr) -> Expr {
    match inner.kind {
        ExprKind::Literal(_) => inner,
        kind => expr(ExprKind::Negate(expr(kind).into())),
    }
}

fn deeper(
    names: Names,
    depth: &Depth,
    leaves: [BoxedStrategy<Expr>; 2],
    more: Option<BoxedStrategy<Expr>>,
) -> Depth {
    let [number_leaf, open_leaf] = leaves;
    let op =
        select(vec![ArithmeticOp::Add, ArithmeticOp::Subtract, ArithmeticOp::Multiply, ArithmeticOp::Divide]);
    let sum = (depth.number.clone(), op, depth.number.clone()).prop_map(|(left, op, right)| {
        expr(ExprKind::Arithmetic { left: left.into(), op, right: right.into() })
    });
    let number = prop_oneof![5 => number_leaf, 2 => sum, 1 => depth.number.clone().prop_map(negated)].boxed();
    let open = open_leaf;
    let inner = depth.condition.clone();
    let own = comparisons(names, &number, &open);
    let condition = prop_oneof![
        3 => own.clone(),
        3 => more.unwrap_or(own),
        2 => (vec(inner.clone(), 2..4), any::<bool>()).prop_map(|(parts, and)| joined(parts, and)),
        1 => inner.prop_map(|inner| expr(ExprKind::Not(inner.into()))),
    ]
    .boxed();
    Depth { number, open, condition }
}

fn constant_number() -> BoxedStrategy<Expr> {
    number().prop_map(|literal| expr(ExprKind::Literal(literal))).boxed()
}

fn start(names: Names, open: BoxedStrategy<Expr>) -> Depth {
    let number = prop_oneof![2 => constant_number(), 1 => open.clone()].boxed();
    Depth { condition: comparisons(names, &number, &open), number, open }
}

/// Conditions on an event's own values.
fn of_event(names: Names) -> BoxedStrategy<Expr> {
    let open = event_path(names).prop_map(|path| expr(ExprKind::Path(path))).boxed();
    let mut depth = start(names, open.clone());
    for _ in 0..2 {
        let leaves = [prop_oneof![constant_number(), open.clone()].boxed(), open.clone()];
        depth = deeper(names, &depth, leaves, None);
    }
    depth.condition
}

pub fn selector(names: Names) -> BoxedStrategy<EventSelector> {
    (event(names), weighted(0.4, of_event(names)))
        .prop_map(|(event, filter)| EventSelector {
            event,
            filter: filter.map(Box::new),
            span: Span::default(),
        })
        .boxed()
}

fn aggregate(names: Names, functions: &'static [Function]) -> BoxedStrategy<Expr> {
    (select(functions), selector(names), event_path(names), window())
        .prop_map(|(function, selector, path, window)| {
            let path = (function != Function::Count).then_some(path);
            expr(ExprKind::Aggregate(Aggregate { function, selector, path, window }))
        })
        .boxed()
}

fn did(names: Names) -> BoxedStrategy<Expr> {
    let further = vec((any::<bool>(), selector(names), weighted(0.5, duration())), 0..3);
    let (without, same) = (vec(selector(names), 0..2), vec(event_path(names), 0..3));
    (any::<bool>(), selector(names), further, without, same, window())
        .prop_map(|(any_member, first, further, without, same, window)| {
            let mut steps = vec![Step { negated: false, selector: first, within_ms: None }];
            let step = |(negated, selector, within_ms)| Step { negated, selector, within_ms };
            steps.extend(further.into_iter().map(step));
            let is_sequence = steps.len() > 1;
            let without = if is_sequence { without } else { Vec::new() };
            let same = if is_sequence { same } else { Vec::new() };
            expr(ExprKind::Did(Did { any_member, steps, without, same, window }))
        })
        .boxed()
}

fn of_person(names: Names) -> Depth {
    use Function::{Avg, Count, First, Last, List, Max, Min, MostFrequent, Sum, Unique};
    let open = prop_oneof![
        3 => path(names, &[Root::Traits, Root::Traits, Root::Account], 't').prop_map(|path| expr(ExprKind::Path(path))),
        1 => named(names, 'c').prop_map(|key| expr(ExprKind::Computed(key))),
        1 => aggregate(names, &[Min, Max, First, Last, MostFrequent, List]),
    ]
    .boxed();
    let number = prop_oneof![
        3 => constant_number(),
        2 => open.clone(),
        3 => aggregate(names, &[Count, Count, Count, Sum, Avg, Unique]),
        1 => (duration(), window()).prop_map(|(gap_ms, window)| expr(ExprKind::Sessions { gap_ms, window })),
    ]
    .boxed();
    let event = prop_oneof![
        2 => did(names),
        1 => named(names, 'a').prop_map(|key| expr(ExprKind::InAudience(key))),
    ]
    .boxed();
    let mut depth = start(names, open.clone());
    for _ in 0..3 {
        depth = deeper(names, &depth, [number.clone(), open.clone()], Some(event.clone()));
    }
    depth
}

/// Conditions, as audiences have them.
pub fn condition(names: Names) -> BoxedStrategy<Expr> {
    of_person(names).condition
}

/// Values, as computed traits have them.
pub fn value(names: Names) -> BoxedStrategy<Expr> {
    let Depth { number, open, .. } = of_person(names);
    let literal = literal(names).prop_map(|literal| expr(ExprKind::Literal(literal)));
    prop_oneof![3 => number, 1 => open, 1 => literal].boxed()
}

/// The same meaning in another dress: other white space, single quotes where they need no escape, more parentheses.
pub fn sloppy(canonical: &str, choices: &[u8]) -> String {
    let mut choices = choices.iter().copied().cycle();
    let mut choose = |count: u8| choices.next().unwrap_or_default() % count;
    let mut out = String::new();
    let mut rest = canonical;
    while let Some(c) = rest.chars().next() {
        let len = match c {
            '"' => end_of(rest, c),
            '/' if out.trim_end().ends_with("matches") && !out.trim_end().ends_with(".matches") => {
                end_of(rest, c)
            }
            _ => c.len_utf8(),
        };
        let piece = &rest[..len];
        match c {
            ' ' => out.push_str([" ", "  ", "\n", "\t ", "\r\n"][usize::from(choose(5))]),
            '"' if !piece.contains(['\\', '\'']) && choose(2) == 0 => {
                out.push_str(&format!("'{}'", &piece[1..len - 1]));
            }
            '(' | ')' | ',' if choose(3) == 0 => out.push_str(&format!(" {c} ")),
            '=' if choose(4) == 0 && !out.ends_with(['!', '<', '>']) => out.push_str("=="),
            _ => out.push_str(piece),
        }
        rest = &rest[len..];
    }
    if choose(2) == 0 { format!("( {out})") } else { format!("\n{out} ") }
}

/// Where the quoted piece at the start of `text` ends.
fn end_of(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
