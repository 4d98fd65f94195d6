//! The description of the admin interface and the interface itself: the same routes, and answers
//! of the shape that is promised.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::process::{Node, Reply};

/// The description, as it is in the source.
fn description() -> Value {
    serde_json::from_str(include_str!("../../actors/admin/openapi.json")).unwrap()
}

/// Every `METHOD /path` of the description.
fn described(description: &Value) -> BTreeSet<String> {
    let paths = description["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys().map(|method| format!("{method} {path}"));
        methods.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// Every `METHOD /path` of the source: `.route("/path", web::get()...`, and the table of those
/// that have a body.
fn routed() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("admin");
    let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let mut routes = BTreeSet::new();
    for text in [text("http.rs"), text("pages.rs")] {
        for part in text.split(".route(\"").skip(1) {
            let (path, rest) = part.split_once("\", web::").unwrap();
            let (method, _) = rest.split_once("()").unwrap();
            assert!(routes.insert(format!("{method} {path}")), "{method} {path} twice");
        }
    }
    let table = text("bodies.rs");
    let (_, table) = table.split_once("const READERS").unwrap();
    let (table, _) = table.split_once("];\n").unwrap();
    for row in table.split("(\"").skip(1) {
        routes.insert(format!("post {}", row.split_once('"').unwrap().0));
    }
    routes
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let (routed, described) = (routed(), described(&description()));
    assert!(routed.len() >= 20, "{routed:?}");
    assert_eq!(routed, described);
}

/// What is wrong with a value, by the parts of JSON Schema that the description uses.
fn wrong(all: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        let schema = all["components"]["schemas"].get(name);
        let schema = schema.unwrap_or_else(|| panic!("{place}: there is no schema {name}"));
        return wrong(all, schema, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|choice| wrong(all, choice, value, place).is_empty());
        return if fits.count() == 1 { vec![] } else { vec![format!("{place}: {value}")] };
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{place}: {other}"),
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(|name| name.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap_or_else(|| panic!("{place}: no type"))],
    };
    if !types.into_iter().any(is) {
        return vec![format!("{place}: {value} is no {}", schema["type"])];
    }
    let mut found = Vec::new();
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        found.push(format!("{place}: {value} is none of {choices:?}"));
    }
    if let Some(items) = value.as_array() {
        let items = items.iter().enumerate();
        let item = |(at, item)| wrong(all, &schema["items"], item, &format!("{place}[{at}]"));
        found.extend(items.flat_map(item));
    }
    let Some(fields) = value.as_object() else { return found };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, value) in fields {
        let more = &schema["additionalProperties"];
        match schema["properties"].get(name) {
            Some(schema) => found.extend(wrong(all, schema, value, &format!("{place}.{name}"))),
            None if more.is_object() => {
                found.extend(wrong(all, more, value, &format!("{place}.{name}")));
            }
            None if *more == json!(false) => {
                found.push(format!("{place}: {name} is not described"))
            }
            None => {}
        }
    }
    found
}

/// Holds an answer against its description.
fn check(all: &Value, method: &str, path: &str, reply: &Reply) {
    let responses = &all["paths"][path][method]["responses"];
    let response = &responses[reply.status.to_string()];
    assert!(!response.is_null(), "{method} {path}: {} is not described: {reply:?}", reply.status);
    let name = response["$ref"].as_str().and_then(|name| name.rsplit_once('/'));
    let response = name.map_or(response, |(_, name)| &all["components"]["responses"][name]);
    let content = &response["content"];
    let schema = &content["application/json"]["schema"];
    if schema.is_null() {
        let kind = content.as_object().unwrap().keys().next().unwrap();
        assert!(reply.head.contains(&format!("content-type: {kind}")), "{path}: {reply:?}");
        return;
    }
    let found = wrong(all, schema, &reply.json(), path);
    assert!(found.is_empty(), "{method} {path}: {found:#?}");
}

/// Every route that does not end the node is asked, with the example of its description where it
/// has a body; the answers of a node with a peer, a ban and an explanation have their shapes.
#[test]
fn answers_have_the_shape_that_is_described() {
    let (node, other) = (Node::start(&[]), Node::start(&[]));
    let all = node.get("/openapi.json").json();
    assert_eq!(all, description());
    node.meet(&other);
    let banned = "cd".repeat(32);
    assert_eq!(node.post("/v1/bans", &format!("{{\"peer\":\"{banned}\"}}")).status, 200);

    for (path, methods) in all["paths"].as_object().unwrap() {
        // A stream has no end, and a shutdown is one.
        if ["/v1/events", "/v1/shutdown"].contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            let subjects = if path.contains("{id}") {
                vec![other.id(), banned.clone(), "ef".repeat(32), "zz".to_owned()]
            } else {
                vec![String::new()]
            };
            for subject in subjects {
                let there = path.replace("{id}", &subject);
                let reply = match method.as_str() {
                    "get" => node.get(&there),
                    "post" => node.post(&there, &example.to_string()),
                    _ => node.raw(&format!(
                        "{} {there} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                        method.to_uppercase()
                    )),
                };
                // The example of a peer to disconnect is nobody.
                let expected = path == "/v1/disconnect" || !subject.is_empty();
                assert!(reply.status == 200 || expected, "{method} {path}: {reply:?}");
                check(&all, method, path, &reply);
            }
        }
    }
    let bad = node.post("/v1/bans", "{\"peer\":5}");
    assert_eq!(bad.status, 400);
    check(&all, "post", "/v1/bans", &bad);
    assert!(!node.get("/v1/peers").json().as_array().unwrap().is_empty(), "no peer was checked");
}

/// The examples and the schemas of requests agree.
#[test]
fn examples_fit_their_schemas() {
    let all = description();
    let mut examples = 0;
    for (path, methods) in all["paths"].as_object().unwrap() {
        let body = &methods["post"]["requestBody"]["content"]["application/json"];
        if body.is_object() {
            let found = wrong(&all, &body["schema"], &body["example"], path);
            assert!(found.is_empty(), "{found:#?}");
            examples += 1;
        }
    }
    assert_eq!(examples, 7);
}
