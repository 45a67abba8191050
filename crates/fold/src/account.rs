//! Accounts: what group calls say of them, whoever made them.
//!
//! A trait of an account is the latest that a group call set, by event time. Each call has a row, so that a call can be
//! taken back: the traits that it had set are then looked for in the others.
//!
//! Who belongs to an account is the profiles' business; here it has a row per account and profile, written when the
//! membership is new, or known from earlier on.

use crate::batch::{Batch, record_error};
use crate::error::Error;
use crate::message::traits_of;
use crate::profile::{Profile, Stamp, TraitMap, TraitValue, bound_traits, set_trait};
use crate::rows;
use onefold_log::record::{MessageView, message_at};
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::{EventRef, MessageType, ProfileHandle, Timestamp};
use std::collections::BTreeMap;

/// Accounts by id, each with the earliest sign of it.
type Accounts = BTreeMap<String, Timestamp>;

impl Batch<'_> {
    /// A group call sets the account's traits.
    pub(crate) fn fold_account(
        &mut self,
        at: EventRef,
        view: &MessageView<'_>,
        ts: Timestamp,
    ) -> Result<(), Error> {
        self.txn.put(Table::Account, rows::account_call_key(view.group_id, ts, at), Vec::new());
        let mut traits = self.account_traits(view.group_id)?.unwrap_or_default();
        says(&mut traits, view, ts);
        self.memory.counters.traits_over += bound_traits(&mut traits).len() as u64;
        self.put_account(view.group_id, &traits)
    }

    /// Takes back what a message said of an account, if it said anything.
    pub(crate) fn forget_account_call(
        &mut self,
        at: EventRef,
        view: &MessageView<'_>,
        ts: Timestamp,
    ) -> Result<(), Error> {
        if view.message_type != MessageType::Group {
            return Ok(());
        }
        self.txn.delete(Table::Account, rows::account_call_key(view.group_id, ts, at));
        let mut traits = self.account_traits(view.group_id)?.unwrap_or_default();
        let known = traits.len();
        traits.retain(|_, value| value.stamp.message_id != view.message_id);
        let mut calls = Vec::new();
        let range = KeyRange::prefix(&rows::account_calls(view.group_id));
        self.txn.scan(Table::Account, &range, Direction::Forward, &mut |key, _| {
            calls.push(rows::account_call_from(key));
            // One is enough to know that the account has any.
            known != traits.len()
        })?;
        if calls.is_empty() {
            self.txn.delete(Table::Account, rows::account_key(view.group_id));
            return Ok(());
        }
        if known != traits.len() {
            for call in calls {
                let (ts, at) = call?;
                // What a trimmed call set and a later one did not is in the row still.
                let Some(record) = self.read_kept(at)? else { continue };
                let view = message_at(&record.payload, at.index).map_err(|e| record_error(&record, &e))?;
                if let Some(view) = view {
                    says(&mut traits, &view, ts);
                    // What is over the limit was counted when it came.
                    bound_traits(&mut traits);
                }
            }
        }
        self.put_account(view.group_id, &traits)
    }

    /// Brings the lists of accounts' members up to date with the accounts that a profile had and has.
    pub(crate) fn index_accounts(&mut self, handle: ProfileHandle, before: &Accounts, after: &Accounts) {
        for account in before.keys().filter(|account| !after.contains_key(*account)) {
            self.txn.delete(Table::Account, rows::account_member_key(account, handle));
        }
        for (account, since) in after.iter().filter(|(account, since)| before.get(*account) != Some(since)) {
            self.put_account_member(account, handle, *since);
        }
    }

    /// A profile belongs to an account, by a sign of it at `ts`.
    pub(crate) fn join(
        &mut self,
        handle: ProfileHandle,
        profile: &mut Profile,
        account: &str,
        ts: Timestamp,
    ) {
        if profile.joins(account, ts) {
            self.put_account_member(account, handle, ts);
            for account in profile.bound_accounts() {
                self.txn.delete(Table::Account, rows::account_member_key(&account, handle));
                self.memory.counters.accounts_over += 1;
            }
        }
    }

    fn put_account_member(&mut self, account: &str, handle: ProfileHandle, since: Timestamp) {
        self.txn.put(Table::Account, rows::account_member_key(account, handle), since.to_key().to_vec());
    }

    /// An account's traits; `None` if no group call names it.
    pub(crate) fn account_traits(&self, group_id: &str) -> Result<Option<TraitMap>, Error> {
        let bytes = self.txn.get(Table::Account, &rows::account_key(group_id))?;
        bytes.map(|bytes| rows::decode("account", &bytes)).transpose()
    }

    fn put_account(&mut self, group_id: &str, traits: &TraitMap) -> Result<(), Error> {
        self.txn.put(Table::Account, rows::account_key(group_id), rows::encode(traits)?);
        Ok(())
    }
}

fn says(traits: &mut TraitMap, view: &MessageView<'_>, ts: Timestamp) {
    let stamp = Stamp { ts, message_id: view.message_id.to_owned() };
    for (name, json) in traits_of(view.body) {
        let value = TraitValue { json, stamp: stamp.clone(), source: view.source.to_owned() };
        set_trait(traits, &name, value);
    }
}
