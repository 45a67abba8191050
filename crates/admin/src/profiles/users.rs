//! Someone: traits, identifiers, events, accounts, audiences.

use super::paging::{Asked, Class};
use super::{Found, traits};
use crate::Admin;
use crate::answer::{Refused, stored};
use onefold_delivery::render::iso;
use onefold_fold::query::{Owned, Person, Place, Query, Which};
use onefold_types::{AudienceId, EventRef, Identifier, Position, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Read<'a, 'b, 'c, 'd> = (&'a mut Query<'b, 'c>, &'d Person);

pub(super) fn answer(admin: &Admin, asked: &Asked) -> Result<Value, Refused> {
    let read: fn(&Asked, Read<'_, '_, '_, '_>) -> Found<Value> = match asked.part.as_str() {
        "traits" => all_traits,
        "external_ids" => external_ids,
        "metadata" => metadata,
        "audiences" => audiences,
        "links" => links,
        "events" => events,
        other => {
            return Err(Refused::not_found(format!(
                "a profile has no `{other}`; expected traits, external_ids, events, metadata, links or audiences"
            )));
        }
    };
    asked.takes(&["traits", "external_ids", "events"], &["traits"])?;
    let (id_type, value) = (&asked.id_type, &asked.value);
    admin
        .0
        .reader
        .with(|query| {
            let Some(handle) = query.find(id_type, value)? else {
                let usable = query.normalise(&Identifier::new(id_type, value)).is_some();
                let why = if usable {
                    "was never seen"
                } else {
                    "is blocked by the rules: it says nothing about anyone"
                };
                return Ok(Some(Err(Refused::not_found(format!("{id_type}:{value} {why}")))));
            };
            let Some(person) = query.person(handle)? else { return Ok(None) };
            read(asked, (query, &person)).map(Some)
        })?
        .unwrap_or_else(|| Err(Refused::not_found(format!("{id_type}:{value} was never seen"))))
}

/// Plain traits, computed traits, and audience keys as booleans. Of several under one key an audience is shown, else a
/// computed trait; `class` tells them apart.
fn all_traits(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Value> {
    let is_wanted = |class: Class| asked.wanted.class.is_none_or(|wanted| wanted == class);
    let verbose = asked.wanted.verbose;
    let mut all = BTreeMap::new();
    if is_wanted(Class::Trait) {
        let there = person.profile.traits.iter().filter(|(_, value)| !value.is_removed());
        all.extend(there.map(|(key, value)| (key.clone(), traits::plain(value, verbose))));
    }
    if is_wanted(Class::ComputedTrait) {
        for computed in &person.computed {
            let value = traits::derived(json!(computed.value), computed.since, verbose);
            all.insert(computed.key.clone(), value);
        }
    }
    if is_wanted(Class::Audience) {
        let catalogue = &query.compiled().catalogue;
        let enabled = catalogue.workspace.audiences.iter().filter(|audience| audience.labels.enabled);
        let keys: Vec<String> = enabled.map(|audience| audience.key.clone()).collect();
        let is_in: BTreeMap<&String, AudienceId> =
            person.audiences.iter().map(|(key, id)| (key, *id)).collect();
        for key in keys {
            let id = is_in.get(&key);
            let since = match id.filter(|_| verbose) {
                Some(id) => query.member_since(*id, person.handle)?,
                None => None,
            };
            let value = traits::derived(id.is_some().into(), since, verbose);
            all.insert(key, value);
        }
    }
    Ok(traits::page(asked, all))
}

fn external_ids(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Value> {
    let include = match asked.include() {
        Ok(include) => include,
        Err(refused) => return Ok(Err(refused)),
    };
    let is_wanted = |id: &&Identifier| include.as_ref().is_none_or(|types| types.contains(&id.id_type));
    let ids: Vec<&Identifier> = person.ids.iter().filter(is_wanted).collect();
    let rules = &query.compiled().rules;
    let is_up_to = |id: &&Identifier, place: &str| {
        let last = place.split_once(':').map(|(id_type, value)| Identifier::new(id_type, value));
        last.is_some_and(|last| rules.order(id, &last).is_le())
    };
    Ok(asked.page(&ids, is_up_to, ToString::to_string, |id| external_id(id)))
}

/// An identifier of a user as Segment shows it.
pub(super) fn external_id(id: &Identifier) -> Value {
    json!({ "id": id.value, "type": id.id_type, "collection": "users", "encoding": "none" })
}

fn audiences(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Value> {
    let mut items: Vec<(&String, Value)> = Vec::new();
    for (key, id) in &person.audiences {
        let since = if asked.wanted.verbose { query.member_since(*id, person.handle)? } else { None };
        let item = if asked.wanted.verbose {
            json!({ "key": key, "since": since.map(iso) })
        } else {
            json!({ "key": key })
        };
        items.push((key, item));
    }
    let is_up_to = |item: &(&String, Value), place: &str| item.0.as_str() <= place;
    Ok(asked.page(&items, is_up_to, |(key, _)| (*key).clone(), |(_, item)| item.clone()))
}

/// The accounts that someone belongs to.
fn links(asked: &Asked, (_, person): Read<'_, '_, '_, '_>) -> Found<Value> {
    let accounts: Vec<(&String, &Timestamp)> = person.profile.accounts.iter().collect();
    let is_up_to = |item: &(&String, &Timestamp), place: &str| item.0.as_str() <= place;
    let show = |(id, since): &(&String, &Timestamp)| {
        json!({ "to_collection": "accounts", "since": iso(**since),
            "external_ids": [{ "id": id, "type": "group_id", "collection": "accounts", "encoding": "none" }] })
    };
    Ok(asked.page(&accounts, is_up_to, |(id, _)| (*id).clone(), show))
}

fn metadata(_: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Value> {
    let (first, last) = query.first_and_last(person.handle)?;
    let (first, last) = (first.map(|owned| owned.message), last.map(|owned| owned.message));
    Ok(Ok(json!({ "metadata": {
        "profile_id": person.profile_id,
        "customer_key": person.customer_key,
        "events": person.profile.events,
        "events_trimmed": person.profile.trimmed,
        "created_at": person.profile.first.map(iso),
        "updated_at": person.profile.last.map(iso),
        "expires_at": Value::Null,
        "first_message_id": first.as_ref().map(|message| &message.message_id),
        "last_message_id": last.as_ref().map(|message| &message.message_id),
        "first_source_id": first.as_ref().map(|message| &message.source),
        "last_source_id": last.as_ref().map(|message| &message.source),
    } })))
}

fn events(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Value> {
    let (include, before) = match (asked.include(), asked.after()) {
        (Ok(include), Ok(before)) => (include, before),
        (Err(refused), _) | (_, Err(refused)) => return Ok(Err(refused)),
    };
    let before = match before.as_deref().map(place_from) {
        Some(None) => return Ok(Err(Asked::foreign_cursor())),
        Some(place) => place,
        None => None,
    };
    let which = include.as_deref().map_or(Which::All, Which::Named);
    let page = query.event_page(person.handle, which, before, asked.limit())?;
    let next = page.next.map(place_text);
    let data: Vec<Value> = page.events.iter().map(event).collect();
    Ok(Ok(json!({ "data": data, "cursor": asked.cursor(next.as_deref()) })))
}

fn event(event: &Owned) -> Value {
    let message = &event.message;
    let (body, unreadable) = match stored(&message.message_id, &message.body) {
        Ok(body) => (body, None),
        Err(why) => (Value::Null, Some(why)),
    };
    let mut told = json!({
        "type": message.message_type.as_str(),
        "event": message.name,
        "message_id": message.message_id,
        "timestamp": iso(event.ts),
        "received_at": iso(event.received_at),
        "source_id": message.source,
        "properties": body.get("properties").cloned().unwrap_or(json!({})),
        "traits": body.get("traits").cloned().unwrap_or(Value::Null),
        "context": body.get("context").cloned().unwrap_or(json!({})),
        "external_ids": message.ids.iter().map(|(t, v)| json!({ "type": t, "id": v })).collect::<Vec<_>>(),
    });
    if let Some(why) = unreadable {
        told["unreadable"] = why.into();
    }
    told
}

fn place_text((ts, at): Place) -> String {
    format!("{}.{}.{}", ts.0, at.position.0, at.index)
}

/// Inverse of [`place_text`].
fn place_from(text: &str) -> Option<Place> {
    let mut parts = text.split('.');
    let ts = Timestamp(parts.next()?.parse().ok()?);
    let position = Position(parts.next()?.parse().ok()?);
    Some((ts, EventRef { position, index: parts.next()?.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefold_types::{Message, MessageType};

    fn told(body: &str) -> Value {
        let message = Message {
            message_type: MessageType::Page,
            ts: Timestamp(5),
            message_id: "m".to_owned(),
            source: "web".to_owned(),
            name: "Home".to_owned(),
            ids: Vec::new(),
            group_id: String::new(),
            body: body.as_bytes().to_vec(),
        };
        let at = EventRef { position: Position(0), index: 0 };
        event(&Owned { ts: Timestamp(5), received_at: Timestamp(6), at, message })
    }

    #[test]
    fn a_message_that_cannot_be_read_does_not_look_like_an_empty_one() {
        assert!(
            told(r#"{"properties":{"a":"\ud83d"}}"#)["unreadable"].as_str().unwrap().contains("is not JSON")
        );
        assert_eq!(told("{}").get("unreadable"), None);
        assert_eq!(told(r#"{"properties":{"a":1}}"#)["properties"], json!({ "a": 1 }));
    }
}
