//! Customer keys and profile ids: each is of the identifier that it leads to, and none that was given is lost.

use super::Verification;
use crate::batch::Batch;
use crate::carried::carried_from;
use crate::changes::{Issued, Kept, key_text, node_customer_key, text_customer_key};
use crate::error::Error;
use crate::profile::Profile;
use crate::rows;
use onefold_identity::engine::Transition;
use onefold_identity::graph::{Cluster, Graph, Node};
use onefold_identity::rules::profile_id;
use onefold_store::{Bytes, Direction, KeyRange, Table};
use onefold_types::{NodeId, ProfileHandle};

impl Batch<'_> {
    /// ATOM: both rows of each customer key, and the rows of profile ids.
    pub(super) fn verify_names(&mut self, found: &mut Verification) -> Result<(), Error> {
        self.each_row(Table::CustomerKey, found, |batch, key, value| match key.split_first() {
            Some((b'n', node)) => batch.issued_key_row(node, value),
            Some((b'k', text)) => batch.key_text_row(text, value),
            Some((b'c', _)) => batch.carried_row(key, value),
            _ => Ok(Some(format!("the row `{}` of the customer keys has no kind", readable(key)))),
        })?;
        self.each_row(Table::ProfileId, found, Self::profile_id_row)?;
        self.each_row(Table::Cluster, found, |batch, key, value| {
            let handle = ProfileHandle(rows::number_from("cluster", key)?);
            let anchor = rows::decode::<Cluster>("cluster", value)?.anchor;
            Ok(batch.without_profile_id(anchor)?.map(|detail| format!("profile {}: {detail}", handle.0)))
        })?;
        self.each_row(Table::Transition, found, |batch, _, value| {
            match rows::decode::<Kept>("trans", value)?.transition {
                // An identifier that was deleted took its profile id along.
                Transition::IdChanged { profile, from, .. }
                    if batch.stored(from)?.is_some_and(|node| node.generation == 0) =>
                {
                    let detail = batch.without_profile_id(from)?;
                    Ok(detail.map(|detail| format!("profile {}, as it was: {detail}", profile.0)))
                }
                _ => Ok(None),
            }
        })
    }

    /// ATOM: the customer key that a profile is told under was issued for one of its identifiers, and is the oldest.
    pub(super) fn verify_key(
        &mut self,
        handle: ProfileHandle,
        profile: &Profile,
        found: &mut Verification,
    ) -> Result<(), Error> {
        let Some((at, told)) = &profile.customer_key else { return Ok(()) };
        let members = self.cluster(handle)?.map(|cluster| cluster.members.clone()).unwrap_or_default();
        let (mut is_issued, mut older) = (false, Vec::new());
        for member in members {
            let own = self.txn.get(Table::CustomerKey, &node_customer_key(member.node))?;
            // What does not decode is a finding of its own row.
            let own = own.and_then(|row| rows::decode::<Issued>("ckey", &row).ok());
            let carried = self.carried_keys(member.node).unwrap_or_default();
            for issued in own.into_iter().chain(carried.into_iter().map(|(_, issued)| issued)) {
                is_issued |= issued.1 == *told;
                if self.is_persons(&member.id_type) && (issued.0, issued.1.as_str()) < (*at, told.as_str()) {
                    older.push(issued.1);
                }
            }
        }
        if !is_issued {
            let detail = format!(
                "profile {} is told under customer key {told}: expected one that was issued for an identifier of it",
                handle.0
            );
            found.find("ATOM", detail);
        } else if let Some(older) = older.into_iter().min() {
            let detail =
                format!("profile {} is told under customer key {told}: expected the older {older}", handle.0);
            found.find("ATOM", detail);
        }
        Ok(())
    }

    /// Shows every row of a table; what `wrong` says of one is a finding, a row that does not decode too.
    fn each_row(
        &mut self,
        table: Table,
        found: &mut Verification,
        wrong: impl Fn(&Self, &[u8], &[u8]) -> Result<Option<String>, Error>,
    ) -> Result<(), Error> {
        let mut failed = None;
        let batch = &*self;
        batch.txn.scan(table, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            match wrong(batch, key, value) {
                Ok(detail) => detail.into_iter().for_each(|detail| found.find("ATOM", detail)),
                Err(Error::Decode { what, .. }) => {
                    let (table, key) = (table.as_str(), readable(key));
                    found.find("ATOM", format!("the row `{key}` of table {table} does not decode as {what}"));
                }
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// What is wrong with the row of the key that was issued for a node.
    fn issued_key_row(&self, node: &[u8], value: &[u8]) -> Result<Option<String>, Error> {
        let number = rows::number_from("ckey", node)?;
        let (_, text): Issued = rows::decode("ckey", value)?;
        let Some(record) = self.stored(NodeId(number))? else {
            return Ok(Some(format!(
                "customer key {text} was issued for identifier {number}, which is not known"
            )));
        };
        let expected = key_text(self.setting.secret, &record.id, record.generation);
        if text != expected {
            return Ok(Some(format!(
                "customer key {text} was issued for {}: expected {expected}",
                record.id
            )));
        }
        let leads = self.txn.get(Table::CustomerKey, &text_customer_key(&text))?;
        if leads.is_none_or(|row| *row != number.to_be_bytes()) {
            return Ok(Some(format!(
                "customer key {text} does not find {}, for which it was issued",
                record.id
            )));
        }
        Ok(None)
    }

    /// What is wrong with the row that leads from a key's text to a node.
    fn key_text_row(&self, text: &[u8], value: &[u8]) -> Result<Option<String>, Error> {
        let node = NodeId(rows::number_from("ckey", value)?);
        let row = self.txn.get(Table::CustomerKey, &node_customer_key(node))?;
        let issued = row.map(|row| rows::decode::<Issued>("ckey", &row)).transpose()?;
        if issued.is_some_and(|(_, issued)| issued.as_bytes() == text) {
            return Ok(None);
        }
        let text = readable(text);
        Ok(Some(match self.stored(node)? {
            Some(record) => {
                format!("customer key {text} leads to {}, for which it was not issued", record.id)
            }
            None => format!("customer key {text} leads to identifier {}, which is not known", node.0),
        }))
    }

    /// What is wrong with the row of a key that came to a node from another.
    fn carried_row(&self, key: &[u8], value: &[u8]) -> Result<Option<String>, Error> {
        let (to, from) = carried_from(key)?;
        let (_, text): Issued = rows::decode("ckey", value)?;
        let (Some(heir), Some(record)) = (self.stored(to)?, self.stored(from)?) else {
            return Ok(Some(format!(
                "customer key {text} came to an identifier that is not known, or from one"
            )));
        };
        let form = self.compiled.rules.normalise(&record.id.id_type, &record.id.value);
        if form.as_ref() != Ok(&heir.id) {
            return Ok(Some(format!(
                "customer key {text} of {} came to {}: expected its form, {form:?}",
                record.id, heir.id
            )));
        }
        let issued = self.txn.get(Table::CustomerKey, &node_customer_key(from))?;
        Ok((issued.as_deref() != Some(value))
            .then(|| format!("customer key {text} came to {}, and is not that of {}", heir.id, record.id)))
    }

    /// What is wrong with a profile id's row.
    fn profile_id_row(&self, key: &[u8], value: &[u8]) -> Result<Option<String>, Error> {
        let node = NodeId(rows::number_from("pid", value)?);
        let id = readable(key);
        let Some(record) = self.stored(node)? else {
            return Ok(Some(format!("profile id {id} leads to identifier {}, which is not known", node.0)));
        };
        let expected = profile_id(self.setting.secret, &record.id, record.generation);
        Ok((id != expected).then(|| format!("profile id {id} leads to {}: expected {expected}", record.id)))
    }

    /// What is wrong if the profile id that is made of a node does not lead to it.
    fn without_profile_id(&self, anchor: NodeId) -> Result<Option<String>, Error> {
        let Some(record) = self.stored(anchor)? else {
            return Ok(Some(format!("its id is made of identifier {}, which is not known", anchor.0)));
        };
        let id = profile_id(self.setting.secret, &record.id, record.generation);
        let row: Option<Bytes> = self.txn.get(Table::ProfileId, id.as_bytes())?;
        Ok(match row {
            Some(row) if *row == anchor.0.to_be_bytes() => None,
            _ => Some(format!("its id {id} does not find {}, of which it is made", record.id)),
        })
    }

    fn stored(&self, node: NodeId) -> Result<Option<Node>, Error> {
        let row = self.txn.get(Table::Node, &rows::number_key(node.0))?;
        row.map(|row| rows::decode("node", &row)).transpose()
    }
}

fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}
