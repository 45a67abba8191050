//! The body of a rejected item, as it is kept: whole, or cut with a mark at its end. No JSON ends like the mark, so what
//! was cut is never taken for the whole.

/// Where the mark begins; `]` ends it.
const MARK: &str = "…[cut: ";

/// Bytes of the longest mark.
const MARK_BYTES_MAX: usize = 96;

/// `body`, or what of it fits into `most` bytes and a mark that says how many it had.
#[must_use]
pub fn kept(body: &str, most: usize) -> Vec<u8> {
    if body.len() <= most {
        body.as_bytes().to_vec()
    } else {
        cut(body, most, &format!("{} bytes", body.len()))
    }
}

/// What of `body` fits into `most` bytes, and a mark that says what there was: `with` is a few words.
#[must_use]
pub fn cut(body: &str, most: usize, with: &str) -> Vec<u8> {
    let end = (0..=most.min(body.len())).rev().find(|end| body.is_char_boundary(*end)).unwrap_or_default();
    let kept = body.get(..end).unwrap_or_default();
    [kept, MARK, with, "]"].concat().into_bytes()
}

/// Whether a kept body is not the whole item.
#[must_use]
pub fn is_cut(body: &[u8]) -> bool {
    let tail = body.get(body.len().saturating_sub(MARK_BYTES_MAX)..).unwrap_or_default();
    tail.ends_with(b"]") && tail.windows(MARK.len()).any(|part| part == MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept_whole_and_the_rest_is_marked() {
        assert_eq!(kept(r#"{"a":1}"#, 7), br#"{"a":1}"#);
        assert!(!is_cut(br#"{"a":[1]}"#) && !is_cut(b"") && !is_cut(br#"["[cut: 3 bytes]"]"#));
        let text = format!(r#"{{"a":"{}"}}"#, "é".repeat(50));
        for most in 0..text.len() {
            let cut = kept(&text, most);
            assert!(is_cut(&cut), "{most}");
            let cut = String::from_utf8(cut).unwrap();
            let (before, mark) = cut.split_once('…').unwrap();
            assert!(text.starts_with(before) && before.len() <= most && before.len() + 2 > most, "{most}");
            assert_eq!(mark, "[cut: 108 bytes]");
        }
        assert!(is_cut(&cut(&text, usize::MAX, "without the batch's context")));
    }
}
