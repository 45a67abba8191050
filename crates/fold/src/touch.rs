//! What the current instant did to a profile, until it is settled.

use onefold_types::effect::Cause;
use onefold_types::{DestinationId, EventRef};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Touch {
    /// Which primitives may have another value.
    pub(crate) primitives: onefold_audience::Touched,
    /// The profile's state is to be rebuilt from its streams.
    pub(crate) rebuild: bool,
    /// Plain traits that changed, with the JSON a reader saw before.
    pub(crate) traits_before: BTreeMap<String, Option<String>>,
    /// Messages that destinations want.
    pub(crate) forwards: Vec<(DestinationId, EventRef, String)>,
    /// The first cause; later ones of the same instant add nothing to the net change.
    pub(crate) cause: Option<Cause>,
}

impl Touch {
    pub(crate) fn because(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    /// Takes over what was noted of a profile that this one absorbed. Not what a reader saw of its traits: that was
    /// said in its own lane, and the survivor's readers saw the survivor's.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.rebuild |= other.rebuild;
        self.forwards.extend(other.forwards);
        if let Some(cause) = other.cause {
            self.because(cause);
        }
    }
}
