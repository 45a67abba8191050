//! An account: what group calls say of it, and who belongs to it.

use super::paging::{Asked, Class};
use super::{Found, traits, users};
use crate::Admin;
use crate::answer::{Refused, time};
use onefold_api::Time;
use onefold_api::profiles::{Calls, Collection, Encoding, ExternalId, Link, Listed, Metadata, Part};
use onefold_fold::profile::TraitMap;
use onefold_fold::query::{AccountMember, Query};
use onefold_types::Message;

pub(super) fn answer(admin: &Admin, asked: &Asked) -> Result<Part, Refused> {
    let missing = |why: &str| {
        let expected = "expected traits, external_ids, metadata or links";
        Err(Refused::not_found(format!("{why}; {expected}")))
    };
    match asked.part.as_str() {
        "traits" | "external_ids" | "metadata" | "links" => {}
        "events" => return missing("an account has no events: they are its members', whom `links` lists"),
        "audiences" => {
            return missing("an account is in no audience: only its members are, whom `links` lists");
        }
        other => return missing(&format!("an account has no `{other}`")),
    }
    let (id_type, id) = (&asked.id_type, &asked.value);
    if id_type != "group_id" {
        return Err(Refused::bad(format!(
            "an account has no identifier of type `{id_type}`; expected `group_id`, as in `group_id:{id}`"
        )));
    }
    asked.takes(&["traits", "external_ids"], &["traits"])?;
    if asked.wanted.class.is_some_and(|class| class != Class::Trait) {
        return Err(Refused::bad(
            "an account has no computed traits and is in no audience; expected class `trait`",
        ));
    }
    admin
        .0
        .reader
        .with(|query| match query.account(id)? {
            Some(known) => part(asked, query, &known).map(Some),
            None => Ok(None),
        })?
        .unwrap_or_else(|| Err(Refused::not_found(format!("account {id} was never seen"))))
}

fn part(asked: &Asked, query: &mut Query<'_, '_>, known: &TraitMap) -> Found<Part> {
    match asked.part.as_str() {
        "external_ids" => Ok(external_ids(asked)),
        "metadata" => metadata(asked, query),
        "links" => links(asked, query),
        _ => {
            let there = known.iter().filter(|(_, value)| !value.is_removed());
            let shown = there.map(|(key, value)| (key.clone(), traits::plain(value, asked.wanted.verbose)));
            Ok(traits::page(asked, shown.collect()))
        }
    }
}

fn external_ids(asked: &Asked) -> Result<Part, Refused> {
    let mut ids = vec![external_id(&asked.value)];
    if let Some(include) = asked.include()? {
        ids.retain(|_| include.iter().any(|id_type| id_type == "group_id"));
    }
    asked.page(&ids, |_, _| true, |_| asked.value.clone(), Clone::clone).map(Part::ExternalIds)
}

/// The identifier of an account as Segment shows it.
pub(super) fn external_id(id: &str) -> ExternalId {
    ExternalId {
        id: id.to_owned(),
        id_type: "group_id".to_owned(),
        collection: Collection::Accounts,
        encoding: Encoding::None,
    }
}

/// When it was first and last spoken of, and by which messages.
fn metadata(asked: &Asked, query: &mut Query<'_, '_>) -> Found<Part> {
    let (first, last) = query.account_calls(&asked.value)?;
    let (created_at, updated_at) =
        (first.as_ref().map(|call| time(call.ts)), last.as_ref().map(|call| time(call.ts)));
    let messages = (first.and_then(|call| call.message), last.and_then(|call| call.message));
    Ok(Ok(Part::Account(Metadata { metadata: calls((created_at, updated_at), messages) })))
}

/// The times and messages of the first and the last call.
pub(super) fn calls(
    (created_at, updated_at): (Option<Time>, Option<Time>),
    (first, last): (Option<Message>, Option<Message>),
) -> Calls {
    let said = |message: Option<Message>| message.map(|message| (message.message_id, message.source)).unzip();
    let ((first_message_id, first_source_id), (last_message_id, last_source_id)) = (said(first), said(last));
    Calls {
        created_at,
        updated_at,
        expires_at: None,
        first_message_id,
        last_message_id,
        first_source_id,
        last_source_id,
    }
}

/// Who belongs to it, with all identifiers of each.
fn links(asked: &Asked, query: &mut Query<'_, '_>) -> Found<Part> {
    let after = match asked.after().map(|after| after.map(|after| after.parse::<u64>())) {
        Ok(Some(Err(_))) => return Ok(Err(Asked::foreign_cursor())),
        Ok(Some(Ok(after))) => Some(after),
        Ok(None) => None,
        Err(refused) => return Ok(Err(refused)),
    };
    let from = after.map_or(0, |after| after.saturating_add(1));
    let mut members = query.account_members(&asked.value, from, asked.limit() + 1)?;
    let is_more = members.len() > asked.limit();
    members.truncate(asked.limit());
    let next = members.last().filter(|_| is_more).map(|last| last.handle.0.to_string());
    let show = |member: &AccountMember| Link {
        to_collection: Collection::Users,
        since: time(member.since),
        external_ids: member.ids.iter().map(users::external_id).collect(),
    };
    let data = members.iter().map(show).collect();
    Ok(Ok(Part::Links(Listed { data, cursor: asked.cursor(next.as_deref()) })))
}
