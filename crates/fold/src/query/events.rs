//! What someone did, latest first, a page at a time.
//!
//! **PAGE-1:** a page ends at a place, (event time, log position), and the next one begins before it: walking on, no
//! event is met twice or left out that was there when the walk began, whatever comes in meanwhile.
//! **PAGE-2:** a page's work is bounded, also where little of what is there is wanted.

use super::{Owned, Query};
use crate::batch::Batch;
use crate::error::Error;
use crate::names::number_of;
use crate::rows;
use onefold_identity::engine::{Range, owned_ranges};
use onefold_identity::graph::Graph;
use onefold_store::{Direction, KeyRange, Table};
use onefold_types::{EventRef, MessageType, NameId, ProfileHandle, Timestamp};
use std::collections::BTreeSet;

/// Rows that a page looks at before it ends, full or not; less than a scan's worth more.
const EXAMINED_MAX: usize = 10_000;

/// Rows of one stream that a scan takes, at least and at most.
const SCAN_ROWS: (usize, usize) = (16, 1_000);

/// Where an event stands in someone's history: its time, then where its message is in the log.
pub type Place = (Timestamp, EventRef);

/// Which events are wanted.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Every one.
    All,
    /// Those with one of these names.
    Named(&'a [String]),
}

/// A part of someone's history, latest first.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Owned>,
    /// Before which place the next page goes on; `None` if there is nothing more.
    pub next: Option<Place>,
}

/// The latest rows before a place, latest first.
#[derive(Default)]
struct Rows {
    rows: Vec<(Place, NameId)>,
    /// Everything from here on is in `rows`; `None` if that is all there is.
    complete_from: Option<Place>,
    /// How many rows were looked at, others' included.
    examined: usize,
}

impl Query<'_, '_> {
    /// What someone did before `before`, latest first: at most `limit` events, and fewer where what is wanted is rare.
    ///
    /// # Errors
    /// The store or the log failed.
    pub fn event_page(
        &mut self,
        handle: ProfileHandle,
        which: Which<'_>,
        before: Option<Place>,
        limit: usize,
    ) -> Result<EventPage, Error> {
        let wanted = match which {
            Which::All => None,
            Which::Named(names) => Some(self.name_ids(names)?),
        };
        let mut page = EventPage::default();
        if wanted.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(page);
        }
        let ranges = owned_ranges(&self.compiled.rules, self.batch, handle)?;
        let first_kept = self.batch.setting.log.first();
        let (mut before, mut examined) = (before, 0);
        let mut scan = limit.saturating_add(1).clamp(SCAN_ROWS.0, SCAN_ROWS.1);
        loop {
            let found = self.batch.rows_before(&ranges, before, scan)?;
            examined += found.examined;
            for ((ts, at), name) in found.rows {
                let is_wanted = wanted.as_ref().is_none_or(|wanted| wanted.contains(&name));
                if !is_wanted || at.position < first_kept {
                    continue;
                }
                // A message that was deleted is none.
                let Some((message, received_at)) = self.message(at)? else { continue };
                if page.events.len() == limit {
                    page.next = page.events.last().map(|last| (last.ts, last.at));
                    return Ok(page);
                }
                page.events.push(Owned { ts, received_at, at, message });
            }
            if found.complete_from.is_none() {
                return Ok(page);
            }
            before = found.complete_from;
            if examined >= EXAMINED_MAX {
                page.next = before;
                return Ok(page);
            }
            scan = (scan * 2).min(SCAN_ROWS.1);
        }
    }

    /// Everything that someone did before `before`, latest first: at most `limit` events.
    ///
    /// # Errors
    /// The store or the log failed.
    pub fn events(
        &mut self,
        handle: ProfileHandle,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Owned>, Error> {
        let mut page = self.event_page(handle, Which::All, before, limit)?;
        let mut events = page.events;
        while let (Some(next), true) = (page.next, events.len() < limit) {
            page = self.event_page(handle, Which::All, Some(next), limit - events.len())?;
            events.append(&mut page.events);
        }
        Ok(events)
    }

    /// The numbers under which streams have these names, of whatever type.
    fn name_ids(&self, names: &[String]) -> Result<BTreeSet<NameId>, Error> {
        let mut ids = BTreeSet::new();
        for name in names {
            for message_type in MessageType::ALL {
                ids.extend(number_of(self.batch.txn.as_ref(), message_type, name)?);
            }
        }
        Ok(ids)
    }
}

impl Batch<'_> {
    /// The latest rows of these ranges before `before`, up to `scan` of each.
    fn rows_before(&mut self, ranges: &[Range], before: Option<Place>, scan: usize) -> Result<Rows, Error> {
        let mut found = Rows::default();
        for range in ranges {
            let of_range = self.range_before(range, before, scan)?;
            found.rows.extend(of_range.rows);
            found.complete_from = found.complete_from.max(of_range.complete_from);
            found.examined += of_range.examined;
        }
        let complete_from = found.complete_from;
        found.rows.retain(|(place, _)| complete_from.is_none_or(|from| *place >= from));
        found.rows.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
        Ok(found)
    }

    /// The same of one range.
    fn range_before(&mut self, range: &Range, before: Option<Place>, scan: usize) -> Result<Rows, Error> {
        // The bounds of a range are (ts, message id), those of a scan (ts, position): rows at the very instants of the
        // range's bounds are decided by message id below.
        let after_end = range.to.as_ref().and_then(|to| to.ts.0.checked_add(1));
        let after_end = after_end.map(|ts| (Timestamp(ts), EventRef::default()));
        let end = [after_end, before].into_iter().flatten().min();
        let first = (range.from.ts, EventRef::default());
        if end.is_some_and(|end| end <= first) {
            return Ok(Rows::default());
        }
        let key = |place: Place| rows::stream_key(range.stream, place.0, place.1);
        let to = end.map_or_else(|| rows::number_key(range.stream.0 + 1), key);
        let (mut rows, mut last, mut failed, mut seen) = (Vec::new(), None, None, 0);
        self.txn.scan(
            Table::Stream,
            &KeyRange::between(key(first), to),
            Direction::Reverse,
            &mut |key, value| match rows::stream_from(key, value) {
                Ok(row) => {
                    (last, seen) = (Some((row.ts, row.at)), seen + 1);
                    if range.takes(row.set) {
                        rows.push(row);
                    }
                    seen < scan
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            },
        )?;
        failed.map_or(Ok(()), Err)?;
        let mut inside = Vec::with_capacity(rows.len());
        for row in rows {
            let on_edge = row.ts == range.from.ts || range.to.as_ref().is_some_and(|to| to.ts == row.ts);
            if !on_edge || range.contains(row.ts, &self.message_id(row.at)?) {
                inside.push(((row.ts, row.at), row.name));
            }
        }
        Ok(Rows { rows: inside, complete_from: last.filter(|_| seen == scan), examined: seen })
    }
}
