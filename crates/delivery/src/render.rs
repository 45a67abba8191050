//! From an effect to the message that a destination gets: Segment's shapes (interface.md), so that handlers written for
//! Segment's audiences work.

use onefold_types::effect::{Cause, Change, Effect};
use onefold_types::{AudienceId, Catalogue, Timestamp, TraitId};
use serde_json::{Map, Value, json};

/// The names that an effect's numbers stand for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The workspace's key.
    pub workspace: String,
    audiences: Vec<(AudienceId, String)>,
    traits: Vec<(TraitId, String)>,
    /// Ids below are given.
    next_id: u32,
}

/// Why there is no name to say a change under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nameless {
    /// What it tells of (an `audience`, a `computed trait`) was removed, and the catalogue does not know its key any more.
    Removed(&'static str),
    /// A later catalogue, which is on its way, defines it.
    NotYet,
}

impl Names {
    /// The names of a catalogue.
    #[must_use]
    pub fn of(catalogue: &Catalogue) -> Self {
        Self {
            workspace: catalogue.workspace.workspace.clone(),
            audiences: catalogue
                .audiences
                .iter()
                .map(|(key, id)| (*id, key.clone()))
                .chain(catalogue.removed_audiences.iter().map(|(id, key)| (*id, key.clone())))
                .collect(),
            traits: catalogue.traits.iter().map(|(key, id)| (*id, key.clone())).collect(),
            next_id: catalogue.next_id,
        }
    }

    /// Why `change` cannot be said, if what it tells of has no name.
    #[must_use]
    pub fn nameless(&self, change: &Change) -> Option<Nameless> {
        let (what, id, is_known) = match change {
            Change::Entered { audience, .. } | Change::Exited { audience } => {
                ("audience", audience.0, self.audiences.iter().any(|(known, _)| known == audience))
            }
            Change::TraitComputed { computed_trait, .. } => {
                let is_known = self.traits.iter().any(|(known, _)| known == computed_trait);
                ("computed trait", computed_trait.0, is_known)
            }
            Change::TraitChanged { .. } | Change::Event { .. } => return None,
        };
        match id < self.next_id {
            _ if is_known => None,
            true => Some(Nameless::Removed(what)),
            false => Some(Nameless::NotYet),
        }
    }

    /// An audience's key; its number if the catalogue does not have it any more.
    #[must_use]
    pub fn audience(&self, id: AudienceId) -> String {
        self.audiences
            .iter()
            .find(|(known, _)| *known == id)
            .map_or_else(|| id.to_string(), |(_, key)| key.clone())
    }

    fn computed(&self, id: TraitId) -> String {
        self.traits
            .iter()
            .find(|(known, _)| *known == id)
            .map_or_else(|| id.to_string(), |(_, key)| key.clone())
    }
}

/// An instant as RFC 3339 with milliseconds.
#[must_use]
pub fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.0.to_string(), |instant| format!("{instant:.3}"))
}

/// The message of an effect. `event` is the stored message of a [`Change::Event`].
///
/// # Errors
/// What was stored is not JSON. Nothing is sent for it then: a message without its content, or a trait that is `null`,
/// would say something else.
pub fn render(effect: &Effect, names: &Names, event: Option<&[u8]>) -> Result<Value, serde_json::Error> {
    let (class, id, key, mut message) = match &effect.change {
        Change::Entered { audience, initial } => membership(effect, names, *audience, true, *initial),
        Change::Exited { audience } => membership(effect, names, *audience, false, false),
        Change::TraitComputed { computed_trait, value } => {
            let key = names.computed(*computed_trait);
            ("trait", computed_trait.to_string(), key.clone(), computed(effect, &key, value)?)
        }
        Change::TraitChanged { key, value } => {
            ("trait", key.clone(), key.clone(), computed(effect, key, value)?)
        }
        Change::Event { .. } => {
            let message = serde_json::from_slice(event.unwrap_or_default())?;
            ("event", String::new(), String::new(), message)
        }
    };
    let strongest =
        |id_type: &str| effect.ids.iter().find(|id| id.id_type == id_type).map(|id| id.value.clone());
    for (field, id_type) in [("userId", "user_id"), ("anonymousId", "anonymous_id")] {
        if let Some(value) = strongest(id_type) {
            message.insert(field.to_owned(), value.into());
        }
    }
    message.insert("messageId".to_owned(), effect.id_text().into());
    let context = message.entry("context").or_insert_with(|| Value::Object(Map::new()));
    if !context.is_object() {
        *context = Value::Object(Map::new());
    }
    context["externalIds"] = effect
        .ids
        .iter()
        .map(|id| json!({ "id": id.value, "type": id.id_type, "collection": "users", "encoding": "none" }))
        .collect();
    if class != "event" {
        context["personas"] = json!({
            "computation_class": class,
            "computation_id": id,
            "computation_key": key,
            "namespace": names.workspace,
            "space_id": names.workspace,
        });
    }
    context["onefold"] = json!({
        "customer_key": effect.customer_key,
        "profile_id": effect.profile_id,
        "workspace": names.workspace,
        "cause": cause(&effect.cause),
    });
    Ok(Value::Object(message))
}

type Parts = (&'static str, String, String, Map<String, Value>);

fn membership(effect: &Effect, names: &Names, audience: AudienceId, is: bool, initial: bool) -> Parts {
    let key = names.audience(audience);
    let mut properties = Map::new();
    properties.insert("audience_key".to_owned(), key.clone().into());
    properties.insert(key.clone(), is.into());
    properties.insert("effective_at".to_owned(), iso(effect.effective).into());
    if initial {
        properties.insert("initial".to_owned(), true.into());
    }
    let event = if is { "Audience Entered" } else { "Audience Exited" };
    ("audience", audience.to_string(), key, track(effect, event, properties))
}

fn computed(effect: &Effect, key: &str, value: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let mut properties = Map::new();
    properties.insert("trait_key".to_owned(), key.into());
    properties.insert(key.to_owned(), serde_json::from_str(value)?);
    Ok(track(effect, "Trait Computed", properties))
}

fn track(effect: &Effect, event: &str, properties: Map<String, Value>) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("type".to_owned(), "track".into());
    message.insert("event".to_owned(), event.into());
    message.insert("timestamp".to_owned(), iso(effect.effective).into());
    message.insert("properties".to_owned(), Value::Object(properties));
    message
}

fn cause(cause: &Cause) -> Value {
    match cause {
        Cause::Event { message_id, late } => {
            json!({ "kind": "event", "message_id": message_id, "late": late })
        }
        Cause::Time => json!({ "kind": "time" }),
        Cause::Merge { into } => json!({ "kind": "merge", "into": into }),
        Cause::Split { from } => json!({ "kind": "split", "from": from }),
        Cause::Definition => json!({ "kind": "definition" }),
        Cause::Deletion => json!({ "kind": "deletion" }),
        Cause::Decision { number } => json!({ "kind": "decision", "number": number }),
        Cause::Rules { version } => json!({ "kind": "rules", "version": version }),
    }
}
