//! A profile's plain traits as the audience plan reads them.

use crate::profile::TraitMap;
use onefold_audience::{Traits, Value};

/// See the module.
pub(crate) struct PlainTraits<'a>(pub(crate) &'a TraitMap);

impl Traits for PlainTraits<'_> {
    fn get(&self, key: &str) -> Option<Value> {
        let value = self.0.get(key).filter(|value| !value.is_removed())?;
        Value::from_json(&value.json)
    }
}
