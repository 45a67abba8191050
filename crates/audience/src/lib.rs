//! The audience language: what an audience is and what a computed trait is, as text and as a tree.
//!
//! **Never here:** I/O, a clock, randomness, threads, or an order that depends on hashing.
//!
//! - LANG-1: `parse(&print(e)) == e` for every tree that the parser can give; printing is a normal form.
//! - LANG-2: no text makes the parser panic, stall or recurse deeper than [`MAX_DEPTH`] levels.
//!
//! Start with [`ast`]; [`parse`] makes the tree, `Display` prints it, [`support`] says what cannot be evaluated yet.

pub mod ast;
mod condition;
pub mod error;
mod evaluate;
pub mod explain;
mod lexer;
pub mod names;
pub mod oracle;
mod parser;
mod plan;
mod print;
mod properties;
mod selector;
mod state;
pub mod support;
pub mod types;
mod value;

pub use ast::{EventSelector, Expr, ExprKind, Span};
pub use error::SyntaxError;
pub use evaluate::{Flip, FlipKind, NewPrimitives, Touched, Traits};
pub use parser::{MAX_DEPTH, MAX_LENGTH, MAX_OPERATORS, parse, parse_selector};
pub use plan::{Plan, PlanError};
pub use selector::Selector;
pub use state::{DecodeError, State};
pub use support::unsupported;
pub use types::{check_condition, check_value};
pub use value::Value;
