//! Halves of characters: `JSON.stringify` writes a string that was cut inside an emoji as `"\ud83d"`, which is JSON by
//! its grammar and no text. Taken as it came it would be refused by every later reader, so it becomes U+FFFD here, as
//! every decoder of UTF-16 makes it.

/// `text` with each escape that stands for half of a character replaced by that of U+FFFD, which is as long.
pub(crate) fn mended(text: String) -> String {
    // Almost no body has such an escape, and fewer have half a pair.
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return text;
    }
    let mut bytes = text.into_bytes();
    mend(&mut bytes);
    // Escapes are ASCII and so is what replaces them: the text stays one.
    String::from_utf8(bytes).unwrap_or_default()
}

fn mend(bytes: &mut [u8]) {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        at += match (unit(bytes, at), unit(bytes, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                bytes[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            (Some(_), _) => 6,
            // Another escape: what it escapes is no beginning of one.
            (None, _) => 2,
        };
    }
}

/// The UTF-16 unit that the escape at `at` stands for.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::mended;
    use proptest::prelude::*;

    #[test]
    fn halves_become_the_replacement_character_and_pairs_stay() {
        for (text, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uD83D\uDE00""#, r#""\uD83D\uDE00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83dA\ude00""#, r#""\ufffdA\ufffd""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            // Escaped backslashes are no escapes of a unit.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud7ff\ue000""#, r#""\ud7ff\ue000""#),
            // No escape at all: the parser's to refuse.
            (r#""\ud8"#, r#""\ud8"#),
            (r#""\ud8g0""#, r#""\ud8g0""#),
        ] {
            assert_eq!(mended(text.to_owned()), expected);
        }
    }

    proptest! {
        /// The standard library's own decoder of UTF-16 says what the string is.
        #[test]
        fn what_comes_out_is_what_utf_16_says(units in proptest::collection::vec(prop_oneof![any::<u16>(), 0xD7F0u16..0xE010], 0..12)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let text: String = serde_json::from_str(&mended(format!("\"{escaped}\""))).unwrap();
            prop_assert_eq!(text, String::from_utf16_lossy(&units));
        }
    }
}
