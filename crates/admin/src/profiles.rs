//! The profile API in Segment's shapes, and personalise.

use crate::Admin;
use crate::answer::{Answer, Refused, blocking};
use crate::describe::{Described, operation};
use crate::extract::{Path, Query};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onefold_delivery::render::iso;
use onefold_fold::profile::TraitValue;
use onefold_fold::query::Person;
use onefold_types::{EventRef, Position, ProfileHandle, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub(crate) fn routes() -> Described {
    Described::default().get(
        "/v1/spaces/{workspace}/collections/{collection}/profiles/{id}/{part}",
        operation(
            "Someone, or an account. collection: users or accounts; id: type:value; part: traits, external_ids, events, \
             metadata, links or audiences",
        )
        .query::<Wanted>(),
        part,
    )
}

pub(crate) fn open_routes() -> Described {
    let what = operation("What a page may know about its own visitor").query::<Visitor>().open();
    Described::default().get("/v1/personalize", what, personalize)
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Only these keys, with commas between.
    include: Option<String>,
    /// Only `trait`, `computed_trait` or `audience`.
    class: Option<String>,
    /// Also the source and the time of each.
    #[serde(default)]
    verbose: bool,
    /// At most so many.
    limit: Option<usize>,
    /// Where the last page ended.
    cursor: Option<String>,
}

const LIMIT_MAX: usize = 200;

async fn part(
    State(admin): State<Admin>,
    Path((workspace, collection, id, part)): Path<(String, String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Answer {
    if admin.0.reader.handle().catalogue().catalogue.workspace.workspace != workspace {
        return Err(Refused::not_found(format!("there is no workspace `{workspace}` here")));
    }
    let Some((id_type, value)) = id.split_once(':').map(|(t, v)| (t.to_owned(), v.to_owned())) else {
        return Err(Refused::bad("expected `type:value`, as in `email:ada@example.com`"));
    };
    blocking(move || match collection.as_str() {
        "users" => user(&admin, &id_type, &value, &part, &wanted),
        "accounts" => account(&admin, &value, &part, &wanted),
        _ => Err(Refused::not_found(format!(
            "there is no collection `{collection}`; expected users or accounts"
        ))),
    })
    .await
    .map(Json)
}

fn user(admin: &Admin, id_type: &str, value: &str, part: &str, wanted: &Wanted) -> Result<Value, Refused> {
    let limit = wanted.limit.unwrap_or(20).clamp(1, LIMIT_MAX);
    admin.0.reader.with(|query| {
        let found = query.find(id_type, value)?;
        let Some(person) = found.map(|handle| query.person(handle)).transpose()?.flatten() else { return Ok(None) };
        Ok(Some(match part {
            "traits" => {
                let audiences = query.compiled().catalogue.workspace.audiences.iter();
                let audiences: Vec<&str> =
                    audiences.filter(|known| known.labels.enabled).map(|known| known.key.as_str()).collect();
                Ok(traits(&person, &audiences, wanted))
            }
            "external_ids" => Ok(external_ids(&person, wanted, limit)),
            "metadata" => Ok(metadata(query, &person)?),
            "audiences" => Ok(page(&person.audiences.iter().map(|(key, _)| json!({ "key": key })).collect::<Vec<_>>(), wanted, limit)),
            "links" => Ok(links(&person, wanted, limit)),
            "events" => events(query, person.handle, wanted, limit)?,
            _ => Err(Refused::not_found(format!(
                "a profile has no `{part}`; expected traits, external_ids, events, metadata, links or audiences"
            ))),
        }))
    })?
    .unwrap_or_else(|| Err(Refused::not_found(format!("{id_type}:{value} was never seen"))))
}

/// Plain traits, computed traits, and audience keys as booleans.
fn traits(person: &Person, audiences: &[&str], wanted: &Wanted) -> Value {
    let include: Option<Vec<&str>> =
        wanted.include.as_ref().map(|list| list.split(',').map(str::trim).collect());
    let class = |name: &str| wanted.class.as_ref().is_none_or(|class| class == name);
    let mut all: Vec<(String, Value)> = Vec::new();
    if class("trait") {
        for (key, value) in person.profile.traits.iter().filter(|(_, value)| !value.is_removed()) {
            all.push((key.clone(), plain(value, wanted.verbose)));
        }
    }
    if class("computed_trait") {
        all.extend(
            person
                .computed
                .iter()
                .map(|(key, _, value)| (key.clone(), derived(json!(value), wanted.verbose))),
        );
    }
    if class("audience") {
        let is_in = |key: &str| person.audiences.iter().any(|(known, _)| known == key);
        all.extend(
            audiences.iter().map(|key| ((*key).to_owned(), derived(json!(is_in(key)), wanted.verbose))),
        );
    }
    all.retain(|(key, _)| include.as_ref().is_none_or(|include| include.contains(&key.as_str())));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let limit = wanted.limit.unwrap_or(LIMIT_MAX).clamp(1, LIMIT_MAX);
    let start =
        wanted.cursor.as_deref().map_or(0, |after| all.partition_point(|(key, _)| key.as_str() <= after));
    let end = (start + limit).min(all.len());
    let next = (end < all.len()).then(|| all[end - 1].0.clone());
    let shown: Map<String, Value> = all.drain(start..end).collect();
    json!({ "traits": shown, "cursor": cursor(next.as_deref(), limit) })
}

fn plain(value: &TraitValue, verbose: bool) -> Value {
    let json: Value = serde_json::from_str(&value.json).unwrap_or(Value::Null);
    if !verbose {
        return json;
    }
    json!({ "value": json, "source_id": value.source, "updated_at": iso(value.stamp.ts), "message_id": value.stamp.message_id })
}

fn derived(value: Value, verbose: bool) -> Value {
    if verbose { json!({ "value": value, "source_id": "onefold" }) } else { value }
}

fn cursor(next: Option<&str>, limit: usize) -> Value {
    json!({ "url": "", "has_more": next.is_some(), "next": next.unwrap_or_default(), "limit": limit })
}

/// A page of a list whose cursor is an offset.
fn page(items: &[Value], wanted: &Wanted, limit: usize) -> Value {
    let start = wanted.cursor.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0).min(items.len());
    let end = (start + limit).min(items.len());
    let next = (end < items.len()).then(|| end.to_string());
    json!({ "data": items[start..end], "cursor": cursor(next.as_deref(), limit) })
}

fn external_ids(person: &Person, wanted: &Wanted, limit: usize) -> Value {
    let ids = person.ids.iter();
    let ids = ids
        .map(|id| json!({ "id": id.value, "type": id.id_type, "collection": "users", "encoding": "none" }));
    page(&ids.collect::<Vec<_>>(), wanted, limit)
}

fn links(person: &Person, wanted: &Wanted, limit: usize) -> Value {
    let accounts = person.profile.accounts.iter();
    let link = |(id, since): (&String, &Timestamp)| {
        json!({ "to_collection": "accounts", "since": iso(*since),
            "external_ids": [{ "id": id, "type": "group_id", "collection": "accounts", "encoding": "none" }] })
    };
    page(&accounts.map(link).collect::<Vec<_>>(), wanted, limit)
}

fn metadata(
    query: &mut onefold_fold::query::Query<'_, '_>,
    person: &Person,
) -> Result<Value, onefold_fold::Error> {
    let (first, last) = query.first_and_last(person.handle)?;
    let (first, last) = (first.map(|owned| owned.message), last.map(|owned| owned.message));
    Ok(json!({ "metadata": {
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
    } }))
}

type Found<T> = Result<Result<T, Refused>, onefold_fold::Error>;

fn events(
    query: &mut onefold_fold::query::Query<'_, '_>,
    handle: ProfileHandle,
    wanted: &Wanted,
    limit: usize,
) -> Found<Value> {
    let before = match wanted.cursor.as_deref().map(parse_place) {
        Some(None) => return Ok(Err(Refused::bad("the cursor is not one that this list gave"))),
        Some(place) => place,
        None => None,
    };
    let include: Option<Vec<&str>> =
        wanted.include.as_ref().map(|list| list.split(',').map(str::trim).collect());
    let mut owned = query.events(handle, before, limit + 1)?;
    let more = owned.len() > limit;
    owned.truncate(limit);
    let next = owned
        .last()
        .filter(|_| more)
        .map(|event| format!("{}.{}.{}", event.ts.0, event.at.position.0, event.at.index));
    let shown = owned
        .iter()
        .filter(|event| include.as_ref().is_none_or(|names| names.contains(&event.message.name.as_str())));
    let data: Vec<Value> = shown
        .map(|event| {
            let body: Value = serde_json::from_slice(&event.message.body).unwrap_or_default();
            json!({
                "type": event.message.message_type.as_str(),
                "event": event.message.name,
                "message_id": event.message.message_id,
                "timestamp": iso(event.ts),
                "received_at": iso(event.received_at),
                "source_id": event.message.source,
                "properties": body.get("properties").cloned().unwrap_or(json!({})),
                "traits": body.get("traits").cloned().unwrap_or(Value::Null),
                "context": body.get("context").cloned().unwrap_or(json!({})),
                "external_ids": event.message.ids.iter().map(|(t, v)| json!({ "type": t, "id": v })).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(Ok(json!({ "data": data, "cursor": cursor(next.as_deref(), limit) })))
}

fn parse_place(text: &str) -> Option<(Timestamp, EventRef)> {
    let mut parts = text.split('.');
    let ts = Timestamp(parts.next()?.parse().ok()?);
    let position = Position(parts.next()?.parse().ok()?);
    Some((ts, EventRef { position, index: parts.next()?.parse().ok()? }))
}

fn account(admin: &Admin, id: &str, part: &str, wanted: &Wanted) -> Result<Value, Refused> {
    let traits = admin.0.reader.with(|query| query.account(id))?;
    let traits = traits.ok_or_else(|| Refused::not_found(format!("account {id} was never seen")))?;
    match part {
        "traits" => {
            let shown = traits.iter().filter(|(_, value)| !value.is_removed());
            let shown: Map<String, Value> =
                shown.map(|(key, value)| (key.clone(), plain(value, wanted.verbose))).collect();
            Ok(json!({ "traits": shown, "cursor": cursor(None, LIMIT_MAX) }))
        }
        "external_ids" => Ok(
            json!({ "data": [{ "id": id, "type": "group_id", "collection": "accounts", "encoding": "none" }], "cursor": cursor(None, LIMIT_MAX) }),
        ),
        _ => Err(Refused::not_found(format!("an account has no `{part}`; expected traits or external_ids"))),
    }
}

#[derive(Deserialize, JsonSchema)]
struct Visitor {
    /// The visitor's device.
    anonymous_id: String,
    /// The page's source.
    write_key: String,
}

/// What a page may know about its own visitor.
async fn personalize(
    State(admin): State<Admin>,
    visitor: Result<Query<Visitor>, Refused>,
    headers: HeaderMap,
) -> Response {
    let visitor = match visitor {
        Ok(Query(visitor)) => visitor,
        Err(refused) => return readable([], refused),
    };
    if !(admin.0.accepting)() {
        let refused =
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "no workspace is loaded yet");
        return readable([(header::RETRY_AFTER, "1")], refused);
    }
    let compiled = admin.0.reader.handle().catalogue();
    let sources = compiled.catalogue.workspace.sources.iter();
    let Some(source) =
        sources.filter(|s| s.labels.enabled).find(|s| s.write_key.contains(&visitor.write_key)).cloned()
    else {
        let detail = "no enabled source has this write key";
        return readable([], Refused::new(StatusCode::UNAUTHORIZED, "unknown_write_key", detail));
    };
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
    let allowed = origin.filter(|origin| source.origins.iter().any(|known| known == "*" || known == origin));
    let reader = admin.0.reader.clone();
    let answer = blocking(move || {
        let person = reader.with(|query| match query.visitor(&visitor.anonymous_id)? {
            Some(handle) => query.person(handle),
            None => Ok(None),
        })?;
        let mut traits = Map::new();
        let mut audiences = Map::new();
        for key in &source.personalize {
            let is_audience = compiled.catalogue.audiences.contains_key(key);
            if is_audience {
                let is = person
                    .as_ref()
                    .is_some_and(|person| person.audiences.iter().any(|(known, _)| known == key));
                audiences.insert(key.clone(), is.into());
                continue;
            }
            let Some(person) = &person else { continue };
            if let Some((_, _, value)) = person.computed.iter().find(|(known, ..)| known == key) {
                traits.insert(key.clone(), json!(value));
            } else if let Some(value) = person.profile.traits.get(key).filter(|value| !value.is_removed()) {
                traits.insert(key.clone(), plain(value, false));
            }
        }
        Ok(json!({ "audiences": audiences, "traits": traits }))
    })
    .await;
    let mut response = match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => refused.into_response(),
    };
    // It is of one visitor and this instant, and another page may not read it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// A refusal that every page may read: it says nothing of the visitor.
fn readable<const N: usize>(headers: [(header::HeaderName, &'static str); N], refused: Refused) -> Response {
    (headers, [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], refused).into_response()
}
