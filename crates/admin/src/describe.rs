//! Routes that describe themselves: what is served and what `/api/openapi.json` says of it are one list.
//!
//! Parameters and bodies are the schemas of the very types that the handlers read.

use crate::Admin;
use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What an operation takes and answers.
pub(crate) struct Operation {
    summary: &'static str,
    query: Option<fn(&mut SchemaGenerator) -> Value>,
    body: Option<fn(&mut SchemaGenerator) -> Value>,
    answer: &'static str,
    open: bool,
}

/// An operation that answers JSON.
pub(crate) const fn operation(summary: &'static str) -> Operation {
    Operation { summary, query: None, body: None, answer: "application/json", open: false }
}

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

    /// With an answer that is no JSON.
    pub(crate) const fn answers(self, media_type: &'static str) -> Self {
        Self { answer: media_type, ..self }
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
    /// Adds a GET.
    pub(crate) fn get<H, T>(self, path: &'static str, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Admin>,
        T: 'static,
    {
        self.add("get", path, operation, get(handler))
    }

    /// Adds a POST.
    pub(crate) fn post<H, T>(self, path: &'static str, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Admin>,
        T: 'static,
    {
        self.add("post", path, operation, post(handler))
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
        // OpenAPI 3.1 takes JSON Schema as it is; only the place of shared schemas is its own.
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let mut generator = settings.into_generator();
        let mut paths: Map<String, Value> = Map::new();
        for (method, path, operation) in parts.iter().flat_map(|part| &part.operations) {
            let described = describe(method, path, operation, &mut generator);
            paths.entry((*path).to_owned()).or_insert_with(|| json!({}))[*method] = described;
        }
        let mut schemas = generator.take_definitions(true);
        schemas.insert("Problem".to_owned(), problem());
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
                "schemas": schemas,
                "securitySchemes": {
                    "bearer": { "type": "http", "scheme": "bearer", "description": "The admin token" },
                    "basic": { "type": "http", "scheme": "basic", "description": "The admin token as the user name" },
                },
            },
            "security": [{ "bearer": [] }, { "basic": [] }],
        })
    }
}

fn describe(method: &str, path: &str, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(generator)));
    }
    let words = path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
    let id = [method].into_iter().chain(words).collect::<Vec<_>>().join("_").replace(['-', '.'], "_");
    let mut described = json!({
        "operationId": id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": { operation.answer: { "schema": {} } } },
            "default": {
                "description": "Why not",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
    });
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({ "content": { "application/json": { "schema": body(generator) } } });
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

fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": text, "title": text, "status": { "type": "integer" }, "code": text, "detail": text,
            "problems": { "type": "array", "items": { "type": "object", "properties": { "place": text, "detail": text } } },
        },
    })
}
