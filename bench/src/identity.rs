//! The worst shapes for identity, folded over the embedded store one event at a time.

use crate::table::Table;
use crate::{Args, Outcome};

pub(crate) fn worst_cases(_args: &Args, _table: &mut Table) -> Outcome<()> {
    Ok(())
}
