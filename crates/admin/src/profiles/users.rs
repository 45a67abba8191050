//! Someone: traits, identifiers, events, accounts, audiences.

use super::paging::{Asked, Class};
use super::{Found, accounts, traits};
use crate::Admin;
use crate::answer::{Refused, stored, time};
use onefold_api::profiles::{
    Collection, Encoding, Event, ExternalId, Link, Listed, Membership, Metadata, Part, Person as Known,
};
use onefold_fold::query::{Owned, Person, Place, Query, Which};
use onefold_types::{AudienceId, EventRef, Identifier, Position, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Read<'a, 'b, 'c, 'd> = (&'a mut Query<'b, 'c>, &'d Person);

pub(super) fn answer(admin: &Admin, asked: &Asked) -> Result<Part, Refused> {
    let read: fn(&Asked, Read<'_, '_, '_, '_>) -> Found<Part> = match asked.part.as_str() {
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
fn all_traits(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Part> {
    let is_wanted = |class: Class| asked.wanted.class.is_none_or(|wanted| wanted == class);
    let verbose = asked.wanted.verbose;
    let mut all = BTreeMap::new();
    if is_wanted(Class::Trait) {
        let there = person.profile.traits.iter().filter(|(_, value)| !value.is_removed());
        all.extend(there.map(|(key, value)| (key.clone(), traits::plain(value, verbose))));
    }
    if is_wanted(Class::ComputedTrait) {
        for computed in &person.computed {
            let value = traits::derived(computed.value.into(), computed.since, verbose);
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

fn external_ids(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Part> {
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
    Ok(asked.page(&ids, is_up_to, ToString::to_string, |id| external_id(id)).map(Part::ExternalIds))
}

/// An identifier of a user as Segment shows it.
pub(super) fn external_id(id: &Identifier) -> ExternalId {
    ExternalId {
        id: id.value.clone(),
        id_type: id.id_type.clone(),
        collection: Collection::Users,
        encoding: Encoding::None,
    }
}

fn audiences(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Part> {
    let mut items = Vec::new();
    for (key, id) in &person.audiences {
        let since =
            if asked.wanted.verbose { Some(query.member_since(*id, person.handle)?.map(time)) } else { None };
        items.push(Membership { key: key.clone(), since });
    }
    let is_up_to = |item: &Membership, place: &str| item.key.as_str() <= place;
    Ok(asked.page(&items, is_up_to, |item| item.key.clone(), Clone::clone).map(Part::Audiences))
}

/// The accounts that someone belongs to.
fn links(asked: &Asked, (_, person): Read<'_, '_, '_, '_>) -> Found<Part> {
    let accounts: Vec<(&String, &Timestamp)> = person.profile.accounts.iter().collect();
    let is_up_to = |item: &(&String, &Timestamp), place: &str| item.0.as_str() <= place;
    let show = |(id, since): &(&String, &Timestamp)| Link {
        to_collection: Collection::Accounts,
        since: time(**since),
        external_ids: vec![accounts::external_id(id)],
    };
    Ok(asked.page(&accounts, is_up_to, |(id, _)| (*id).clone(), show).map(Part::Links))
}

fn metadata(_: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Part> {
    let (first, last) = query.first_and_last(person.handle)?;
    let messages = (first.map(|owned| owned.message), last.map(|owned| owned.message));
    let times = (person.profile.first.map(time), person.profile.last.map(time));
    Ok(Ok(Part::Person(Metadata {
        metadata: Known {
            profile_id: person.profile_id.clone(),
            customer_key: person.customer_key.clone(),
            events: person.profile.events,
            events_trimmed: person.profile.trimmed,
            calls: accounts::calls(times, messages),
        },
    })))
}

fn events(asked: &Asked, (query, person): Read<'_, '_, '_, '_>) -> Found<Part> {
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
    let data = page.events.into_iter().map(event).collect();
    Ok(Ok(Part::Events(Listed { data, cursor: asked.cursor(next.as_deref()) })))
}

fn event(event: Owned) -> Event {
    let message = event.message;
    let (mut body, unreadable) = match stored(&message.message_id, &message.body) {
        Ok(body) => (body, None),
        Err(why) => (Value::Null, Some(why)),
    };
    let mut part = |name: &str| body.get_mut(name).map(Value::take);
    Event {
        event_type: message.message_type.as_str().to_owned(),
        event: message.name,
        message_id: message.message_id,
        timestamp: time(event.ts),
        received_at: time(event.received_at),
        source_id: message.source,
        properties: part("properties").unwrap_or_else(|| json!({})),
        traits: part("traits").unwrap_or(Value::Null),
        context: part("context").unwrap_or_else(|| json!({})),
        external_ids: message
            .ids
            .into_iter()
            .map(|(id_type, id)| onefold_api::Identifier { id_type, id })
            .collect(),
        unreadable,
    }
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
        serde_json::to_value(event(Owned { ts: Timestamp(5), received_at: Timestamp(6), at, message }))
            .unwrap()
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
