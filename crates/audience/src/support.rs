//! What the evaluator of this version cannot run: it parses and is explained, but `apply` refuses it by name.

use crate::ast::*;

/// Each construct of `expr` that cannot be evaluated, with its place. Empty: all of it can.
pub fn unsupported(expr: &Expr) -> Vec<(Span, String)> {
    let mut found = Vec::new();
    visit(expr, &mut found);
    found
}

fn not_yet(found: &mut Vec<(Span, String)>, span: Span, what: &str) {
    found.push((span, format!("{what} are not evaluated yet")));
}

fn visit(expr: &Expr, found: &mut Vec<(Span, String)>) {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Computed(_) | ExprKind::InAudience(_) => {}
        ExprKind::Path(path) if path.root == Root::Account => not_yet(found, expr.span, "account traits"),
        ExprKind::Path(_) => {}
        ExprKind::And(parts) | ExprKind::Or(parts) => parts.iter().for_each(|part| visit(part, found)),
        ExprKind::Not(inner) => visit(inner, found),
        ExprKind::Compare { left, right, .. } => {
            for (side, other) in [(left, right), (right, left)] {
                let counted = matches!(side.kind, ExprKind::Aggregate(_));
                if counted && !matches!(other.kind, ExprKind::Literal(Literal::Number(_))) {
                    not_yet(found, expr.span, "comparisons of an aggregate with anything but a number");
                    break;
                }
            }
            visit(left, found);
            visit(right, found);
        }
        ExprKind::Text { left, right, .. } => {
            tested(left, found);
            visit(right, found);
        }
        ExprKind::InList { left, .. } | ExprKind::Matches { left, .. } | ExprKind::Exists { left, .. } => {
            tested(left, found);
        }
        ExprKind::Date { left, .. } => {
            not_yet(found, expr.span, "date comparisons");
            visit(left, found);
        }
        ExprKind::Arithmetic { .. } | ExprKind::Negate(_) => not_yet(found, expr.span, "calculations"),
        ExprKind::Aggregate(aggregate) => {
            if aggregate.function != Function::Count {
                not_yet(found, expr.span, &format!("`{}` aggregates", aggregate.function.name()));
            }
            window(&aggregate.window, expr.span, found);
            filter(&aggregate.selector, found);
        }
        ExprKind::Sessions { .. } => not_yet(found, expr.span, "session counts"),
        ExprKind::Did(did) => {
            if did.any_member {
                not_yet(found, expr.span, "conditions on account members");
            }
            if did.steps.len() > 1 {
                not_yet(found, expr.span, "sequences");
            }
            window(&did.window, expr.span, found);
            did.steps.iter().for_each(|step| filter(&step.selector, found));
            did.without.iter().for_each(|selector| filter(selector, found));
        }
    }
}

/// The left side of a test in words: an aggregate there is never compared with a plain number.
fn tested(left: &Expr, found: &mut Vec<(Span, String)>) {
    if matches!(left.kind, ExprKind::Aggregate(_)) {
        not_yet(found, left.span, "comparisons of an aggregate with anything but a number");
    }
    visit(left, found);
}

fn filter(selector: &EventSelector, found: &mut Vec<(Span, String)>) {
    if let Some(filter) = &selector.filter {
        visit(filter, found);
    }
}

fn window(window: &Window, span: Span, found: &mut Vec<(Span, String)>) {
    match window {
        Window::Lifetime | Window::InLast { .. } | Window::Between { .. } => {}
        Window::Session { .. } => not_yet(found, span, "session windows"),
        _ => not_yet(found, span, "calendar windows"),
    }
}
