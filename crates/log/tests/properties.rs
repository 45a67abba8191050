//! Laws of the codec and of recovery, over arbitrary input.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use onefold_log::record::{Rejected, message_at, messages, redact_message};
use onefold_log::suite::{all, append};
use onefold_log::{Error, FileLog, FileLogOptions, Log, ManualClock, Record};
use onefold_types::{Message, MessageType, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

fn message() -> impl Strategy<Value = Message> {
    let texts = ("\\PC{0,12}", "\\PC{0,12}", "\\PC{0,12}", "\\PC{0,12}");
    (0..6usize, any::<i64>(), texts, vec(("\\PC{0,8}", "\\PC{0,200}"), 0..4), vec(any::<u8>(), 0..300))
        .prop_map(|(kind, ts, (message_id, source, name, group_id), ids, body)| Message {
            message_type: MessageType::ALL[kind],
            ts: Timestamp(ts),
            message_id,
            source,
            name,
            ids,
            group_id,
            body,
        })
}

fn record() -> impl Strategy<Value = Record> {
    let rejected = ("\\PC{0,9}", "\\PC{0,9}", "\\PC{0,200}", vec(any::<u8>(), 0..99))
        .prop_map(|(source, code, detail, body)| Rejected { source, code, detail, body });
    prop_oneof![
        vec(message(), 0..6).prop_map(Record::Messages),
        vec(rejected, 0..6).prop_map(Record::Rejected),
        vec(any::<u8>(), 0..99).prop_map(Record::Catalogue),
        vec(any::<u8>(), 0..99).prop_map(Record::Decision),
        Just(Record::Redacted),
    ]
}

/// Everything that reads a payload, on bytes that need not be one.
fn read_everything(bytes: &[u8]) {
    let _ = Record::decode(bytes);
    for view in messages(bytes).into_iter().flatten().flatten().flatten() {
        assert!(view.ids().count() <= bytes.len());
    }
    for index in [0, 1, 7, u16::MAX] {
        let _ = message_at(bytes, index);
        if let Ok(redacted) = redact_message(bytes, index) {
            assert_eq!(redacted.len(), bytes.len());
        }
    }
}

/// A log of `payloads` in one segment; where each record starts, the tail, and the file's bytes.
fn written(payloads: &[Vec<u8>]) -> (tempfile::TempDir, FileLogOptions, Vec<usize>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut options = FileLogOptions::new(directory.path());
    options.segment_bytes = 16 << 10;
    options.record_bytes_max = 4096;
    options.clock = Arc::new(ManualClock::at(Timestamp(5)));
    let log = FileLog::open(options.clone()).unwrap();
    let places = payloads.iter().map(|payload| append(&log, payload).unwrap().position.0 as usize).collect();
    let tail = log.tail().0 as usize;
    (directory, options, places, tail)
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_record(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn each_message_is_found_by_its_index_and_can_be_blanked(batch in vec(message(), 1..6), which in any::<u16>()) {
        let payload = Record::Messages(batch.clone()).encode();
        let which = usize::from(which) % batch.len();
        let redacted = redact_message(&payload, which as u16).unwrap();
        prop_assert_eq!(redacted.len(), payload.len());
        let views = messages(&redacted).unwrap();
        for (index, view) in views.enumerate() {
            let found = view.unwrap().map(|view| view.to_message());
            prop_assert_eq!(found.as_ref(), (index != which).then_some(&batch[index]));
            let direct = message_at(&payload, index as u16).unwrap().unwrap();
            prop_assert_eq!(direct.to_message(), batch[index].clone());
        }
        prop_assert!(message_at(&payload, batch.len() as u16).is_err());
        prop_assert_eq!(redact_message(&redacted, which as u16).unwrap(), redacted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), kind in 0u8..6) {
        read_everything(&bytes);
        read_everything(&[&[1, kind], bytes.as_slice()].concat());
    }

    #[test]
    fn damaged_records_never_panic(record in record(), flips in vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>()) {
        let mut bytes = record.encode();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        read_everything(&bytes);
        bytes.truncate(cut % (bytes.len() + 1));
        read_everything(&bytes);
    }

    #[test]
    fn whatever_stands_behind_the_tail_every_acknowledged_record_is_recovered(
        payloads in vec(vec(any::<u8>(), 0..300), 1..12),
        garbage in vec(any::<u8>(), 0..600),
        cut in 0usize..9000,
    ) {
        let (directory, options, _, tail) = written(&payloads);
        let path = directory.path().join("0000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40 + tail..][..garbage.len()].copy_from_slice(&garbage);
        bytes.truncate((40 + tail + cut).min(16 << 10));
        std::fs::write(&path, bytes).unwrap();
        let log = FileLog::open(options).unwrap();
        prop_assert_eq!(all(&log).into_iter().map(|e| e.payload).collect::<Vec<_>>(), payloads);
        append(&log, b"and on").unwrap();
    }

    #[test]
    fn a_flipped_bit_is_never_read_as_a_record(
        payloads in vec(vec(any::<u8>(), 1..300), 2..12),
        at in any::<usize>(),
        bit in 0u8..8,
    ) {
        let (directory, options, places, tail) = written(&payloads);
        let path = directory.path().join("0000000000000000.log");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % tail;
        bytes[40 + at] ^= 1 << bit;
        std::fs::write(&path, bytes).unwrap();
        let hit = places.partition_point(|place| *place <= at) - 1;
        match FileLog::open(options) {
            // Padding has no checksum and no meaning.
            Ok(log) if all(&log).len() == payloads.len() => {
                prop_assert_eq!(all(&log).into_iter().map(|e| e.payload).collect::<Vec<_>>(), payloads);
            }
            // Nothing follows the last record to tell damage from a torn write.
            Ok(log) => {
                prop_assert_eq!((hit, all(&log).len()), (payloads.len() - 1, payloads.len() - 1));
            }
            Err(Error::Corrupt { position, .. }) => prop_assert_eq!(position.0 as usize, places[hit]),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
