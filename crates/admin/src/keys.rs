//! Lists in order of key, a page at a time.

use schemars::JsonSchema;
use serde::Deserialize;

/// Which part of a list that is in order of key.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Keys {
    /// The last key of the page before.
    cursor: Option<String>,
    /// At most so many; 200 if it is not given, 1,000 at most.
    limit: Option<usize>,
}

impl Keys {
    /// The page, and the cursor of the next one if there is more.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> &str) -> (Vec<T>, Option<String>) {
        let limit = self.limit.unwrap_or(200).clamp(1, 1_000);
        items.retain(|item| self.cursor.as_deref().is_none_or(|after| key(item) > after));
        items.sort_by(|a, b| key(a).cmp(key(b)));
        let more = items.len() > limit;
        items.truncate(limit);
        let cursor = items.last().filter(|_| more).map(|last| key(last).to_owned());
        (items, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn every_item_is_on_one_page_in_order_of_key() {
        for limit in [1, 2, 3, 6, 7, 8] {
            let items = || ["d", "a", "g", "c", "b", "f", "e"].to_vec();
            let (mut cursor, mut pages): (Option<String>, Vec<Vec<&str>>) = (None, Vec::new());
            loop {
                let (page, next) = Keys { cursor, limit: Some(limit) }.page(items(), |item| item);
                pages.push(page);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(pages.concat(), ["a", "b", "c", "d", "e", "f", "g"]);
            assert_eq!(pages.len(), 7_usize.div_ceil(limit), "no page is empty");
        }
    }
}
