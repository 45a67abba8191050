//! What was refused, and why: listed, sent again, and counted when the cap drops the oldest.

use crate::batch::Batch;
use crate::decision::Outcome;
use crate::error::Error;
use crate::report::Happening;
use crate::rows;
use onefold_log::Entry;
use onefold_log::record::Rejected;
use onefold_store::Table;
use onefold_types::{EventRef, Timestamp};
use serde::{Deserialize, Serialize};

/// A quarantined item; its body stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// When it was received.
    pub rt: Timestamp,
    /// The source's key.
    pub source: String,
    /// The machine-readable reason.
    pub code: String,
    /// The reason in words.
    pub detail: String,
    /// Where its body stands: an item of a rejected record, or a message of a messages record.
    pub at: EventRef,
}

impl Batch<'_> {
    pub(crate) fn fold_rejected(&mut self, entry: &Entry, items: &[Rejected]) -> Result<(), Error> {
        for (index, item) in (0u16..).zip(items) {
            self.quarantine(
                EventRef { position: entry.position, index },
                &item.source,
                &item.code,
                &item.detail,
            )?;
        }
        Ok(())
    }

    /// Takes item `number` out.
    pub(crate) fn release(&mut self, number: u64, decision: u64) -> Result<Outcome, Error> {
        let key = rows::number_key(number);
        if self.txn.get(Table::Quarantine, &key)?.is_none() {
            let rule = format!("the quarantine has no item {number}");
            return Ok(Outcome::Refused { rule, witnesses: Vec::new() });
        }
        self.txn.delete(Table::Quarantine, key);
        Ok(Outcome::Taken { number: decision })
    }

    pub(crate) fn quarantine(
        &mut self,
        at: EventRef,
        source: &str,
        code: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let row = Quarantined {
            rt: self.now,
            source: source.to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            at,
        };
        let counters = &mut self.memory.counters;
        let number = counters.next_quarantine;
        counters.next_quarantine += 1;
        self.txn.put(Table::Quarantine, rows::number_key(number), rows::encode(&row)?);
        while counters.next_quarantine - counters.first_quarantine > self.setting.quarantine_cap {
            let oldest = rows::number_key(counters.first_quarantine);
            counters.first_quarantine += 1;
            // One that was released is not dropped.
            counters.quarantine_dropped += u64::from(self.txn.get(Table::Quarantine, &oldest)?.is_some());
            self.txn.delete(Table::Quarantine, oldest);
        }
        self.report.note(Happening::Quarantined { code: code.to_owned() });
        Ok(())
    }
}
