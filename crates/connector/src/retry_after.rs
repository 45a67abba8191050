//! `Retry-After` (RFC 9110, 10.2.3): when the other side wants to be asked again.

use crate::client::Reply;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wait that an answer names, at `now` (seconds since 1970): seconds, or a date against the answer's own `Date`, so
/// that clocks need not agree. `None` if it names none that makes sense; how long is too long is for the caller to say.
#[must_use]
pub fn retry_after(reply: &Reply, now: i64) -> Option<Duration> {
    let named = reply.header("retry-after")?.trim();
    if named.bytes().all(|byte| byte.is_ascii_digit()) && !named.is_empty() {
        // More seconds than fit are a wait without end.
        return Some(Duration::from_secs(named.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(named).ok()?;
    let date = reply.header("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let since: SystemTime = match date {
        Some(date) => date,
        None => UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(now).ok()?))?,
    };
    // A date that has passed means: now.
    Some(at.duration_since(since).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use crate::client::Reply;
    use std::time::Duration;

    /// 1994-11-06T08:49:37Z, the date of the RFC's examples.
    const NOW: i64 = 784_111_777;

    fn named(headers: &[(&str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let reply = Reply { status: 503, headers, body: Vec::new() };
        retry_after(&reply, NOW).as_ref().map(Duration::as_secs)
    }

    #[test]
    fn seconds_and_dates_in_all_three_forms_and_nothing_else() {
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
            ("Sunday, 06-Nov-94 08:51:37 GMT", Some(120)),
            ("Sun Nov  6 08:51:37 1994", Some(120)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(252_618_189_022)),
            ("-5", None),
            ("1.5", None),
            ("+5", None),
            ("", None),
            ("soon", None),
            ("Sun, 32 Nov 1994 08:51:37 GMT", None),
            ("Sun, 06 Nov 99999 08:51:37 GMT", None),
            ("0x10", None),
            ("\u{ff11}", None),
        ] {
            assert_eq!(named(&[("retry-after", value)]), expected, "{value:?}");
        }
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn a_date_counts_from_the_answers_own_date() {
        let date = ("date", "Sun, 06 Nov 2044 08:49:37 GMT");
        assert_eq!(named(&[("retry-after", "Sun, 06 Nov 2044 08:50:07 GMT"), date]), Some(30));
        assert_eq!(
            named(&[("retry-after", "Sun, 06 Nov 1994 08:51:37 GMT"), ("date", "yesterday")]),
            Some(120)
        );
    }
}
