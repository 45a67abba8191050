//! From a body to messages and rejections: each item on its own, the good ones whatever the others are (INGEST-2).

use crate::answer::{Refusal, Rejection};
use crate::limits::Limits;
use crate::rewrite;
use axum::http::StatusCode;
use onefold_log::record::Rejected;
use onefold_types::event::{extract, parse_time, resolve_time};
use onefold_types::workspace::{Source, SourceKind};
use onefold_types::{Message, MessageType, Timestamp};
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

impl Decoded {
    fn reject(
        &mut self,
        index: usize,
        code: &str,
        detail: String,
        (call, item): (Option<MessageType>, &str),
        origin: &Origin<'_>,
        limits: &Limits,
    ) {
        let mut kept = rewrite::without_write_key(item);
        if let Some(call) = call {
            kept = rewrite::with_type(&kept, call.as_str());
        }
        let mut kept = kept.into_bytes();
        kept.truncate(limits.rejected_bytes);
        let source = origin.source.key.clone();
        let kept = Rejected { source, code: code.to_owned(), detail: detail.clone(), body: kept };
        self.rejected.push((Rejection { index, code: code.to_owned(), detail }, kept));
    }
}

/// One call: the body is the message.
pub(crate) fn single(
    body: &str,
    request: &Request<'_>,
    call: MessageType,
    origin: &Origin<'_>,
    limits: &Limits,
) -> Decoded {
    let mut decoded = Decoded::default();
    let sent_at = string(request.sent_at).and_then(|text| parse_time(&text));
    decoded.item(0, body, Some(call), sent_at, origin, limits);
    decoded
}

/// An item of the quarantine that is sent again. One without a message id gets `message_id`, so that sending it twice
/// counts once.
pub(crate) fn again(item: &str, message_id: &str, origin: &Origin<'_>, limits: &Limits) -> Decoded {
    let mut decoded = Decoded::default();
    decoded.item(0, item, None, None, origin, limits);
    for message in decoded.messages.iter_mut().filter(|message| message.message_id.starts_with(MADE_UP)) {
        message.message_id = message_id.to_owned();
    }
    decoded
}

/// How a message id begins that was made here because the client gave none.
const MADE_UP: &str = "onefold-";

/// A batch: its items name their own types.
pub(crate) fn batch(request: &Request<'_>, origin: &Origin<'_>, limits: &Limits) -> Result<Decoded, Refusal> {
    let bad = |code, detail: String| Refusal::final_(StatusCode::BAD_REQUEST, code, detail);
    let raw = request.batch.ok_or_else(|| {
        bad("missing_batch", "the body has no `batch`; expected a list of messages".to_owned())
    })?;
    let items: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| bad("missing_batch", "`batch` is not a list; expected a list of messages".to_owned()))?;
    if items.len() > limits.batch_items {
        return Err(Refusal::final_(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_items",
            format!("the batch has {} items; expected at most {}", items.len(), limits.batch_items),
        ));
    }
    let sent_at = string(request.sent_at).and_then(|text| parse_time(&text));
    let common = request.context.is_some() || request.integrations.is_some();
    let mut decoded = Decoded { messages: Vec::with_capacity(items.len()), rejected: Vec::new() };
    for (index, item) in items.into_iter().enumerate() {
        if common {
            let item = rewrite::merged(item.get(), request.context, request.integrations);
            decoded.item(index, &item, None, sent_at, origin, limits);
        } else {
            decoded.item(index, item.get(), None, sent_at, origin, limits);
        }
    }
    Ok(decoded)
}

impl Decoded {
    fn item(
        &mut self,
        index: usize,
        item: &str,
        call: Option<MessageType>,
        batch_sent_at: Option<Timestamp>,
        origin: &Origin<'_>,
        limits: &Limits,
    ) {
        if item.len() > limits.item_bytes {
            let detail =
                format!("the message has {} bytes; expected at most {}", item.len(), limits.item_bytes);
            return self.reject(index, "too_large", detail, (call, item), origin, limits);
        }
        let depth = rewrite::depth(item);
        if depth > limits.depth {
            let detail = format!("arrays and objects nest {depth} deep; expected at most {}", limits.depth);
            return self.reject(index, "too_deep", detail, (call, item), origin, limits);
        }
        let extracted = match extract(item, call) {
            Ok(extracted) => extracted,
            Err(error) => return self.reject(index, error.code, error.detail, (call, item), origin, limits),
        };
        if extracted.members > limits.properties {
            let detail = format!(
                "the message has {} properties or traits; expected at most {}",
                extracted.members, limits.properties
            );
            return self.reject(index, "too_many_properties", detail, (call, item), origin, limits);
        }
        let sent_at = extracted.sent_at.or(batch_sent_at);
        let client_side =
            matches!(origin.source.kind, SourceKind::Browser | SourceKind::Mobile) || extracted.direct;
        let mut body = rewrite::without_write_key(item);
        if let Some(ip) = origin.ip.as_ref().filter(|_| client_side && !extracted.has_ip) {
            body = rewrite::with_ip(&body, ip);
        }
        self.messages.push(Message {
            message_type: extracted.message_type,
            ts: resolve_time(extracted.timestamp, sent_at, origin.received_at),
            message_id: extracted.message_id.unwrap_or_else(|| format!("{MADE_UP}{}", uuid::Uuid::now_v7())),
            source: origin.source.key.clone(),
            name: extracted.name,
            ids: extracted.ids,
            group_id: extracted.group_id,
            body: body.into_bytes(),
        });
    }
}
