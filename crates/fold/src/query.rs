//! Reading the state: who someone is, what is known of them, what they did, why two identifiers are one person.
//!
//! A query runs on a transaction that is never committed, over the same code that folds: there is one way to read a
//! graph, a stream, a profile.

mod accounts;
mod events;
mod naming;
mod quarantined;

pub use accounts::{AccountMember, Call};
pub use events::{EventPage, Place, Which};

use crate::batch::{Batch, Setting, record_error};
use crate::catalogue::Compiled;
use crate::changes::Kept;
use crate::decision::{Decided, number_key, request_key};
use crate::error::Error;
use crate::graph::stream_rows;
use crate::memory::{CATALOGUE, CATALOGUE_VERSION, CacheSizes, Counters, Memory, compile};
use crate::profile::Profile;
use crate::quarantine::Quarantined;
use crate::rows;
use crate::worker::Handle;
use onefold_identity::engine::{Owner, Range, owned_ranges, owner_of};
use onefold_identity::graph::{Graph, Stamp};
use onefold_identity::why::{Hop, WhyNot, why, why_not};
use onefold_log::SharedLog;
use onefold_log::record::message_at;
use onefold_store::{Bytes, Direction, KeyRange, Read, Store, Table, frozen};
use onefold_types::{
    AudienceId, EventRef, Identifier, Message, NodeId, ProfileHandle, SetId, Timestamp, TraitId,
};
use std::sync::Arc;

/// Reads the state that the fold keeps; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    log: SharedLog,
    handle: Handle,
    secret: [u8; 32],
}

fn decided(bytes: &[u8]) -> Result<Decided, Error> {
    serde_json::from_slice(bytes).map_err(|_| Error::Decode { what: "op", source: None })
}

/// Someone, as known now.
#[derive(Clone, Debug)]
pub struct Person {
    /// The handle: informational.
    pub handle: ProfileHandle,
    /// The profile id.
    pub profile_id: String,
    /// The customer key, once issued.
    pub customer_key: Option<String>,
    /// Identifiers, strongest first.
    pub ids: Vec<Identifier>,
    /// Traits, counts, memberships.
    pub profile: Profile,
    /// Audiences, by key.
    pub audiences: Vec<(String, AudienceId)>,
    /// Computed traits and their values now.
    pub computed: Vec<Computed>,
}

/// A computed trait of someone.
#[derive(Clone, Debug)]
pub struct Computed {
    /// Its key.
    pub key: String,
    /// Its number.
    pub id: TraitId,
    /// Its value now.
    pub value: u64,
    /// Since when it has that value; `None` if it never had another.
    pub since: Option<Timestamp>,
}

/// A message someone owns.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Event time.
    pub ts: Timestamp,
    /// Receive time.
    pub received_at: Timestamp,
    /// Where it stands.
    pub at: EventRef,
    /// The message.
    pub message: Message,
}

impl Reader {
    /// A reader of what `handle`'s worker folds into `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, log: SharedLog, handle: Handle, secret: [u8; 32]) -> Self {
        Self { store, log, handle, secret }
    }

    /// The worker's handle.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `read` on one view of the state, as of one commit: definitions and time too.
    ///
    /// # Errors
    /// What `read` ran into.
    pub fn with<T>(&self, read: impl FnOnce(&mut Query<'_, '_>) -> Result<T, Error>) -> Result<T, Error> {
        let known = self.handle.catalogue();
        let view = frozen(self.store.snapshot()?);
        let compiled = in_force(view.as_ref(), known)?;
        let now = view.progress(PARTITION)?.engine_time;
        let sizes = CacheSizes { idents: 0, nodes: 0, evidence: 0, clusters: 0, profiles: 0, answers: 0 };
        let mut memory = Memory::bare(compiled.clone(), sizes);
        let setting = Setting {
            log: self.log.as_ref(),
            partition: PARTITION,
            secret: &self.secret,
            quarantine_cap: u64::MAX,
            timers_max: 0,
        };
        let mut batch = Batch::new(view, &mut memory, &setting, now);
        read(&mut Query { batch: &mut batch, compiled })
    }
}

/// The partition that is read.
const PARTITION: u32 = 0;

/// The catalogue of a view: the worker's, unless the view has the commit of another that the worker is about to tell of.
fn in_force(view: &dyn Read, known: Arc<Compiled>) -> Result<Arc<Compiled>, Error> {
    let version = view.get(Table::Meta, CATALOGUE_VERSION)?;
    // There is no such row before the first catalogue.
    if version.is_none_or(|version| *version == known.catalogue.version.0.to_be_bytes()) {
        return Ok(known);
    }
    match view.get(Table::Meta, CATALOGUE)? {
        Some(json) => Ok(Arc::new(compile(&json)?)),
        None => Ok(known),
    }
}

/// One view of the state.
pub struct Query<'q, 'a> {
    pub(crate) batch: &'q mut Batch<'a>,
    compiled: Arc<Compiled>,
}

impl Query<'_, '_> {
    /// The catalogue in force.
    #[must_use]
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The engine time of the commit that this is a view of.
    #[must_use]
    pub fn engine_time(&self) -> Timestamp {
        self.batch.now
    }

    /// Forms after `after` under which several user ids are somebody's that differ in nothing but case, each with its ids.
    ///
    /// # Errors
    /// The store failed.
    pub fn near_duplicates(
        &mut self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<Identifier>)>, Error> {
        self.batch.near_duplicates(after, limit)
    }

    /// Whoever would own an event of this device now: what personalise answers for.
    ///
    /// # Errors
    /// The store failed.
    pub fn visitor(&mut self, anonymous_id: &str) -> Result<Option<ProfileHandle>, Error> {
        let Ok(id) = self.compiled.rules.normalise("anonymous_id", anonymous_id) else { return Ok(None) };
        let Some(node) = self.batch.node_of(&id)? else { return Ok(None) };
        let now = Stamp { ts: Timestamp::MAX, message_id: String::new() };
        match owner_of(&self.compiled.rules, self.batch, &[node], &now)? {
            Owner::Profile(handle) => Ok(Some(handle)),
            Owner::None(_) => Ok(None),
        }
    }

    /// Someone; `None` if the cluster is gone.
    ///
    /// # Errors
    /// The store failed.
    pub fn person(&mut self, handle: ProfileHandle) -> Result<Option<Person>, Error> {
        let Some(who) = self.batch.who(handle)? else { return Ok(None) };
        let profile = self.batch.memory.profiles.get(self.batch.txn.as_ref(), &handle)?;
        let profile = profile.map_or_else(Profile::default, |profile| Profile::clone(&profile));
        let catalogue = &self.compiled.catalogue;
        let members = profile.state.members();
        let audiences = catalogue.audiences.iter().filter(|(_, id)| members.contains(id));
        let now = self.batch.now;
        let computed = catalogue.traits.iter().filter_map(|(key, id)| {
            let value = self.compiled.plan.value_at(&profile.state, *id, now)?;
            let sent = profile.state.computed().iter().find(|(known, _)| known == id).map_or(0, |(_, v)| *v);
            // What changes at this very instant is not settled yet.
            let since = if sent == value { profile.computed_since(*id) } else { Some(now) };
            Some(Computed { key: key.clone(), id: *id, value, since })
        });
        // A merge or a split leaves it to be looked up by the next effect.
        let customer_key = match &profile.customer_key {
            Some(issued) => Some(issued.clone()),
            None => self.batch.issued_customer_key(handle)?.0,
        };
        Ok(Some(Person {
            handle,
            profile_id: who.profile_id,
            customer_key: customer_key.map(|(_, key)| key),
            ids: who.ids,
            audiences: audiences.map(|(key, id)| (key.clone(), *id)).collect(),
            computed: computed.collect(),
            profile,
        }))
    }

    /// Since when a profile is in an audience: the effective instant of the entry; `None` if it is not in it.
    ///
    /// # Errors
    /// The store failed.
    pub fn member_since(
        &self,
        audience: AudienceId,
        handle: ProfileHandle,
    ) -> Result<Option<Timestamp>, Error> {
        self.batch.member_since(audience, handle)
    }

    /// Someone's first and last event by (time, message id); `None` for one that retention has trimmed.
    ///
    /// # Errors
    /// The store or the log failed.
    pub fn first_and_last(&mut self, handle: ProfileHandle) -> Result<(Option<Owned>, Option<Owned>), Error> {
        let ranges = owned_ranges(&self.compiled.rules, self.batch, handle)?;
        let by_id = |a: &Owned, b: &Owned| a.message.message_id.cmp(&b.message.message_id);
        let first = self.at_end(&ranges, Direction::Forward)?.into_iter().min_by(by_id);
        let last = self.at_end(&ranges, Direction::Reverse)?.into_iter().max_by(by_id);
        Ok((first, last))
    }

    /// The messages at the first or last instant of these ranges.
    fn at_end(&mut self, ranges: &[Range], direction: Direction) -> Result<Vec<Owned>, Error> {
        let mut instants = Vec::new();
        for range in ranges {
            let rows = self.batch.rows_within(range, (Timestamp::MIN, Timestamp::MAX), direction, 1)?;
            instants.extend(rows.first().map(|row| row.ts));
        }
        let instant = match direction {
            Direction::Forward => instants.into_iter().min(),
            Direction::Reverse => instants.into_iter().max(),
        };
        let Some(ts) = instant else { return Ok(Vec::new()) };
        let mut owned = Vec::new();
        for range in ranges {
            for row in self.batch.rows_within(range, (ts, ts), Direction::Forward, usize::MAX)? {
                if let Some((message, received_at)) = self.message(row.at)? {
                    owned.push(Owned { ts, received_at, at: row.at, message });
                }
            }
        }
        Ok(owned)
    }

    /// A message and its receive time; `None` if it was redacted or trimmed.
    ///
    /// # Errors
    /// The log failed.
    pub fn message(&mut self, at: EventRef) -> Result<Option<(Message, Timestamp)>, Error> {
        let Some(entry) = self.batch.read_kept(at)? else { return Ok(None) };
        let view = message_at(&entry.payload, at.index).map_err(|e| record_error(&entry, &e))?;
        Ok(view.map(|view| (view.to_message(), entry.rt)))
    }

    /// Why two identifiers are one person; `None` if they are not.
    ///
    /// # Errors
    /// The store failed.
    pub fn why(&mut self, x: &Identifier, y: &Identifier) -> Result<Option<Vec<Hop>>, Error> {
        why(&self.compiled.rules, self.batch, x, y)
    }

    /// Why two identifiers are not one person.
    ///
    /// # Errors
    /// The store failed.
    pub fn why_not(&mut self, x: &Identifier, y: &Identifier) -> Result<WhyNot, Error> {
        why_not(&self.compiled.rules, self.batch, x, y)
    }

    /// How many messages have one of these sets of identifiers, the ids of the first and last `few`, and when the last was.
    ///
    /// # Errors
    /// The store or the log failed.
    pub fn messages_of(
        &mut self,
        sets: &[(NodeId, SetId)],
        few: usize,
    ) -> Result<(usize, Vec<String>, Option<Timestamp>), Error> {
        let mut rows = Vec::new();
        for (stream, set) in sets {
            let always = (Timestamp::MIN, Timestamp::MAX);
            stream_rows(self.batch.txn.as_ref(), *stream, always, Direction::Forward, &mut |row| {
                if row.set == *set {
                    rows.push((row.ts, row.at));
                }
                true
            })?;
        }
        rows.sort_unstable();
        let middle = few..rows.len().saturating_sub(few);
        let mut ids = Vec::new();
        for (_, at) in
            rows.iter().enumerate().filter(|(index, _)| !middle.contains(index)).map(|(_, row)| row)
        {
            ids.extend(self.message(*at)?.map(|(message, _)| message.message_id));
        }
        Ok((rows.len(), ids, rows.last().map(|(ts, _)| *ts)))
    }

    /// The identifier as the rules compare it; `None` if it is blocked.
    #[must_use]
    pub fn normalise(&self, id: &Identifier) -> Option<Identifier> {
        self.compiled.rules.normalise(&id.id_type, &id.value).ok()
    }

    /// What became of the decision that was asked for under `request_id`.
    ///
    /// # Errors
    /// The store failed.
    pub fn decided(&self, request_id: &str) -> Result<Option<Decided>, Error> {
        let bytes = self.batch.txn.get(Table::Decision, &request_key(request_id))?;
        bytes.map(|bytes| decided(&bytes)).transpose()
    }

    /// The operation log from number `from`.
    ///
    /// # Errors
    /// The store failed.
    pub fn decisions(&self, from: u64, limit: usize) -> Result<Vec<(u64, Decided)>, Error> {
        self.list(Table::Decision, &KeyRange::between(number_key(from), b"o".to_vec()), limit, 1, decided)
    }

    /// Quarantined items from number `from`.
    ///
    /// # Errors
    /// The store failed.
    pub fn quarantine(&self, from: u64, limit: usize) -> Result<Vec<(u64, Quarantined)>, Error> {
        let range = KeyRange { from: rows::number_key(from), to: Bytes::default() };
        self.list(Table::Quarantine, &range, limit, 0, |bytes| rows::decode("row", bytes))
    }

    /// Identity transitions from number `from`.
    ///
    /// # Errors
    /// The store failed.
    pub fn transitions(&self, from: u64, limit: usize) -> Result<Vec<(u64, Kept)>, Error> {
        let range = KeyRange { from: rows::number_key(from), to: Bytes::default() };
        self.list(Table::Transition, &range, limit, 0, |bytes| rows::decode("row", bytes))
    }

    fn list<T>(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        prefix: usize,
        read: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<Vec<(u64, T)>, Error> {
        let mut found = Vec::new();
        self.batch.txn.scan(table, range, Direction::Forward, &mut |key, value| {
            let row = key.get(prefix..).ok_or(Error::Decode { what: table.as_str(), source: None });
            let row = row.and_then(|key| rows::number_from(table.as_str(), key));
            found.push(row.and_then(|number| Ok((number, read(value)?))));
            found.len() < limit
        })?;
        found.into_iter().collect()
    }

    /// Members of an audience from handle `from`.
    ///
    /// # Errors
    /// The store failed.
    pub fn members(
        &self,
        audience: AudienceId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ProfileHandle>, Error> {
        let first = onefold_types::outbox::member_key(audience.0, ProfileHandle(from));
        let range = KeyRange::between(first, (audience.0 + 1).to_be_bytes().to_vec());
        let mut found = Vec::new();
        self.batch.txn.scan(Table::AudienceMember, &range, Direction::Forward, &mut |key, _| {
            found.extend(key.last_chunk::<8>().map(|chunk| ProfileHandle(u64::from_be_bytes(*chunk))));
            found.len() < limit
        })?;
        Ok(found)
    }

    /// The counters as of this view.
    ///
    /// # Errors
    /// The store failed.
    pub fn counters(&self) -> Result<Counters, Error> {
        let bytes = self.batch.txn.get(Table::Meta, &crate::memory::counters_key(PARTITION))?;
        bytes.map_or_else(|| Ok(Counters::default()), |bytes| rows::decode("meta", &bytes))
    }
}
