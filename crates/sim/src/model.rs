//! The naive fold: after each record everything is computed again from all messages so far, by the oracles.
//!
//! **Never here:** an incremental trick, or a line of the fold. It shares the record codec, the rules of identity (a
//! value's form and rank) and the two oracles' words; profile handles are told to it, for they are nobody's business
//! outside: whose each cluster is decides nothing but the lane that its changes go to.
//!
//! What it holds against the engine, per record and per instant between records (audiences.md B10): memberships and
//! values before and after, and so the exact list of what had to be sent, with the instants at which it became true.

use onefold_audience::Expr;
use onefold_audience::oracle::{Definitions, OracleEvent as Said, traits_at};
use onefold_identity::oracle::{
    Cluster, OracleEvent, OracleOwner, Resolution, accepts, resolve, without_message, without_profile,
};
use onefold_identity::rules::Rules;
use onefold_log::Entry;
use onefold_log::record::Record;
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::workspace::Destination;
use onefold_types::{Catalogue, EventRef, Identifier, Message, MessageType, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::WINDOWS;

/// A message that was folded.
#[derive(Clone, Debug)]
pub struct Folded {
    /// As identity sees it.
    pub evidence: OracleEvent,
    /// As audiences see it.
    pub said: Said,
    /// Where it stands.
    pub at: EventRef,
}

/// One profile, as it was when it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its identifiers.
    pub ids: Cluster,
    /// Its messages.
    pub events: Vec<Said>,
    /// Their ids.
    pub message_ids: BTreeSet<String>,
    /// Its audiences, by number.
    pub members: BTreeSet<u32>,
    /// Its computed traits; 0 is kept as absence.
    pub computed: BTreeMap<u32, Value>,
    /// Since when it is in each of its audiences.
    pub since: BTreeMap<u32, i64>,
    /// When each computed trait last changed.
    pub changed: BTreeMap<u32, i64>,
    /// Its traits.
    pub traits: BTreeMap<String, Value>,
    /// When it was last looked at.
    pub at: i64,
}

/// Something that has to be sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    /// Whose lane.
    pub lane: u64,
    /// Counts records and the instants between them: what one of them causes comes in any order.
    pub step: u64,
    /// When it became true.
    pub effective: i64,
    /// What, in words.
    pub what: String,
    /// The destinations that have to be told, by key.
    pub to: BTreeSet<String>,
    /// A forwarded message.
    pub forwarded: bool,
    /// Nothing is said if it was not sent.
    pub may_lack: bool,
}

/// Whether a trait that reached a profile through two merges in one record may be kept from its destinations.
const CHAINED_MERGES_LOSE_TRAITS: bool = false;

/// Whether a profile that a decision ended, by a deletion or a block, may leave its audiences without a word.
const VANISHED_LEAVE_SILENTLY: bool = false;

/// Whether a message may not be forwarded whose profile ends, or owns nothing any more, in the same record.
const FORWARDS_GO_WITH_THEIR_PROFILE: bool = false;

/// Whether the deletion of a profile may be taken though its identifier is nobody's.
const DELETIONS_OF_NOBODY: bool = false;

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The request.
    pub request: String,
    /// What was asked.
    pub decision: Decision,
    /// Its number if it was taken.
    pub taken: Option<u64>,
}

/// What a record did.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Profiles whose messages are others than before, or that are new.
    pub touched: BTreeSet<u64>,
    /// A decision's outcome.
    pub verdict: Option<Verdict>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Folded messages.
    pub folded: u64,
    /// The same content again.
    pub duplicates: u64,
    /// Other content under a known id.
    pub conflicts: u64,
    /// The reason of everything in quarantine, in order.
    pub quarantine: Vec<String>,
}

/// Destinations by the number of what they take.
type Routes = BTreeMap<u32, BTreeSet<String>>;

struct Seen {
    essence: Value,
    deleted: bool,
}

/// See the module.
pub struct Model {
    /// The rules in force.
    pub rules: Rules,
    definitions: Definitions,
    /// The catalogue in force.
    pub catalogue: Option<Catalogue>,
    distances: Vec<i64>,
    /// Destinations by the number of the audience or computed trait whose changes they take.
    routes: Routes,
    forwards: Vec<Expr>,
    events: Vec<Folded>,
    seen: BTreeMap<String, Seen>,
    operations: Vec<(u64, Decision)>,
    requests: BTreeSet<String>,
    next_decision: u64,
    /// How often an identifier was deleted with its profile.
    pub generations: BTreeMap<Identifier, u32>,
    /// Who is who.
    pub resolution: Resolution,
    /// What was counted.
    pub counts: Counts,
    /// Persons by handle.
    pub people: BTreeMap<u64, Known>,
    /// What has to have been sent.
    pub expected: Vec<Expected>,
    /// Keys of audiences and computed traits by number, removed ones included; of one that was renamed, the first.
    pub names: BTreeMap<u32, String>,
    step: u64,
    /// Profiles that the record at hand ended.
    merged: usize,
    /// Every identifier that was ever in a message or a decision.
    ever: BTreeSet<Identifier>,
}

/// The profile that holds an identifier, as the engine numbers it.
pub type HandleOf<'a> = &'a mut dyn FnMut(&Identifier) -> Option<u64>;

impl Default for Model {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            definitions: Definitions::default(),
            catalogue: None,
            distances: Vec::new(),
            routes: Routes::new(),
            forwards: Vec::new(),
            events: Vec::new(),
            seen: BTreeMap::new(),
            operations: Vec::new(),
            requests: BTreeSet::new(),
            next_decision: 1,
            generations: BTreeMap::new(),
            resolution: Resolution::default(),
            counts: Counts::default(),
            people: BTreeMap::new(),
            expected: Vec::new(),
            names: BTreeMap::new(),
            step: 0,
            merged: 0,
            ever: BTreeSet::new(),
        }
    }
}

impl Model {
    /// Time passes up to `until`, not included: every instant at which anybody's windows change is looked at.
    pub fn advance(&mut self, until: Timestamp) {
        self.step += 1;
        let handles: Vec<u64> = self.people.keys().copied().collect();
        for handle in handles {
            let Some(known) = self.people.get(&handle) else { continue };
            let mut instants = BTreeSet::new();
            for event in &known.events {
                instants.extend(self.distances.iter().map(|distance| event.ts.0 + distance));
            }
            let from = known.at;
            for instant in instants.range(from..until.0.max(from)).copied().collect::<Vec<_>>() {
                self.look(handle, Timestamp(instant), false);
            }
        }
    }

    /// Decodes a record and does what it says; afterwards handles are asked for.
    pub fn apply(&mut self, entry: &Entry) -> Told {
        self.step += 1;
        let mut told = Told::default();
        match Record::decode(&entry.payload).unwrap() {
            Record::Messages(messages) => self.messages(entry, messages),
            Record::Rejected(items) => self.counts.quarantine.extend(items.into_iter().map(|item| item.code)),
            Record::Catalogue(json) => self.define(entry.rt, &serde_json::from_slice(&json).unwrap()),
            Record::Decision(json) => told.verdict = self.decide(serde_json::from_slice(&json).unwrap()),
            Record::Redacted => {}
        }
        told
    }

    fn messages(&mut self, entry: &Entry, messages: Vec<Message>) {
        for (index, message) in (0u16..).zip(messages) {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            let essence = essence(&body);
            match self.seen.get(&message.message_id) {
                None => {}
                Some(seen) if seen.deleted || seen.essence == essence => {
                    self.counts.duplicates += 1;
                    continue;
                }
                Some(_) => {
                    self.counts.conflicts += 1;
                    self.counts.quarantine.push("dup_conflict".to_owned());
                    continue;
                }
            }
            self.counts.folded += 1;
            self.seen.insert(message.message_id.clone(), Seen { essence, deleted: false });
            let ts = message.ts.min(entry.rt);
            self.ever.extend(self.rules.usable(&message.ids).ids);
            let evidence =
                OracleEvent { message_id: message.message_id.clone(), ts, ids: message.ids.clone() };
            let said = Said {
                ts,
                rt: entry.rt,
                message_id: message.message_id,
                message_type: message.message_type,
                name: message.name,
                body,
            };
            self.events.push(Folded { evidence, said, at: EventRef { position: entry.position, index } });
        }
    }

    fn evidence(&self) -> Vec<OracleEvent> {
        self.events.iter().map(|folded| folded.evidence.clone()).collect()
    }

    /// The first message that has an identifier.
    #[must_use]
    pub fn first_with(&self, id: &Identifier) -> Option<String> {
        let has = |event: &&OracleEvent| self.rules.usable(&event.ids).ids.contains(id);
        let all = self.events.iter().map(|folded| &folded.evidence);
        let first = all.filter(has).min_by_key(|event| (event.ts, &event.message_id));
        first.map(|event| event.message_id.clone())
    }

    /// Who is who by nothing but these messages and links. What operators said of single values is no evidence, and stays.
    #[must_use]
    pub fn replayed(&self, messages: &BTreeSet<String>, links: &BTreeSet<u64>) -> Resolution {
        let mut evidence = self.evidence();
        evidence.retain(|event| messages.contains(&event.message_id));
        let undone = |number: &u64| {
            let is = |said: &Decision| matches!(said, Decision::Undo { number: taken } if taken == number);
            self.operations.iter().any(|(_, said)| is(said))
        };
        let mut operations = self.operations.clone();
        operations.retain(|(number, decision)| match decision {
            Decision::Link { .. } => links.contains(number),
            Decision::Force { .. } | Decision::Block { .. } | Decision::Unblock { .. } => !undone(number),
            _ => false,
        });
        resolve(&evidence, &operations, &self.rules)
    }

    fn decide(&mut self, record: DecisionRecord) -> Option<Verdict> {
        if !self.requests.insert(record.request_id.clone()) {
            return None;
        }
        let decision = record.decision;
        let evidence = self.evidence();
        let mut taken = accepts(&evidence, &self.operations, &self.rules, &decision).is_ok();
        if let Decision::DeleteProfile { id } = &decision {
            taken |= DELETIONS_OF_NOBODY && self.is_named(id);
        }
        let left: Option<Vec<OracleEvent>> = match &decision {
            Decision::DeleteMessage { message_id } => Some(without_message(&evidence, message_id)),
            Decision::DeleteProfile { id } => {
                let id = self.rules.normalise(&id.id_type, &id.value).unwrap_or_else(|_| id.clone());
                let cluster = self.resolution.cluster_of(&id).cloned().unwrap_or_default();
                if taken {
                    for id in cluster {
                        *self.generations.entry(id).or_default() += 1;
                    }
                }
                Some(without_profile(&evidence, &self.operations, &self.rules, &id))
            }
            _ => None,
        };
        if let Some(left) = left.filter(|_| taken) {
            let left: BTreeSet<String> = left.into_iter().map(|event| event.message_id).collect();
            for folded in self.events.extract_if(.., |folded| !left.contains(&folded.evidence.message_id)) {
                if let Some(seen) = self.seen.get_mut(&folded.evidence.message_id) {
                    seen.deleted = true;
                }
            }
        }
        if let Decision::Link { a, b } | Decision::Cut { a, b } | Decision::Force { a, b } = &decision {
            let named = [a, b].map(|id| self.rules.normalise(&id.id_type, &id.value));
            self.ever.extend(named.into_iter().flatten());
        } else if let Decision::Block { id } | Decision::Unblock { id } = &decision {
            self.ever.extend(self.rules.normalise(&id.id_type, &id.value));
        }
        let number = self.next_decision;
        if taken {
            self.next_decision += 1;
            self.operations.push((number, decision.clone()));
        }
        Some(Verdict { request: record.request_id, decision, taken: taken.then_some(number) })
    }

    /// Whether the identifier was ever in a message or a decision.
    fn is_named(&self, id: &Identifier) -> bool {
        let Ok(id) = self.rules.normalise(&id.id_type, &id.value) else { return false };
        self.ever.contains(&id)
    }

    fn define(&mut self, now: Timestamp, next: &Catalogue) {
        let version = self.catalogue.as_ref().map_or(0, |catalogue| catalogue.version.0);
        if next.version.0 != version + 1 {
            return;
        }
        self.rules = Rules::compile(&next.workspace.identity).unwrap();
        self.definitions = Definitions::parse(&next.workspace).unwrap();
        let texts = next.workspace.audiences.iter().map(|audience| &audience.condition);
        let texts: Vec<&String> =
            texts.chain(next.workspace.computed_traits.iter().map(|computed| &computed.value)).collect();
        self.distances.clear();
        for (text, distances) in WINDOWS.iter().filter(|(text, _)| !text.is_empty()) {
            if texts.iter().any(|used| used.contains(text)) {
                self.distances.extend(*distances);
            }
        }
        let audiences = next.audiences.iter().map(|(key, id)| (id.0, key));
        for (id, key) in audiences.chain(next.traits.iter().map(|(key, id)| (id.0, key))) {
            self.names.entry(id).or_insert_with(|| key.clone());
        }
        let some = next.workspace.destinations.iter().find(|destination| destination.key == "some");
        let events = some.map(|destination| destination.events.clone()).unwrap_or_default();
        self.forwards = events
            .iter()
            .map(|selector| onefold_audience::parse(&format!("did({selector})")).unwrap())
            .collect();
        let enabled = next.workspace.audiences.iter().filter(|audience| audience.labels.enabled);
        let audiences: BTreeSet<u32> = enabled.map(|audience| next.audiences[&audience.key].0).collect();
        let there: BTreeSet<&String> =
            next.workspace.destinations.iter().filter(|to| to.labels.enabled).map(|to| &to.key).collect();
        let told = self.routes.clone();
        let computed: BTreeSet<u32> = next.traits.values().map(|id| id.0).collect();
        self.catalogue = Some(next.clone());
        let new = self.reroute(next);
        let handles: Vec<u64> = self.people.keys().copied().collect();
        for handle in handles {
            let Some(known) = self.people.get_mut(&handle) else { continue };
            let ended: Vec<u32> = known.members.difference(&audiences).copied().collect();
            // What was removed or disabled is nobody's any more: whoever was told of an entry is told of the exit.
            known.members.retain(|id| audiences.contains(id));
            known.since.retain(|id, _| audiences.contains(id));
            known.computed.retain(|id, _| computed.contains(id));
            known.changed.retain(|id, _| computed.contains(id));
            let before = known.clone();
            for audience in ended {
                let mut to = told.get(&audience).cloned().unwrap_or_default();
                to.retain(|key| there.contains(key));
                self.expect(handle, now, format!("-{}", self.names[&audience]), to);
            }
            self.look(handle, now, true);
            self.tell_present(handle, &before, &new);
        }
        self.routes = routes(next);
    }

    /// Has the routes of `next` take effect, but for those that begin with it; answers with those.
    fn reroute(&mut self, next: &Catalogue) -> Routes {
        let mut new = routes(next);
        for (id, to) in &mut new {
            to.retain(|key| !self.routes.get(id).is_some_and(|before| before.contains(key)));
        }
        self.routes = routes(next);
        for (id, to) in &mut self.routes {
            to.retain(|key| !new[id].contains(key));
        }
        new
    }

    /// Whoever is new to an audience or a computed trait is told what is so, as of when it became so.
    fn tell_present(&mut self, handle: u64, before: &Known, new: &Routes) {
        let Some(known) = self.people.get(&handle).cloned() else { return };
        for (id, to) in new {
            if known.members.contains(id) {
                let at = Timestamp(known.since[id]);
                self.expect(handle, at, format!("+!{}", self.names[id]), to.clone());
            }
            if let Some(value) = known.computed.get(id) {
                let at = Timestamp(known.changed[id]);
                self.expect(handle, at, format!("{}={value}", self.names[id]), to.clone());
            } else if before.computed.contains_key(id) {
                let at = Timestamp(known.at);
                self.expect(handle, at, format!("{}=0", self.names[id]), to.clone());
            }
        }
    }

    /// Who is who now; and what each record's changes come to for everyone whose messages changed.
    pub fn settle(&mut self, entry: &Entry, handle_of: HandleOf<'_>) -> BTreeSet<u64> {
        self.resolution = resolve(&self.evidence(), &self.operations, &self.rules);
        let mut handles: BTreeMap<Cluster, u64> = BTreeMap::new();
        let mut owned: BTreeMap<u64, Vec<Said>> = BTreeMap::new();
        for cluster in &self.resolution.clusters {
            if let Some(handle) = cluster.first().and_then(&mut *handle_of) {
                handles.insert(cluster.clone(), handle);
            }
        }
        let mut news: Vec<(EventRef, u64)> = Vec::new();
        for folded in &self.events {
            let Some(OracleOwner::Cluster(cluster)) = self.resolution.owner.get(&folded.evidence.message_id)
            else {
                continue;
            };
            let Some(handle) = handles.get(cluster) else { continue };
            owned.entry(*handle).or_default().push(folded.said.clone());
            if folded.at.position == entry.position && self.is_forwarded(&folded.said) {
                news.push((folded.at, *handle));
            }
        }
        let before = std::mem::take(&mut self.people);
        let mut touched = BTreeSet::new();
        for (cluster, handle) in &handles {
            let Some(events) = owned.remove(handle) else { continue };
            let message_ids: BTreeSet<String> = events.iter().map(|event| event.message_id.clone()).collect();
            let mut known = before.get(handle).cloned().unwrap_or_default();
            known.ids.clone_from(cluster);
            if known.message_ids != message_ids {
                touched.insert(*handle);
            }
            known.events = events;
            known.message_ids = message_ids;
            self.people.insert(*handle, known);
        }
        let decision = matches!(Record::decode(&entry.payload), Ok(Record::Decision(_)));
        self.merged = before.keys().filter(|handle| !self.people.contains_key(handle)).count();
        for (handle, gone) in &before {
            if self.people.contains_key(handle) {
                continue;
            }
            let silent = VANISHED_LEAVE_SILENTLY && decision;
            for audience in &gone.members {
                let to = self.takers(*audience);
                self.expect(*handle, entry.rt, format!("-{}", self.names[audience]), to);
                if let Some(expected) = self.expected.last_mut() {
                    expected.may_lack = silent;
                }
            }
        }
        for handle in &touched {
            self.look(*handle, entry.rt, false);
        }
        let catalogue = matches!(Record::decode(&entry.payload), Ok(Record::Catalogue(_)));
        for (handle, known) in &before {
            self.may_be_renamed(*handle, known, catalogue, entry.rt);
        }
        for (at, handle) in news {
            self.expected.push(Expected {
                lane: handle,
                step: self.step,
                effective: entry.rt.0,
                what: format!("event {}.{}", at.position.0, at.index),
                to: BTreeSet::from(["some".to_owned()]),
                forwarded: true,
                may_lack: FORWARDS_GO_WITH_THEIR_PROFILE
                    && (self.merged > 0 || handles.len() > self.people.len()),
            });
        }
        self.merged = 0;
        touched
    }

    /// Whoever has other identifiers may have another name: then what is so still is ended under the old one and told anew.
    /// Which names those are is the keys' check.
    fn may_be_renamed(&mut self, handle: u64, before: &Known, anyhow: bool, at: Timestamp) {
        let Some(now) = self.people.get(&handle).filter(|now| anyhow || now.ids != before.ids) else {
            return;
        };
        for audience in before.members.intersection(&now.members).copied().collect::<Vec<_>>() {
            for sign in ["-", "+"] {
                let known = self.expected.len();
                self.expect(handle, at, format!("{sign}{}", self.names[&audience]), self.takers(audience));
                self.expected.iter_mut().skip(known).for_each(|expected| expected.may_lack = true);
            }
        }
    }

    /// Profiles that a window changes for at this very instant and that nobody has looked at.
    #[must_use]
    pub fn due_at(&self, instant: Timestamp) -> Vec<u64> {
        let due = |known: &Known| {
            let instants = known.events.iter().flat_map(|e| self.distances.iter().map(|d| e.ts.0 + d));
            known.at < instant.0 && instants.into_iter().any(|at| at == instant.0)
        };
        self.people.iter().filter(|(_, known)| due(known)).map(|(handle, _)| *handle).collect()
    }

    /// The record touched this profile, if only in passing: what is due at its instant is looked at with it (B10).
    pub fn touch(&mut self, handle: u64, at: Timestamp) {
        self.look(handle, at, false);
    }

    fn is_forwarded(&self, event: &Said) -> bool {
        let alone = std::slice::from_ref(event);
        self.forwards.iter().any(|selector| self.definitions.holds(selector, alone, event.rt).unwrap())
    }

    /// The destinations that take an audience or a computed trait.
    fn takers(&self, id: u32) -> BTreeSet<String> {
        self.routes.get(&id).cloned().unwrap_or_default()
    }

    /// The destinations that take a plain trait.
    fn takers_of_trait(&self, key: &str) -> BTreeSet<String> {
        let destinations = self.catalogue.iter().flat_map(|catalogue| &catalogue.workspace.destinations);
        let takers = destinations.filter(|to| to.labels.enabled && to.traits.contains(key));
        takers.map(|to| to.key.clone()).collect()
    }

    fn expect(&mut self, lane: u64, at: Timestamp, what: String, to: BTreeSet<String>) {
        let (step, effective) = (self.step, at.0);
        if !to.is_empty() {
            self.expected.push(Expected {
                lane,
                step,
                effective,
                what,
                to,
                forwarded: false,
                may_lack: false,
            });
        }
    }

    /// Looks at one profile at an instant, and notes what is other than it was.
    fn look(&mut self, handle: u64, at: Timestamp, initial: bool) {
        let (Some(mut known), Some(catalogue)) = (self.people.get(&handle).cloned(), self.catalogue.clone())
        else {
            if let Some(known) = self.people.get_mut(&handle) {
                // Before the first catalogue nothing is asked, but traits are known.
                known.traits = visible(&known.events, at);
                known.at = at.0;
            }
            return;
        };
        let keys = self.definitions.members(&known.events, at).unwrap();
        let members: BTreeSet<u32> =
            keys.iter().filter_map(|key| Some(catalogue.audiences.get(key)?.0)).collect();
        let values = self.definitions.values(&known.events, at).unwrap();
        for audience in members.symmetric_difference(&known.members) {
            let name = self.names[audience].clone();
            let sign = match (members.contains(audience), initial) {
                (true, true) => "+!",
                (true, false) => "+",
                (false, _) => "-",
            };
            self.expect(handle, at, format!("{sign}{name}"), self.takers(*audience));
            known.since.remove(audience);
            if members.contains(audience) {
                known.since.insert(*audience, at.0);
            }
        }
        let mut computed = BTreeMap::new();
        for (key, id) in &catalogue.traits {
            let value = values.get(key).map_or(Value::from(0), number);
            if known.computed.get(&id.0).cloned().unwrap_or(Value::from(0)) != value {
                self.expect(handle, at, format!("{key}={value}"), self.takers(id.0));
                known.changed.insert(id.0, at.0);
            }
            if value != 0 {
                computed.insert(id.0, value);
            }
        }
        let traits = visible(&known.events, at);
        for key in traits.keys().chain(known.traits.keys()).collect::<BTreeSet<_>>() {
            if traits.get(key) != known.traits.get(key) {
                let value = traits.get(key).cloned().unwrap_or(Value::Null);
                self.expect(handle, at, format!("{key}:{value}"), self.takers_of_trait(key));
                if let Some(expected) = self.expected.last_mut().filter(|_| self.merged > 1) {
                    expected.may_lack = CHAINED_MERGES_LOSE_TRAITS;
                }
            }
        }
        (known.members, known.computed, known.traits, known.at) = (members, computed, traits, at.0);
        self.people.insert(handle, known);
    }

    /// How many have folded messages of these ids, by id: what ACK and ONCE ask.
    #[must_use]
    pub fn is_known(&self, message_id: &str) -> bool {
        self.seen.contains_key(message_id)
    }

    /// The accounts of a person, each with the earliest sign of it.
    #[must_use]
    pub fn accounts_of(known: &Known) -> BTreeMap<String, i64> {
        let mut accounts: BTreeMap<String, i64> = BTreeMap::new();
        for event in known.events.iter().filter(|event| event.message_type == MessageType::Group) {
            let account = event.body["groupId"].as_str().unwrap_or_default().to_owned();
            let since = accounts.entry(account).or_insert(event.ts.0);
            *since = (*since).min(event.ts.0);
        }
        accounts
    }

    /// The traits of an account: of each, the last by (time, message id), whoever said it.
    #[must_use]
    pub fn account_traits(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut groups: Vec<&Said> = self.events.iter().map(|folded| &folded.said).collect();
        groups.retain(|event| event.message_type == MessageType::Group);
        groups.sort_by_key(|event| (event.ts, &event.message_id));
        let mut accounts: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for event in groups {
            let account =
                accounts.entry(event.body["groupId"].as_str().unwrap_or_default().to_owned()).or_default();
            for (key, value) in event.body["traits"].as_object().into_iter().flatten() {
                account.insert(key.clone(), value.clone());
            }
        }
        accounts
    }

    /// The members of an account, each with the earliest sign of it.
    #[must_use]
    pub fn members_of(&self, account: &str) -> BTreeMap<u64, i64> {
        let since = |known: &Known| Self::accounts_of(known).get(account).copied();
        self.people.iter().filter_map(|(handle, known)| Some((*handle, since(known)?))).collect()
    }

    /// Whether anything was ever deleted.
    #[must_use]
    pub fn has_deletions(&self) -> bool {
        self.seen.values().any(|seen| seen.deleted)
    }

    /// Ids of all messages that were folded and not deleted.
    #[must_use]
    pub fn message_ids(&self) -> Vec<String> {
        self.events.iter().map(|folded| folded.evidence.message_id.clone()).collect()
    }
}

/// Who takes what, by the workspace.
fn routes(catalogue: &Catalogue) -> Routes {
    let to = |wants: &dyn Fn(&Destination) -> bool| -> BTreeSet<String> {
        let all = catalogue.workspace.destinations.iter();
        all.filter(|to| to.labels.enabled && wants(to)).map(|to| to.key.clone()).collect()
    };
    let audiences = catalogue.audiences.iter().map(|(key, id)| (id.0, to(&|to| to.audiences.contains(key))));
    let computed = catalogue.traits.iter().map(|(key, id)| (id.0, to(&|to| to.traits.contains(key))));
    audiences.chain(computed).collect()
}

fn visible(events: &[Said], at: Timestamp) -> BTreeMap<String, Value> {
    traits_at(events, at).into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
}

fn number(value: &onefold_audience::Value) -> Value {
    match value {
        onefold_audience::Value::Number(number) => serde_json::from_str(&number.to_string()).unwrap(),
        other => panic!("a count is a number, not {other:?}"),
    }
}

/// A message without what a client changes when it sends again.
fn essence(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(object) = body.as_object_mut() {
        for volatile in ["sentAt", "_metadata", "receivedAt", "writeKey", "channel"] {
            object.remove(volatile);
        }
        if let Some(context) = object.get_mut("context").and_then(Value::as_object_mut) {
            context.remove("ip");
        }
    }
    body
}
