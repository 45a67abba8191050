//! The record codec: what a log payload says. Golden bytes per version are in `tests/golden.rs`.
//!
//! **Never here:** a file, a position, a rule about what a record means.
//!
//! ```text
//! payload    version u8 = 1 · kind u8 · rest
//! Redacted   kind 0: no rest
//! Messages   kind 1: count u32 · end u32 × count · item × count      `end`: where the item ends, from the first item's start
//! Rejected   kind 2: count · (source · code · detail · body) × count
//! Catalogue  kind 3: JSON to the end
//! Decision   kind 4: JSON to the end
//! item       message_type u8 · ts i64 · message_id · source · name · count · (type · value) × count · group_id · body
//!            or message_type 0 · zeros: a message that was redacted, its index and length kept
//! ```
//!
//! `u32` and `i64` are little-endian; `count` elsewhere and the length before each string or byte string are
//! unsigned LEB128. The table of ends lets a reader jump to one message ([`message_at`]).
//!
//! - **CODEC-1:** decoding what `encode` gave returns the record.
//! - **CODEC-2:** decoding any bytes never panics and allocates in proportion to their number, whatever they claim.
//! - **CODEC-3:** bytes of version 1 decode to the same record in every later release.

mod bytes;
mod view;

pub use view::{MessageView, Messages, message_at, messages, redact_message};

use bytes::{Reader, put_bytes, put_leb};
use onefold_types::Message;

/// The version that `encode` writes.
const VERSION: u8 = 1;

/// Messages that one record may hold: an index in it is a `u16`, and the last one is not an index.
/// A caller with more writes several records.
pub const MESSAGES_MAX: usize = u16::MAX as usize;

/// What a log record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// One HTTP batch of accepted messages, at most [`MESSAGES_MAX`]. [`Record::decode`] leaves out those that were
    /// redacted, so an index counts only in [`messages`] and [`message_at`].
    Messages(Vec<Message>),
    /// Rejected items, kept to be listed and sent again.
    Rejected(Vec<Rejected>),
    /// A catalogue snapshot, as JSON.
    Catalogue(Vec<u8>),
    /// An operator's decision (`DecisionRecord`), as JSON.
    Decision(Vec<u8>),
    /// A record that was redacted whole.
    Redacted,
}

/// One rejected item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The source's key.
    pub source: String,
    /// The machine-readable reason.
    pub code: String,
    /// The reason in words.
    pub detail: String,
    /// The item as it came, cut to the configured length.
    pub body: Vec<u8>,
}

/// Which [`Record`] a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`Record::Redacted`].
    Redacted = 0,
    /// [`Record::Messages`].
    Messages = 1,
    /// [`Record::Rejected`].
    Rejected = 2,
    /// [`Record::Catalogue`].
    Catalogue = 3,
    /// [`Record::Decision`].
    Decision = 4,
}

/// Bytes that are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the payload: expected {expected}")]
pub struct DecodeError {
    /// Where, from the payload's start.
    pub at: usize,
    /// What should stand there.
    pub expected: &'static str,
}

/// What `payload` is, from its first two bytes.
///
/// # Errors
/// Its version or kind is not known.
pub fn kind(payload: &[u8]) -> Result<Kind, DecodeError> {
    split_kind(payload).map(|(kind, _)| kind)
}

/// The kind, and a reader of the rest.
fn split_kind(payload: &[u8]) -> Result<(Kind, Reader<'_>), DecodeError> {
    let mut reader = Reader::new(payload);
    if reader.u8("a version")? != VERSION {
        return Err(DecodeError { at: 0, expected: "version 1, the only one that this release knows" });
    }
    let kind = match reader.u8("a kind")? {
        0 => Kind::Redacted,
        1 => Kind::Messages,
        2 => Kind::Rejected,
        3 => Kind::Catalogue,
        4 => Kind::Decision,
        _ => return Err(DecodeError { at: 1, expected: "a kind from 0 to 4" }),
    };
    Ok((kind, reader))
}

impl Record {
    /// Which one it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Redacted => Kind::Redacted,
            Self::Messages(_) => Kind::Messages,
            Self::Rejected(_) => Kind::Rejected,
            Self::Catalogue(_) => Kind::Catalogue,
            Self::Decision(_) => Kind::Decision,
        }
    }

    /// The record as a payload of the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.kind() as u8];
        match self {
            Self::Redacted => {}
            Self::Messages(messages) => view::put_messages(&mut out, messages),
            Self::Rejected(items) => {
                put_leb(&mut out, items.len() as u64);
                for item in items {
                    put_bytes(&mut out, item.source.as_bytes());
                    put_bytes(&mut out, item.code.as_bytes());
                    put_bytes(&mut out, item.detail.as_bytes());
                    put_bytes(&mut out, &item.body);
                }
            }
            Self::Catalogue(json) | Self::Decision(json) => out.extend_from_slice(json),
        }
        out
    }

    /// The record that `payload` is.
    ///
    /// # Errors
    /// It is none; the error says where and what was expected.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (kind, reader) = split_kind(payload)?;
        match kind {
            Kind::Redacted => {
                reader.end()?;
                Ok(Self::Redacted)
            }
            Kind::Messages => {
                let mut kept = Vec::new();
                for view in messages(payload)? {
                    kept.extend(view?.map(|view| view.to_message()));
                }
                Ok(Self::Messages(kept))
            }
            Kind::Rejected => decode_rejected(reader).map(Self::Rejected),
            Kind::Catalogue => Ok(Self::Catalogue(reader.rest().to_vec())),
            Kind::Decision => Ok(Self::Decision(reader.rest().to_vec())),
        }
    }
}

fn decode_rejected(mut reader: Reader<'_>) -> Result<Vec<Rejected>, DecodeError> {
    let count = reader.leb("the number of items")?;
    // Not reserved ahead: the count is only a claim.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(Rejected {
            source: reader.str("a source's key")?.to_owned(),
            code: reader.str("a code")?.to_owned(),
            detail: reader.str("a detail")?.to_owned(),
            body: reader.bytes("a body")?.to_vec(),
        });
    }
    reader.end()?;
    Ok(items)
}
