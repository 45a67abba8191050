//! ONCE, where two messages have one id: the first copy in the log is the message (identity.md, I2 and case 40).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is a failed test")]

mod common;

use common::{Fold, MINUTE, workspace};
use onefold_fold::query::Reader;
use onefold_log::Record;
use onefold_types::{Message, MessageType, Timestamp};
use serde_json::{Value, json};

fn says(user: &str, plan: &str) -> Value {
    json!({ "type": "identify", "userId": user, "messageId": "once", "traits": { "plan": plan } })
}

#[test]
fn case_40_the_first_copy_in_the_log_wins_and_another_is_quarantined() {
    let copies = [says("u", "pro"), says("u", "free"), says("v", "pro"), says("u", "pro")];
    for in_one_record in [true, false] {
        let mut fold = Fold::new(workspace(&[], &[]));
        if in_one_record {
            fold.at(MINUTE).receive(&copies);
        } else {
            for (minute, copy) in (1..).zip(&copies) {
                fold.at(minute * MINUTE).receive(std::slice::from_ref(copy));
            }
        }
        let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
        reader
            .with(|query| {
                let handle = query.find("user_id", "u")?.unwrap();
                let person = query.person(handle)?.unwrap();
                assert_eq!(
                    (person.profile.events, &person.profile.traits["plan"].json),
                    (1, &"\"pro\"".to_owned())
                );
                assert_eq!(query.find("user_id", "v")?, None, "what a quarantined copy says is nobody's");
                let counters = query.counters()?;
                assert_eq!((counters.folded, counters.duplicates, counters.conflicts), (1, 1, 2));
                let mut kept = Vec::new();
                for (_, item) in query.quarantine(0, 10)? {
                    let body = query.quarantined_body(item.at)?.unwrap();
                    kept.push((item.code, serde_json::from_slice::<Value>(&body).unwrap()));
                }
                let conflict = |copy: &Value| ("dup_conflict".to_owned(), copy.clone());
                assert_eq!(kept, [conflict(&copies[1]), conflict(&copies[2])]);
                Ok(())
            })
            .unwrap();
    }
}

/// A single call has its type in its path, and the body in the log does not say it: what is kept does.
#[test]
fn a_quarantined_copy_says_its_type() {
    let mut fold = Fold::new(workspace(&[], &[]));
    let untyped = |user: &str, body: &[u8]| Message {
        message_type: MessageType::Page,
        ts: Timestamp::MAX,
        message_id: "once".to_owned(),
        source: "web".to_owned(),
        name: String::new(),
        ids: vec![("user_id".to_owned(), user.to_owned())],
        group_id: String::new(),
        body: body.to_vec(),
    };
    let second = br#"{"userId":"v","messageId":"once","n":1.50}"#;
    let record = vec![untyped("u", br#"{"userId":"u","messageId":"once"}"#), untyped("v", second)];
    fold.append(Record::Messages(record));
    fold.run();
    let reader = Reader::new(fold.store.clone(), fold.log.clone(), fold.worker.handle(), [7; 32]);
    let kept = reader.with(|query| {
        let (_, item) = query.quarantine(0, 10)?.remove(0);
        query.quarantined_body(item.at)
    });
    let kept = String::from_utf8(kept.unwrap().unwrap()).unwrap();
    assert_eq!(kept, r#"{"type":"page","userId":"v","messageId":"once","n":1.50}"#);
}
