//! Bodies of quarantined items: they stand in the log, many in one record.

use super::Query;
use crate::batch::record_error;
use crate::error::Error;
use crate::quarantine::Quarantined;
use onefold_log::record::{Kind, Record, Rejected, kind, message_at};
use onefold_types::{EventRef, MessageType, Position, splice};

impl Query<'_, '_> {
    /// The body of a quarantined item; `None` if it was trimmed.
    ///
    /// # Errors
    /// The log failed.
    pub fn quarantined_body(&mut self, at: EventRef) -> Result<Option<Vec<u8>>, Error> {
        self.body_at(at, &mut None)
    }

    /// The bodies of the first of `items`, in their order: as many as have `bytes_max` bytes together, and at least one.
    /// `None` for one that was trimmed. A record is decoded once, however many of its items stand one after the other.
    ///
    /// # Errors
    /// The log failed.
    pub fn quarantined_bodies(
        &mut self,
        items: &[(u64, Quarantined)],
        bytes_max: usize,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let (mut bodies, mut bytes, mut decoded) = (Vec::new(), 0, None);
        for (_, item) in items {
            let body = self.body_at(item.at, &mut decoded)?;
            bytes += body.as_ref().map_or(0, Vec::len);
            if bytes > bytes_max && !bodies.is_empty() {
                break;
            }
            bodies.push(body);
        }
        Ok(bodies)
    }

    /// The body at `at`, out of `decoded` if that is its record; else that becomes it, if it is one of rejected items. A body
    /// is taken out of it, so each can be asked for once.
    fn body_at(
        &mut self,
        at: EventRef,
        decoded: &mut Option<(Position, Vec<Rejected>)>,
    ) -> Result<Option<Vec<u8>>, Error> {
        if let Some((_, items)) = decoded.as_mut().filter(|(position, _)| *position == at.position) {
            return Ok(take(items, at.index));
        }
        let Some(entry) = self.batch.read_kept(at)? else { return Ok(None) };
        let wrong = |error| record_error(&entry, &error);
        if kind(&entry.payload).map_err(wrong)? == Kind::Messages {
            let message = message_at(&entry.payload, at.index).map_err(wrong)?;
            return Ok(message.map(|view| typed(view.body, view.message_type)));
        }
        let Record::Rejected(items) = Record::decode(&entry.payload).map_err(wrong)? else { return Ok(None) };
        Ok(take(&mut decoded.insert((at.position, items)).1, at.index))
    }
}

/// A message's body with its type, which a single call had in its path: sent again it has no other place.
fn typed(body: &[u8], message_type: MessageType) -> Vec<u8> {
    let text = str::from_utf8(body).ok();
    let untyped = text.filter(|text| splice::members(text, "type").is_some_and(|types| types.is_empty()));
    match untyped {
        Some(text) => {
            splice::with_member(text, "type", &format!("\"{}\"", message_type.as_str())).into_bytes()
        }
        None => body.to_vec(),
    }
}

fn take(items: &mut [Rejected], index: u16) -> Option<Vec<u8>> {
    items.get_mut(usize::from(index)).map(|item| std::mem::take(&mut item.body))
}
