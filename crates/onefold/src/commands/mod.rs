//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod deliveries;
pub(crate) mod profile;
pub(crate) mod quarantine;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod verify;
pub(crate) mod workspace;
