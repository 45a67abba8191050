//! Which messages a destination wants: an event selector, compiled.

use crate::ast::{Event, EventSelector};
use crate::condition::Condition;
use crate::properties::JsonProperties;
use onefold_types::MessageType;

/// A compiled event selector.
#[derive(Clone, Debug)]
pub struct Selector {
    event: Event,
    condition: Option<Condition>,
}

impl Selector {
    /// Compiles a selector.
    ///
    /// # Errors
    /// Its filter cannot be evaluated; the message says why.
    pub fn compile(selector: &EventSelector) -> Result<Self, String> {
        let condition = crate::plan::compile_filter(selector)?;
        Ok(Self { event: selector.event.clone(), condition })
    }

    /// Whether it takes this message.
    #[must_use]
    pub fn matches(&self, message_type: MessageType, name: &str, body: &[u8]) -> bool {
        let of_kind = match &self.event {
            Event::Any => true,
            Event::Track(wanted) => message_type == MessageType::Track && wanted == name,
            Event::Page(wanted) => {
                message_type == MessageType::Page && wanted.as_ref().is_none_or(|wanted| wanted == name)
            }
            Event::Screen(wanted) => {
                message_type == MessageType::Screen && wanted.as_ref().is_none_or(|wanted| wanted == name)
            }
            Event::Identify => message_type == MessageType::Identify,
            Event::Group => message_type == MessageType::Group,
        };
        of_kind && self.condition.as_ref().is_none_or(|condition| condition.holds(&JsonProperties::new(body)))
    }
}
