//! The tree of the audience language: one tree for conditions and values.
//!
//! It covers the whole language, also what this version cannot evaluate (see [`crate::support`]). Spans say where a node
//! was written; two trees that differ only in spans are equal and hash alike. Durations are milliseconds.

use std::hash::{Hash, Hasher};

/// Where a node was written: a byte range of the source. Ignored by equality and hashing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Span {}
impl Hash for Span {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A condition or a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it was written.
    pub span: Span,
}

/// The kinds of node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ExprKind {
    /// A constant.
    Literal(Literal),
    /// A property (inside `where`), a trait or an account trait.
    Path(Path),
    /// `computed.key`.
    Computed(String),
    /// `in audience("key")`.
    InAudience(String),
    /// All hold; two or more, none of them an `And`.
    And(Vec<Expr>),
    /// One holds; two or more, none of them an `Or`.
    Or(Vec<Expr>),
    /// Boolean negation: true where the inner condition is false, also if that is for want of a value.
    Not(Box<Expr>),
    /// `left op right`.
    Compare { left: Box<Expr>, op: CompareOp, right: Box<Expr>, ignoring_case: bool },
    /// `left in (…)`, `left not in (…)`.
    InList { left: Box<Expr>, list: Vec<Literal>, negated: bool, ignoring_case: bool },
    /// `contains`, `starts with`, `ends with`.
    Text { left: Box<Expr>, test: TextTest, right: Box<Expr>, negated: bool, ignoring_case: bool },
    /// `matches /re/`.
    Matches { left: Box<Expr>, pattern: String, pattern_span: Span, negated: bool, ignoring_case: bool },
    /// `exists`.
    Exists { left: Box<Expr>, negated: bool },
    /// `before`, `after`, `within last`, `within next`.
    Date { left: Box<Expr>, test: DateTest, negated: bool },
    /// `left op right` on numbers.
    Arithmetic { left: Box<Expr>, op: ArithmeticOp, right: Box<Expr> },
    /// `-value`, where the value is not a constant.
    Negate(Box<Expr>),
    /// `count(…)`, `sum(…)` ….
    Aggregate(Aggregate),
    /// `sessions(gap 30m in last 7d)`.
    Sessions { gap_ms: u64, window: Window },
    /// `did(…)`, `any member did(…)`.
    Did(Did),
}

/// A constant. A number is its exact canonical decimal text: no exponent, no needless zeros, `-` in front if negative.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Literal {
    /// A string.
    String(String),
    /// A number.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
}

/// Where a path is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// The event's `properties`.
    Properties,
    /// The event's `context`.
    Context,
    /// Inside `where` the event's `traits`, elsewhere the profile's.
    Traits,
    /// The traits of the profile's account.
    Account,
}

/// A path to a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// Where it starts.
    pub root: Root,
    /// The way from there; never empty, starts with a name.
    pub segments: Vec<Segment>,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A member of an object.
    Name(String),
    /// `[*]`: any element of an array.
    Each,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Tests on text; `contains` also on lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

/// Tests on dates. A date is `yyyy-mm-dd`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DateTest {
    Before(String),
    After(String),
    WithinLast(u64),
    WithinNext(u64),
}

/// Arithmetic on decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Which event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Event {
    Track(String),
    Page(Option<String>),
    Screen(Option<String>),
    Identify,
    Group,
    Any,
}

/// Events of one kind and name whose properties fulfil a condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventSelector {
    /// Kind and name.
    pub event: Event,
    /// A condition on the event's own values.
    pub filter: Option<Box<Expr>>,
    /// Where it was written.
    pub span: Span,
}

/// A value computed from events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// Which computation.
    pub function: Function,
    /// Of which events.
    pub selector: EventSelector,
    /// Of which value of them; `None` exactly for `count`.
    pub path: Option<Path>,
    /// When.
    pub window: Window,
}

/// Aggregate functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Unique,
    First,
    Last,
    MostFrequent,
    List,
}

/// When events count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Window {
    /// Always.
    Lifetime,
    /// `in last 7d`.
    InLast { ms: u64 },
    /// `between 60d and 30d ago`; `from_ms` > `to_ms`.
    Between { from_ms: u64, to_ms: u64 },
    /// `in session 30m`.
    Session { gap_ms: u64 },
    /// `today`.
    Today,
    /// `yesterday`.
    Yesterday,
    /// `this month`.
    This(CalendarUnit),
    /// `last month`.
    Last(CalendarUnit),
    /// `since 2026-01-01`.
    Since(String),
}

/// Units of calendar windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CalendarUnit {
    Week,
    Month,
    Quarter,
    Year,
}

/// A happening: one event or a sequence of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Did {
    /// Any member of the profile's account instead of the profile.
    pub any_member: bool,
    /// The steps in order; the first is neither negated nor limited. One step: a single event.
    pub steps: Vec<Step>,
    /// Events that must not come between first and last step.
    pub without: Vec<EventSelector>,
    /// Values that must be equal in all steps.
    pub same: Vec<Path>,
    /// When.
    pub window: Window,
}

/// A step of a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    /// `then not`.
    pub negated: bool,
    /// The event.
    pub selector: EventSelector,
    /// At most this long after the step before.
    pub within_ms: Option<u64>,
}
