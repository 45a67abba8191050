//! The graph that other rules make of the history.

use crate::batch::{Batch, record_error};
use crate::decision::{Decided, Outcome};
use crate::error::Error;
use crate::rows;
use onefold_identity::engine::{observe, take};
use onefold_identity::graph::{Graph, MemoryGraph, Node, StreamRow};
use onefold_identity::rules::Rules;
use onefold_log::Entry;
use onefold_log::record::{Kind, MessageView, messages};
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::decision::Decision;
use onefold_types::workspace::IdentityConfig;
use onefold_types::{EventRef, MessageType, NameId, NodeId, Position, SetId, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Set in the number of a name that only the shadow has; the fold's numbers do not get there.
const NAMED_HERE: u32 = 1 << 31;

/// The place of a name that only the shadow has, in [`Shadow::names`].
pub(super) fn named_here(id: NameId) -> Option<usize> {
    (id.0 & NAMED_HERE != 0).then_some((id.0 & !NAMED_HERE) as usize)
}

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 4 << 20;

/// A graph under other rules, of everything before a position.
pub struct Shadow {
    pub(super) identity: IdentityConfig,
    pub(super) rules: Arc<Rules>,
    pub(super) graph: MemoryGraph,
    /// Messages before it are in the graph.
    position: Position,
    /// Decisions below it are.
    decisions: u64,
    /// Event names that the fold has no number for, by [`NAMED_HERE`] and their place: they get one when the graph is
    /// taken over. They are few: those of messages that only these rules find somebody for.
    pub(super) names: Vec<(MessageType, String)>,
    name_ids: HashMap<(MessageType, String), NameId>,
}

/// How long a shadow is kept for the change that may follow its preview: ten minutes. It is as large as the graph.
const KEPT_MS: i64 = 600_000;

/// The shadow that a preview made, until the change itself takes it or [`KEPT_MS`] have passed. Shared by the fold and
/// its readers.
#[derive(Clone, Default)]
pub(crate) struct Prepared(Arc<Mutex<Option<Kept>>>);

struct Kept {
    shadow: Shadow,
    /// When it goes; known once the fold has seen it.
    until: Option<Timestamp>,
}

impl Prepared {
    /// The shadow under these rules, if it is at hand; one under others goes.
    pub(crate) fn take(&self, identity: &IdentityConfig) -> Option<Shadow> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.map(|kept| kept.shadow).filter(|shadow| shadow.identity == *identity)
    }

    pub(crate) fn keep(&self, shadow: Shadow) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept { shadow, until: None });
    }

    #[cfg(test)]
    pub(super) fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The fold calls it with each step's log time: a shadow that nobody came for goes.
    pub(crate) fn expire(&self, now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = kept.as_mut() else { return };
        if now < *known.until.get_or_insert(now.plus(KEPT_MS)) {
            return;
        }
        let gone = kept.take();
        drop(kept);
        // Letting go of gigabytes takes a while, and the fold has more to do. Without a thread it is done here.
        let _ = std::thread::Builder::new().name("shadow-drop".to_owned()).spawn(move || drop(gone));
    }
}

impl Shadow {
    fn new(identity: &IdentityConfig, rules: &Rules) -> Self {
        Self {
            identity: identity.clone(),
            rules: Arc::new(rules.clone()),
            graph: MemoryGraph::new(),
            position: Position::default(),
            decisions: 0,
            names: Vec::new(),
            name_ids: HashMap::new(),
        }
    }

    /// The number of a name that the fold has none for.
    fn name_here(&mut self, message_type: MessageType, name: &str) -> NameId {
        let key = (message_type, name.to_owned());
        if let Some(id) = self.name_ids.get(&key) {
            return *id;
        }
        let id = NameId(NAMED_HERE | u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(key.clone());
        self.name_ids.insert(key, id);
        id
    }

    fn observe(&mut self, raw: &[(String, String)], ts: Timestamp, at: EventRef, said: &Said<'_>) {
        let rules = self.rules.clone();
        let rules = rules.as_ref();
        let ids = rules.usable(raw).ids;
        let Ok(observed) = observe(rules, &mut self.graph, &ids, ts, said.message_id);
        if let Some(stream) = observed.stream {
            let name = match said.name {
                Name::Known(id) => id,
                Name::Unknown(message_type, name) => self.name_here(message_type, name),
            };
            let row = StreamRow { ts, at, name, set: observed.set };
            self.graph.add_message(stream, row, said.message_id);
        }
    }
}

/// What the graph asks of a message beside its identifiers.
struct Said<'a> {
    message_id: &'a str,
    name: Name<'a>,
}

/// An event's name.
enum Name<'a> {
    /// By the fold's number.
    Known(NameId),
    /// The fold has none.
    Unknown(MessageType, &'a str),
}

impl Batch<'_> {
    /// The shadow of everything before `until`, which this batch has folded; goes on from `known` if that can be.
    pub(crate) fn shadow(
        &mut self,
        identity: &IdentityConfig,
        rules: &Rules,
        known: Option<Shadow>,
        until: Position,
    ) -> Result<Shadow, Error> {
        let decisions = self.accepted_decisions()?;
        let mut shadow = match known {
            // What a message that was deleted since did to the graph is not taken back: begun anew, it never did.
            Some(known)
                if known.position <= until
                    && !decisions.range(known.decisions..).any(|(_, decision)| is_deletion(decision)) =>
            {
                known
            }
            _ => self.begin_shadow(identity, rules)?,
        };
        while !self.shadow_messages(&mut shadow, until)? {
            // Retention trimmed what was to be read next: what is left of it are its rows.
            shadow = self.begin_shadow(identity, rules)?;
        }
        for (number, decision) in decisions.range(shadow.decisions..) {
            let Ok(_) = take(rules, &mut shadow.graph, *number, decision);
            shadow.decisions = number + 1;
        }
        Ok(shadow)
    }

    fn accepted_decisions(&mut self) -> Result<BTreeMap<u64, Decision>, Error> {
        let mut found = BTreeMap::new();
        let mut failed = None;
        self.txn.scan(Table::Decision, &KeyRange::prefix(b"n"), Direction::Forward, &mut |_, value| {
            match serde_json::from_slice::<Decided>(value) {
                Ok(Decided { record, outcome: Outcome::Taken { number }, .. }) => {
                    found.insert(number, record.decision);
                }
                Ok(_) => {}
                Err(_) => failed = Some(Error::Decode { what: "op", source: None }),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// A shadow of what the log has trimmed: how often each identifier began anew, and the messages whose rows are left.
    fn begin_shadow(&mut self, identity: &IdentityConfig, rules: &Rules) -> Result<Shadow, Error> {
        let mut shadow = Shadow::new(identity, rules);
        let mut nodes = HashMap::new();
        let mut failed = None;
        self.txn.scan(Table::Node, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            match (rows::number_from("node", key), rows::decode::<Node>("node", value)) {
                (Ok(number), Ok(node)) => {
                    if node.generation > 0 {
                        let number = shadow.graph.next_node();
                        let again = Node { generation: node.generation, ..Node::unseen(node.id.clone()) };
                        let Ok(()) = shadow.graph.put_node(number, Arc::new(again));
                    }
                    nodes.insert(NodeId(number), node.id);
                }
                (Err(error), _) | (_, Err(error)) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)?;
        let first = self.setting.log.first();
        if first > Position::default() {
            let sets = self.sets()?;
            let mut trimmed = Vec::new();
            self.all_rows(&mut |stream, row| {
                if row.at.position < first {
                    trimmed.push((stream, row));
                }
            })?;
            trimmed.sort_by_key(|(_, row)| row.at);
            for (stream, row) in trimmed {
                let alone = [stream];
                let set = sets.get(&row.set).map_or(&alone[..], Vec::as_slice);
                let ids = set.iter().filter_map(|node| nodes.get(node));
                let raw: Vec<(String, String)> =
                    ids.map(|id| (id.id_type.clone(), id.value.clone())).collect();
                let said = Said { message_id: "", name: Name::Known(row.name) };
                shadow.observe(&raw, row.ts, row.at, &said);
            }
        }
        shadow.position = first;
        Ok(shadow)
    }

    /// Shows every row of every stream.
    pub(super) fn all_rows(&self, visit: &mut dyn FnMut(NodeId, StreamRow)) -> Result<(), Error> {
        let mut failed = None;
        self.txn.scan(Table::Stream, &KeyRange::prefix(&[]), Direction::Forward, &mut |key, value| {
            let stream = key.get(..8).unwrap_or_default();
            match (rows::number_from("stream", stream), rows::stream_from(key, value)) {
                (Ok(stream), Ok(row)) => visit(NodeId(stream), row),
                (Err(error), _) | (_, Err(error)) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The nodes of each set by its number.
    pub(super) fn sets(&mut self) -> Result<HashMap<SetId, Vec<NodeId>>, Error> {
        let mut sets = HashMap::new();
        let mut failed = None;
        self.txn.scan(Table::Evidence, &KeyRange::prefix(&[]), Direction::Forward, &mut |_, value| {
            match rows::decode::<rows::SetRow>("evidence", value) {
                Ok(row) => drop(sets.insert(row.evidence.set, row.nodes)),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(sets), Err)
    }

    /// Adds the messages up to `until`; `false` if the log lost the place.
    fn shadow_messages(&mut self, shadow: &mut Shadow, until: Position) -> Result<bool, Error> {
        while shadow.position < until {
            let entries = match self.setting.log.read(shadow.position, READ_BYTES) {
                Err(onefold_log::Error::NotFound { .. }) if shadow.position < self.setting.log.first() => {
                    return Ok(false);
                }
                read => read?,
            };
            if entries.is_empty() {
                break;
            }
            for entry in entries.iter().filter(|entry| entry.position < until) {
                self.shadow_record(shadow, entry)?;
                shadow.position = entry.next;
            }
        }
        Ok(true)
    }

    fn shadow_record(&mut self, shadow: &mut Shadow, entry: &Entry) -> Result<(), Error> {
        let kind = onefold_log::record::kind(&entry.payload).map_err(|e| record_error(entry, &e))?;
        if kind != Kind::Messages {
            return Ok(());
        }
        let views = messages(&entry.payload).map_err(|e| record_error(entry, &e))?;
        for (index, view) in (0u16..).zip(views) {
            let at = EventRef { position: entry.position, index };
            let Some(view) = view.map_err(|e| record_error(entry, &e))? else { continue };
            if self.is_folded(at, &view)? {
                let raw: Vec<(String, String)> =
                    view.ids().map(|(t, v)| (t.to_owned(), v.to_owned())).collect();
                let name = match self.known_name(view.message_type, view.name)? {
                    Some(id) => Name::Known(id),
                    None => Name::Unknown(view.message_type, view.name),
                };
                let said = Said { message_id: view.message_id, name };
                shadow.observe(&raw, view.ts.min(entry.rt), at, &said);
            }
        }
        Ok(())
    }

    /// Whether this is the copy of its message that was folded, and was not deleted.
    fn is_folded(&mut self, at: EventRef, view: &MessageView<'_>) -> Result<bool, Error> {
        let key = rows::seen_key(self.message_hash(view.message_id));
        let seen = self.txn.get(Table::Seen, &key)?;
        Ok(seen.map(|bytes| rows::seen_from(&bytes)).transpose()? == Some(at))
    }

    /// The numbers of the names that the shadow named itself, given now if the fold has none yet.
    pub(super) fn names_of(&mut self, shadow: &Shadow) -> Result<Vec<NameId>, Error> {
        shadow.names.iter().map(|(message_type, name)| self.name(*message_type, name)).collect()
    }
}

fn is_deletion(decision: &Decision) -> bool {
    matches!(decision, Decision::DeleteMessage { .. } | Decision::DeleteProfile { .. })
}
