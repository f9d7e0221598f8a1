//! API Gateway's own refusals (`terraform/app/refusals.tf`) and the API's description (`lambdas/users/openapi.yaml`) agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hcl::expr::Expression;
use serde_json::Value;

use super::{folder, parsed};

/// The codes by types of response, with the statuses that they are answered with; some keep the one they have.
fn written() -> BTreeMap<String, (String, Option<String>)> {
    let body = parsed(&folder("app").join("refusals.tf"));
    let locals = body.blocks().find(|block| block.identifier.as_str() == "locals").unwrap();
    let refusals = locals.body.attributes().find(|attribute| attribute.key.as_str() == "refusals").unwrap();
    let mut found = BTreeMap::new();
    gather(&refusals.expr, &mut found);
    assert!(found.len() >= 6, "{found:?}");
    found
}

/// The objects of `merge(…)` and of `condition ? … : …`.
fn gather(expression: &Expression, found: &mut BTreeMap<String, (String, Option<String>)>) {
    match expression {
        Expression::FuncCall(call) => call.args.iter().for_each(|argument| gather(argument, found)),
        Expression::Conditional(choice) => {
            gather(&choice.true_expr, found);
            gather(&choice.false_expr, found);
        }
        Expression::Object(object) => {
            for (kind, refusal) in object {
                let Expression::Object(refusal) = refusal else { panic!("not understood: {refusal:?}") };
                let text = |name: &str| match refusal.iter().find(|(key, _)| key.to_string() == name) {
                    Some((_, Expression::String(text))) => Some(text.clone()),
                    _ => None,
                };
                found.insert(kind.to_string(), (text("code").expect("a code"), text("status")));
            }
        }
        _ => panic!("not understood: {expression:?}"),
    }
}

fn users(file: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("lambdas/users").join(file);
    std::fs::read_to_string(file).unwrap()
}

fn description() -> Value {
    serde_saphyr::from_str(&users("openapi.yaml")).unwrap()
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The codes that a response of an operation may have; every one, if it says no more than that it has none to show.
fn codes_of(api: &Value, response: &Value) -> Option<BTreeSet<String>> {
    let name = response["$ref"].as_str()?.strip_prefix("#/components/responses/")?;
    let schema = &api["components"]["responses"][name]["content"]["application/json"]["schema"];
    assert_eq!(schema["allOf"][0]["$ref"], "#/components/schemas/Error", "{name}");
    Some(texts(&schema["properties"]["code"]["enum"]))
}

#[test]
fn every_refusal_is_described_at_every_operation() {
    let (api, refusals) = (description(), written());
    let mut operations = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            operations += 1;
            for (kind, (code, status)) in &refusals {
                let Some(status) = status else { continue };
                let response = &operation["responses"][status];
                assert!(response.is_object(), "{method} {path} does not describe {status}: {kind}");
                let codes = codes_of(&api, response);
                assert_eq!(codes.is_none(), method == "head", "{method} {path} {status}: {response}");
                assert!(codes.is_none_or(|codes| codes.contains(code)), "{method} {path} {status}: {code}");
            }
        }
    }
    assert_eq!(operations, 8);
}

#[test]
fn the_codes_are_those_of_the_functions_and_of_api_gateway() {
    let api = description();
    let described = texts(&api["components"]["schemas"]["Error"]["properties"]["code"]["enum"]);
    // What the functions answer, as it is written there: the texts of one `match`.
    let failures = users("src/failure.rs");
    let (_, code) = failures.split_once("pub fn code(&self)").unwrap();
    let (code, _) = code.split_once("\n    }\n").unwrap();
    let mut codes: BTreeSet<String> = code.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(codes.len() >= 8, "{codes:?}");
    codes.extend(written().into_values().map(|(code, _)| code));
    assert_eq!(described, codes);

    // And no response is described with a code that there is not.
    for (name, response) in api["components"]["responses"].as_object().unwrap() {
        let schema = &response["content"]["application/json"]["schema"];
        if schema["allOf"].is_array() {
            let codes = texts(&schema["properties"]["code"]["enum"]);
            assert!(!codes.is_empty() && codes.is_subset(&described), "{name}: {codes:?}");
        }
    }
}
