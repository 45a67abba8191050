//! The messages of a record without copying them: what the fold reads.

use super::bytes::{Reader, put_bytes, put_leb};
use super::{DecodeError, Kind, MESSAGES_MAX, split_kind};
use onefold_types::{Message, MessageType, Timestamp};

/// The message type that stands for "redacted".
const REDACTED: u8 = 0;
/// Where the table of ends starts: after version, kind and count.
const TABLE: usize = 6;

/// One message of a payload, borrowed from it. The fields are those of [`Message`].
#[derive(Clone, Debug)]
pub struct MessageView<'a> {
    /// Which call.
    pub message_type: MessageType,
    /// Event time, unclamped.
    pub ts: Timestamp,
    /// The client's message id.
    pub message_id: &'a str,
    /// The source's key.
    pub source: &'a str,
    /// The event's, page's or screen's name.
    pub name: &'a str,
    /// `groupId`.
    pub group_id: &'a str,
    /// The message as JSON.
    pub body: &'a [u8],
    /// The identifiers, checked when the view was made.
    ids: Reader<'a>,
    id_count: u64,
}

impl<'a> MessageView<'a> {
    /// The raw identifiers `(type, value)` in order of extraction.
    pub fn ids(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = self.ids.clone();
        (0..self.id_count).map_while(move |_| read_id(&mut reader).ok())
    }

    /// Event time of this message in a record received at `rt`: never after it.
    #[must_use]
    pub fn event_time(&self, rt: Timestamp) -> Timestamp {
        self.ts.min(rt)
    }

    /// The message, copied.
    #[must_use]
    pub fn to_message(&self) -> Message {
        Message {
            message_type: self.message_type,
            ts: self.ts,
            message_id: self.message_id.to_owned(),
            source: self.source.to_owned(),
            name: self.name.to_owned(),
            ids: self.ids().map(|(id_type, value)| (id_type.to_owned(), value.to_owned())).collect(),
            group_id: self.group_id.to_owned(),
            body: self.body.to_vec(),
        }
    }
}

/// The messages of a payload in order; `None` stands for one that was redacted, so that indexes count.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    payload: &'a [u8],
    count: usize,
    next: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Option<MessageView<'a>>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.count {
            return None;
        }
        let item = item(self.payload, self.count, self.next).and_then(view);
        // After an error there is nothing more to say.
        self.next = if item.is_ok() { self.next + 1 } else { self.count };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count - self.next))
    }
}

/// The messages of `payload`.
///
/// # Errors
/// It is not a [`super::Record::Messages`], or its table of messages does not add up.
pub fn messages(payload: &[u8]) -> Result<Messages<'_>, DecodeError> {
    let count = count(payload)?;
    let items = TABLE + 4 * count;
    let last = if count == 0 { items } else { items + end(payload, count - 1)? };
    if last != payload.len() {
        return Err(DecodeError {
            at: last.min(payload.len()),
            expected: "the payload to end with its last message",
        });
    }
    Ok(Messages { payload, count, next: 0 })
}

/// Message `index` of `payload`; `None` if it was redacted. Reads nothing of the others.
///
/// # Errors
/// There is no message `index`, or it does not decode.
pub fn message_at(payload: &[u8], index: u16) -> Result<Option<MessageView<'_>>, DecodeError> {
    item(payload, count(payload)?, usize::from(index)).and_then(view)
}

/// `payload` with message `index` blanked: the same length, every other message and index as before.
///
/// # Errors
/// There is no message `index`.
pub fn redact_message(payload: &[u8], index: u16) -> Result<Vec<u8>, DecodeError> {
    let item = item(payload, count(payload)?, usize::from(index))?;
    let (from, to) = (item.at(), item.at() + item.rest().len());
    let mut redacted = payload.to_vec();
    // `REDACTED` is 0, and so is what fills the item up.
    if let Some(blank) = redacted.get_mut(from..to) {
        blank.fill(REDACTED);
    }
    Ok(redacted)
}

pub(super) fn put_messages(out: &mut Vec<u8>, messages: &[Message]) {
    debug_assert!(messages.len() <= MESSAGES_MAX, "CODEC-1: {} messages in one record", messages.len());
    out.extend_from_slice(&u32_of(messages.len()).to_le_bytes());
    let bodies: usize = messages.iter().map(|m| m.body.len() + 160).sum();
    out.reserve(4 * messages.len() + bodies);
    out.resize(TABLE + 4 * messages.len(), 0);
    let items = out.len();
    for (index, message) in messages.iter().enumerate() {
        put_message(out, message);
        let end = u32_of(out.len() - items).to_le_bytes();
        if let Some(slot) = out.get_mut(TABLE + 4 * index..TABLE + 4 * index + 4) {
            slot.copy_from_slice(&end);
        }
    }
}

/// Past 4 GiB the number is wrong, and the log has refused the payload as too large.
fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    out.push(message.message_type as u8);
    out.extend_from_slice(&message.ts.0.to_le_bytes());
    put_bytes(out, message.message_id.as_bytes());
    put_bytes(out, message.source.as_bytes());
    put_bytes(out, message.name.as_bytes());
    put_leb(out, message.ids.len() as u64);
    for (id_type, value) in &message.ids {
        put_bytes(out, id_type.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_bytes(out, message.group_id.as_bytes());
    put_bytes(out, &message.body);
}

/// How many messages there are; their table is inside the payload.
fn count(payload: &[u8]) -> Result<usize, DecodeError> {
    let (kind, mut reader) = split_kind(payload)?;
    if kind != Kind::Messages {
        return Err(DecodeError { at: 1, expected: "kind 1, messages" });
    }
    let at = reader.at();
    let count = reader.u32("the number of messages")? as usize;
    if count > MESSAGES_MAX {
        return Err(DecodeError { at, expected: "at most 65,535 messages" });
    }
    reader.take(4 * count, "a table with an end for each message")?;
    Ok(count)
}

/// Entry `index` of the table of ends.
fn end(payload: &[u8], index: usize) -> Result<usize, DecodeError> {
    let at = TABLE + 4 * index;
    let mut reader = Reader::part(payload, at, payload.len())
        .ok_or(DecodeError { at, expected: "where a message ends" })?;
    Ok(reader.u32("where a message ends")? as usize)
}

/// A reader of exactly item `index`.
fn item(payload: &[u8], count: usize, index: usize) -> Result<Reader<'_>, DecodeError> {
    if index >= count {
        return Err(DecodeError { at: TABLE, expected: "an index below the number of messages" });
    }
    let items = TABLE + 4 * count;
    let from = if index == 0 { 0 } else { end(payload, index - 1)? };
    let to = end(payload, index)?;
    // Every item has at least its type.
    let part = if from < to { Reader::part(payload, items + from, items + to) } else { None };
    part.ok_or(DecodeError { at: TABLE + 4 * index, expected: "ends that ascend within the payload" })
}

fn view(mut item: Reader<'_>) -> Result<Option<MessageView<'_>>, DecodeError> {
    let at = item.at();
    let code = item.u8("a message type")?;
    if code == REDACTED {
        return Ok(None);
    }
    let message_type =
        MessageType::from_code(code).ok_or(DecodeError { at, expected: "a message type from 0 to 6" })?;
    let ts = Timestamp(item.i64("an event time")?);
    let message_id = item.str("a message id in UTF-8")?;
    let source = item.str("a source's key in UTF-8")?;
    let name = item.str("a name in UTF-8")?;
    let id_count = item.leb("the number of identifiers")?;
    let ids = item.clone();
    for _ in 0..id_count {
        read_id(&mut item)?;
    }
    let group_id = item.str("a group id in UTF-8")?;
    let body = item.bytes("a body")?;
    item.end()?;
    Ok(Some(MessageView { message_type, ts, message_id, source, name, group_id, body, ids, id_count }))
}

fn read_id<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, &'a str), DecodeError> {
    Ok((reader.str("an identifier's type in UTF-8")?, reader.str("an identifier's value in UTF-8")?))
}
