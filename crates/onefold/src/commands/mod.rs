//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod deliveries;
pub(crate) mod profile;
pub(crate) mod serve;
pub(crate) mod workspace;
