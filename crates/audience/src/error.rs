//! Errors of the language: they point at the place, say what was expected and suggest the nearest name.

use crate::ast::Span;

/// Why a text is not an expression, or not one that makes sense there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// The place.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What could have stood there.
    pub expected: Vec<String>,
    /// How to put it right.
    pub help: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), expected: Vec::new(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The message with the line of `source`, a caret underline, what was expected and the help.
    pub fn render(&self, source: &str) -> String {
        let mut start = self.span.start.min(source.len());
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let number = source[..start].matches('\n').count() + 1;
        let column = source[line_start..start].chars().count();
        let mut end = self.span.end.clamp(start, line_end);
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        let width = source[start..end].chars().count().clamp(1, 60);
        // A very long line is shown around the place only.
        let skip = if column > 100 { column - 40 } else { 0 };
        let shown: String = source[line_start..line_end]
            .chars()
            .skip(skip)
            .take(160)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let shown = shown.trim_end();
        let mut out = format!("{} (line {number}, column {})\n", self.message, column + 1);
        out.push_str(&format!("  | {shown}\n  | {}{}\n", " ".repeat(column - skip), "^".repeat(width)));
        if !self.expected.is_empty() {
            out.push_str(&format!("  expected {}\n", self.expected.join(", ")));
        }
        if let Some(help) = &self.help {
            out.push_str(&format!("  {help}\n"));
        }
        out
    }
}
