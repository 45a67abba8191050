//! What a request asks of a list, and where its pages begin and end.
//!
//! A cursor names the place of the last item shown, not how many there were: what comes or goes between two pages
//! moves nothing else. It says which list gave it, so that one from elsewhere is refused and not taken for the start.

use crate::answer::Refused;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onefold_api::profiles::{Cursor, Listed};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Items of a page, at most.
pub(super) const LIMIT_MAX: usize = 200;

/// Items of a page of anything but traits, if the request does not say.
const LIMIT: usize = 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only these, with commas between: of traits the keys, of events the names, of external ids the types. The other
    /// parts have nothing to choose from, and refuse it.
    include: Option<String>,
    /// Only traits of this class. Parts other than traits refuse it; an account has class `trait` alone.
    pub(super) class: Option<Class>,
    /// Of each trait also the source and the time: when a trait was set, when a computed trait last changed (null if it
    /// never did), since when someone is in an audience (null if not in it). Of audiences also since when.
    #[serde(default)]
    pub(super) verbose: bool,
    /// At most so many items, from 1; 20 if not given, of traits 200. A page has never more than 200: with a larger
    /// number it has 200, and its cursor says so. Pages of events may have fewer with more to come.
    #[serde(default, deserialize_with = "limit")]
    #[schemars(range(min = 1))]
    limit: Option<usize>,
    /// `cursor.next` of the page before. One that this list did not give is refused.
    cursor: Option<String>,
}

/// Where a trait comes from.
#[derive(Clone, Copy, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Class {
    Trait,
    ComputedTrait,
    Audience,
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => {
            Err(serde::de::Error::custom(format!("`{text}`: expected a whole number from 1, as in limit=50")))
        }
    }
}

/// One request of the profile API.
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) collection: String,
    pub(super) id_type: String,
    pub(super) value: String,
    pub(super) part: String,
    pub(super) wanted: Wanted,
}

impl Asked {
    /// What is asked to be included; `None` means everything.
    pub(super) fn include(&self) -> Result<Option<Vec<String>>, Refused> {
        let Some(list) = &self.wanted.include else { return Ok(None) };
        let names: Vec<String> =
            list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Refused::bad(
                "`include` names nothing; expected names with commas between, as in include=plan,email",
            ));
        }
        Ok(Some(names))
    }

    /// Refuses what chooses among items where this part has nothing to choose from.
    pub(super) fn takes(&self, include: &[&str], class: &[&str]) -> Result<(), Refused> {
        let wanted = &self.wanted;
        for (name, is_asked, parts) in
            [("include", wanted.include.is_some(), include), ("class", wanted.class.is_some(), class)]
        {
            if is_asked && !parts.contains(&self.part.as_str()) {
                return Err(Refused::bad(format!(
                    "`{}` takes no `{name}`; expected it of {} alone",
                    self.part,
                    parts.join(", ")
                )));
            }
        }
        Ok(())
    }

    pub(super) fn limit(&self) -> usize {
        let limit = if self.part == "traits" { LIMIT_MAX } else { LIMIT };
        self.wanted.limit.unwrap_or(limit).min(LIMIT_MAX)
    }

    /// The place after which this page begins; `None` for the first one.
    pub(super) fn after(&self) -> Result<Option<String>, Refused> {
        let Some(cursor) = &self.wanted.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
        let place = bytes
            .split_first_chunk::<4>()
            .and_then(|(check, place)| Some((check, std::str::from_utf8(place).ok()?)))
            .filter(|(check, place)| **check == self.check(place));
        place.map(|(_, place)| Some(place.to_owned())).ok_or_else(Self::foreign_cursor)
    }

    pub(super) fn foreign_cursor() -> Refused {
        Refused::bad(
            "the cursor is not one that this list gave; expected `cursor.next` of the page before, or none for the first",
        )
    }

    /// `cursor` as Segment has it.
    pub(super) fn cursor(&self, next: Option<&str>) -> Cursor {
        let text = next
            .map(|place| URL_SAFE_NO_PAD.encode([self.check(place).as_slice(), place.as_bytes()].concat()));
        Cursor {
            url: self.url.clone(),
            has_more: next.is_some(),
            next: text.unwrap_or_default(),
            limit: self.limit(),
        }
    }

    /// Of which list a place is: FNV-1a. No secret: whoever makes one up sees nothing but what the list shows.
    fn check(&self, place: &str) -> [u8; 4] {
        let list = [&self.collection, &self.id_type, &self.value, &self.part];
        let bytes = list.into_iter().flat_map(|text| text.bytes().chain([0])).chain(place.bytes());
        let hash =
            bytes.fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash.to_be_bytes()
    }

    /// A page of items whose order is that of `is_up_to`: whether an item is at or before a place. The page's place is
    /// the `place` of its last item.
    pub(super) fn page<T, S>(
        &self,
        items: &[T],
        is_up_to: impl Fn(&T, &str) -> bool,
        place: impl Fn(&T) -> String,
        show: impl Fn(&T) -> S,
    ) -> Result<Listed<S>, Refused> {
        let after = self.after()?;
        let start = after.map_or(0, |after| items.partition_point(|item| is_up_to(item, &after)));
        let end = (start + self.limit()).min(items.len());
        let next = items[start..end].last().filter(|_| end < items.len()).map(place);
        let data = items[start..end].iter().map(show).collect();
        Ok(Listed { data, cursor: self.cursor(next.as_deref()) })
    }
}
