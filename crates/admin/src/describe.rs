//! Routes that describe themselves: what is served and what `/api/openapi.json` says of it are one list.
//!
//! Parameters and bodies are the schemas of the very types that the handlers read, answers those of the types that they
//! answer: the compiler finds them in the handlers' signatures.

use crate::Admin;
use crate::answer::Answer;
use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};
use onefold_api::Problem;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::future::Future;

type Schema = fn(&mut SchemaGenerator) -> Value;

/// What an operation takes and answers.
pub(crate) struct Operation {
    summary: &'static str,
    query: Option<Schema>,
    body: Option<Schema>,
    answer: (&'static str, Schema),
    open: bool,
}

/// An operation; its answer is text unless its handler or [`Operation::answers`] says otherwise.
pub(crate) fn operation(summary: &'static str) -> Operation {
    Operation { summary, query: None, body: None, answer: ("text/plain", schema_of::<String>), open: false }
}

/// A handler that answers JSON, and of what type: `Taken` is what it takes.
pub(crate) trait Answers<Taken> {
    type Body: JsonSchema;
}

macro_rules! answers {
    ($($taken:ident)*) => {
        impl<Handles, Answering, Told, $($taken,)*> Answers<($($taken,)*)> for Handles
        where
            Handles: Fn($($taken),*) -> Answering,
            Answering: Future<Output = Answer<Told>>,
            Told: JsonSchema,
        {
            type Body = Told;
        }
    };
}

answers!(A);
answers!(A B);
answers!(A B C);
answers!(A B C D);

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// The schema itself and no reference to it: parameters are its members.
fn members_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    T::json_schema(generator).to_value()
}

impl Operation {
    /// With the members of `T` as query parameters.
    pub(crate) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(members_of::<T>), ..self }
    }

    /// With a `T` as its JSON body.
    pub(crate) fn body<T: JsonSchema>(self) -> Self {
        Self { body: Some(schema_of::<T>), ..self }
    }

    /// With a `T` as its answer, where the handler's signature does not say so.
    pub(crate) fn answers<T: JsonSchema>(self, media_type: &'static str) -> Self {
        Self { answer: (media_type, schema_of::<T>), ..self }
    }

    /// Without the admin token.
    pub(crate) const fn open(self) -> Self {
        Self { open: true, ..self }
    }
}

/// Routes and their description.
#[derive(Default)]
pub(crate) struct Described {
    pub(crate) router: Router<Admin>,
    operations: Vec<(&'static str, &'static str, Operation)>,
}

impl Described {
    /// Adds a GET that answers JSON.
    pub(crate) fn get<H, T, A>(self, path: &'static str, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Admin> + Answers<A>,
        T: 'static,
    {
        self.add("get", path, operation.answers::<H::Body>("application/json"), get(handler))
    }

    /// Adds a POST that answers JSON.
    pub(crate) fn post<H, T, A>(self, path: &'static str, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Admin> + Answers<A>,
        T: 'static,
    {
        self.add("post", path, operation.answers::<H::Body>("application/json"), post(handler))
    }

    /// Adds a GET that answers what `operation` says.
    pub(crate) fn get_as<H, T>(self, path: &'static str, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Admin>,
        T: 'static,
    {
        self.add("get", path, operation, get(handler))
    }

    fn add(
        mut self,
        method: &'static str,
        path: &'static str,
        operation: Operation,
        serves: MethodRouter<Admin>,
    ) -> Self {
        self.operations.push((method, path, operation));
        Self { router: self.router.route(path, serves), ..self }
    }

    /// The OpenAPI 3.1 description of all of `parts`.
    pub(crate) fn openapi(parts: &[&Self]) -> Value {
        let mut schemas = Schemas::default();
        let mut paths: Map<String, Value> = Map::new();
        for (method, path, operation) in parts.iter().flat_map(|part| &part.operations) {
            let described = describe(method, path, operation, &mut schemas);
            paths.entry((*path).to_owned()).or_insert_with(|| json!({}))[*method] = described;
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Onefold: profiles and management",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Events come in through Segment's tracking API, which Segment documents. Errors are problem \
                                details (RFC 9457). On a loopback address no token is asked for, unless one is set or a \
                                proxy passes the request on.",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": paths,
            "components": {
                "schemas": schemas.shared(),
                "securitySchemes": {
                    "bearer": { "type": "http", "scheme": "bearer", "description": "The admin token" },
                    "basic": { "type": "http", "scheme": "basic", "description": "The admin token as the user name" },
                },
            },
            "security": [{ "bearer": [] }, { "basic": [] }],
        })
    }
}

/// Makes the schemas of what is read and of what is answered: what may be left out of the one is always in the other.
struct Schemas {
    read: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        // OpenAPI 3.1 takes JSON Schema as it is; only the place of shared schemas is its own.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { read: settings.clone().into_generator(), answered: settings.for_serialize().into_generator() }
    }
}

impl Schemas {
    /// Those that others refer to, by name.
    fn shared(mut self) -> Map<String, Value> {
        let mut shared = self.read.take_definitions(true);
        shared.extend(self.answered.take_definitions(true));
        shared.sort_keys();
        shared
    }
}

fn describe(method: &str, path: &str, operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(&mut schemas.read)));
    }
    let words = path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
    let id = [method].into_iter().chain(words).collect::<Vec<_>>().join("_").replace(['-', '.'], "_");
    let (media_type, answer) = operation.answer;
    let mut described = json!({
        "operationId": id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": { media_type: { "schema": answer(&mut schemas.answered) } } },
            "default": {
                "description": "Why not",
                "content": { "application/problem+json": { "schema": schema_of::<Problem>(&mut schemas.answered) } },
            },
        },
    });
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({ "content": { "application/json": { "schema": body(&mut schemas.read) } } });
    }
    if operation.open {
        described["security"] = json!([]);
    }
    described
}

fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let members = schema["properties"].as_object().into_iter().flatten();
    members
        .map(|(name, member)| {
            let mut member = member.clone();
            let description =
                member.as_object_mut().and_then(|object| object.remove("description")).unwrap_or_default();
            json!({ "name": name, "in": "query", "required": required.contains(&name.as_str()),
                "description": description, "schema": member })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read and what is answered share one list of names.
    #[test]
    fn a_name_stands_for_one_schema() {
        let parts: Vec<Described> = crate::guarded().into_iter().chain(crate::open()).collect();
        let mut schemas = Schemas::default();
        for (method, path, operation) in parts.iter().flat_map(|part| &part.operations) {
            describe(method, path, operation, &mut schemas);
        }
        let (read, answered) = (schemas.read.take_definitions(true), schemas.answered.take_definitions(true));
        for (name, schema) in &read {
            assert!(answered.get(name).is_none_or(|other| other == schema), "{name} is two things");
        }
        // The library gives a second type of one name a number.
        let numbered =
            read.keys().chain(answered.keys()).find(|name| name.ends_with(|c: char| c.is_ascii_digit()));
        assert_eq!(numbered, None);
    }
}
