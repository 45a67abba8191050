//! What is known of an account: its traits, the calls that made it, who belongs to it.

use super::Query;
use crate::error::Error;
use crate::profile::TraitMap;
use crate::rows;
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::{Identifier, Message, ProfileHandle, Timestamp};

/// A group call that names an account.
#[derive(Clone, Debug)]
pub struct Call {
    /// Event time.
    pub ts: Timestamp,
    /// The message; `None` if retention has trimmed it.
    pub message: Option<Message>,
}

/// Someone who belongs to an account.
#[derive(Clone, Debug)]
pub struct AccountMember {
    /// The handle: places in the list.
    pub handle: ProfileHandle,
    /// The earliest sign of it.
    pub since: Timestamp,
    /// Identifiers, strongest first.
    pub ids: Vec<Identifier>,
}

impl Query<'_, '_> {
    /// An account's traits; `None` if it was never seen.
    ///
    /// # Errors
    /// The store failed.
    pub fn account(&self, group_id: &str) -> Result<Option<TraitMap>, Error> {
        self.batch.account_traits(group_id)
    }

    /// The first and the last group call that names an account, by (time, log position).
    ///
    /// # Errors
    /// The store or the log failed.
    pub fn account_calls(&mut self, group_id: &str) -> Result<(Option<Call>, Option<Call>), Error> {
        Ok((self.call(group_id, Direction::Forward)?, self.call(group_id, Direction::Reverse)?))
    }

    fn call(&mut self, group_id: &str, direction: Direction) -> Result<Option<Call>, Error> {
        let range = KeyRange::prefix(&rows::account_calls(group_id));
        let mut found = None;
        self.batch.txn.scan(Table::Account, &range, direction, &mut |key, _| {
            found = Some(rows::account_call_from(key));
            false
        })?;
        let Some((ts, at)) = found.transpose()? else { return Ok(None) };
        Ok(Some(Call { ts, message: self.message(at)?.map(|(message, _)| message) }))
    }

    /// Who belongs to an account: at most `limit` of them from handle `from`.
    ///
    /// # Errors
    /// The store failed.
    pub fn account_members(
        &mut self,
        group_id: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<AccountMember>, Error> {
        let first = rows::account_member_key(group_id, ProfileHandle(from));
        let range = KeyRange { from: first, ..KeyRange::prefix(&rows::account_members(group_id)) };
        let mut found = Vec::new();
        self.batch.txn.scan(Table::Account, &range, Direction::Forward, &mut |key, value| {
            found.push(rows::account_member_from(key, value));
            found.len() < limit
        })?;
        let mut members = Vec::with_capacity(found.len());
        for row in found {
            let (handle, since) = row?;
            // A member owns the group call that made it one, so it is there.
            let ids = self.batch.who(handle)?.map(|who| who.ids).unwrap_or_default();
            members.push(AccountMember { handle, since, ids });
        }
        Ok(members)
    }
}
