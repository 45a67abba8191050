//! The sample shop's visitors: what a person does, call by call, with pauses. From a seed, so that a run can be repeated.
//!
//! Every visitor browses anonymously; some sign up, most of those return on a second device; some start a checkout,
//! of whom some abandon it; some buy, some of them twice. Retries send the same message id again.

use serde_json::{Value, json};
use std::time::Duration;

/// A small, fast, seeded generator (splitmix64, Steele et al. 2014): enough for a demo, and no dependency.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (at least 1).
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    /// True in `percent` of 100 rolls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(index).copied().unwrap_or_default()
    }
}

/// One call to the tracking API.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// How long after the previous one.
    pub after: Duration,
    /// `/v1/track` and so on.
    pub path: &'static str,
    /// The message.
    pub body: Value,
    /// Whether the client sends it a second time, as after a lost answer.
    pub repeated: bool,
}

struct Visitor {
    number: u64,
    dice: Dice,
    device: u64,
    user: Option<String>,
    calls: Vec<Call>,
}

const PRODUCTS: &[&str] = &["Tent", "Lantern", "Kettle", "Rope", "Compass", "Boots", "Hammock", "Stove"];
const COUNTRIES: &[&str] = &["NL", "NL", "NL", "DE", "BE", "FR"];

/// Everything visitor `number` does, in order.
#[must_use]
pub fn visit(seed: u64, number: u64) -> Vec<Call> {
    let mut visitor = Visitor {
        number,
        dice: Dice::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95)),
        device: 1,
        user: None,
        calls: Vec::new(),
    };
    visitor.live();
    visitor.calls
}

impl Visitor {
    fn live(&mut self) {
        self.page("Home", "/");
        let looks = 1 + self.dice.below(5);
        self.browse(looks);
        if self.dice.chance(55) {
            self.sign_up();
            if self.dice.chance(60) {
                self.second_device();
            }
        }
        if self.dice.chance(50) {
            self.check_out();
        }
        if self.user.is_some() && self.dice.chance(40) {
            self.pause(6_000, 15_000);
            self.page("Home", "/");
            let looks = 1 + self.dice.below(4);
            self.browse(looks);
            self.check_out();
        }
    }

    fn anonymous_id(&self) -> String {
        format!("anon-{}-{}", self.number, self.device)
    }

    fn pause(&mut self, least_ms: u64, most_ms: u64) {
        let pause = least_ms + self.dice.below(most_ms - least_ms);
        self.call("/v1/page", json!({ "name": "Blog", "properties": { "path": "/blog" } }));
        if let Some(call) = self.calls.last_mut() {
            call.after = Duration::from_millis(pause);
        }
    }

    fn call(&mut self, path: &'static str, mut body: Value) {
        let after = Duration::from_millis(150 + self.dice.below(1_800));
        body["anonymousId"] = self.anonymous_id().into();
        if let Some(user) = &self.user {
            body["userId"] = user.as_str().into();
        }
        body["messageId"] =
            format!("shop-{}-{}-{:x}", self.number, self.calls.len(), self.dice.roll()).into();
        let repeated = self.dice.chance(4);
        self.calls.push(Call { after, path, body, repeated });
    }

    fn page(&mut self, name: &str, path: &str) {
        self.call("/v1/page", json!({ "name": name, "properties": { "path": path } }));
    }

    fn track(&mut self, event: &str, properties: Value) {
        self.call("/v1/track", Value::from_iter([("event", Value::from(event)), ("properties", properties)]));
    }

    fn browse(&mut self, looks: u64) {
        for _ in 0..looks {
            let product = self.dice.pick(PRODUCTS);
            let price = 10 + self.dice.below(190);
            self.track(
                "Product Viewed",
                json!({ "product_id": product.to_lowercase(), "name": product, "price": price }),
            );
        }
    }

    fn sign_up(&mut self) {
        let user = format!("user-{}", self.number);
        self.user = Some(user.clone());
        let country = self.dice.pick(COUNTRIES);
        let newsletter = self.dice.chance(50);
        self.call(
            "/v1/identify",
            json!({ "traits": { "email": format!("{user}@shop.example"), "country": country, "newsletter": newsletter } }),
        );
        self.track("Signed Up", json!({}));
    }

    /// The same person, on the telephone: anonymous first, known after the login.
    fn second_device(&mut self) {
        let user = self.user.take();
        self.device = 2;
        self.page("Home", "/");
        let looks = 1 + self.dice.below(3);
        self.browse(looks);
        self.user = user;
        if let Some(user) = self.user.clone() {
            self.call("/v1/identify", json!({ "traits": { "email": format!("{user}@shop.example") } }));
            self.track("Signed In", json!({}));
        }
    }

    fn check_out(&mut self) {
        let order = format!("order-{}-{}", self.number, self.calls.len());
        self.track("Product Added", json!({ "product_id": "tent", "quantity": 1 }));
        self.track("Checkout Started", json!({ "order_id": order }));
        if self.dice.chance(60) {
            let revenue = 20 + self.dice.below(280);
            self.track(
                "Order Completed",
                json!({ "order_id": order, "revenue": revenue, "currency": "EUR" }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::visit;

    #[test]
    fn a_visit_is_the_same_for_the_same_seed_and_another_for_another() {
        assert_eq!(visit(1, 7), visit(1, 7));
        assert_ne!(visit(1, 7), visit(2, 7));
    }

    #[test]
    fn the_shop_has_every_kind_of_visitor() {
        let visits: Vec<_> = (0..200).map(|number| visit(3, number)).collect();
        let share = |wanted: &dyn Fn(&str) -> bool| {
            visits.iter().filter(|calls| calls.iter().any(|call| wanted(&call.body.to_string()))).count()
        };
        let orders = share(&|text| text.contains("Order Completed"));
        let checkouts = share(&|text| text.contains("Checkout Started"));
        assert!(orders > 20 && checkouts > orders + 10, "{orders} orders of {checkouts} checkouts");
        assert!(share(&|text| text.contains("Signed In")) > 20);
        assert!(visits.iter().flatten().any(|call| call.repeated));
    }
}
