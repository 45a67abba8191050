//! User ids that differ in nothing but case: two people to Onefold, and often one whose clients spell the id in two ways.
//!
//! A user id is case-sensitive (identity.md 1.1), so nothing is joined here; it is only said, once on the live stream and
//! for as long as both are somebody's in a list (identity.md, case 36). The ids of other systems are left out: in some of
//! them, such as the short ids of Salesforce, case alone tells two records apart by design.
//!
//! A row per user id with a capital is all that is kept: of two ids that differ in case at least one has one.

use crate::batch::Batch;
use crate::error::Error;
use crate::report::Happening;
use crate::rows;
use onefold_identity::graph::Graph;
use onefold_store::{Bytes, Direction, KeyRange, Read, Table};
use onefold_types::Identifier;
use onefold_types::event::TEXT_BYTES_MAX;

const USER_ID: &str = "user_id";

/// `length of the lower-case form · that form`: what the rows of one form begin with.
fn form_key(form: &str) -> Bytes {
    // An identifier is at most as long as a message.
    let length = u32::try_from(form.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length, form.as_bytes()].concat().into()
}

/// The row of the user id `value`, whose lower-case form is `form`.
fn spelling_key(form: &str, value: &str) -> Bytes {
    [&*form_key(form), value.as_bytes()].concat().into()
}

/// A row's lower-case form and the id as it was sent.
fn spelling_from(key: &[u8]) -> Result<(String, String), Error> {
    let parts = (|| {
        let (length, rest) = key.split_first_chunk::<4>()?;
        let (form, value) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        Some((text(form)?, text(value)?))
    })();
    parts.ok_or(Error::Decode { what: "spelling", source: None })
}

/// The rows in `range`, at most `limit`.
fn spellings(store: &dyn Read, range: &KeyRange, limit: usize) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    store.scan(Table::Spelling, range, Direction::Forward, &mut |key, _| {
        found.push(spelling_from(key));
        found.len() < limit
    })?;
    found.into_iter().collect()
}

/// Whether any row is there; without one a new user id without a capital has nothing to be compared with.
pub(crate) fn has_any(store: &dyn Read) -> Result<bool, Error> {
    Ok(!spellings(store, &KeyRange::prefix(&[]), 1)?.is_empty())
}

impl Batch<'_> {
    /// `id` is new: is it another spelling of one that is known?
    pub(crate) fn compare_spelling(&mut self, id: &Identifier) -> Result<(), Error> {
        // One that is longer than clients may send stands in keys as its hash, which has no case.
        if id.id_type != USER_ID || id.value.len() > TEXT_BYTES_MAX {
            return Ok(());
        }
        let form = id.value.to_lowercase();
        let mut others = Vec::new();
        if self.memory.capitals {
            let found = spellings(self.txn.as_ref(), &KeyRange::prefix(&form_key(&form)), usize::MAX)?;
            others.extend(found.into_iter().map(|(_, value)| value).filter(|value| *value != id.value));
        }
        if form != id.value {
            let plain = Identifier::new(USER_ID, &form);
            if self.node_of(&plain)?.is_some() {
                others.push(form.clone());
            }
            self.txn.put(Table::Spelling, spelling_key(&form, &id.value), Vec::new());
            self.memory.capitals = true;
        }
        if !others.is_empty() {
            self.report.note(Happening::NearDuplicate { id: id.clone(), others });
        }
        Ok(())
    }

    /// Lower-case forms after `after` under which several user ids are somebody's, each with its ids; at most `limit`.
    pub(crate) fn near_duplicates(
        &mut self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<Identifier>)>, Error> {
        const ROWS: usize = 1_000;
        let mut range = KeyRange::prefix(&[]);
        if let Some(after) = after {
            range.from = KeyRange::prefix(&form_key(after)).to;
        }
        let mut found = Vec::new();
        loop {
            let rows = spellings(self.txn.as_ref(), &range, ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(found) };
            range.from = KeyRange::prefix(&form_key(last)).to;
            let mut forms: Vec<&String> = rows.iter().map(|(form, _)| form).collect();
            forms.dedup();
            for form in forms {
                let known = self.known_spellings(form)?;
                if known.len() > 1 {
                    found.push((form.clone(), known));
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            self.memory.relax();
        }
    }

    /// What is wrong with the rows: exactly the user ids with a capital that are known have one each.
    pub(crate) fn wrong_spellings(&self) -> Result<Vec<String>, Error> {
        let mut wrong = Vec::new();
        let mut failed = None;
        let mut note = |detail: Result<Option<String>, onefold_store::Error>| {
            match detail {
                Ok(detail) => wrong.extend(detail),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        };
        let txn = self.txn.as_ref();
        let all = KeyRange::prefix(&[]);
        txn.scan(Table::Spelling, &all, Direction::Forward, &mut |key, _| note(without_user_id(txn, key)))?;
        let user_ids = rows::ident_key(USER_ID, "");
        txn.scan(Table::Ident, &KeyRange::prefix(&user_ids), Direction::Forward, &mut |key, _| {
            note(without_spelling(txn, key.get(user_ids.len()..).unwrap_or_default()))
        })?;
        failed.map_or(Ok(wrong), |error| Err(error.into()))
    }

    /// The user ids of a lower-case form that are in somebody's profile.
    fn known_spellings(&mut self, form: &str) -> Result<Vec<Identifier>, Error> {
        let rows = spellings(self.txn.as_ref(), &KeyRange::prefix(&form_key(form)), usize::MAX)?;
        let mut known = Vec::new();
        for value in rows.into_iter().map(|(_, value)| value).chain([form.to_owned()]) {
            let id = Identifier::new(USER_ID, &value);
            let Some(node) = self.node_of(&id)? else { continue };
            let record = self.node(node)?;
            if record.is_some_and(|node| node.cluster != onefold_identity::graph::NO_CLUSTER) {
                known.push(id);
            }
        }
        Ok(known)
    }
}

/// What is wrong with a row, if anything: it is of a known user id, under its lower-case form, which is another.
fn without_user_id(store: &dyn Read, key: &[u8]) -> Result<Option<String>, onefold_store::Error> {
    let Ok((form, value)) = spelling_from(key) else {
        let key = String::from_utf8_lossy(key).escape_debug().to_string();
        return Ok(Some(format!("the row `{key}` of the spellings of user ids does not decode")));
    };
    let lower = value.to_lowercase();
    if form != lower || lower == value {
        return Ok(Some(format!("user_id:{value} is listed as a spelling of `{form}`: expected `{lower}`")));
    }
    let known = store.get(Table::Ident, &rows::ident_key(USER_ID, &value))?;
    Ok(known
        .is_none()
        .then(|| format!("user_id:{value} is listed as a spelling of `{form}`, and is no known user id")))
}

/// What is wrong with the known user id `value`, if anything: one with a capital has its row.
fn without_spelling(store: &dyn Read, value: &[u8]) -> Result<Option<String>, onefold_store::Error> {
    let Ok(value) = std::str::from_utf8(value) else { return Ok(None) };
    let form = value.to_lowercase();
    if form == value || store.get(Table::Spelling, &spelling_key(&form, value))?.is_some() {
        return Ok(None);
    }
    Ok(Some(format!("user_id:{value} is not listed as a spelling of `{form}`")))
}
