//! Lists in order of number, a page at a time.

use onefold_api::ByNumber;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which part of a list that is in order of number.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Numbers {
    /// Where the last page ended.
    #[serde(default)]
    pub(crate) cursor: u64,
    /// At most so many; 50 if it is not given, 1,000 at most.
    limit: Option<usize>,
}

impl Numbers {
    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(50).clamp(1, 1_000)
    }

    /// The page of `items`, which were asked for by this cursor and limit.
    pub(crate) fn page<T>(&self, items: Vec<(u64, T)>) -> ByNumber<T> {
        let is_more = items.len() >= self.limit();
        page(items, is_more)
    }
}

/// A page after which there may be more.
pub(crate) fn page<T>(items: Vec<(u64, T)>, is_more: bool) -> ByNumber<T> {
    let cursor = items.last().filter(|_| is_more).map(|(number, _)| number + 1);
    ByNumber { data: items.into_iter().map(|(_, item)| item).collect(), cursor }
}
