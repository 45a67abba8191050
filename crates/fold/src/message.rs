//! Folding one message: once, to its owner, with its traits and accounts.
//!
//! **ONCE:** `seen` remembers every message id; the first copy in the log wins.
//! **LOSS:** each message ends as folded, duplicate (the same content again) or quarantined (`dup_conflict`).

use crate::batch::{Batch, record_error};
use crate::error::Error;
use crate::memo::{Answer, Trace};
use crate::profile::{Stamp, TraitMap, TraitValue};
use crate::report::Happening;
use crate::rows;
use onefold_identity::engine::{NoOwner, Observed, Owner, observe};
use onefold_identity::graph::Overlay;
use onefold_identity::rules::Rules;
use onefold_log::Entry;
use onefold_log::record::{MessageView, messages};
use onefold_store::Table;
use onefold_types::effect::Cause;
use onefold_types::{EventRef, Identifier, MessageType, NodeId, ProfileHandle, Timestamp};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The index in a `seen` value that says: this message was deleted, and stays so.
pub(crate) const TOMBSTONE: u16 = u16::MAX;

/// How much earlier than the engine time a message may be without being called late: one minute, the longest that
/// the clients in use hold a message back when nothing is wrong.
const LATE_MS: i64 = 60_000;

impl Batch<'_> {
    pub(crate) fn fold_messages(&mut self, entry: &Entry) -> Result<(), Error> {
        let views = messages(&entry.payload).map_err(|e| record_error(entry, &e))?;
        for (index, view) in (0u16..).zip(views) {
            let at = EventRef { position: entry.position, index };
            if let Some(view) = view.map_err(|e| record_error(entry, &e))? {
                self.fold_message(at, &view, entry)?;
            }
        }
        Ok(())
    }

    fn fold_message(&mut self, at: EventRef, view: &MessageView<'_>, entry: &Entry) -> Result<(), Error> {
        self.report.messages += 1;
        let id = self.message_hash(view.message_id);
        if let Some(first) = self.first_copy(id)? {
            return self.seen_before(first, at, view, entry);
        }
        self.txn.put(Table::Seen, rows::seen_key(id), rows::seen_value(at));
        self.memory.counters.folded += 1;

        let ts = view.ts.min(entry.rt);
        let late = ts < entry.rt.minus(LATE_MS);
        let cause = Cause::Event { message_id: view.message_id.to_owned(), late };
        if view.message_type == MessageType::Group {
            // Whoever said it: what an account is does not depend on who its speakers turn out to be.
            self.fold_account(at, view, ts)?;
        }
        let hash = self.ids_hash(view);
        if let Some(known) = self.memory.memo.get(hash, ts) {
            // Before the message is in a stream: what brings the owner up to date must not count it.
            self.catch_up(known.owner)?;
            let name = self.name(view.message_type, view.name)?;
            let key = rows::stream_key(known.stream, ts, at);
            self.txn.put(Table::Stream, key, rows::stream_value(name, known.set));
            self.note_folded(view, ts, Some(known.owner));
            return self.own(known.owner, at, view, ts, cause);
        }
        let observed = self.identify(hash, view, ts, &cause)?;
        let Some(stream) = observed.stream else {
            self.memory.counters.no_usable_id += 1;
            self.note_folded(view, ts, None);
            return Ok(());
        };
        let name = self.name(view.message_type, view.name)?;
        self.txn.put(Table::Stream, rows::stream_key(stream, ts, at), rows::stream_value(name, observed.set));
        match observed.owner {
            Owner::Profile(profile) => {
                self.note_folded(view, ts, Some(profile));
                self.own(profile, at, view, ts, cause)
            }
            Owner::None(reason) => {
                match reason {
                    NoOwner::Hub => self.memory.counters.hub_only += 1,
                    NoOwner::NoUsableId => self.memory.counters.no_usable_id += 1,
                }
                self.note_folded(view, ts, None);
                Ok(())
            }
        }
    }

    /// Asks identity whose the message is, carries out what it decides, and keeps an answer that will stay.
    fn identify(
        &mut self,
        hash: u128,
        view: &MessageView<'_>,
        ts: Timestamp,
        cause: &Cause,
    ) -> Result<Observed, Error> {
        let rules = self.compiled.clone();
        let rules = &rules.rules;
        let raw: Vec<(String, String)> = view.ids().map(|(t, v)| (t.to_owned(), v.to_owned())).collect();
        let usable = rules.usable(&raw);
        // Each time: identity reads more rows for such a message than an answer at hand may depend on.
        self.memory.counters.identifiers_over += usable.too_many() as u64;
        let ids = usable.ids;
        if self.memory.backfill.is_some() {
            let foreseen = observe(rules, &mut Overlay::new(self), &ids, ts, view.message_id)?;
            self.catch_up_with(&foreseen.changes)?;
            if let Owner::Profile(owner) = foreseen.owner {
                self.catch_up(owner)?;
            }
        }
        self.trace = Trace::default();
        let counters = &self.memory.counters;
        self.memory.memo.expect_new(NodeId(counters.next_node), ProfileHandle(counters.next_profile));
        let observed = self.identify_anew(hash, rules, &ids, view, ts, cause);

        self.memory.memo.settled();
        observed
    }

    fn identify_anew(
        &mut self,
        hash: u128,
        rules: &Rules,
        ids: &[Identifier],
        view: &MessageView<'_>,
        ts: Timestamp,
        cause: &Cause,
    ) -> Result<Observed, Error> {
        let mut observed = observe(rules, self, ids, ts, view.message_id)?;
        self.apply_changes(std::mem::take(&mut observed.changes), cause)?;
        // A type whose last sighting counts is news each time.
        if ids.iter().any(|id| rules.rule(&id.id_type).last_wins) {
            return Ok(observed);
        }
        if self.trace.is_beyond() {
            // What was news is known now: asked again, identity only reads, and the next event has its answer.
            self.trace = Trace::default();
            observed = observe(rules, self, ids, ts, view.message_id)?;
            self.apply_changes(std::mem::take(&mut observed.changes), cause)?;
        }
        if let (Some(stream), Owner::Profile(owner)) = (observed.stream, &observed.owner) {
            let answer = Answer { stream, set: observed.set, owner: *owner };
            self.memory.memo.keep(hash, ts, answer, &self.trace);
        }
        Ok(observed)
    }

    fn note_folded(&mut self, view: &MessageView<'_>, ts: Timestamp, profile: Option<ProfileHandle>) {
        if self.report.happenings.len() < crate::report::HAPPENINGS_MAX {
            self.report.note(Happening::Folded {
                message_type: view.message_type,
                name: view.name.to_owned(),
                message_id: view.message_id.to_owned(),
                ts,
                profile,
                body: view.body.to_vec(),
            });
        } else {
            self.report.unseen += 1;
        }
    }

    /// A message whose id is known: a client's retry, or two messages under one id.
    fn seen_before(
        &mut self,
        first: EventRef,
        at: EventRef,
        view: &MessageView<'_>,
        entry: &Entry,
    ) -> Result<(), Error> {
        if first == at {
            return Err(Error::Invariant {
                name: "ONCE",
                detail: format!("the message at {at:?} was folded already"),
            });
        }
        if first.index == TOMBSTONE {
            self.memory.counters.duplicates += 1;
            return Ok(());
        }
        let record = if first.position == entry.position { None } else { Some(self.read_kept(first)?) };
        let payload = match &record {
            None => entry.payload.as_slice(),
            Some(Some(record)) => record.payload.as_slice(),
            // Trimmed: there is nothing to compare with, and the id alone decides.
            Some(None) => {
                self.memory.counters.duplicates += 1;
                return Ok(());
            }
        };
        let original =
            onefold_log::record::message_at(payload, first.index).map_err(|e| record_error(entry, &e))?;
        if original.is_none_or(|original| same_content(&original, view)) {
            self.memory.counters.duplicates += 1;
            return Ok(());
        }
        self.memory.counters.conflicts += 1;
        let detail = format!(
            "message id {} was used before, for another message received earlier; the first one counts",
            view.message_id
        );
        self.quarantine(at, view.source, "dup_conflict", &detail)
    }

    /// The message is `profile`'s.
    fn own(
        &mut self,
        handle: ProfileHandle,
        at: EventRef,
        view: &MessageView<'_>,
        ts: Timestamp,
        cause: Cause,
    ) -> Result<(), Error> {
        let compiled = self.compiled.clone();
        let mut touch = self.touched.remove(&handle).unwrap_or_default();
        touch.because(cause);
        for (destination, selector) in &compiled.routes.events {
            // A message that several selectors of a destination take is sent once.
            let taken = touch.forwards.iter().any(|(known, of, _)| known == destination && *of == at);
            if !taken && selector.matches(view.message_type, view.name, view.body) {
                touch.forwards.push((*destination, at, view.message_id.to_owned()));
            }
        }
        if touch.rebuild {
            // The rebuild reads the streams, this message's row included.
            self.touched.insert(handle, touch);
            return Ok(());
        }
        let mut profile = self.memory.profiles.take(self.txn.as_ref(), &handle)?.unwrap_or_default();
        if !profile.is_person() {
            self.memory.counters.persons += 1;
            profile.catalogue = compiled.catalogue.version.0;
            compiled.plan.begin(&mut profile.state, &mut touch.primitives);
        }
        profile.saw(ts);
        match view.message_type {
            MessageType::Identify => {
                let stamp = Stamp { ts, message_id: view.message_id.to_owned() };
                for (key, json) in traits_of(view.body) {
                    let before = visible(&profile.traits, &key);
                    let value = TraitValue { json, stamp: stamp.clone(), source: view.source.to_owned() };
                    if profile.traits.set(&key, value) {
                        compiled.plan.trait_changed(&key, &mut touch.primitives);
                        touch.traits_before.entry(key).or_insert(before);
                    }
                }
                let over = profile.traits.bound();
                self.memory.counters.traits_over += over.len() as u64;
                for (key, value) in over.into_iter().filter(|(_, value)| !value.is_removed()) {
                    compiled.plan.trait_changed(&key, &mut touch.primitives);
                    touch.traits_before.entry(key).or_insert(Some(value.json));
                }
            }
            MessageType::Group => self.join(handle, &mut profile, view.group_id, ts),
            _ => {}
        }
        compiled.plan.observe(
            &mut profile.state,
            &mut touch.primitives,
            view.message_type,
            view.name,
            view.body,
            ts,
        );
        self.memory.profiles.put(handle, profile);
        self.touched.insert(handle, touch);
        Ok(())
    }
}

/// The JSON that a reader of a profile sees under `key`.
pub(crate) fn visible(traits: &TraitMap, key: &str) -> Option<String> {
    traits.get(key).filter(|value| !value.is_removed()).map(|value| value.json.clone())
}

/// The traits of an identify or group call: JSON text by key, empty for `null`.
pub(crate) fn traits_of(body: &[u8]) -> Vec<(String, String)> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        traits: Option<BTreeMap<String, &'a RawValue>>,
    }
    // Ingest has parsed this body; one that does not parse here has no traits.
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return Vec::new() };
    let traits = body.traits.unwrap_or_default();
    traits
        .into_iter()
        .map(|(key, json)| (key, if json.get() == "null" { String::new() } else { json.get().to_owned() }))
        .collect()
}

/// Whether two messages under one id say the same, but for what a client changes when it sends again.
fn same_content(a: &MessageView<'_>, b: &MessageView<'_>) -> bool {
    if a.body == b.body {
        return true;
    }
    let essence = |body: &[u8]| {
        let mut value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            for volatile in ["sentAt", "_metadata", "receivedAt", "writeKey", "channel"] {
                object.remove(volatile);
            }
            if let Some(context) = object.get_mut("context").and_then(serde_json::Value::as_object_mut) {
                context.remove("ip");
            }
        }
        value
    };
    essence(a.body) == essence(b.body)
}
