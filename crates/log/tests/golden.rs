//! Bytes of version 1, written down: CODEC-3. A change here breaks every log that exists.

use onefold_log::Record;
use onefold_log::record::Rejected;
use onefold_types::{Message, MessageType, Timestamp};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(record: &Record, golden: &str) {
    let bytes = record.encode();
    assert_eq!(hex(&bytes), golden.replace([' ', '\n'], ""));
    assert_eq!(Record::decode(&bytes).as_ref(), Ok(record));
}

#[test]
fn redacted() {
    check(&Record::Redacted, "01 00");
}

#[test]
fn messages() {
    let track = Message {
        message_type: MessageType::Track,
        ts: Timestamp(1_700_000_000_000),
        message_id: "m1".into(),
        source: "web".into(),
        name: "Order".into(),
        ids: vec![("user_id".into(), "7".into()), ("email".into(), "é".into())],
        group_id: String::new(),
        body: b"{}".to_vec(),
    };
    let group = Message {
        message_type: MessageType::Group,
        ts: Timestamp(-1),
        message_id: "m2".into(),
        source: "s".into(),
        name: String::new(),
        ids: Vec::new(),
        group_id: "acme".into(),
        body: b"{\"a\":1}".to_vec(),
    };
    check(
        &Record::Messages(vec![track, group]),
        "01 01 02000000 2e000000 4b000000
         02 0068e5cf8b010000 026d31 03776562 054f72646572 02 07757365725f6964 0137 05656d61696c 02c3a9 00 027b7d
         05 ffffffffffffffff 026d32 0173 00 00 0461636d65 077b2261223a317d",
    );
    check(&Record::Messages(Vec::new()), "01 01 00000000");
}

#[test]
fn rejected() {
    let item = Rejected {
        source: "web".into(),
        code: "no_identifier".into(),
        detail: "x".repeat(130),
        body: b"{}".to_vec(),
    };
    let golden = format!("01 02 01 03776562 0d6e6f5f6964656e746966696572 8201{} 027b7d", "78".repeat(130));
    check(&Record::Rejected(vec![item]), &golden);
}

#[test]
fn catalogue_and_decision() {
    check(&Record::Catalogue(b"{}".to_vec()), "01 03 7b7d");
    check(&Record::Decision(b"{}".to_vec()), "01 04 7b7d");
}
