//! LOG-5: recovery of arbitrary and of damaged segments never panics. `cargo +nightly fuzz run recover` in `crates/log`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onefold_log::fuzzing::{frames, recover_segment};

/// Any fixed one: checksums are only reachable with a salt that is known.
const SALT: u64 = 0x5eed;

fuzz_target!(|input: &[u8]| {
    recover_segment(input, SALT);
    // Three bytes each say where to change a whole segment, and to what.
    let (changes, payloads) = input.split_at(input.len() / 2);
    let payloads: Vec<&[u8]> = payloads.chunks(48).collect();
    let mut bytes = frames(&payloads, SALT);
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = change[2];
        }
    }
    recover_segment(&bytes, SALT);
});
