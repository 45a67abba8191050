//! CODEC-2: any bytes decode or are refused. `cargo +nightly fuzz run decode` in `crates/log`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold_log::Record;
use onefold_log::record::{message_at, messages, redact_message};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(Record::decode(&record.encode()), Ok(record), "CODEC-1");
    }
    for view in messages(bytes).into_iter().flatten().flatten().flatten() {
        assert!(view.ids().count() <= bytes.len());
    }
    for index in [0, 1, u16::MAX] {
        let _ = message_at(bytes, index);
        let _ = redact_message(bytes, index);
    }
});
