//! Reading a message's JSON: its envelope, which identifiers it carries, when it happened.
//!
//! One pass with borrowed types; what is not needed stays unparsed. **Never here:** normalising an identifier (rules
//! may change, stored bytes not) and judging it (identity does).
//!
//! Sources: the Segment specification for the envelope; identity.md 1.1 for which field is which identifier;
//! audiences.md 1.1 for event time.

use crate::message::MessageType;
use crate::reserved;
use crate::time::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes that a name, an account's id or an identifier can be allowed at most: they stand in keys of the state, where a
/// longer one is replaced by its hash.
pub const TEXT_BYTES_MAX: usize = 16 << 10;

/// Clock skew up to this is taken for the network's delay: 10 s.
const SKEW_IGNORED_MS: i64 = 10_000;

/// Why a message cannot be taken. `code` is stable and machine-readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ExtractError {
    /// Stable and machine-readable: `missing_event`.
    pub code: &'static str,
    /// What was found, what was expected.
    pub detail: String,
}

impl ExtractError {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// The envelope of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Which call.
    pub message_type: MessageType,
    /// The client's message id, if it gave one.
    pub message_id: Option<String>,
    /// `timestamp`, or `originalTimestamp`, if readable.
    pub timestamp: Option<Timestamp>,
    /// The item's own `sentAt`, if readable.
    pub sent_at: Option<Timestamp>,
    /// A track's event, a page's or screen's name; empty if there is none.
    pub name: String,
    /// Raw identifiers.
    pub ids: Vec<(String, String)>,
    /// The account, empty if there is none.
    pub group_id: String,
    /// Whether `context.ip` is there.
    pub has_ip: bool,
    /// Whether `context.direct` is true: the client's address is the person's.
    pub direct: bool,
    /// Members that `properties` or `traits` can have at most, from their length; [`members`] counts them.
    pub members_most: usize,
}

impl Extracted {
    /// Whether the message's id has more than `limit` characters.
    #[must_use]
    pub fn message_id_too_long(&self, limit: usize) -> Option<ExtractError> {
        let length = self.message_id.as_ref()?.chars().count();
        let detail = || format!("`messageId` has {length} characters; expected at most {limit}");
        (length > limit).then(|| ExtractError::new("message_id_too_long", detail()))
    }

    /// What of the message is longer than `limit` bytes, if anything: its name, its account's id or an identifier.
    #[must_use]
    pub fn too_long(&self, limit: usize) -> Option<ExtractError> {
        let error = |code, what: &str, length: usize| {
            let detail = format!("{what} has {length} bytes; expected at most {limit}");
            Some(ExtractError { code, detail })
        };
        if self.name.len() > limit {
            return error("name_too_long", "the event's name", self.name.len());
        }
        if self.group_id.len() > limit {
            return error("group_id_too_long", "`groupId`", self.group_id.len());
        }
        // A type that is longer than `is_type` allows is none.
        let (id_type, value) = self.ids.iter().find(|(_, value)| value.len() > limit)?;
        error("identifier_too_long", &format!("the {id_type}"), value.len())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    message_type: Field<'a>,
    #[serde(borrow, default)]
    message_id: Field<'a>,
    #[serde(borrow, default)]
    user_id: Field<'a>,
    #[serde(borrow, default)]
    anonymous_id: Field<'a>,
    #[serde(borrow, default)]
    previous_id: Field<'a>,
    #[serde(borrow, default)]
    group_id: Field<'a>,
    #[serde(borrow, default)]
    event: Field<'a>,
    #[serde(borrow, default)]
    name: Field<'a>,
    #[serde(borrow, default)]
    timestamp: Field<'a>,
    #[serde(borrow, default)]
    original_timestamp: Field<'a>,
    #[serde(borrow, default)]
    sent_at: Field<'a>,
    #[serde(borrow, default)]
    traits: Field<'a>,
    #[serde(borrow, default)]
    properties: Field<'a>,
    #[serde(borrow, default)]
    context: Field<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    #[serde(borrow, default)]
    traits: Field<'a>,
    #[serde(borrow, default)]
    device: Field<'a>,
    #[serde(borrow, default)]
    external_ids: Field<'a>,
    #[serde(borrow, default)]
    integrations: Field<'a>,
    #[serde(borrow, default)]
    group_id: Field<'a>,
    #[serde(borrow, default)]
    ip: Field<'a>,
    #[serde(borrow, default)]
    direct: Field<'a>,
}

#[derive(Deserialize, Default)]
struct Contact<'a> {
    #[serde(borrow, default)]
    email: Field<'a>,
    #[serde(borrow, default)]
    phone: Field<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Device<'a> {
    #[serde(borrow, default)]
    id: Field<'a>,
    #[serde(borrow, default)]
    advertising_id: Field<'a>,
    #[serde(borrow, default)]
    ad_tracking_enabled: Field<'a>,
    #[serde(borrow, default)]
    token: Field<'a>,
    #[serde(borrow, default, rename = "type")]
    device_type: Field<'a>,
}

#[derive(Deserialize)]
struct ExternalId<'a> {
    #[serde(borrow, default)]
    id: Field<'a>,
    #[serde(borrow, default, rename = "type")]
    id_type: Field<'a>,
    #[serde(borrow, default)]
    collection: Field<'a>,
}

/// A member's raw JSON; absent and `null` are both empty.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(transparent)]
struct Field<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl<'a> Field<'a> {
    fn raw(self) -> Option<&'a str> {
        self.0.map(RawValue::get).filter(|raw| *raw != "null")
    }

    /// A string, or a number as its text; anything else is `Err`.
    fn text(self) -> Result<Option<Cow<'a, str>>, ()> {
        let Some(raw) = self.raw() else { return Ok(None) };
        match raw.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<&str>(raw) {
                Ok(plain) => Ok(Some(Cow::Borrowed(plain))),
                Err(_) => {
                    serde_json::from_str::<String>(raw).map(|text| Some(Cow::Owned(text))).map_err(|_| ())
                }
            },
            Some(b'-' | b'0'..=b'9') => Ok(Some(Cow::Borrowed(raw))),
            _ => Err(()),
        }
    }

    fn lenient(self) -> Option<Cow<'a, str>> {
        self.text().ok().flatten()
    }

    fn object<T: Deserialize<'a> + Default>(self) -> T {
        self.raw().and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    }

    fn is_true(self) -> bool {
        self.raw() == Some("true")
    }

    fn is_object(self) -> bool {
        self.raw().is_none_or(|raw| raw.starts_with('{'))
    }
}

fn required_text<'a>(name: &str, field: Field<'a>) -> Result<Option<Cow<'a, str>>, ExtractError> {
    field
        .text()
        .map_err(|()| ExtractError::new("invalid_field", format!("`{name}` is not a string; expected one")))
}

/// Reads one message. `call` is the type that the endpoint implies; a batch item names its own.
///
/// # Errors
/// What is missing or of the wrong type, with a stable code.
pub fn extract(body: &str, call: Option<MessageType>) -> Result<Extracted, ExtractError> {
    if !body.trim_start().starts_with('{') {
        return Err(ExtractError::new("not_an_object", "the message is not a JSON object; expected `{…}`"));
    }
    let envelope: Envelope<'_> = serde_json::from_str(body).map_err(|error| {
        ExtractError::new("invalid_json", format!("the message is not valid JSON: {error}"))
    })?;
    if let Some(name) = reserved::member(body) {
        let detail = format!(
            "the message has a member `{name}`, a name that is kept for numbers and raw text; expected another"
        );
        return Err(ExtractError::new("invalid_field", detail));
    }
    let message_type = message_type(&envelope, call)?;
    let message_id = required_text("messageId", envelope.message_id)?.filter(|id| !id.is_empty());
    for (name, field) in
        [("traits", envelope.traits), ("properties", envelope.properties), ("context", envelope.context)]
    {
        if !field.is_object() {
            return Err(ExtractError::new(
                "invalid_field",
                format!("`{name}` is not an object; expected `{{…}}`"),
            ));
        }
    }
    let context: Context<'_> = envelope.context.object();
    let name = name(&envelope, message_type)?;
    let group_id = group_id(&envelope, &context, message_type)?;
    let ids = identifiers(&envelope, &context, message_type)?;
    if ids.is_empty() {
        return Err(ExtractError::new(
            "no_identifier",
            "the message says of no one: expected userId, anonymousId, an e-mail, a phone or context.externalIds",
        ));
    }
    let time = |field: Field<'_>| field.lenient().and_then(|text| parse_time(&text));
    Ok(Extracted {
        message_type,
        message_id: message_id.map(Cow::into_owned),
        timestamp: time(envelope.timestamp).or_else(|| time(envelope.original_timestamp)),
        sent_at: time(envelope.sent_at),
        name,
        ids,
        group_id,
        has_ip: context.ip.raw().is_some(),
        direct: context.direct.is_true(),
        members_most: members_most(envelope.properties).max(members_most(envelope.traits)),
    })
}

/// The least that a member takes of an object: `"":0,`.
const MEMBER_BYTES: usize = 5;

fn members_most(object: Field<'_>) -> usize {
    object.raw().map_or(0, str::len) / MEMBER_BYTES
}

/// How many members `properties` or `traits` of a message have, whichever has more.
#[must_use]
pub fn members(body: &str) -> usize {
    let count = |object: Field<'_>| object.object::<HashMap<String, IgnoredAny>>().len();
    serde_json::from_str::<Envelope<'_>>(body)
        .map_or(0, |envelope| count(envelope.properties).max(count(envelope.traits)))
}

fn message_type(envelope: &Envelope<'_>, call: Option<MessageType>) -> Result<MessageType, ExtractError> {
    match (call, required_text("type", envelope.message_type)?) {
        (Some(call), _) => Ok(call),
        (None, None) => Err(ExtractError::new(
            "missing_type",
            "the message has no `type`; expected identify, track, page, screen, group or alias",
        )),
        (None, Some(text)) => text.parse().map_err(|()| {
            let text: String = text.chars().take(40).collect();
            let detail =
                format!("`{text}` is no type; expected identify, track, page, screen, group or alias");
            ExtractError::new("unknown_type", detail)
        }),
    }
}

fn name(envelope: &Envelope<'_>, message_type: MessageType) -> Result<String, ExtractError> {
    match message_type {
        MessageType::Track => match required_text("event", envelope.event)? {
            Some(event) if !event.is_empty() => Ok(event.into_owned()),
            _ => Err(ExtractError::new(
                "missing_event",
                "a track call needs `event`, the name of what was done",
            )),
        },
        MessageType::Page | MessageType::Screen => {
            Ok(required_text("name", envelope.name)?.unwrap_or_default().into_owned())
        }
        _ => Ok(String::new()),
    }
}

fn group_id(
    envelope: &Envelope<'_>,
    context: &Context<'_>,
    message_type: MessageType,
) -> Result<String, ExtractError> {
    let own = required_text("groupId", envelope.group_id)?.filter(|id| !id.trim().is_empty());
    match (message_type, own) {
        (MessageType::Group, None) => {
            Err(ExtractError::new("missing_group_id", "a group call needs `groupId`, the account's id"))
        }
        (_, Some(id)) => Ok(id.into_owned()),
        (_, None) => Ok(context.group_id.lenient().unwrap_or_default().into_owned()),
    }
}

/// Identifiers in the order of identity.md 1.1; values are raw.
fn identifiers(
    envelope: &Envelope<'_>,
    context: &Context<'_>,
    message_type: MessageType,
) -> Result<Vec<(String, String)>, ExtractError> {
    let mut ids: Vec<(String, String)> = Vec::with_capacity(4);
    let mut add = |id_type: &str, value: Option<Cow<'_, str>>| {
        // An empty one is none: clients send what they have.
        if let Some(value) = value.filter(|value| !value.trim().is_empty())
            && !ids.iter().any(|(t, v)| t == id_type && *v == value)
        {
            ids.push((id_type.to_owned(), value.into_owned()));
        }
    };
    add("user_id", required_text("userId", envelope.user_id)?);
    add("anonymous_id", required_text("anonymousId", envelope.anonymous_id)?);
    if message_type == MessageType::Alias {
        let previous = required_text("previousId", envelope.previous_id)?.filter(|id| !id.is_empty());
        if previous.is_none() {
            return Err(ExtractError::new(
                "missing_previous_id",
                "an alias call needs `previousId`, the id it replaces",
            ));
        }
        add("anonymous_id", previous);
    }
    // A group call's traits are the account's: its e-mail is no person's.
    if message_type != MessageType::Group {
        let own: Contact<'_> = envelope.traits.object();
        add("email", own.email.lenient());
        add("phone", own.phone.lenient());
    }
    let contact: Contact<'_> = context.traits.object();
    add("email", contact.email.lenient());
    add("phone", contact.phone.lenient());
    let device: Device<'_> = context.device.object();
    if let Some(platform) = device.device_type.lenient().and_then(|text| platform(&text)) {
        add(&format!("{platform}.id"), device.id.lenient());
        add(&format!("{platform}.push_token"), device.token.lenient());
        if device.ad_tracking_enabled.is_true() {
            add(&format!("{platform}.idfa"), device.advertising_id.lenient());
        }
    }
    if let Some(integrations) = context.integrations.raw()
        && integrations.contains("clientId")
    {
        add("ga_client_id", google_client_id(integrations));
    }
    if let Some(raw) = context.external_ids.raw() {
        let list: Vec<ExternalId<'_>> = serde_json::from_str(raw).map_err(|_| {
            ExtractError::new(
                "invalid_field",
                "`context.externalIds` is not a list of `{id, type, collection}`",
            )
        })?;
        for external in list {
            let collection = external.collection.lenient();
            if collection.is_some_and(|c| c != "users") {
                continue;
            }
            if let Some(id_type) = external.id_type.lenient().filter(|t| is_type(t)) {
                add(&id_type, external.id.lenient());
            }
        }
    }
    Ok(ids)
}

/// Whether `text` can be the type of an identifier: 1 to 64 of `a-z 0-9 _ . -`.
#[must_use]
pub fn is_type(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
}

fn platform(device_type: &str) -> Option<&'static str> {
    match device_type.to_ascii_lowercase().as_str() {
        "ios" => Some("ios"),
        "android" => Some("android"),
        _ => None,
    }
}

fn google_client_id(integrations: &str) -> Option<Cow<'static, str>> {
    let value: serde_json::Value = serde_json::from_str(integrations).ok()?;
    let id = value.get("Google Analytics")?.get("clientId")?.as_str()?;
    Some(Cow::Owned(id.to_owned()))
}

/// The first instant that a message can say: of the year 1. What is before it was not meant, and RFC 3339 has no form for it.
const FIRST: Timestamp = Timestamp(-62_135_596_800_000);

/// The last one that can be shown in every time zone: of the last but one day of the year 9999.
const LAST: Timestamp = Timestamp(253_402_207_200_999);

/// Reads an instant of the years 1 to 9999: RFC 3339 or ISO 8601 (without a zone it is UTC; a date alone is its
/// midnight), or a number of seconds (up to 11 digits) or milliseconds since 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    instant(text).filter(|instant| (FIRST..=LAST).contains(instant))
}

/// The instant that a member's JSON says: [`parse_time`] of a string or a number.
#[must_use]
pub fn read_time(json: &str) -> Option<Timestamp> {
    let field: Field<'_> = serde_json::from_str(json).ok()?;
    parse_time(&field.lenient()?)
}

fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(Timestamp(if number.unsigned_abs() < 100_000_000_000 { number * 1000 } else { number }));
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp(floor_ms(instant)));
    }
    let local = text.parse::<jiff::civil::DateTime>().ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(local).ok().map(|instant| Timestamp(floor_ms(instant)))
}

fn floor_ms(instant: jiff::Timestamp) -> i64 {
    i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// Event time (audiences.md 1.1): the client's `timestamp`, corrected by how far its clock was off when it sent;
/// [`Timestamp::MAX`] if there is no readable timestamp. Readers clamp to the receive time.
#[must_use]
pub fn resolve_time(
    timestamp: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    received_at: Timestamp,
) -> Timestamp {
    let Some(timestamp) = timestamp else { return Timestamp::MAX };
    match sent_at.map(|sent| received_at.0.saturating_sub(sent.0)) {
        Some(skew) if skew.saturating_abs() > SKEW_IGNORED_MS => timestamp.plus(skew).clamp(FIRST, LAST),
        _ => timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Vec<(String, String)> {
        extract(body, None).unwrap().ids
    }

    fn code(body: &str) -> &'static str {
        extract(body, None).unwrap_err().code
    }

    #[test]
    fn every_identifier_of_the_identity_page_is_found() {
        let body = r#"{"type":"identify","userId":7,"anonymousId":"a","traits":{"email":"E@x.com","phone":"+3120"},
            "context":{"traits":{"email":"e2@x.com"},"device":{"type":"iOS","id":"d","advertisingId":"ad","adTrackingEnabled":true,"token":"t"},
            "externalIds":[{"id":"h1","type":"hubspot_id","collection":"users","encoding":"none"},{"id":"x","type":"crm","collection":"accounts"}],
            "integrations":{"Google Analytics":{"clientId":"ga"}}}}"#;
        let expected = [
            ("user_id", "7"),
            ("anonymous_id", "a"),
            ("email", "E@x.com"),
            ("phone", "+3120"),
            ("email", "e2@x.com"),
            ("ios.id", "d"),
            ("ios.push_token", "t"),
            ("ios.idfa", "ad"),
            ("ga_client_id", "ga"),
            ("hubspot_id", "h1"),
        ];
        assert_eq!(ids(body), expected.map(|(t, v)| (t.to_owned(), v.to_owned())));
    }

    #[test]
    fn alias_is_evidence_and_a_group_s_email_is_no_person_s() {
        assert_eq!(
            ids(r#"{"type":"alias","userId":"u","previousId":"p"}"#),
            [("user_id".into(), "u".into()), ("anonymous_id".into(), "p".into())]
        );
        assert_eq!(
            ids(r#"{"type":"group","userId":"u","groupId":"g","traits":{"email":"info@acme.example"}}"#),
            [("user_id".to_owned(), "u".to_owned())]
        );
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        assert_eq!(code("[]"), "not_an_object");
        assert_eq!(code("{"), "invalid_json");
        assert_eq!(code("{}"), "missing_type");
        assert_eq!(code(r#"{"type":"trakc","userId":"u"}"#), "unknown_type");
        assert_eq!(code(r#"{"type":"track","userId":"u"}"#), "missing_event");
        assert_eq!(code(r#"{"type":"group","userId":"u","groupId":" "}"#), "missing_group_id");
        assert_eq!(code(r#"{"type":"alias","userId":"u"}"#), "missing_previous_id");
        assert_eq!(code(r#"{"type":"page","userId":null,"anonymousId":null}"#), "no_identifier");
        assert_eq!(code(r#"{"type":"page","userId":"","anonymousId":" "}"#), "no_identifier");
        assert_eq!(code(r#"{"type":"page","userId":{}}"#), "invalid_field");
        assert_eq!(code(r#"{"type":"page","userId":"u","properties":[]}"#), "invalid_field");
        let reserved =
            r#"{"type":"page","userId":"u","properties":{"a":{"$serde_json::private::Number":"x"}}}"#;
        assert_eq!(code(reserved), "invalid_field");
        assert_eq!(code(&reserved.replace('$', "\\u0024")), "invalid_field");
    }

    #[test]
    fn a_message_id_is_as_long_as_told() {
        let long = |id: &str, limit| {
            let body = format!(r#"{{"type":"page","userId":"u","messageId":"{id}"}}"#);
            extract(&body, None).unwrap().message_id_too_long(limit).map(|error| error.code)
        };
        // Characters, not bytes.
        assert_eq!(long("éé", 2), None);
        assert_eq!(long("ééé", 2), Some("message_id_too_long"));
        assert_eq!(long("", 0), None);
    }

    #[test]
    fn a_name_an_account_and_an_identifier_are_as_long_as_told() {
        let long = |body: String| extract(&body, None).unwrap().too_long(10).map(|error| error.code);
        let track =
            |event: &str, user: &str| format!(r#"{{"type":"track","event":"{event}","userId":"{user}"}}"#);
        assert_eq!(long(track("0123456789", "0123456789")), None);
        assert_eq!(long(track("0123456789a", "u")), Some("name_too_long"));
        // Bytes, not characters.
        assert_eq!(long(track("012345678é", "u")), Some("name_too_long"));
        assert_eq!(long(track("e", "0123456789a")), Some("identifier_too_long"));
        let group = r#"{"type":"group","groupId":"0123456789a","userId":"u"}"#;
        assert_eq!(long(group.to_owned()), Some("group_id_too_long"));
        let external = r#"{"type":"page","context":{"externalIds":[{"type":"crm","id":"0123456789a"}]}}"#;
        assert_eq!(long(external.to_owned()), Some("identifier_too_long"));
    }

    #[test]
    fn times_are_read_in_every_form_that_clients_send() {
        let expected = Some(Timestamp(1_700_000_000_123));
        for text in [
            "2023-11-14T22:13:20.123Z",
            "2023-11-14T23:13:20.123+01:00",
            "2023-11-14T22:13:20.123456",
            "1700000000123",
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
        assert_eq!(parse_time("1700000000"), Some(Timestamp(1_700_000_000_000)));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn a_time_that_no_calendar_shows_is_none() {
        for text in [
            "-9223372036854775808",
            "9223372036854775807",
            "-62135596800001",
            "253402207201000",
            "-000001-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), Some(Timestamp(-62_135_596_800_000)));
        assert_eq!(parse_time("9999-12-30T22:00:00Z"), Some(Timestamp(253_402_207_200_000)));
        // Nor does a clock that is off by all of time move one there.
        let (first, last) = (parse_time("0001-01-01"), parse_time("9999-12-30T22:00:00Z"));
        assert_eq!(resolve_time(first, last, Timestamp(0)), Timestamp(-62_135_596_800_000));
        assert_eq!(resolve_time(last, first, Timestamp(0)), Timestamp(253_402_207_200_999));
    }

    #[test]
    fn members_are_never_more_than_their_bytes_allow() {
        for body in [
            r#"{"type":"page","userId":"u","properties":{"":0,"a":1,"b":2},"traits":{"a":1}}"#,
            r#"{"type":"page","userId":"u","traits":{"":0}}"#,
            r#"{"type":"page","userId":"u","properties":null}"#,
        ] {
            assert!(members(body) <= extract(body, None).unwrap().members_most, "{body}");
        }
        assert_eq!(members(r#"{"properties":{"":0,"a":1,"b":[1,2]},"traits":{"a":1}}"#), 3);
    }

    #[test]
    fn a_wrong_clock_is_corrected_and_a_right_one_left_alone() {
        let received = Timestamp(1_000_000_000);
        let year = 365 * 86_400_000;
        let resolve =
            |ts: i64, sent: Option<i64>| resolve_time(Some(Timestamp(ts)), sent.map(Timestamp), received).0;
        // identity.md case 41: a client a year ahead.
        assert_eq!(resolve(received.0 + year - 500, Some(received.0 + year)), received.0 - 500);
        assert_eq!(resolve(received.0 - 500, Some(received.0 - 10_000)), received.0 - 500);
        assert_eq!(resolve(received.0 - 500, Some(received.0 - 10_001)), received.0 - 500 + 10_001);
        assert_eq!(resolve(5, None), 5);
        assert_eq!(resolve_time(None, None, received), Timestamp::MAX);
    }
}
