//! Bodies of quarantined items, read a page at a time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, workspace};
use onefold_fold::query::Reader;
use onefold_log::record::{Record, Rejected};
use serde_json::json;

fn rejected(body: &str) -> Rejected {
    let text = |text: &str| text.to_owned();
    Rejected { source: text("web"), code: text("no_event"), detail: text(""), body: body.as_bytes().to_vec() }
}

#[test]
fn a_page_of_bodies_ends_by_bytes_and_has_an_item() {
    let mut fold = Fold::new(workspace(&[], &[]));
    fold.append(Record::Rejected(["a1", "bb2", "ccc3"].map(rejected).to_vec()));
    let copies = ["pro", "free"].map(
        |plan| json!({ "type": "identify", "userId": "u", "messageId": "once", "traits": { "plan": plan } }),
    );
    fold.at(MINUTE).receive(&copies);
    fold.append(Record::Rejected(["dd4", "", "e6"].map(rejected).to_vec()));
    fold.run();

    let conflict = copies[1].to_string();
    let all = ["a1", "bb2", "ccc3", &conflict, "dd4", "", "e6"];
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    reader
        .with(|query| {
            let items = query.quarantine(0, 100)?;
            assert_eq!(items.len(), all.len());
            for first in 0..all.len() {
                for bytes_max in 0..=conflict.len() + 20 {
                    let bodies = query.quarantined_bodies(&items[first..], bytes_max)?;
                    let bodies: Vec<String> =
                        bodies.into_iter().map(|body| String::from_utf8(body.unwrap()).unwrap()).collect();
                    let (mut expected, mut bytes) = (vec![all[first]], all[first].len());
                    for body in &all[first + 1..] {
                        bytes += body.len();
                        if bytes > bytes_max {
                            break;
                        }
                        expected.push(body);
                    }
                    assert_eq!(bodies, expected, "from {first} with {bytes_max} bytes");
                    let alone = query.quarantined_body(items[first].1.at)?;
                    assert_eq!(alone.as_deref(), Some(all[first].as_bytes()));
                }
            }
            Ok(())
        })
        .unwrap();
}
