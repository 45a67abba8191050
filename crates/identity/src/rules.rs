//! What an identifier of each type is worth (identity.md 1.1): its form, its rank, its limits, and which values say
//! nothing. Rules are part of the resolution's arguments: other rules, another graph.

use crate::blocked::Blocked;
use crate::normalise::{Normaliser, region_of};
use hmac::{Hmac, KeyInit, Mac};
use onefold_types::Identifier;
use onefold_types::event::is_type;
use onefold_types::workspace::{IdentifierRule, IdentityConfig, Preset, Scope};
use sha2::Sha256;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// The longest value that counts, in characters, unless a rule says otherwise.
const LENGTH_MAX: u32 = 500;

const DAY_MS: i64 = 86_400_000;

/// Rules that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A device type is as strong as a person type.
    #[error(
        "identifier type {device} (device, rank {device_rank}) must be weaker than {person} (person, rank {person_rank}): give it a larger rank"
    )]
    DeviceRank {
        /// The device type.
        device: String,
        /// Its rank.
        device_rank: u8,
        /// The person type.
        person: String,
        /// Its rank.
        person_rank: u8,
    },
    /// A setting does not read.
    #[error("{place}: `{found}` is not {expected}")]
    Setting {
        /// Which.
        place: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A blocked pattern does not compile.
    #[error("{0}")]
    Blocked(String),
}

/// How many distinct values of a type one profile may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many, ever.
    Ever(u32),
    /// So many first seen within any half-open window of so many milliseconds.
    Within(u32, i64),
}

/// One type's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeRule {
    /// Strength, 1 is strongest.
    pub rank: u8,
    /// Person or device.
    pub scope: Scope,
    /// How many values one profile may hold.
    pub limit: Limit,
    /// A person type with limit 1 ever.
    pub unique: bool,
    /// Two different values on one device mean two people.
    pub person_key: bool,
    /// Of two conflicting links the most recent wins.
    pub last_wins: bool,
    normaliser: Normaliser,
    length: (u32, u32),
}

/// Identifiers of one event that count at most, the strongest. A person's event has two to four; one with more than this
/// is a mistake or an attack, and each identifier costs rows and a place in a cluster.
pub const IDS_MAX: usize = 64;

/// Why a value creates no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// In the built-in or the workspace's list.
    Listed,
    /// Shorter or longer than the type's values are.
    Length,
    /// Fails the type's syntax, or the type is none.
    Syntax,
    /// One of more than [`IDS_MAX`] of one event, and weaker than those that count.
    TooMany,
}

/// An event's identifiers under the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// Those that count, by (rank, type, value), each once.
    pub ids: Vec<Identifier>,
    /// Those that do not: type, raw value, why.
    pub blocked: Vec<(String, String, BlockReason)>,
}

impl Usable {
    /// How many would count, were they not more than [`IDS_MAX`].
    #[must_use]
    pub fn too_many(&self) -> usize {
        self.blocked.iter().filter(|(_, _, reason)| *reason == BlockReason::TooMany).count()
    }
}

/// Compiled rules.
#[derive(Clone, Debug)]
pub struct Rules {
    types: BTreeMap<String, TypeRule>,
    unnamed: TypeRule,
    blocked: Blocked,
    hub_threshold: usize,
    size_cap: usize,
    retro_window_ms: Option<i64>,
    region: Option<phonenumber::country::Id>,
}

const fn rule(rank: u8, scope: Scope, limit: Limit, normaliser: Normaliser) -> TypeRule {
    TypeRule {
        rank,
        scope,
        limit,
        unique: false,
        person_key: false,
        last_wins: false,
        normaliser,
        length: (1, LENGTH_MAX),
    }
}

/// The types that every workspace knows. Each CRM's id is a type of its own with limit 1.
fn defaults(preset: Preset) -> BTreeMap<String, TypeRule> {
    use Normaliser::{Email, Exact, Phone};
    use Scope::{Device, Person};
    let mut types = BTreeMap::new();
    let mut add = |name: &str, rule: TypeRule| types.insert(name.to_owned(), rule);
    add("user_id", rule(1, Person, Limit::Ever(1), Exact));
    for crm in
        ["crm_id", "hubspot_id", "salesforce_id", "pipedrive_id", "dynamics_id", "zoho_id", "intercom_id"]
    {
        add(crm, rule(2, Person, Limit::Ever(1), Exact));
    }
    add("email", rule(3, Person, Limit::Ever(5), Email));
    add("phone", rule(4, Person, Limit::Ever(5), Phone));
    add("anonymous_id", rule(5, Device, Limit::Within(5, 7 * DAY_MS), Exact));
    for device in [
        "ios.id",
        "android.id",
        "ios.idfa",
        "android.idfa",
        "ios.push_token",
        "android.push_token",
        "ga_client_id",
    ] {
        add(device, rule(6, Device, Limit::Ever(5), Exact));
    }
    let keys: &[&str] = match preset {
        Preset::Product => &["user_id"],
        Preset::B2b => &["user_id", "email"],
        Preset::B2c => &["user_id", "email", "phone"],
    };
    for key in keys {
        if let Some(rule) = types.get_mut(*key) {
            rule.person_key = true;
        }
    }
    types
}

impl Default for Rules {
    /// The rules of a workspace that says nothing about identity.
    fn default() -> Self {
        let types = {
            let mut types = defaults(Preset::default());
            types.values_mut().for_each(mark_unique);
            types
        };
        let config = IdentityConfig::default();
        Self {
            types,
            unnamed: UNNAMED,
            blocked: Blocked::default(),
            hub_threshold: config.hub_threshold as usize,
            size_cap: config.size_cap as usize,
            retro_window_ms: None,
            region: None,
        }
    }
}

/// A type that no rule names.
const UNNAMED: TypeRule = rule(2, Scope::Person, Limit::Ever(5), Normaliser::Exact);

fn mark_unique(rule: &mut TypeRule) {
    rule.unique = rule.scope == Scope::Person && rule.limit == Limit::Ever(1);
}

impl Rules {
    /// Compiles a workspace's identity section: its rules over the preset's, by type.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn compile(config: &IdentityConfig) -> Result<Self, RulesError> {
        let unnamed = UNNAMED;
        let mut types = defaults(config.preset);
        check_sizes(config)?;
        for given in &config.identifiers {
            let base = types.get(&given.id_type).copied().unwrap_or(unnamed);
            types.insert(given.id_type.clone(), merged(base, given)?);
        }
        types.values_mut().for_each(mark_unique);
        check_ranks(&types, unnamed)?;
        let region = config.phone_region.as_ref().map(|text| {
            region_of(text).ok_or_else(|| RulesError::Setting {
                place: "identity.phone_region".to_owned(),
                found: text.clone(),
                expected: "a country with telephones, as in ISO 3166: `NL`",
            })
        });
        // None at all is a window too: a login then claims nothing that was before it.
        let retro = config.retro_window.as_ref().map(|text| duration("identity.retro_window", text, 0));
        Ok(Self {
            types,
            unnamed,
            blocked: Blocked::compile(&config.blocked).map_err(RulesError::Blocked)?,
            hub_threshold: config.hub_threshold as usize,
            size_cap: config.size_cap as usize,
            retro_window_ms: retro.transpose()?,
            region: region.transpose()?,
        })
    }

    /// The rule of a type; one that no rule names is scope person, rank 2, limit 5.
    #[must_use]
    pub fn rule(&self, id_type: &str) -> TypeRule {
        self.types.get(id_type).copied().unwrap_or(self.unnamed)
    }

    /// The types that rules name.
    pub fn types(&self) -> impl Iterator<Item = (&str, TypeRule)> {
        self.types.iter().map(|(name, rule)| (name.as_str(), *rule))
    }

    /// The identifier that a raw value is.
    ///
    /// # Errors
    /// Why it creates no node.
    pub fn normalise(&self, id_type: &str, raw: &str) -> Result<Identifier, BlockReason> {
        // Ingest lets no other type in; an operator's decision may name anything.
        if !onefold_types::event::is_type(id_type) {
            return Err(BlockReason::Syntax);
        }
        let rule = self.rule(id_type);
        if self.blocked.holds(raw.trim()) {
            return Err(BlockReason::Listed);
        }
        let value = rule.normaliser.apply(raw, self.region).ok_or(BlockReason::Syntax)?;
        if self.blocked.holds(&value) {
            return Err(BlockReason::Listed);
        }
        let length = value.chars().take(rule.length.1 as usize + 1).count() as u64;
        // A NUL ends a type's name in storage keys and stands in no honest identifier.
        if length < u64::from(rule.length.0) || length > u64::from(rule.length.1) || value.contains('\0') {
            return Err(BlockReason::Length);
        }
        Ok(Identifier::new(id_type, value))
    }

    /// An event's identifiers: those that count, sorted, and those that do not.
    #[must_use]
    pub fn usable(&self, raw: &[(String, String)]) -> Usable {
        let mut usable = Usable::default();
        for (id_type, value) in raw {
            match self.normalise(id_type, value) {
                Ok(id) => usable.ids.push(id),
                Err(reason) => usable.blocked.push((id_type.clone(), value.clone(), reason)),
            }
        }
        usable.ids.sort_by(|a, b| self.order(a, b));
        usable.ids.dedup();
        let beyond = usable.ids.drain(usable.ids.len().min(IDS_MAX)..);
        usable.blocked.extend(beyond.map(|id| (id.id_type, id.value, BlockReason::TooMany)));
        usable
    }

    /// The order of every sort: (rank, type, value).
    #[must_use]
    pub fn order(&self, a: &Identifier, b: &Identifier) -> Ordering {
        let rank = |id: &Identifier| self.rule(&id.id_type).rank;
        rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
    }

    /// Distinct values of one unique type beyond which a person identifier is a hub.
    #[must_use]
    pub const fn hub_threshold(&self) -> usize {
        self.hub_threshold
    }

    /// Identifiers in one profile at most.
    #[must_use]
    pub const fn size_cap(&self) -> usize {
        self.size_cap
    }

    /// How far back a login claims a device's earlier events, in ms; `None` means without limit.
    #[must_use]
    pub const fn retro_window_ms(&self) -> Option<i64> {
        self.retro_window_ms
    }
}

/// What would make every identifier a hub, or every profile too large, or leave in doubt which rule counts.
fn check_sizes(config: &IdentityConfig) -> Result<(), RulesError> {
    for (place, size) in
        [("identity.hub_threshold", config.hub_threshold), ("identity.size_cap", config.size_cap)]
    {
        if size == 0 {
            return Err(RulesError::Setting {
                place: place.to_owned(),
                found: "0".to_owned(),
                expected: "1 or more",
            });
        }
    }
    let mut named = BTreeSet::new();
    match config.identifiers.iter().find(|given| !named.insert(&given.id_type)) {
        None => Ok(()),
        Some(twice) => Err(RulesError::Setting {
            place: "identity.identifiers".to_owned(),
            found: twice.id_type.clone(),
            expected: "named once: it has two rules",
        }),
    }
}

fn merged(base: TypeRule, given: &IdentifierRule) -> Result<TypeRule, RulesError> {
    let place = |field: &str| format!("identity.identifiers.{}.{field}", given.id_type);
    let wrong = |field: &str, found: String, expected| {
        Err(RulesError::Setting { place: place(field), found, expected })
    };
    if !is_type(&given.id_type) {
        return wrong("type", given.id_type.clone(), "a type: 1 to 64 of a-z, 0-9, `_`, `.`, `-`");
    }
    if let Some((least, most)) = given.length
        && (least > most || most == 0)
    {
        return wrong(
            "length",
            format!("[{least}, {most}]"),
            "a shortest and a longest length, the shortest first",
        );
    }
    let scope = given.scope.unwrap_or(base.scope);
    if given.person_key == Some(true) && scope == Scope::Device {
        return wrong(
            "person_key",
            "true".to_owned(),
            "possible: a device's identifier says nothing of who uses it",
        );
    }
    let limit = match (&given.within, given.limit, base.limit) {
        (Some(within), n, Limit::Ever(known) | Limit::Within(known, _)) => {
            Limit::Within(n.unwrap_or(known), duration(&place("within"), within, 1)?)
        }
        (None, Some(n), _) => Limit::Ever(n),
        (None, None, known) => known,
    };
    if matches!(limit, Limit::Ever(0) | Limit::Within(0, _)) {
        return Err(RulesError::Setting {
            place: place("limit"),
            found: "0".to_owned(),
            expected: "1 or more",
        });
    }
    let rank = given.rank.unwrap_or(base.rank);
    if rank == 0 {
        return Err(RulesError::Setting {
            place: place("rank"),
            found: "0".to_owned(),
            expected: "1 (strongest) or more",
        });
    }
    let normaliser = match &given.normalise {
        None => base.normaliser,
        Some(text) => text.parse().map_err(|()| RulesError::Setting {
            place: place("normalise"),
            found: text.clone(),
            expected: "`exact`, `lowercase`, `email` or `phone`",
        })?,
    };
    Ok(TypeRule {
        rank,
        scope,
        limit,
        unique: false,
        person_key: given.person_key.unwrap_or(base.person_key) && scope == Scope::Person,
        last_wins: given.last_wins.unwrap_or(base.last_wins),
        normaliser,
        length: given.length.unwrap_or(base.length),
    })
}

fn check_ranks(types: &BTreeMap<String, TypeRule>, unnamed: TypeRule) -> Result<(), RulesError> {
    let all =
        || types.iter().map(|(name, rule)| (name.as_str(), *rule)).chain([("(unnamed types)", unnamed)]);
    let weakest = all().filter(|(_, rule)| rule.scope == Scope::Person).max_by_key(|(_, rule)| rule.rank);
    let strongest = all().filter(|(_, rule)| rule.scope == Scope::Device).min_by_key(|(_, rule)| rule.rank);
    match (weakest, strongest) {
        (Some((person, p)), Some((device, d))) if d.rank <= p.rank => Err(RulesError::DeviceRank {
            device: device.to_owned(),
            device_rank: d.rank,
            person: person.to_owned(),
            person_rank: p.rank,
        }),
        _ => Ok(()),
    }
}

/// Reads `7d`: a number and one of ms, s, m, h, d, w; of at least so many milliseconds.
fn duration(place: &str, text: &str, least: i64) -> Result<i64, RulesError> {
    let wrong = || RulesError::Setting {
        place: place.to_owned(),
        found: text.to_owned(),
        expected: "a duration: a number and one of ms, s, m, h, d, w, as in `7d`",
    };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: i64 = trimmed[..split].parse().map_err(|_| wrong())?;
    let unit = match trimmed[split..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|ms| *ms >= least).ok_or_else(wrong)
}

/// A profile id: a `UUIDv8` (RFC 9562, 5.8) of HMAC-SHA256 under the workspace's secret over type, value and generation,
/// so that it cannot be guessed from an address.
#[must_use]
pub fn profile_id(secret: &[u8], id: &Identifier, generation: u32) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    for part in [id.id_type.as_bytes(), id.value.as_bytes()] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.update(&generation.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Result<Rules, RulesError> {
        Rules::compile(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn usable_identifiers_are_sorted_and_blocked_ones_named() {
        let rules = rules("{}").unwrap();
        let raw = [
            ("anonymous_id", "a1"),
            ("email", "A@X.com "),
            ("user_id", "null"),
            ("email", "a@x.com"),
            ("phone", "12"),
        ];
        let usable = rules.usable(&raw.map(|(t, v)| (t.to_owned(), v.to_owned())));
        assert_eq!(usable.ids, [Identifier::new("email", "a@x.com"), Identifier::new("anonymous_id", "a1")]);
        let reasons: Vec<_> = usable.blocked.iter().map(|(t, _, reason)| (t.as_str(), *reason)).collect();
        assert_eq!(reasons, [("user_id", BlockReason::Listed), ("phone", BlockReason::Syntax)]);
    }

    #[test]
    fn of_too_many_identifiers_the_strongest_count() {
        let rules = rules("{}").unwrap();
        let mut raw: Vec<_> =
            (0..IDS_MAX + 10).map(|n| ("anonymous_id".to_owned(), format!("a{n:05}"))).collect();
        raw.push(("user_id".to_owned(), "u".to_owned()));
        let usable = rules.usable(&raw);
        assert_eq!(usable.ids.len(), IDS_MAX);
        assert_eq!(usable.ids[0], Identifier::new("user_id", "u"));
        assert_eq!(usable.blocked.len(), 11);
        assert!(usable.blocked.iter().all(|(_, _, reason)| *reason == BlockReason::TooMany));
        assert_eq!(usable.blocked[0].1, "a00063");
    }

    #[test]
    fn a_user_id_keeps_its_case() {
        let rules = rules("{}").unwrap();
        assert_ne!(rules.normalise("user_id", "U1"), rules.normalise("user_id", "u1"));
    }

    #[test]
    fn a_device_must_be_weaker_than_every_person() {
        let error = rules(r#"{"identifiers":[{"type":"anonymous_id","rank":4}]}"#).unwrap_err();
        assert!(matches!(error, RulesError::DeviceRank { .. }), "{error}");
        assert!(rules(r#"{"identifiers":[{"type":"email","within":"soon"}]}"#).is_err());
        assert!(rules(r#"{"phone_region":"XX"}"#).is_err());
        assert!(rules(r#"{"identifiers":[{"type":"email","limit":0}]}"#).is_err());
    }

    #[test]
    fn presets_say_who_shares_a_device() {
        let keys = |preset: &str| {
            let rules = rules(&format!(r#"{{"preset":"{preset}"}}"#)).unwrap();
            rules
                .types()
                .filter(|(_, rule)| rule.person_key)
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(keys("product"), ["user_id"]);
        assert_eq!(keys("b2b"), ["email", "user_id"]);
        assert_eq!(keys("b2c"), ["email", "phone", "user_id"]);
    }

    /// Computed apart: python3 -c "import hmac,hashlib,struct as s;t,v=b'email',b'a@x.com';m=hmac.new(b'secret',
    /// s.pack('>Q',len(t))+t+s.pack('>Q',len(v))+v+s.pack('>I',0),hashlib.sha256).digest()[:16];print(m.hex())"
    #[test]
    fn a_profile_id_is_the_keyed_hash_with_the_version_and_variant_of_uuid_8() {
        let id = profile_id(b"secret", &Identifier::new("email", "a@x.com"), 0);
        assert_eq!(id, "e3435fd5-ec6a-82ed-a149-c6d2e91f5c12");
        assert_ne!(id, profile_id(b"secret", &Identifier::new("email", "a@x.com"), 1));
    }
}
