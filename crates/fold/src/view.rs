//! A profile's plain traits as the audience plan reads them.

use onefold_audience::Value;

/// See the module. They are decoded when the first one is asked for: most settlings ask for none.
pub(crate) struct PlainTraits<'a>(pub(crate) &'a crate::traits::Traits);

impl onefold_audience::Traits for PlainTraits<'_> {
    fn get(&self, key: &str) -> Option<Value> {
        let value = self.0.get(key).filter(|value| !value.is_removed())?;
        Value::from_json(&value.json)
    }
}
