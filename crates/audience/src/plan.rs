//! From a catalogue's expressions to shared primitives, an index by event, and formulas over both.
//!
//! Every comparison of a count becomes thresholds: `count > n` is `>= n + 1`, `= n` is `>= n` and not `>= n + 1`. A
//! threshold needs only the n latest times (audiences.md 2.3), and equal thresholds are one primitive (B15).
//!
//! **PLAN-1 (B11):** references are acyclic and formulas are in their order, so one pass settles them all.

mod lower;

use crate::SyntaxError;
use crate::condition::Condition;
use crate::value::holds;
use lower::{Lowered, Lowering};
use onefold_types::workspace::Workspace;
use onefold_types::{AudienceId, Catalogue, MessageType, PrimitiveId, TraitId, suggest};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An expression of a workspace that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanError {
    place: String,
    message: String,
}

impl PlanError {
    /// The object: `audiences.high_intent`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// When an event counts, relative to the instant that is looked at. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Lifetime,
    Last(i64),
    /// `ts` in `(T - from, T - to]`; `from > to`.
    Between {
        from: i64,
        to: i64,
    },
}

/// What is asked of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    AtLeast(u64),
    Value,
}

/// A shared count.
#[derive(Clone, Debug)]
pub(crate) struct Primitive {
    pub(crate) id: PrimitiveId,
    pub(crate) when: When,
    pub(crate) want: Want,
    /// Formulas that read it, as indexes.
    pub(crate) parents: Vec<usize>,
    /// The computed trait it is the value of.
    pub(crate) computed: Vec<TraitId>,
}

/// An audience's condition over primitives, traits and other audiences.
#[derive(Clone, Debug)]
pub(crate) enum Formula {
    Const(bool),
    And(Vec<Formula>),
    Or(Vec<Formula>),
    Not(Box<Formula>),
    /// A threshold, by index.
    Holds(usize),
    Trait(Condition),
    Member(AudienceId),
    Computed {
        primitive: usize,
        op: crate::ast::CompareOp,
        to: Decimal,
    },
}

/// One audience.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) audience: AudienceId,
    pub(crate) formula: Formula,
    /// Formulas that ask for this audience.
    pub(crate) parents: Vec<usize>,
}

/// The distinct filters of the events of one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket(pub(crate) Vec<Filter>);

/// A filter, and what it feeds.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    text: String,
    pub(crate) condition: Option<Condition>,
    pub(crate) primitives: Vec<usize>,
}

/// A message type's buckets: by name, and for all names.
#[derive(Clone, Debug, Default)]
struct Index {
    named: HashMap<String, Bucket>,
    unnamed: Bucket,
}

/// The primitives' indexes by id: a table, for every count of a profile is looked up at each of its events, and ids are
/// given one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Vec<Option<u32>>);

impl Numbers {
    pub(crate) fn get(&self, id: PrimitiveId) -> Option<usize> {
        self.0.get(id.0 as usize).copied().flatten().map(|number| number as usize)
    }

    fn insert(&mut self, id: PrimitiveId, number: usize) {
        let at = id.0 as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        self.0[at] = u32::try_from(number).ok();
    }

    /// The indexes of the primitives with this id or a larger one.
    pub(crate) fn from(&self, first: u32) -> impl Iterator<Item = usize> {
        self.0.iter().skip(first as usize).filter_map(|number| number.map(|number| number as usize))
    }
}

/// A compiled catalogue.
#[derive(Debug)]
pub struct Plan {
    pub(crate) primitives: Vec<Primitive>,
    pub(crate) by_id: Numbers,
    /// In order of reference: a rule asks only for earlier ones.
    pub(crate) rules: Vec<Rule>,
    /// Its rule's index.
    pub(crate) audiences: BTreeMap<AudienceId, usize>,
    pub(crate) computed: BTreeSet<TraitId>,
    /// Rules to look at when a profile comes to exist: those that hold for someone who did nothing and has no traits,
    /// and those that ask for one of them, for its truth may not be the initial one.
    pub(crate) initial: Vec<usize>,
    traits: HashMap<String, Vec<usize>>,
    index: [Index; 7],
    any: Bucket,
    /// Every primitive of this plan has a smaller id.
    pub(crate) next_primitive: u32,
}

impl Plan {
    /// The canonical texts of the primitives that a workspace needs, so that the catalogue can give them ids.
    ///
    /// # Errors
    /// Every expression that cannot be used.
    pub fn primitive_texts(workspace: &Workspace) -> Result<BTreeSet<String>, Vec<PlanError>> {
        lower_all(workspace).map(|(lowering, _)| lowering.primitives.into_keys().collect())
    }

    /// A plan of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            primitives: Vec::new(),
            by_id: Numbers::default(),
            rules: Vec::new(),
            audiences: BTreeMap::new(),
            computed: BTreeSet::new(),
            initial: Vec::new(),
            traits: HashMap::new(),
            index: Default::default(),
            any: Bucket::default(),
            next_primitive: 0,
        }
    }

    /// Compiles a catalogue.
    ///
    /// # Errors
    /// Every expression that cannot be used, every reference that leads nowhere or in a circle.
    pub fn compile(catalogue: &Catalogue) -> Result<Self, Vec<PlanError>> {
        let (lowering, lowered) = lower_all(&catalogue.workspace)?;
        let order = order(&lowered)?;
        let mut plan = Self { next_primitive: catalogue.next_id, ..Self::empty() };
        let mut numbers = BTreeMap::new();
        for (text, primitive) in &lowering.primitives {
            let Some(&id) = catalogue.primitives.get(text) else {
                let message =
                    format!("the catalogue has no id for the primitive {text}; apply the workspace again");
                return Err(vec![PlanError { place: "primitives".to_owned(), message }]);
            };
            let number = plan.primitives.len();
            numbers.insert(text.as_str(), number);
            plan.by_id.insert(id, number);
            plan.primitives.push(Primitive {
                id,
                when: primitive.when,
                want: primitive.want,
                parents: Vec::new(),
                computed: Vec::new(),
            });
            plan.add_selector(&primitive.selector, number).map_err(|error| vec![error])?;
        }
        let mut values = BTreeMap::new();
        for value in lowered.iter().filter(|definition| definition.is_value) {
            let Some((id, number)) = catalogue.traits.get(&value.key).zip(numbers.get(value.text.as_str()))
            else {
                continue;
            };
            plan.primitives[*number].computed.push(*id);
            plan.computed.insert(*id);
            values.insert(value.key.as_str(), *number);
        }
        for at in order {
            let definition = &lowered[at];
            if let Some(&audience) = catalogue.audiences.get(&definition.key) {
                plan.add_rule(audience, &definition.formula, &numbers, &values, catalogue);
            }
        }
        plan.initial = plan.initial_rules();
        Ok(plan)
    }

    fn add_selector(&mut self, selector: &crate::EventSelector, primitive: usize) -> Result<(), PlanError> {
        let condition =
            compile_filter(selector).map_err(|message| PlanError { place: "events".to_owned(), message })?;
        let text = selector.filter.as_ref().map_or_else(String::new, ToString::to_string);
        let bucket = self.bucket_mut(&selector.event);
        match bucket.0.iter_mut().find(|filter| filter.text == text) {
            Some(filter) => filter.primitives.push(primitive),
            None => bucket.0.push(Filter { text, condition, primitives: vec![primitive] }),
        }
        Ok(())
    }

    fn bucket_mut(&mut self, event: &crate::ast::Event) -> &mut Bucket {
        use crate::ast::Event;
        let (message_type, name) = match event {
            Event::Any => return &mut self.any,
            Event::Track(name) => (MessageType::Track, Some(name)),
            Event::Page(name) => (MessageType::Page, name.as_ref()),
            Event::Screen(name) => (MessageType::Screen, name.as_ref()),
            Event::Identify => (MessageType::Identify, None),
            Event::Group => (MessageType::Group, None),
        };
        let index = &mut self.index[message_type as usize];
        match name {
            Some(name) => index.named.entry(name.clone()).or_default(),
            None => &mut index.unnamed,
        }
    }

    /// The buckets that an event may feed: one probe by name, and those without a name.
    pub(crate) fn buckets(&self, message_type: MessageType, name: &str) -> impl Iterator<Item = &Bucket> {
        let index = &self.index[message_type as usize];
        index.named.get(name).into_iter().chain([&index.unnamed, &self.any])
    }

    fn add_rule(
        &mut self,
        audience: AudienceId,
        lowered: &Lowered,
        numbers: &BTreeMap<&str, usize>,
        values: &BTreeMap<&str, usize>,
        catalogue: &Catalogue,
    ) {
        let rule = self.rules.len();
        let formula = self.formula(lowered, rule, numbers, values, catalogue);
        self.audiences.insert(audience, rule);
        self.rules.push(Rule { audience, formula, parents: Vec::new() });
    }

    fn formula(
        &mut self,
        lowered: &Lowered,
        rule: usize,
        numbers: &BTreeMap<&str, usize>,
        values: &BTreeMap<&str, usize>,
        catalogue: &Catalogue,
    ) -> Formula {
        let each = |plan: &mut Self, parts: &[Lowered]| {
            parts.iter().map(|part| plan.formula(part, rule, numbers, values, catalogue)).collect()
        };
        match lowered {
            Lowered::Const(truth) => Formula::Const(*truth),
            Lowered::And(parts) => Formula::And(each(self, parts)),
            Lowered::Or(parts) => Formula::Or(each(self, parts)),
            Lowered::Not(inner) => {
                Formula::Not(Box::new(self.formula(inner, rule, numbers, values, catalogue)))
            }
            Lowered::Threshold(text) => match numbers.get(text.as_str()) {
                Some(&number) => {
                    add_once(&mut self.primitives[number].parents, rule);
                    Formula::Holds(number)
                }
                None => Formula::Const(false),
            },
            Lowered::Trait(condition) => {
                let mut paths = Vec::new();
                condition.paths(&mut paths);
                for path in paths {
                    if let Some(crate::ast::Segment::Name(key)) = path.segments.first() {
                        add_once(self.traits.entry(key.clone()).or_default(), rule);
                    }
                }
                Formula::Trait(condition.clone())
            }
            Lowered::Member(key) => match catalogue.audiences.get(key) {
                Some(&id) => {
                    if let Some(&asked) = self.audiences.get(&id) {
                        add_once(&mut self.rules[asked].parents, rule);
                    }
                    Formula::Member(id)
                }
                None => Formula::Const(false),
            },
            Lowered::Computed { key, op, to } => match values.get(key.as_str()) {
                Some(&primitive) => {
                    add_once(&mut self.primitives[primitive].parents, rule);
                    Formula::Computed { primitive, op: *op, to: *to }
                }
                None => Formula::Const(false),
            },
        }
    }

    /// One pass in order of reference (PLAN-1), so that no depth or breadth of references is a matter of stack or time.
    fn initial_rules(&self) -> Vec<usize> {
        let mut members = BTreeSet::new();
        let mut looked_at = BTreeSet::new();
        for (number, rule) in self.rules.iter().enumerate() {
            if Self::holds_initially(&rule.formula, &members) {
                members.insert(rule.audience);
                looked_at.insert(number);
            }
            if looked_at.contains(&number) {
                looked_at.extend(&rule.parents);
            }
        }
        looked_at.into_iter().collect()
    }

    fn holds_initially(formula: &Formula, members: &BTreeSet<AudienceId>) -> bool {
        struct Nothing;
        impl crate::condition::Lookup for Nothing {
            fn values(&self, _: &crate::ast::Path) -> crate::condition::Values {
                crate::condition::Values::new()
            }
        }
        match formula {
            Formula::Const(truth) => *truth,
            Formula::And(parts) => parts.iter().all(|part| Self::holds_initially(part, members)),
            Formula::Or(parts) => parts.iter().any(|part| Self::holds_initially(part, members)),
            Formula::Not(inner) => !Self::holds_initially(inner, members),
            Formula::Holds(_) => false,
            Formula::Trait(condition) => condition.holds(&Nothing),
            Formula::Member(id) => members.contains(id),
            Formula::Computed { op, to, .. } => holds(Decimal::ZERO.cmp(to), *op),
        }
    }

    /// The rules that read plain trait `key`.
    pub(crate) fn rules_of_trait(&self, key: &str) -> &[usize] {
        self.traits.get(key).map_or(&[], Vec::as_slice)
    }
}

/// Adds a rule to a list. Rules come one after the other, so a rule that is in it already is its last one.
fn add_once(list: &mut Vec<usize>, rule: usize) {
    if list.last() != Some(&rule) {
        list.push(rule);
    }
}

/// Compiles a selector's filter.
pub(crate) fn compile_filter(selector: &crate::EventSelector) -> Result<Option<Condition>, String> {
    selector
        .filter
        .as_ref()
        .map(|filter| crate::condition::compile(filter))
        .transpose()
        .map_err(|error| error.message)
}

/// An expression of the workspace, lowered.
pub(crate) struct Definition {
    key: String,
    place: String,
    is_value: bool,
    /// Of a value: its primitive's text.
    text: String,
    formula: Lowered,
    asks_audiences: Vec<String>,
    asks_computed: Vec<String>,
}

fn lower_all(workspace: &Workspace) -> Result<(Lowering, Vec<Definition>), Vec<PlanError>> {
    let mut lowering = Lowering::default();
    let mut definitions = Vec::new();
    let mut errors = Vec::new();
    let texts =
        workspace.computed_traits.iter().filter(|t| t.labels.enabled).map(|t| (true, &t.key, &t.value));
    let audiences =
        workspace.audiences.iter().filter(|a| a.labels.enabled).map(|a| (false, &a.key, &a.condition));
    for (is_value, key, text) in texts.chain(audiences) {
        let place = format!("{}.{key}", if is_value { "computed_traits" } else { "audiences" });
        match lower_one(&mut lowering, is_value, key, text, &place) {
            Ok(definition) => definitions.push(definition),
            Err(error) => errors.push(PlanError { place, message: error.render(text) }),
        }
    }
    check_references(workspace, &definitions, &mut errors);
    if errors.is_empty() { Ok((lowering, definitions)) } else { Err(errors) }
}

fn lower_one(
    lowering: &mut Lowering,
    is_value: bool,
    key: &str,
    text: &str,
    place: &str,
) -> Result<Definition, SyntaxError> {
    let expr = crate::parse(text)?;
    if is_value {
        crate::check_value(&expr)?
    } else {
        crate::check_condition(&expr)?
    }
    if let Some((span, message)) = crate::unsupported(&expr).into_iter().next() {
        return Err(SyntaxError { span, message, expected: Vec::new(), help: None });
    }
    let mut definition = Definition {
        key: key.to_owned(),
        place: place.to_owned(),
        is_value,
        text: String::new(),
        formula: Lowered::Const(false),
        asks_audiences: Vec::new(),
        asks_computed: Vec::new(),
    };
    if is_value {
        definition.text = lowering.value(&expr)?;
    } else {
        definition.formula = lowering.condition(&expr)?;
        definition.formula.references(&mut definition.asks_audiences, &mut definition.asks_computed);
    }
    Ok(definition)
}

/// The key that an object has which was called `old`.
fn renamed<'a>(workspace: &'a Workspace, is_value: bool, old: &str) -> Option<&'a str> {
    let is = |from: &Option<String>| from.as_deref() == Some(old);
    if is_value {
        workspace.computed_traits.iter().find(|t| is(&t.renamed_from)).map(|t| t.key.as_str())
    } else {
        workspace.audiences.iter().find(|a| is(&a.renamed_from)).map(|a| a.key.as_str())
    }
}

fn check_references(workspace: &Workspace, definitions: &[Definition], errors: &mut Vec<PlanError>) {
    let names = |is_value: bool| -> BTreeSet<&str> {
        definitions.iter().filter(|d| d.is_value == is_value).map(|d| d.key.as_str()).collect()
    };
    let known = [names(false), names(true)];
    for definition in definitions {
        let asked = definition.asks_audiences.iter().map(|key| (false, key));
        for (is_value, key) in asked.chain(definition.asks_computed.iter().map(|key| (true, key))) {
            let known = &known[usize::from(is_value)];
            if !known.contains(key.as_str()) {
                let what = if is_value { "computed trait" } else { "audience" };
                let near = renamed(workspace, is_value, key);
                let near = near.or_else(|| suggest::nearest(key, known.iter().copied()));
                let hint = near.map_or_else(
                    || format!("; expected an enabled {what} of this workspace"),
                    |near| format!("; did you mean `{near}`?"),
                );
                errors.push(PlanError {
                    place: definition.place.clone(),
                    message: format!("there is no {what} `{key}`{hint}"),
                });
            }
        }
    }
}

/// The audiences in order of reference, as indexes; or the circle.
fn order(definitions: &[Definition]) -> Result<Vec<usize>, Vec<PlanError>> {
    let by_key: BTreeMap<&str, usize> = definitions
        .iter()
        .enumerate()
        .filter(|(_, d)| !d.is_value)
        .map(|(at, d)| (d.key.as_str(), at))
        .collect();
    let mut done = BTreeSet::new();
    let mut ordered = Vec::new();
    for &start in by_key.values() {
        // Depth first without recursion: (definition, which of its references is next).
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.pop() {
            if done.contains(&at) {
                continue;
            }
            let Some(key) = definitions[at].asks_audiences.get(next) else {
                done.insert(at);
                ordered.push(at);
                continue;
            };
            path.push((at, next + 1));
            match by_key.get(key.as_str()).copied() {
                Some(asked) if path.iter().any(|(on_path, _)| *on_path == asked) => {
                    let from = path.iter().position(|(on_path, _)| *on_path == asked).unwrap_or(0);
                    let circle: Vec<&str> = path[from..]
                        .iter()
                        .map(|(at, _)| *at)
                        .chain([asked])
                        .map(|at| definitions[at].key.as_str())
                        .collect();
                    let message = format!("audiences ask for each other in a circle: {}", circle.join(" → "));
                    return Err(vec![PlanError { place: definitions[at].place.clone(), message }]);
                }
                Some(asked) => path.push((asked, 0)),
                // A dangling reference, which was reported by name.
                None => {}
            }
        }
    }
    Ok(ordered)
}
