//! A small, quarrelsome shop: people with devices, households and kiosks, sign-ups on a second device, purchases, traits
//! that change, and all the odd identifiers that real clients send.
//!
//! Small on purpose: few people share few devices, so that merges, splits and shared devices happen in every run.

use crate::dice::Dice;
use serde_json::{Map, Value, json};

/// One who visits the shop.
#[derive(Clone, Debug)]
pub struct Person {
    user: String,
    emails: Vec<String>,
    phone: String,
    crm: String,
    devices: Vec<String>,
    /// Logged in on these of them.
    logged_in: Vec<bool>,
}

/// Everyone, and what they share.
#[derive(Clone, Debug)]
pub struct Shop {
    people: Vec<Person>,
    /// Every identifier that any message may name: what operators decide about.
    pub pool: Vec<(String, String)>,
    dice: Dice,
    messages: u64,
    odd: u32,
}

/// Values that say nothing about anyone, or do not read.
const ODD_USERS: &[&str] = &["null", "0000-0000", "guest", "  ", "undefined", "-1"];
const ODD_EMAILS: &[&str] = &["not-an-email", "@", " P0@Home.Example ", "test@blocked.example"];

/// Names of track events.
const EVENTS: &[&str] =
    &["Product Viewed", "Product Viewed", "Order Completed", "Cart Updated", "Support Asked"];
const CATEGORIES: &[&str] = &["shoes", "bags", "Shoes", "books"];
const PLANS: &[&str] = &["free", "pro", "team"];
const CITIES: &[&str] = &["Aachen", "Berlin", "aalst"];

impl Shop {
    /// The shop of a seed.
    #[must_use]
    pub fn new(mut dice: Dice) -> Self {
        let count = 2 + dice.below(6);
        let devices = 2 + dice.below(count + 2);
        let mut people = Vec::new();
        for number in 0..count {
            let mut emails = vec![format!("p{number}@home.example")];
            if dice.chance(35) {
                emails.push(format!("p{number}@work.example"));
            }
            if dice.chance(30) {
                emails.push("family@home.example".to_owned());
            }
            let owned = 1 + dice.below(3);
            let devices: Vec<String> = (0..owned).map(|_| format!("a{}", dice.below(devices))).collect();
            people.push(Person {
                user: format!("u{number}"),
                emails,
                phone: format!("+3161234567{}", number % 10),
                crm: format!("c{}", if dice.chance(80) { number } else { dice.below(count) }),
                logged_in: vec![false; devices.len()],
                devices,
            });
        }
        let mut pool = Vec::new();
        for person in &people {
            pool.push(("user_id".to_owned(), person.user.clone()));
            pool.extend(person.emails.iter().map(|email| ("email".to_owned(), email.clone())));
            pool.push(("crm_id".to_owned(), person.crm.clone()));
            pool.push(("phone".to_owned(), person.phone.clone()));
            pool.extend(person.devices.iter().map(|device| ("anonymous_id".to_owned(), device.clone())));
        }
        pool.sort();
        pool.dedup();
        let odd = *dice.pick(&[0, 3, 10]);
        Self { people, pool, dice, messages: 0, odd }
    }

    /// How many people there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.people.len()
    }

    /// What the next person does: a message without its times, with a message id that is new.
    pub fn message(&mut self) -> Value {
        let who = self.dice.below(self.people.len());
        let mut message = self.act(who);
        self.messages += 1;
        // Ids in no order of time: what ties are broken by must not be arrival.
        let salt = self.dice.next() % 1_000;
        message.insert("messageId".to_owned(), format!("m{salt:03}-{}", self.messages).into());
        if self.dice.chance(self.odd) {
            self.make_odd(&mut message);
        }
        Value::Object(message)
    }

    fn act(&mut self, who: usize) -> Map<String, Value> {
        let dice = &mut self.dice;
        let person = &mut self.people[who];
        let at = dice.below(person.devices.len());
        let device = person.devices[at].clone();
        let mut message = Map::new();
        let kind = dice.below(100);
        match kind {
            0..18 => {
                // Signs in, or up, on this device.
                person.logged_in[at] = true;
                message.insert("type".to_owned(), "identify".into());
                message.insert("anonymousId".to_owned(), device.into());
                message.insert("userId".to_owned(), person.user.clone().into());
                message.insert("traits".to_owned(), traits(dice, person));
            }
            18..26 => {
                // A newsletter form: an address and no account.
                message.insert("type".to_owned(), "identify".into());
                message.insert("anonymousId".to_owned(), device.into());
                let email = dice.pick(&person.emails).clone();
                message.insert("traits".to_owned(), json!({ "email": email, "newsletter": true }));
            }
            26..30 => {
                person.logged_in[at] = false;
                track(dice, &mut message);
                message.insert("anonymousId".to_owned(), device.into());
            }
            30..36 => {
                // The till: a CRM's number, or a phone, no device.
                track(dice, &mut message);
                message.insert("event".to_owned(), "Order Completed".into());
                let mut externals = Vec::new();
                if dice.chance(70) {
                    externals.push(json!({ "id": person.crm, "type": "crm_id", "collection": "users", "encoding": "none" }));
                }
                let email = dice.pick(&person.emails).clone();
                let contact = if dice.chance(50) {
                    json!({ "email": email })
                } else {
                    json!({ "phone": person.phone })
                };
                message.insert("context".to_owned(), json!({ "externalIds": externals, "traits": contact }));
            }
            36..40 => {
                message.insert("type".to_owned(), "group".into());
                message.insert("userId".to_owned(), person.user.clone().into());
                message.insert("groupId".to_owned(), format!("g{}", dice.below(2)).into());
                message.insert("traits".to_owned(), json!({ "plan": *dice.pick(PLANS) }));
            }
            40..43 => {
                message.insert("type".to_owned(), "alias".into());
                message.insert("userId".to_owned(), person.user.clone().into());
                message.insert("previousId".to_owned(), device.into());
            }
            43..46 => {
                track(dice, &mut message);
                message.insert("userId".to_owned(), person.user.clone().into());
                message.insert(
                    "context".to_owned(),
                    json!({ "device": { "type": "ios", "id": format!("i-{device}") } }),
                );
            }
            46..60 => {
                let page = dice.chance(70);
                message.insert("type".to_owned(), if page { "page" } else { "screen" }.into());
                message.insert("name".to_owned(), (*dice.pick(&["Home", "Pricing"])).into());
                message.insert("properties".to_owned(), json!({ "path": *dice.pick(&["/", "/pricing"]) }));
                name_visitor(person, at, &device, &mut message);
            }
            _ => {
                track(dice, &mut message);
                name_visitor(person, at, &device, &mut message);
            }
        }
        message
    }

    fn make_odd(&mut self, message: &mut Map<String, Value>) {
        let dice = &mut self.dice;
        match dice.below(6) {
            0 => drop(message.insert("userId".to_owned(), (*dice.pick(ODD_USERS)).into())),
            1 => drop(
                message
                    .insert("context".to_owned(), json!({ "traits": { "email": *dice.pick(ODD_EMAILS) } })),
            ),
            2 => drop(message.remove("type")),
            3 => {
                message.remove("userId");
                message.insert("anonymousId".to_owned(), "undefined".into());
                message.remove("context");
            }
            4 => drop(message.insert("properties".to_owned(), "not an object".into())),
            _ => {
                for key in ["userId", "anonymousId", "context", "previousId"] {
                    message.remove(key);
                }
                message.insert("traits".to_owned(), json!({}));
            }
        }
    }
}

/// A visitor whose client knows who they are says so, and sometimes names the device only.
fn name_visitor(person: &Person, at: usize, device: &str, message: &mut Map<String, Value>) {
    message.insert("anonymousId".to_owned(), device.into());
    if person.logged_in[at] {
        message.insert("userId".to_owned(), person.user.clone().into());
    }
}

fn track(dice: &mut Dice, message: &mut Map<String, Value>) {
    message.insert("type".to_owned(), "track".into());
    message.insert("event".to_owned(), (*dice.pick(EVENTS)).into());
    let properties = match dice.below(6) {
        0 => json!({}),
        1 => json!({ "category": null, "price": "12.5" }),
        2 => {
            json!({ "products": [{ "category": *dice.pick(CATEGORIES), "n": 1 }, { "category": "x", "n": 2.5 }] })
        }
        _ => {
            json!({ "category": *dice.pick(CATEGORIES), "price": dice.between(1, 3), "paid": dice.chance(50) })
        }
    };
    message.insert("properties".to_owned(), properties);
}

fn traits(dice: &mut Dice, person: &Person) -> Value {
    let mut traits = Map::new();
    if dice.chance(60) {
        traits.insert("email".to_owned(), dice.pick(&person.emails).clone().into());
    }
    if dice.chance(20) {
        traits.insert("phone".to_owned(), person.phone.clone().into());
    }
    if dice.chance(50) {
        let plan = if dice.chance(20) { Value::Null } else { (*dice.pick(PLANS)).into() };
        traits.insert("plan".to_owned(), plan);
    }
    if dice.chance(30) {
        traits.insert("age".to_owned(), dice.between(17, 20).into());
    }
    if dice.chance(20) {
        traits.insert("address".to_owned(), json!({ "city": *dice.pick(CITIES) }));
    }
    if dice.chance(20) {
        traits.insert("tags".to_owned(), json!(["a", *dice.pick(PLANS)]));
    }
    Value::Object(traits)
}
