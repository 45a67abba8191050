//! What became of what each effect said: it is so still, unless a test says otherwise.

#![allow(dead_code, reason = "each test file uses a part")]

use onefold_delivery::{Standing, Stands};
use onefold_store::Error;
use onefold_types::effect::Effect;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
pub struct Stood(Mutex<BTreeMap<u128, Result<Stands, &'static str>>>);

impl Stood {
    /// This would be said in place of the effect with its id.
    pub fn is_now(&self, effect: Effect) {
        self.0.lock().unwrap().insert(effect.id, Ok(Stands::Changed(Box::new(effect))));
    }

    /// Nothing can be said of the change of effect `id`, because of `why`.
    pub fn nowhere(&self, id: u128, why: &str) {
        self.0.lock().unwrap().insert(id, Ok(Stands::Nowhere(why.to_owned())));
    }

    /// The state cannot be read for effect `id`.
    pub fn unreadable(&self, id: u128) {
        self.0.lock().unwrap().insert(id, Err("input/output error"));
    }
}

impl Standing for Stood {
    fn of(&self, effect: &Effect) -> Result<Stands, Error> {
        let stands = self.0.lock().unwrap().get(&effect.id).cloned().unwrap_or(Ok(Stands::AsSaid));
        stands.map_err(|detail| Error::Engine { operation: "read", detail: detail.to_owned() })
    }
}
