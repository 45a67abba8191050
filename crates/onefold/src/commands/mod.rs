//! The commands, one file each, and what they share.

pub(crate) mod check;
pub(crate) mod decisions;
pub(crate) mod deliveries;
pub(crate) mod profile;
mod profiles;
pub(crate) mod quarantine;
mod question;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod text;
pub(crate) mod verify;
pub(crate) mod workspace;
