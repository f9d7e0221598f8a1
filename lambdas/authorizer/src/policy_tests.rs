//! Tests of `policy`: its text, and its effect when it is evaluated like IAM does.

use super::*;
use crate::rights::METHODS;

const STAGE: &str = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/prd";

fn response(rules: &[(&[&str], &str)]) -> Option<AuthorizerResponse> {
    let rules: Option<Vec<Rule>> = rules
        .iter()
        .map(|(methods, path)| {
            Rule::new(methods.iter().map(|m| (*m).to_owned()).collect(), (*path).to_owned()).ok()
        })
        .collect();
    policy(&UserName::parse("ada")?, &format!("{STAGE}/GET/demo/users"), &rules?)
}

/// The wildcard of IAM: `*` matches any text, including slashes.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|from| tail.get(from..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

fn is_allowed(rules: &[(&[&str], &str)], call: &str) -> bool {
    allows(&response(rules).map(|response| response.policy_document).unwrap_or_default(), call)
}

/// API Gateway allows a call that an Allow statement matches and no Deny statement does.
fn allows(document: &Value, call: &str) -> bool {
    let matches_effect = |effect: &str| {
        let statements = document["Statement"].as_array().into_iter().flatten();
        statements.filter(|statement| statement["Effect"] == effect).any(|statement| {
            let mut resources =
                statement["Resource"].as_array().into_iter().flatten().filter_map(Value::as_str);
            resources.any(|resource| matches(resource, &format!("{STAGE}/{call}")))
        })
    };
    matches_effect("Allow") && !matches_effect("Deny")
}

#[test]
fn the_policy_lists_every_right_and_not_the_one_that_was_called() {
    let response = response(&[(&["GET", "POST"], "/demo/users"), (&["GET"], "/demo/users/{userId}")]);
    assert_eq!(
        serde_json::to_value(response).unwrap_or_default(),
        json!({
            "principalId": "ada",
            "context": { "user": "ada" },
            "policyDocument": { "Version": "2012-10-17", "Statement": [
                { "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": [
                    format!("{STAGE}/GET/demo/users"),
                    format!("{STAGE}/GET/demo/users/*"),
                    format!("{STAGE}/HEAD/demo/users"),
                    format!("{STAGE}/HEAD/demo/users/*"),
                    format!("{STAGE}/POST/demo/users"),
                ] },
                { "Action": "execute-api:Invoke", "Effect": "Deny", "Resource": [
                    format!("{STAGE}/GET/demo/users/*/*"),
                    format!("{STAGE}/HEAD/demo/users/*/*"),
                ] },
            ] },
        })
    );
}

#[test]
fn a_user_without_rights_is_denied_everything() {
    let statements = response(&[]).map(|response| response.policy_document["Statement"].clone());
    let deny =
        json!([{ "Action": "execute-api:Invoke", "Effect": "Deny", "Resource": [format!("{STAGE}/*")] }]);
    assert_eq!(statements, Some(deny));
}

#[test]
fn exactly_the_granted_routes_are_open() {
    let rules: [(&[&str], &str); 2] = [(&["GET"], "/demo/users"), (&["*"], "/demo/users/{userId}")];
    for allowed in
        ["GET/demo/users", "HEAD/demo/users", "GET/demo/users/1", "PATCH/demo/users/1", "DELETE/demo/users/1"]
    {
        assert!(is_allowed(&rules, allowed), "{allowed}");
    }
    for denied in [
        "POST/demo/users",
        "DELETE/demo/users",
        "GET/demo",
        "GET/demo/users/1/orders",
        "GET/demo/users/1/orders/2",
        "DELETE/demo/users/1/orders",
        "GET/x/demo/users",
        "GET/x/demo/users/1",
    ] {
        assert!(!is_allowed(&rules, denied), "{denied}");
    }
}

/// The routes of the users API.
const ROUTES: [&str; 2] = ["/demo/users", "/demo/users/{userId}"];

/// A call of each route with each method, and calls of paths above, beside and below the routes.
fn calls() -> Vec<(Option<(&'static str, &'static str)>, String)> {
    let id = "00000000-0000-4000-8000-000000000000";
    let mut calls = Vec::new();
    for method in METHODS {
        for route in ROUTES {
            calls.push((Some((method, route)), format!("{method}{}", route.replace("{userId}", id))));
        }
        for path in
            ["/", "/demo", "/demo/users/1/orders", "/demo/users/1/2/3", "/demo/usersx", "/x/demo/users"]
        {
            calls.push((None, format!("{method}{path}")));
        }
    }
    calls
}

/// API Gateway caches the policy for all calls of the same caller. Therefore each policy must be correct for every route and
/// method, whichever was called first. The test tries each set of rights with each call.
#[test]
fn a_cached_policy_is_right_for_every_route_and_verb() {
    let pairs: Vec<(&str, &str)> =
        ["DELETE", "GET", "PATCH", "POST", "HEAD"].iter().flat_map(|m| ROUTES.map(|r| (*m, r))).collect();
    let calls = calls();
    for set in 0..1_u32 << pairs.len() {
        let granted: Vec<(&str, &str)> =
            pairs.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, pair)| *pair).collect();
        let rules: Vec<Rule> = granted
            .iter()
            .filter_map(|(method, path)| Rule::new(vec![(*method).to_owned()], (*path).to_owned()).ok())
            .collect();
        let user = UserName::parse("ada").unwrap();
        // The policy does not depend on the called method.
        let policy_for = |call: &str| policy(&user, &format!("{STAGE}/{call}"), &rules);
        let cached = policy_for("GET/demo/users");
        assert_eq!(cached, policy_for("DELETE/demo/users/1"));
        let document = cached.unwrap().policy_document;
        for (route, call) in &calls {
            let right = route.is_some_and(|(method, path)| {
                granted.contains(&(method, path)) || method == "HEAD" && granted.contains(&("GET", path))
            });
            assert_eq!(allows(&document, call), right, "{call} with {granted:?}");
        }
    }
}

#[test]
fn a_parameter_in_the_middle_is_one_segment() {
    let rules: [(&[&str], &str); 1] = [(&["GET"], "/a/{x}/b/{y}")];
    assert!(is_allowed(&rules, "GET/a/1/b/2"));
    for denied in ["GET/a/1/2/b/3", "GET/a/1/b/2/3", "GET/a/1/b", "GET/a/1/b/2/b/3"] {
        assert!(!is_allowed(&rules, denied), "{denied}");
    }
}

#[test]
fn a_longer_right_is_not_taken_away_by_a_shorter_one() {
    let rules: [(&[&str], &str); 3] = [
        (&["GET"], "/demo/users/{id}"),
        (&["GET"], "/demo/users/{id}/orders"),
        (&["DELETE"], "/demo/users/{id}"),
    ];
    assert!(is_allowed(&rules, "GET/demo/users/1"));
    assert!(is_allowed(&rules, "GET/demo/users/1/orders"));
    assert!(!is_allowed(&rules, "GET/demo/users/1/orders/2"));
    assert!(!is_allowed(&rules, "DELETE/demo/users/1/orders"));
    let crossing: [(&[&str], &str); 2] = [(&["GET"], "/a/{b}"), (&["GET"], "/{x}/y/z")];
    assert!(is_allowed(&crossing, "GET/a/y/z"));
}

#[test]
fn an_arn_that_is_not_of_a_method_has_no_policy() {
    assert_eq!(stage_of(&format!("{STAGE}/GET/")), Some(STAGE));
    assert_eq!(
        stage_of("arn:aws-cn:execute-api:cn-north-1:1:api/test-invoke-stage/GET/a/b"),
        Some("arn:aws-cn:execute-api:cn-north-1:1:api/test-invoke-stage")
    );
    for arn in [
        "",
        "*",
        "arn:aws:execute-api:r:1:api",
        "arn:aws:execute-api:r:1:api/prd",
        "arn:aws:lambda:r:1:api/prd/GET/",
        "arn:aws:execute-api:r:1:*/prd/GET/",
        "arn:aws:execute-api:r:1:api//GET/",
    ] {
        assert_eq!(stage_of(arn), None, "{arn}");
    }
}
