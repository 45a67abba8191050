//! Trees to canonical text; parsing it gives the same tree (LANG-1).

use crate::ast::*;
use crate::lexer::{is_word_part, is_word_start};
use std::fmt::{Display, Formatter, Result};

/// Words that a path cannot start with: it is written `properties.not`.
const KEYWORDS: [&str; 9] =
    ["properties", "context", "traits", "not", "true", "false", "and", "or", "matches"];

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            ExprKind::Literal(literal) => write!(f, "{literal}"),
            ExprKind::Path(path) => write!(f, "{path}"),
            ExprKind::Computed(key) => f.write_str("computed.").and_then(|()| name(f, key)),
            ExprKind::InAudience(key) => {
                f.write_str("in audience(").and_then(|()| quoted(f, key)).and_then(|()| f.write_str(")"))
            }
            ExprKind::And(parts) => joined(f, parts, " and ", 3),
            ExprKind::Or(parts) => joined(f, parts, " or ", 2),
            ExprKind::Not(inner) => f.write_str("not ").and_then(|()| at_level(f, inner, 3)),
            ExprKind::Compare { left, op, right, ignoring_case } => {
                at_level(f, left, 5)?;
                write!(f, " {op} ")?;
                at_level(f, right, 5)?;
                case(f, *ignoring_case)
            }
            ExprKind::InList { left, list, negated, ignoring_case } => {
                tested(f, left, *negated)?;
                f.write_str("in (")?;
                for (i, literal) in list.iter().enumerate() {
                    write!(f, "{}{literal}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(")")?;
                case(f, *ignoring_case)
            }
            ExprKind::Text { left, test, right, negated, ignoring_case } => {
                tested(f, left, *negated)?;
                f.write_str(match test {
                    TextTest::Contains => "contains ",
                    TextTest::StartsWith => "starts with ",
                    TextTest::EndsWith => "ends with ",
                })?;
                at_level(f, right, 5)?;
                case(f, *ignoring_case)
            }
            ExprKind::Matches { left, pattern, negated, ignoring_case, .. } => {
                tested(f, left, *negated)?;
                write!(f, "matches {}", Pattern(pattern))?;
                case(f, *ignoring_case)
            }
            ExprKind::Exists { left, negated } => {
                tested(f, left, *negated).and_then(|()| f.write_str("exists"))
            }
            ExprKind::Date { left, test, negated } => {
                tested(f, left, *negated)?;
                match test {
                    DateTest::Before(date) => write!(f, "before {date}"),
                    DateTest::After(date) => write!(f, "after {date}"),
                    DateTest::WithinLast(ms) => write!(f, "within last {}", Duration(*ms)),
                    DateTest::WithinNext(ms) => write!(f, "within next {}", Duration(*ms)),
                }
            }
            ExprKind::Arithmetic { left, op, right } => {
                let level = level(self);
                at_level(f, left, level)?;
                f.write_str(match op {
                    ArithmeticOp::Add => " + ",
                    ArithmeticOp::Subtract => " - ",
                    ArithmeticOp::Multiply => " * ",
                    ArithmeticOp::Divide => " / ",
                })?;
                at_level(f, right, level + 1)
            }
            ExprKind::Negate(inner) if matches!(&inner.kind, ExprKind::Literal(Literal::Number(n)) if !n.starts_with('-')) =>
            {
                write!(f, "-({inner})")
            }
            ExprKind::Negate(inner) => f.write_str("-").and_then(|()| at_level(f, inner, 7)),
            ExprKind::Aggregate(aggregate) => write!(f, "{aggregate}"),
            ExprKind::Sessions { gap_ms, window } => write!(f, "sessions(gap {}{window})", Duration(*gap_ms)),
            ExprKind::Did(did) => write!(f, "{did}"),
        }
    }
}

fn level(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Or(_) => 1,
        ExprKind::And(_) => 2,
        ExprKind::Not(_) => 3,
        ExprKind::Compare { .. } | ExprKind::InList { .. } | ExprKind::Text { .. } => 4,
        ExprKind::Matches { .. } | ExprKind::Exists { .. } | ExprKind::Date { .. } => 4,
        ExprKind::Arithmetic { op: ArithmeticOp::Add | ArithmeticOp::Subtract, .. } => 5,
        ExprKind::Arithmetic { .. } => 6,
        ExprKind::Negate(_) => 7,
        _ => 8,
    }
}

fn at_level(f: &mut Formatter<'_>, expr: &Expr, least: u8) -> Result {
    if level(expr) < least { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

fn tested(f: &mut Formatter<'_>, left: &Expr, negated: bool) -> Result {
    at_level(f, left, 5)?;
    f.write_str(if negated { " not " } else { " " })
}

fn joined(f: &mut Formatter<'_>, parts: &[Expr], with: &str, least: u8) -> Result {
    for (i, part) in parts.iter().enumerate() {
        f.write_str(if i > 0 { with } else { "" })?;
        at_level(f, part, least)?;
    }
    Ok(())
}

fn case(f: &mut Formatter<'_>, ignoring: bool) -> Result {
    f.write_str(if ignoring { " ignoring case" } else { "" })
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// A pattern between its slashes.
pub(crate) struct Pattern<'a>(pub(crate) &'a str);

impl Display for Pattern<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("/")?;
        let mut escaped = false;
        for c in self.0.chars() {
            if c == '/' && !escaped {
                f.write_str("\\")?;
            }
            escaped = c == '\\' && !escaped;
            write!(f, "{c}")?;
        }
        f.write_str("/")
    }
}

/// A name after a dot: in quotes unless it is a word.
pub(crate) struct Name<'a>(pub(crate) &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        name(f, self.0)
    }
}

fn is_plain(text: &str) -> bool {
    text.starts_with(is_word_start) && text.chars().all(is_word_part)
}

fn name(f: &mut Formatter<'_>, text: &str) -> Result {
    if is_plain(text) { f.write_str(text) } else { quoted(f, text) }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Literal::String(text) => quoted(f, text),
            Literal::Number(number) => f.write_str(number),
            Literal::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            CompareOp::Eq => "=",
            CompareOp::Ne => "!=",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
        })
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let bare = matches!(self.segments.first(), Some(Segment::Name(n)) if is_plain(n) && !KEYWORDS.contains(&n.as_str()));
        let mut dot = true;
        match self.root {
            Root::Properties if bare => dot = false,
            Root::Properties => f.write_str("properties")?,
            Root::Context => f.write_str("context")?,
            Root::Traits => f.write_str("traits")?,
            Root::Account => f.write_str("account")?,
        }
        for segment in &self.segments {
            match segment {
                Segment::Name(text) => {
                    f.write_str(if dot { "." } else { "" })?;
                    name(f, text)?;
                }
                Segment::Each => f.write_str("[*]")?,
            }
            dot = true;
        }
        Ok(())
    }
}

/// A duration in the largest unit up to days that leaves no rest.
pub(crate) struct Duration(pub u64);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let (ms, unit) = units.into_iter().find(|(ms, _)| self.0.is_multiple_of(*ms)).unwrap_or((1, "ms"));
        write!(f, "{}{unit}", self.0 / ms)
    }
}

impl Display for Window {
    /// With a space in front; nothing for always.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let unit = |unit: &CalendarUnit| match unit {
            CalendarUnit::Week => "week",
            CalendarUnit::Month => "month",
            CalendarUnit::Quarter => "quarter",
            CalendarUnit::Year => "year",
        };
        match self {
            Window::Lifetime => Ok(()),
            Window::InLast { ms } => write!(f, " in last {}", Duration(*ms)),
            Window::Between { from_ms, to_ms } => {
                write!(f, " between {} and {} ago", Duration(*from_ms), Duration(*to_ms))
            }
            Window::Session { gap_ms } => write!(f, " in session {}", Duration(*gap_ms)),
            Window::Today => f.write_str(" today"),
            Window::Yesterday => f.write_str(" yesterday"),
            Window::This(u) => write!(f, " this {}", unit(u)),
            Window::Last(u) => write!(f, " last {}", unit(u)),
            Window::Since(date) => write!(f, " since {date}"),
        }
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (kind, text) = match self {
            Event::Track(text) => return quoted(f, text),
            Event::Page(text) => ("page", text.as_ref()),
            Event::Screen(text) => ("screen", text.as_ref()),
            Event::Identify => ("identify", None),
            Event::Group => ("group", None),
            Event::Any => ("any", None),
        };
        f.write_str(kind)?;
        let Some(text) = text else { return Ok(()) };
        f.write_str("(")?;
        quoted(f, text)?;
        f.write_str(")")
    }
}

impl Display for EventSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.event)?;
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, " where {filter}"))
    }
}

impl Function {
    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            Function::Count => "count",
            Function::Sum => "sum",
            Function::Avg => "avg",
            Function::Min => "min",
            Function::Max => "max",
            Function::Unique => "unique",
            Function::First => "first",
            Function::Last => "last",
            Function::MostFrequent => "most_frequent",
            Function::List => "list",
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}({}", self.function.name(), self.selector.event)?;
        if let Some(path) = &self.path {
            write!(f, ".{path}")?;
        }
        if let Some(filter) = &self.selector.filter {
            write!(f, " where {filter}")?;
        }
        write!(f, "{})", self.window)
    }
}

impl Display for Did {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(if self.any_member { "any member did(" } else { "did(" })?;
        for (i, step) in self.steps.iter().enumerate() {
            f.write_str(if i > 0 { " then " } else { "" })?;
            write!(f, "{}{}", if step.negated { "not " } else { "" }, step.selector)?;
            step.within_ms.map_or(Ok(()), |ms| write!(f, " within {}", Duration(ms)))?;
        }
        self.without.iter().try_for_each(|selector| write!(f, " without {selector}"))?;
        for (i, path) in self.same.iter().enumerate() {
            write!(f, "{}{path}", if i > 0 { ", " } else { " same " })?;
        }
        write!(f, "{})", self.window)
    }
}
