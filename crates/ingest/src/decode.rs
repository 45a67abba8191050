//! From a body to messages and rejections: each item on its own, the good ones whatever the others are (INGEST-2).

use crate::answer::{Refusal, Rejection};
use crate::limits::Limits;
use crate::merge::Common;
use crate::{records, rewrite};
use axum::http::StatusCode;
use onefold_log::record::Rejected;
use onefold_types::event::{extract, members, parse_time, resolve_time};
use onefold_types::workspace::{Source, SourceKind};
use onefold_types::{Message, MessageType, Timestamp, rejected};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of a body that concern the request and not a message.
#[derive(Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    batch: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "writeKey")]
    write_key: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "sentAt")]
    sent_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    integrations: Option<&'a RawValue>,
}

fn string(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

impl<'a> Request<'a> {
    /// Reads the outer members.
    pub(crate) fn read(body: &'a str) -> Result<Self, Refusal> {
        if !body.trim_start().starts_with('{') {
            return Err(Refusal::final_(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                "the body is not a JSON object; expected `{…}`",
            ));
        }
        serde_json::from_str(body).map_err(|error| {
            Refusal::final_(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                format!("the body is not valid JSON: {error}"),
            )
        })
    }

    pub(crate) fn write_key(&self) -> Option<String> {
        string(self.write_key)
    }

    fn sent_at(&self) -> Option<SentAt<'a>> {
        let text = self.sent_at?.get();
        let at = string(self.sent_at).and_then(|text| parse_time(&text))?;
        Some(SentAt { at, text })
    }
}

/// When a request was sent, as the client says.
#[derive(Clone, Copy)]
struct SentAt<'a> {
    at: Timestamp,
    /// Its JSON.
    text: &'a str,
}

/// Who sent a request, and when it came.
pub(crate) struct Origin<'a> {
    pub(crate) source: &'a Source,
    pub(crate) ip: Option<String>,
    pub(crate) received_at: Timestamp,
}

/// What became of a request's items.
#[derive(Default)]
pub(crate) struct Decoded {
    pub(crate) messages: Vec<Message>,
    pub(crate) rejected: Vec<(Rejection, Rejected)>,
}

/// One call: the body is the message.
pub(crate) fn single(
    body: &str,
    request: &Request<'_>,
    call: MessageType,
    origin: &Origin<'_>,
    limits: &Limits,
) -> Decoded {
    let (call, sent_at) = (Some(call), request.sent_at());
    let most = limits.single_bytes;
    let mut items = Items { call, sent_at, most, origin, limits, decoded: Decoded::default() };
    items.take(0, body);
    items.decoded
}

/// An item of the quarantine that is sent again; `origin` says when it came first. Its event time is what it would have been
/// then, also if that was the receive time. One without a message id gets `message_id`, so that sending it twice counts
/// once.
pub(crate) fn again(item: &str, message_id: &str, origin: &Origin<'_>, limits: &Limits) -> Decoded {
    // It was a single call or one of a batch.
    let most = limits.single_bytes.max(limits.item_bytes);
    let decoded = Decoded::default();
    let mut items = Items { call: None, sent_at: None, most, origin, limits, decoded };
    items.take(0, item);
    for message in &mut items.decoded.messages {
        message.ts = message.ts.min(origin.received_at);
        if message.message_id.starts_with(MADE_UP) {
            message.message_id = message_id.to_owned();
        }
    }
    items.decoded
}

/// How a message id begins that was made here because the client gave none.
const MADE_UP: &str = "onefold-";

/// A batch: its items name their own types.
pub(crate) struct Batch<'a> {
    items: Vec<&'a RawValue>,
    /// What they share; in words, why that cannot be used.
    common: Result<Option<Common>, String>,
    sent_at: Option<SentAt<'a>>,
}

impl<'a> Batch<'a> {
    /// Finds the items, and refuses a batch that would grow beyond the limits with what they share.
    pub(crate) fn read(request: &Request<'a>, limits: &Limits) -> Result<Self, Refusal> {
        let bad = |detail: &str| Refusal::final_(StatusCode::BAD_REQUEST, "missing_batch", detail.to_owned());
        let raw = request.batch.ok_or_else(|| bad("the body has no `batch`; expected a list of messages"))?;
        let items: Vec<&RawValue> = serde_json::from_str(raw.get())
            .map_err(|_| bad("`batch` is not a list; expected a list of messages"))?;
        let large = |code, detail| Err(Refusal::final_(StatusCode::PAYLOAD_TOO_LARGE, code, detail));
        if items.len() > limits.batch_items {
            let detail =
                format!("the batch has {} items; expected at most {}", items.len(), limits.batch_items);
            return large("too_many_items", detail);
        }
        let common = Common::read(request.context, request.integrations);
        let batch = Self { items, common, sent_at: request.sent_at() };
        let shared = batch.shared().map_or(0, Common::bytes);
        if shared > limits.item_bytes {
            let most = limits.item_bytes;
            let detail = format!(
                "`context` and `integrations` of the batch, which each message gets, have {shared} bytes; \
                 expected at most {most}, the limit of a message"
            );
            return large("too_large", detail);
        }
        if batch.added() > limits.added_bytes() {
            let detail = format!(
                "`context` and `integrations` of the batch come to {} bytes over its {} messages; expected at most {}: \
                 send fewer messages at a time",
                batch.added(),
                batch.items.len(),
                limits.added_bytes()
            );
            return large("too_large", detail);
        }
        Ok(batch)
    }

    fn shared(&self) -> Option<&Common> {
        self.common.as_ref().ok().and_then(Option::as_ref)
    }

    /// Bytes that its items get longer by what they share, all together, at most.
    pub(crate) fn added(&self) -> usize {
        self.shared().map_or(0, |common| common.bytes().saturating_mul(self.items.len()))
    }

    /// How many items it has.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes the items one by one.
    pub(crate) fn decode(self, origin: &Origin<'_>, limits: &Limits) -> Decoded {
        let decoded = Decoded { messages: Vec::with_capacity(self.items.len()), rejected: Vec::new() };
        let (sent_at, most) = (self.sent_at, limits.item_bytes);
        let mut items = Items { call: None, sent_at, most, origin, limits, decoded };
        for (index, item) in self.items.into_iter().map(RawValue::get).enumerate() {
            match &self.common {
                Ok(None) => items.take(index, item),
                Ok(Some(common)) if item.len() + common.bytes() > most => items.outgrown(index, item, common),
                Ok(Some(common)) => items.take(index, &common.merged(item)),
                Err(detail) => items.reject(index, "invalid_field", detail.clone(), item),
            }
        }
        items.decoded
    }
}

/// The items of a request on their way.
struct Items<'a> {
    /// The type that the path names.
    call: Option<MessageType>,
    sent_at: Option<SentAt<'a>>,
    /// Bytes that an item may have.
    most: usize,
    origin: &'a Origin<'a>,
    limits: &'a Limits,
    decoded: Decoded,
}

impl Items<'_> {
    fn take(&mut self, index: usize, item: &str) {
        let limits = self.limits;
        if item.len() > self.most {
            return self.too_large(index, item);
        }
        let depth = rewrite::depth(item);
        if depth > limits.depth {
            let detail = format!("arrays and objects nest {depth} deep; expected at most {}", limits.depth);
            return self.reject(index, "too_deep", detail, item);
        }
        let extracted = match extract(item, self.call) {
            Ok(extracted) => extracted,
            Err(error) => return self.reject(index, error.code, error.detail, item),
        };
        // Counting costs a parse, and few items are long enough to have too many.
        if extracted.members_most > limits.properties {
            let members = members(item);
            if members > limits.properties {
                let most = limits.properties;
                let detail =
                    format!("the message has {members} properties or traits; expected at most {most}");
                return self.reject(index, "too_many_properties", detail, item);
            }
        }
        let too_long = extracted.message_id_too_long(limits.message_id_chars);
        if let Some(error) = too_long.or_else(|| extracted.too_long(limits.name_bytes)) {
            return self.reject(index, error.code, error.detail, item);
        }
        let source = self.origin.source;
        let sent_at = extracted.sent_at.or(self.sent_at.map(|sent| sent.at));
        let client_side = matches!(source.kind, SourceKind::Browser | SourceKind::Mobile) || extracted.direct;
        let mut body = rewrite::without_write_key(item);
        if let Some(ip) = self.origin.ip.as_ref().filter(|_| client_side && !extracted.has_ip) {
            body = rewrite::with_ip(&body, ip);
        }
        let message = Message {
            message_type: extracted.message_type,
            ts: resolve_time(extracted.timestamp, sent_at, self.origin.received_at),
            message_id: extracted.message_id.unwrap_or_else(|| format!("{MADE_UP}{}", uuid::Uuid::now_v7())),
            source: source.key.clone(),
            name: extracted.name,
            ids: extracted.ids,
            group_id: extracted.group_id,
            body: body.into_bytes(),
        };
        let bytes = records::bytes_of_message(&message);
        if bytes > limits.record_bytes {
            let most = limits.record_bytes;
            let detail = format!("the message takes {bytes} bytes in the log; expected at most {most}");
            return self.reject(index, "too_large", detail, item);
        }
        self.decoded.messages.push(message);
    }

    fn too_large(&mut self, index: usize, item: &str) {
        let detail = format!("the message has {} bytes; expected at most {}", item.len(), self.most);
        self.reject(index, "too_large", detail, item);
    }

    /// An item that is too large with what the batch gives it: it is not made, so it is kept without that.
    fn outgrown(&mut self, index: usize, item: &str, common: &Common) {
        if item.len() > self.most {
            return self.too_large(index, item);
        }
        let detail = format!(
            "the message has {} bytes, and {} of the batch's `context` and `integrations` come to it; \
             expected at most {}",
            item.len(),
            common.bytes(),
            self.most
        );
        let kept = self.alone(item);
        let kept = rejected::cut(&kept, self.limits.kept_bytes(), "without what its batch gave it");
        self.keep(index, "too_large", detail, kept);
    }

    fn reject(&mut self, index: usize, code: &'static str, detail: String, item: &str) {
        let kept = rejected::kept(&self.alone(item), self.limits.kept_bytes());
        self.keep(index, code, detail, kept);
    }

    /// The item with what it takes from its request, for when it is sent again without that, and without the write key.
    fn alone(&self, item: &str) -> String {
        let mut alone = rewrite::without_write_key(item);
        if let Some(call) = self.call {
            alone = rewrite::with_type(&alone, call.as_str());
        }
        match self.sent_at {
            Some(sent_at) => rewrite::with_sent_at(&alone, sent_at.text),
            None => alone,
        }
    }

    fn keep(&mut self, index: usize, code: &'static str, detail: String, body: Vec<u8>) {
        let source = self.origin.source.key.clone();
        let kept = Rejected { source, code: code.to_owned(), detail: detail.clone(), body };
        self.decoded.rejected.push((Rejection { index, code, detail }, kept));
    }
}
