//! What is true of a profile already, for the destinations that a change of the catalogue gave a new route.
//!
//! A profile is told of once per route: when it is brought up to date with the version in which the route began. So an
//! entry comes before every exit, at its own instant, and what the same change of definitions begins goes to everyone.

use crate::batch::Batch;
use crate::effects::Transition;
use crate::error::Error;
use crate::profile::Profile;
use crate::routes::is_new;
use crate::rows;
use onefold_audience::{Flip, FlipKind};
use onefold_store::Table;
use onefold_types::effect::{Cause, Change};
use onefold_types::{AudienceId, DestinationId, ProfileHandle, Timestamp, outbox};

impl Batch<'_> {
    /// Sends the memberships and values of a profile, as they are at the cut, to the destinations that do not know them
    /// yet; what the `flips` of the cut say is not said twice.
    pub(crate) fn send_present(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        flips: &[Flip],
        cut: Timestamp,
    ) -> Result<(), Error> {
        let mut present = Vec::new();
        for audience in profile.state.members() {
            let change = Change::Entered { audience: *audience, initial: true };
            let is_told = flips.iter().any(|flip| flip.kind == FlipKind::Entered(*audience));
            if !is_told && self.is_news(&change, profile) {
                present.push((self.member_since(*audience, handle)?.unwrap_or(cut), change));
            }
        }
        for (id, value) in profile.state.computed() {
            let change = Change::TraitComputed { computed_trait: *id, value: value.to_string() };
            let is_told = |flip: &Flip| matches!(flip.kind, FlipKind::Computed(known, _) if known == *id);
            if !flips.iter().any(is_told) && self.is_news(&change, profile) {
                present.push((profile.computed_since(*id).unwrap_or(cut), change));
            }
        }
        present.sort_by_key(|(since, _)| *since);
        for (effective, change) in present {
            let transition = Transition { profile: handle, effective, change, cause: Cause::Definition };
            self.emit_present(profile, &transition)?;
        }
        Ok(())
    }

    /// Whether any destination does not know yet what `change` says.
    fn is_news(&self, change: &Change, profile: &Profile) -> bool {
        let routes = &self.compiled.routes;
        let to: Option<&Vec<DestinationId>> = match change {
            Change::Entered { audience, .. } => routes.audiences.get(audience),
            Change::TraitComputed { computed_trait, .. } => routes.computed.get(computed_trait),
            _ => None,
        };
        let is_new = |to: &DestinationId| is_new(&self.compiled.catalogue, change, *to, profile.catalogue);
        to.is_some_and(|to| to.iter().any(is_new))
    }

    /// Since when a profile is in an audience, as the audience's list has it: the effective instant of the entry; `None`
    /// if it is not in it.
    pub(crate) fn member_since(
        &self,
        audience: AudienceId,
        profile: ProfileHandle,
    ) -> Result<Option<Timestamp>, Error> {
        let row = self.txn.get(Table::AudienceMember, &outbox::member_key(audience.0, profile))?;
        row.map(|row| rows::instant_from("audience", &row)).transpose()
    }
}
