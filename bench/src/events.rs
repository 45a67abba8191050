//! Events of about 1 KB, in the shape that `@segment/analytics-node` sends, with new ids each.

use std::time::{SystemTime, UNIX_EPOCH};

/// The write key of every workspace here.
pub(crate) const WRITE_KEY: &str = "wk_bench";

/// What the events are padded to.
const EVENT_BYTES: usize = 1024;

/// A workspace of one server source and what else is given.
pub(crate) fn workspace(rest: &str) -> String {
    format!(
        "version: 1\nworkspace: bench\ntimezone: UTC\nsources:\n  - {{ key: web, kind: browser, write_key: {WRITE_KEY}, \
         personalize: [a0], origins: [\"*\"] }}\nidentity: {{ preset: product }}\n{rest}"
    )
}

/// A hundred audiences over ten events, ten to each: half with windows, some with filters.
pub(crate) fn hundred_audiences() -> String {
    let mut text = String::from("audiences:\n");
    for i in 0..100 {
        let event = format!("Event {}", i % 10);
        let rule = match i / 10 {
            0 => format!("did(\"{event}\" in last 1d)"),
            1 => format!("count(\"{event}\" in last 7d) >= 5"),
            2 => format!("count(\"{event}\") >= {}", 3 + i % 10),
            3 => format!("did(\"{event}\" where revenue > 500 in last 30d)"),
            4 => format!("not did(\"{event}\" in last 14d)"),
            5 => format!("count(\"{event}\" where category = \"shoes\" in last 3d) >= 2"),
            6 => format!("did(\"{event}\" between 2d and 1d ago)"),
            7 => format!("did(\"{event}\") and traits.plan = \"pro\""),
            8 => format!("count(\"{event}\" in last 1h) >= 10 or count(\"{event}\") >= 100"),
            _ => format!("count(\"{event}\" where properties.index > 5) >= 1"),
        };
        text.push_str(&format!("  - {{ key: a{i}, name: A{i}, where: '{rule}' }}\n"));
    }
    text
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `2026-01-31T12:34:56.789Z`; the days by the algorithm of Howard Hinnant's `civil_from_days`.
pub(crate) fn iso(ms: u64) -> String {
    let (days, of_day) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

/// A number spread over all of 64 bits (splitmix64): the seed of everything that looks random here.
pub(crate) const fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One track event of user `user`; `number` makes its id and its values.
pub(crate) fn track(number: u64, user: u64, event: &str, at: &str, extra: &str) -> String {
    let spread = scatter(number);
    let mut text = format!(
        "{{\"type\":\"track\",\"event\":\"{event}\",\"userId\":\"u{user:08}\",\"anonymousId\":\"{:016x}-{user:08}\",\
         \"messageId\":\"node-next-{at}-{:016x}{number:012x}\",\"timestamp\":\"{at}\",\"properties\":{{\"index\":{},\
         \"revenue\":{}.{:02},\"currency\":\"EUR\",\"category\":\"{}\",\"sku\":\"SKU-{:06}\",{extra}\"products\":[\
         {{\"product_id\":\"{:06x}\",\"price\":19.99,\"quantity\":1,\"name\":\"Trail Runner\"}}]}},\"context\":{{\
         \"library\":{{\"name\":\"@segment/analytics-node\",\"version\":\"2.3.0\"}},\"locale\":\"nl-NL\",\"page\":{{\
         \"path\":\"/shoes/trail\",\"url\":\"https://shop.example/shoes/trail?ref=home\",\"title\":\"Trail shoes\"}},\
         \"userAgent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36\",\"note\":\"",
        scatter(user),
        spread,
        spread % 10,
        spread % 1000,
        spread % 100,
        ["shoes", "coats", "hats", "bags"][(spread >> 20) as usize % 4],
        spread % 1_000_000,
        spread & 0xff_ffff,
    );
    const END: &str = "\"},\"integrations\":{}}";
    let padding = EVENT_BYTES.saturating_sub(text.len() + END.len());
    text.extend(std::iter::repeat_n('x', padding));
    text.push_str(END);
    text
}

/// The identify call by which user `user` becomes known: user id, device and e-mail address.
pub(crate) fn identify(user: u64, at: &str) -> String {
    format!(
        "{{\"type\":\"identify\",\"userId\":\"u{user:08}\",\"anonymousId\":\"{:016x}-{user:08}\",\"messageId\":\
         \"identify-{user:012}\",\"timestamp\":\"{at}\",\"traits\":{{\"email\":\"u{user:08}@shop.example\",\"name\":\"User \
         {user}\",\"plan\":\"{}\",\"country\":\"NL\"}}}}",
        scatter(user),
        if user.is_multiple_of(4) { "pro" } else { "free" },
    )
}

/// A user's first track event, with the user id and the device that later ones have.
pub(crate) fn first_track(user: u64, at: &str) -> String {
    track((1 << 42) + user, user, &format!("Event {}", user % 10), at, "")
}

/// The body of a batch call.
pub(crate) fn batch(events: impl Iterator<Item = String>) -> Vec<u8> {
    let mut body = String::with_capacity(110 << 10);
    body.push_str("{\"batch\":[");
    for (i, event) in events.enumerate() {
        body.push_str(if i > 0 { "," } else { "" });
        body.push_str(&event);
    }
    body.push_str("],\"sentAt\":\"");
    body.push_str(&iso(now_ms()));
    body.push_str("\"}");
    body.into_bytes()
}
