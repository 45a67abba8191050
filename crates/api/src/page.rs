//! Lists, a page at a time.

use schemars::JsonSchema;
use serde::Serialize;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Page_of_{T}")]
pub struct Page<T, C> {
    /// Its items.
    pub data: Vec<T>,
    /// Where the next page begins: what asks for it as `cursor`, null if there is none. In the profile API `next` does.
    pub cursor: C,
}

/// A page of a list in order of number.
pub type ByNumber<T> = Page<T, Option<u64>>;

/// A page of a list in order of key.
pub type ByKey<T> = Page<T, Option<String>>;
