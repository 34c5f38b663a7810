//! The OpenAPI document of `/admin/v1` (<https://spec.openapis.org/oas/v3.1.0>), made of one table.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::edge::call::{Answered, Call};

/// What a member of a body or a query may hold.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    Truth,
    Number,
}
use Kind::{Number, Text, Texts, Truth};

/// A member: its name, what it holds, and whether it has to be there.
type Member = (&'static str, Kind, bool);

/// A request: method, path, what it does, the members of its query and of its body.
type Request = (Method, &'static str, &'static str, &'static [Member], &'static [Member]);

const DRY: Member = ("dry_run", Truth, false);
const FORCE: Member = ("force", Truth, false);
const OF_CELL: Member = ("cell", Text, false);

const REQUESTS: &[Request] = &[
    (Method::GET, "/status", "Cells, their hosts, and totals", &[], &[]),
    (Method::GET, "/openapi.json", "This document", &[], &[]),
    (Method::GET, "/cells", "List cells", &[("ask", Truth, false), ("show_secrets", Truth, false)], &[]),
    (
        Method::POST,
        "/cells",
        "Make what a cell needs, and map it",
        &[],
        &[
            ("name", Text, true),
            ("region", Text, false),
            ("database_url", Text, true),
            ("transport_url", Text, false),
            ("state", Text, false),
            ("prepare", Truth, false),
            ("if_not_exists", Truth, false),
            DRY,
        ],
    ),
    (Method::GET, "/cells/{cell}", "Show a cell, which is asked", &[("show_secrets", Truth, false)], &[]),
    (
        Method::PUT,
        "/cells/{cell}",
        "Change a mapping; what is not named stays",
        &[],
        &[
            ("name", Text, false),
            ("database_url", Text, false),
            ("transport_url", Text, false),
            ("second_database_url", Text, false),
            ("second_transport_url", Text, false),
            DRY,
        ],
    ),
    (
        Method::POST,
        "/cells/{cell}/rotate",
        "Take the next step towards other credentials of a cell's database and broker",
        &[],
        &[
            ("database_url", Text, false),
            ("transport_url", Text, false),
            ("pending", Truth, false),
            FORCE,
            DRY,
        ],
    ),
    (Method::DELETE, "/cells/{cell}", "Delete a mapping", &[FORCE, DRY], &[]),
    (
        Method::POST,
        "/cells/{cell}/sync",
        "Bring a cell's schema, queues, mappings of hosts and summary up to date",
        &[],
        &[DRY],
    ),
    (Method::POST, "/cells/{cell}/cordon", "Keep a cell from taking new instances", &[], &[DRY]),
    (Method::POST, "/cells/{cell}/uncordon", "Let a cordoned cell take new instances again", &[], &[DRY]),
    (
        Method::POST,
        "/cells/{cell}/activate",
        "Let a cell take instances, once it is ready",
        &[],
        &[FORCE, DRY],
    ),
    (
        Method::POST,
        "/cells/{cell}/testing",
        "Let a cell take instances of chosen projects only",
        &[],
        &[("projects", Texts, true), DRY],
    ),
    (Method::POST, "/cells/{cell}/drain", "Empty a cell", &[], &[DRY]),
    (Method::POST, "/cells/{cell}/retire", "Put a drained cell out of service for good", &[], &[DRY]),
    (
        Method::POST,
        "/cells/{cell}/preflight",
        "See whether a cell is ready, and run a container there",
        &[],
        &[],
    ),
    (Method::POST, "/cells/{cell}/test", "See whether a cell is ready; changes nothing", &[], &[]),
    (Method::GET, "/cells/{cell}/processes", "Who works with which version of the mapping", &[], &[]),
    (
        Method::POST,
        "/cells/{cell}/restored",
        "Say that a cell's database was put back from a backup; it waits",
        &[],
        &[],
    ),
    (Method::POST, "/cells/{cell}/confirm", "Compare a restored cell and let it work again", &[], &[FORCE]),
    (
        Method::POST,
        "/restored",
        "Say that the API database was put back from a backup; its tasks wait",
        &[],
        &[],
    ),
    (
        Method::POST,
        "/confirm",
        "Compare the restored API database and let its tasks be worked on",
        &[],
        &[FORCE],
    ),
    (Method::POST, "/index/rebuild", "Rebuild the index that lists are made of", &[], &[OF_CELL]),
    (Method::POST, "/keys/rotate", "Seal every mapping with the first key", &[], &[DRY]),
    (Method::POST, "/doctor", "See whether everything fits together", &[], &[("fix", Truth, false)]),
    (
        Method::GET,
        "/tasks",
        "Tasks of the API level",
        &[("parked", Truth, false), ("limit", Number, false)],
        &[],
    ),
    (Method::GET, "/tasks/{task}", "Show a task", &[], &[]),
    (
        Method::POST,
        "/tasks/{task}/retry",
        "Have a task tried again, also one that was set aside",
        &[],
        &[DRY],
    ),
    (
        Method::GET,
        "/instances",
        "List what cells hold, with the mappings",
        &[OF_CELL, ("host", Text, false), ("limit", Number, false)],
        &[],
    ),
    (Method::GET, "/instances/{instance}", "Show an instance's mapping, rows and offers", &[], &[]),
    (Method::GET, "/offers", "List what hosts have and cells do not know", &[OF_CELL], &[]),
    (Method::GET, "/hosts", "List hosts", &[OF_CELL], &[]),
    (Method::POST, "/hosts", "Map the hosts that cells hold", &[], &[OF_CELL]),
    (Method::GET, "/hosts/{host}", "Show a host", &[OF_CELL], &[]),
    (Method::DELETE, "/hosts/{host}", "Delete a host", &[OF_CELL, FORCE, DRY], &[]),
    (
        Method::POST,
        "/hosts/{host}/disable",
        "Keep a host from taking new instances",
        &[],
        &[("reason", Text, true), OF_CELL, DRY],
    ),
    (
        Method::POST,
        "/hosts/{host}/maintenance",
        "Begin or end maintenance of a host, which takes nothing new meanwhile",
        &[],
        &[("reason", Text, false), ("off", Truth, false), OF_CELL, DRY],
    ),
    (Method::POST, "/hosts/{host}/enable", "Let a host take new instances again", &[], &[OF_CELL, DRY]),
    (
        Method::POST,
        "/hosts/{host}/revoke",
        "Take a host's key back: it has to enrol again",
        &[],
        &[OF_CELL, DRY],
    ),
    (
        Method::POST,
        "/cells/{cell}/join-tokens",
        "Make tokens that hosts enrol with, each once",
        &[],
        &[("count", Number, false), ("lifetime_s", Number, false)],
    ),
];

/// `GET /admin/v1/openapi.json`
pub async fn openapi(_: Call) -> Answered {
    Ok(super::whole(StatusCode::OK, &document()))
}

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, summary, query, body) in REQUESTS {
        let item = paths.entry(format!("/admin/v1{path}")).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = operation(path, summary, query, body);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "skep administration", "version": "v1"},
        "security": [{"token": []}],
        "components": {"securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}}},
        "paths": paths,
    })
}

fn operation(path: &str, summary: &str, query: &[Member], body: &[Member]) -> Value {
    let captured = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = captured
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"},
                "description": "its name or id"})
        })
        .collect();
    parameters.extend(query.iter().map(
        |(name, kind, required)| json!({"name": name, "in": "query", "required": required, "schema": schema(*kind)}),
    ));
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": {"application/json": {}}},
            "400": {"description": "a value cannot be used"},
            "403": {"description": "the policy forbids it"},
            "404": {"description": "there is no such thing"},
            "409": {"description": "the state forbids it"},
            "503": {"description": "a database that is needed does not answer"},
        },
    });
    if !body.is_empty() {
        let members: Map<String, Value> =
            body.iter().map(|(name, kind, _)| ((*name).to_owned(), schema(*kind))).collect();
        let required: Vec<&str> =
            body.iter().filter(|(.., needed)| *needed).map(|(name, ..)| *name).collect();
        let mut schema = json!({"type": "object", "properties": members, "additionalProperties": false});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        operation["requestBody"] =
            json!({"required": !required.is_empty(), "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn schema(kind: Kind) -> Value {
    match kind {
        Text => json!({"type": "string"}),
        Texts => json!({"type": "array", "items": {"type": "string"}}),
        Truth => json!({"type": "boolean"}),
        Number => json!({"type": "integer"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        let mut routes: Vec<String> =
            super::super::ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        routes.push("GET /admin/v1/status".to_owned());
        routes.sort();
        let mut told: Vec<String> = Vec::new();
        let document = document();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("methods").keys() {
                told.push(format!("{} {path}", method.to_ascii_uppercase()));
            }
        }
        told.sort();
        assert_eq!(told, routes);
    }
}
