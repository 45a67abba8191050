//! The words that every Onefold crate shares: identifiers, time, messages, the workspace and its catalogue.
//!
//! **Never here:** I/O, tokio, axum, a clock, randomness, or a rule of identity or audiences.
//! A type in this crate is plain data; its constructor is its parser (parse, don't validate).
//!
//! Start with [`message`] (what a client sent, as the log keeps it) and [`catalogue`] (what the operator asked for).

pub mod catalogue;
pub mod decision;
pub mod document;
pub mod effect;
pub mod event;
pub mod ids;
pub mod message;
pub mod outbox;
pub mod rejected;
pub mod reserved;
pub mod splice;
pub mod suggest;
pub mod time;
pub mod workspace;

pub use catalogue::Catalogue;
pub use ids::{
    AudienceId, CatalogueVersion, DestinationId, EventRef, Identifier, NameId, NodeId, Position, PrimitiveId,
    ProfileHandle, SetId, SourceId, TraitId,
};
pub use message::{Message, MessageType};
pub use time::Timestamp;
