//! Whoever edits the workspace and decides about the graph.

use super::World;
use super::homes::entries;
use crate::dice::Dice;
use crate::workspace::Destinations;
use onefold_fold::query::Reader;
use onefold_log::record::Record;
use onefold_types::decision::{Decision, DecisionRecord};
use onefold_types::workspace::Workspace;
use onefold_types::{Catalogue, Identifier};

/// Per cent of changes of identity rules that were previewed.
const PREVIEWS: u32 = 50;

impl World {
    /// The catalogue that the log has, as whoever edits it reads it.
    #[must_use]
    pub fn catalogue(&self) -> Option<Catalogue> {
        let log = self.shared_log();
        let mut current: Option<Catalogue> = None;
        for entry in entries(&log) {
            if let Ok(Record::Catalogue(json)) = Record::decode(&entry.payload) {
                let next: Catalogue = serde_json::from_slice(&json).unwrap();
                if next.version.0 == current.as_ref().map_or(0, |c| c.version.0) + 1 {
                    current = Some(next);
                }
            }
        }
        current
    }

    /// Applies the designer's workspace.
    pub fn apply(&mut self) {
        let workspace = self.designer.workspace();
        let written = workspace.to_string();
        let workspace = serde_json::from_value(workspace).unwrap();
        let next = onefold_fold::catalogue::next(self.catalogue().as_ref(), workspace, "sim");
        let next = next.unwrap_or_else(|problems| panic!("the workspace cannot be applied: {problems:#?}"));
        self.count("catalogues");
        self.tell(|| format!("workspace {written}"));
        self.append(&Record::Catalogue(serde_json::to_vec(&next).unwrap()));
    }

    pub(super) fn edit(&mut self) {
        // What a destination that is off was sent before waits, and a run with deliveries ends when nothing does.
        let destinations =
            if self.deliverer.is_some() { Destinations::Fixed } else { Destinations::Changing };
        let said = self.designer.edit(destinations);
        if said.starts_with("destination") {
            self.count("changes of destinations");
        }
        if said.starts_with("rules") {
            self.count("changes of rules");
            if self.dice.chance(PREVIEWS) {
                // What is at hand when the record comes, and what came between, changes nothing.
                let rules: Workspace = serde_json::from_value(self.designer.workspace()).unwrap();
                let (store, log, handle) = (self.shared_store(), self.shared_log(), self.worker().handle());
                let reader = Reader::new(store, log, handle, self.options.secret);
                drop(reader.preview(&rules.identity));
            }
        }
        if said.starts_with("rename") {
            self.count("audiences renamed");
        }
        self.tell(|| said);
        self.apply();
    }

    pub(super) fn decide(&mut self) {
        let id = |dice: &mut Dice, pool: &[(String, String)]| {
            let (id_type, value) = dice.pick(pool);
            Identifier::new(id_type.clone(), value.clone())
        };
        let dice = &mut self.dice;
        let pool = &self.shop.pool;
        let (a, b) = (id(dice, pool), id(dice, pool));
        let ids: Vec<&String> = self.acknowledged.iter().collect();
        let decision = match dice.below(20) {
            0..5 => Decision::Link { a, b },
            5..9 => Decision::Cut { a, b },
            9..11 => Decision::Block { id: a },
            11 => Decision::Unblock { id: a },
            12 => {
                let same: Vec<_> =
                    pool.iter().filter(|(id_type, _)| *id_type == a.id_type).cloned().collect();
                Decision::Force { b: id(dice, &same), a }
            }
            13..16 if !self.decided.is_empty() => Decision::Undo { number: *dice.pick(&self.decided) },
            16..18 if !ids.is_empty() => Decision::DeleteMessage { message_id: (*dice.pick(&ids)).clone() },
            18 => Decision::DeleteProfile { id: a },
            19 => Decision::IssueCustomerKey { id: a },
            _ => Decision::Cut { a, b },
        };
        self.decisions += 1;
        self.decided.push(self.decisions);
        let record = DecisionRecord {
            request_id: format!("r{}", self.decisions),
            operator: "ada".to_owned(),
            reason: String::new(),
            decision,
        };
        self.count("decisions");
        self.tell(|| format!("{:?}", record.decision));
        let record = Record::Decision(serde_json::to_vec(&record).unwrap());
        self.append(&record);
        if self.dice.chance(5) {
            // The operator's client sends it again.
            self.append(&record);
        }
    }
}
