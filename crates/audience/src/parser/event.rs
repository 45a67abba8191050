//! Events: selectors, windows, aggregates and sequences.

use super::{Parsed, Parser};
use crate::ast::{
    Aggregate, CalendarUnit, Did, Event, EventSelector, ExprKind, Function, Path, Step, Window,
};
use crate::error::SyntaxError;
use crate::lexer::Token;

impl Parser {
    /// A term about events, if the next word starts one.
    pub(super) fn event_term(&mut self) -> Parsed<Option<ExprKind>> {
        if self.words(&["any", "member", "did"]) {
            return Ok(Some(ExprKind::Did(self.did(true)?)));
        }
        let Token::Word(word) = self.peek() else { return Ok(None) };
        if !self.is_symbol_at(1, "(") {
            return Ok(None);
        }
        let function = match word.as_str() {
            "did" => {
                self.advance();
                return Ok(Some(ExprKind::Did(self.did(false)?)));
            }
            "sessions" => return Ok(Some(self.sessions()?)),
            "count" => Function::Count,
            "sum" => Function::Sum,
            "avg" => Function::Avg,
            "min" => Function::Min,
            "max" => Function::Max,
            "unique" => Function::Unique,
            "first" => Function::First,
            "last" => Function::Last,
            "most_frequent" => Function::MostFrequent,
            "list" => Function::List,
            _ => return Ok(None),
        };
        (0..2).for_each(|_| self.advance());
        let (selector, path) = self.selector(function != Function::Count)?;
        if function != Function::Count && path.is_none() {
            let error = SyntaxError::new(selector.span, "this aggregate needs a property of the event");
            return Err(error.help("write it behind a dot, as in sum(\"Order Completed\".revenue)"));
        }
        let window = self.window()?;
        let could = match (&window, &selector.filter) {
            (Some(_), _) => &[][..],
            (None, Some(_)) => &["a window such as `in last 7d`"],
            (None, None) => &["`where`", "a window such as `in last 7d`"],
        };
        self.need_symbol(")", could)?;
        let window = window.unwrap_or(Window::Lifetime);
        Ok(Some(ExprKind::Aggregate(Aggregate { function, selector, path, window })))
    }

    fn sessions(&mut self) -> Parsed<ExprKind> {
        (0..2).for_each(|_| self.advance());
        if !self.words(&["gap"]) {
            return Err(self.unexpected(&["`gap`"]));
        }
        let gap_ms = self.duration()?;
        let window = self.window()?.unwrap_or(Window::Lifetime);
        self.need_symbol(")", &["a window such as `in last 7d`"])?;
        Ok(ExprKind::Sessions { gap_ms, window })
    }

    /// `event[.path] [where condition]`.
    pub(super) fn selector(&mut self, with_path: bool) -> Parsed<(EventSelector, Option<Path>)> {
        let start = self.span().start;
        let event = self.event()?;
        let mut path = None;
        if self.is_symbol_at(0, ".") {
            if !with_path {
                return Err(SyntaxError::new(self.span(), "no property is needed here")
                    .help("narrow events down with `where`, or count values with unique(…)"));
            }
            self.advance();
            path = Some(self.event_path()?);
        }
        let mut filter = None;
        if self.words(&["where"]) {
            self.inside_where = true;
            let condition = self.expression();
            self.inside_where = false;
            filter = Some(Box::new(condition?));
        }
        Ok((EventSelector { event, filter, span: self.since(start) }, path))
    }

    fn event(&mut self) -> Parsed<Event> {
        const EVENTS: &[&str] =
            &["an event name in quotes", "`page`", "`screen`", "`identify`", "`group`", "`any`"];
        let event = match self.peek() {
            Token::Text(name) => Event::Track(name.clone()),
            Token::Word(word) => match word.as_str() {
                "page" => Event::Page(None),
                "screen" => Event::Screen(None),
                "identify" => Event::Identify,
                "group" => Event::Group,
                "any" => Event::Any,
                "not" => return Err(self.unexpected(EVENTS).help("write `not did(…)`")),
                word => {
                    let error = self.unexpected(EVENTS);
                    return Err(match &error.help {
                        Some(_) => error,
                        None if self.is_symbol_at(1, "(") => error,
                        None => error.help(format!("the name of an event is in quotes: \"{word}\"")),
                    });
                }
            },
            _ => return Err(self.unexpected(EVENTS)),
        };
        self.advance();
        if !matches!(event, Event::Page(_) | Event::Screen(_)) || !self.symbol("(") {
            return Ok(event);
        }
        let name = Some(self.text("a name in quotes")?);
        self.need_symbol(")", &[])?;
        Ok(if matches!(event, Event::Page(_)) { Event::Page(name) } else { Event::Screen(name) })
    }

    pub(super) fn window(&mut self) -> Parsed<Option<Window>> {
        let start = self.span().start;
        if self.words(&["today"]) {
            return Ok(Some(Window::Today));
        }
        if self.words(&["yesterday"]) {
            return Ok(Some(Window::Yesterday));
        }
        if self.words(&["since"]) {
            return Ok(Some(Window::Since(self.date()?)));
        }
        if self.words(&["between"]) {
            let from_ms = self.duration()?;
            if !self.words(&["and"]) {
                return Err(self.unexpected(&["`and`"]));
            }
            let to_ms = self.duration()?;
            if !self.words(&["ago"]) {
                return Err(self.unexpected(&["`ago`"]));
            }
            if from_ms <= to_ms {
                return Err(SyntaxError::new(self.since(start), "this window ends before it starts")
                    .help("the longer time comes first, as in between 60d and 30d ago"));
            }
            return Ok(Some(Window::Between { from_ms, to_ms }));
        }
        let inside = self.words(&["in"]);
        if inside && self.words(&["session"]) {
            return Ok(Some(Window::Session { gap_ms: self.duration()? }));
        }
        let this = self.is_word_at(0, "this");
        if this || self.is_word_at(0, "last") {
            self.advance();
            if inside && matches!(self.peek(), Token::Number(_)) && !this {
                return Ok(Some(Window::InLast { ms: self.duration()? }));
            }
            let unit = match self.peek() {
                Token::Word(word) if word == "week" => CalendarUnit::Week,
                Token::Word(word) if word == "month" => CalendarUnit::Month,
                Token::Word(word) if word == "quarter" => CalendarUnit::Quarter,
                Token::Word(word) if word == "year" => CalendarUnit::Year,
                Token::Number(_) => return Err(self.unexpected(&[]).help("write `in last 7d`")),
                Token::Word(word) if word == "day" || word == "days" => {
                    let units = ["`week`", "`month`", "`quarter`", "`year`"];
                    return Err(self.unexpected(&units).help("write `today`, `yesterday` or `in last 1d`"));
                }
                _ if inside && !this => {
                    return Err(self.unexpected(&[
                        "a duration such as 7d",
                        "`week`",
                        "`month`",
                        "`quarter`",
                        "`year`",
                    ]));
                }
                _ => return Err(self.unexpected(&["`week`", "`month`", "`quarter`", "`year`"])),
            };
            self.advance();
            return Ok(Some(if this { Window::This(unit) } else { Window::Last(unit) }));
        }
        if inside { Err(self.unexpected(&["`last`", "`session`", "`this`"])) } else { Ok(None) }
    }

    fn did(&mut self, any_member: bool) -> Parsed<Did> {
        self.need_symbol("(", &[])?;
        let (selector, _) = self.selector(false)?;
        let mut did = Did {
            any_member,
            steps: vec![Step { negated: false, selector, within_ms: None }],
            without: Vec::new(),
            same: Vec::new(),
            window: Window::Lifetime,
        };
        while self.words(&["then"]) {
            let negated = self.words(&["not"]);
            let (selector, _) = self.selector(false)?;
            let within_ms = if self.words(&["within"]) { Some(self.duration()?) } else { None };
            did.steps.push(Step { negated, selector, within_ms });
        }
        loop {
            let span = self.span();
            if self.words(&["without"]) {
                did.without.push(self.selector(false)?.0);
            } else if self.words(&["same"]) {
                did.same.push(self.event_path()?);
                while self.symbol(",") {
                    did.same.push(self.event_path()?);
                }
            } else if did.window == Window::Lifetime {
                match self.window()? {
                    Some(window) => did.window = window,
                    None => break,
                }
                continue;
            } else {
                break;
            }
            if did.steps.len() < 2 {
                return Err(SyntaxError::new(span, "`without` and `same` need a sequence of events")
                    .help("add a step: did(\"A\" then \"B\" …)"));
            }
        }
        self.need_symbol(")", &could_follow(&did))?;
        Ok(did)
    }
}

/// What could come next in a happening.
fn could_follow(did: &Did) -> Vec<&'static str> {
    let mut could = Vec::new();
    let in_steps = did.window == Window::Lifetime && did.without.is_empty() && did.same.is_empty();
    if in_steps {
        could.push("`then`");
        let last = did.steps.last();
        if last.is_some_and(|step| step.selector.filter.is_none() && step.within_ms.is_none()) {
            could.push("`where`");
        }
        if did.steps.len() > 1 && last.is_some_and(|step| step.within_ms.is_none()) {
            could.push("`within`");
        }
    }
    if did.steps.len() > 1 {
        could.extend(["`without`", "`same`"]);
    }
    if did.window == Window::Lifetime {
        could.push("a window such as `in last 7d`");
    }
    could
}
