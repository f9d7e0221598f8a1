use serde_json::{Value, json};

use super::*;
use crate::release::plan::Target as ContractFunction;

const LAMBDA: &str = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/";
const ARN: &str = "arn:aws:lambda:eu-west-1:111111111111:function:";

/// `users_get` and `users_head` are one function; the last two are declared to be called in other ways.
const CONTRACT: [(&str, &str, Option<&str>, bool); 5] = [
    ("users_get", "users-get", None, false),
    ("users_head", "users-get", None, false),
    ("users_post", "users-post", None, false),
    ("queue", "queue", Some("live"), false),
    ("cron", "cron", None, true),
];

/// The calls of a part with this name.
fn calls_of(name: &str, part: Value) -> Calls {
    let functions: BTreeMap<FunctionKey, ContractFunction> = CONTRACT
        .map(|(key, name, alias, latest)| {
            let alias = alias.map(|alias| alias.parse().unwrap());
            let target = ContractFunction {
                name: name.parse().unwrap(),
                artifact: "users".into(),
                alias,
                latest,
                provisioned: None,
                warm: None,
            };
            (key.parse().unwrap(), target)
        })
        .into();
    let location = Location { account: "111111111111".parse().unwrap(), region: "eu-west-1".into() };
    Calls::of(&Definition::new([(name.to_owned(), part)].into()), &location, &functions)
}

fn calls(uri: &str) -> Calls {
    calls_of("GET /users", json!({ "integration": { "type": "AWS_PROXY", "uri": uri } }))
}

/// What an unversioned call reaches, and the line to write.
fn unversioned(uri: &str) -> (String, String) {
    let found = calls(uri);
    let [call] = found.unversioned.as_slice() else { panic!("{uri}: {found:?}") };
    assert!(found.versioned.is_empty() && found.others.is_empty(), "{uri}: {found:?}");
    assert_eq!(call.caller, "GET /users");
    (call.calls.clone(), call.write.clone())
}

#[test]
fn a_call_with_its_own_stage_variable_is_versioned() {
    for (uri, key) in [
        (format!("{LAMBDA}{ARN}users-get:${{stageVariables.users_get}}/invocations"), "users_get"),
        (format!("{LAMBDA}{ARN}users-get:${{stageVariables.users_head}}/invocations"), "users_head"),
        (format!("{LAMBDA}users-post:${{stageVariables.users_post}}/invocations"), "users_post"),
        (
            format!("{LAMBDA}111111111111:function:users-get:${{stageVariables.users_get}}/invocations"),
            "users_get",
        ),
        (format!("{LAMBDA}function:users-get:${{stageVariables.users_get}}/invocations"), "users_get"),
        // One document for several accounts.
        (
            format!(
                "{LAMBDA}arn:aws:lambda:${{stageVariables.region}}:${{stageVariables.account}}:function:\
                 users-get:${{stageVariables.users_get}}/invocations"
            ),
            "users_get",
        ),
        (
            format!(
                "arn:aws:apigateway:eu-west-1:lambda:path/2021-11-15/functions/{ARN}users-get:\
                 ${{stageVariables.users_get}}/response-streaming-invocations"
            ),
            "users_get",
        ),
        (
            format!(
                "{LAMBDA}{}users-get%3a$%7BstageVariables.users_get%7D/invocations",
                ARN.replace(':', "%3A")
            ),
            "users_get",
        ),
    ] {
        let found = calls(&uri);
        assert_eq!(found.versioned.get("GET /users").map(FunctionKey::as_str), Some(key), "{uri}");
        assert!(found.unversioned.is_empty() && found.others.is_empty(), "{uri}: {found:?}");
    }
}

#[test]
fn any_other_version_of_a_function_of_the_contract_is_unversioned() {
    for (qualifier, what) in [
        ("", "$LATEST of users-get"),
        (":", "$LATEST of users-get"),
        (":$LATEST", "$LATEST of users-get"),
        (":7", "version 7 of users-get, whatever is released"),
        (":live", "alias live of users-get"),
        (":v${stageVariables.users_get}", r#"version "v${stageVariables.users_get}" of users-get"#),
        (
            ":${stageVariables.users_post}",
            r#"users-get with stage variable "users_post", the version of users-post"#,
        ),
        (":${stageVariables.alias}", r#"users-get with stage variable "alias", which no release sets"#),
        (
            ":${stageVariables.user_get}",
            r#"users-get with stage variable "user_get", which no release sets; did you mean "users_get"?"#,
        ),
        (
            ":${stageVariables.Users_Get}",
            r#"users-get with stage variable "Users_Get", which no release sets; did you mean "users_get"?"#,
        ),
    ] {
        let uri = format!("{LAMBDA}{ARN}users-get{qualifier}/invocations");
        let write = format!(r#"uri = "{LAMBDA}{ARN}users-get:$${{stageVariables.users_get}}/invocations""#);
        assert_eq!(unversioned(&uri), (what.to_owned(), write), "{uri}");
    }
    let head = unversioned(&format!("{LAMBDA}users-get:${{stageVariables.user_head}}/invocations"));
    assert!(head.0.ends_with(r#"did you mean "users_head"?"#), "{head:?}");
    let query = unversioned(&format!("{LAMBDA}users-get/invocations?Qualifier=7"));
    assert_eq!(query.1, format!(r#"uri = "{LAMBDA}users-get:$${{stageVariables.users_get}}/invocations""#));
    let stream = "arn:aws:apigateway:eu-west-1:lambda:path/2021-11-15/functions/";
    let (what, write) = unversioned(&format!("{stream}{ARN}users-post/response-streaming-invocations"));
    assert_eq!(what, "$LATEST of users-post");
    let end = "users-post:$${stageVariables.users_post}/response-streaming-invocations";
    assert_eq!(write, format!(r#"uri = "{stream}{ARN}{end}""#));
}

#[test]
fn a_function_whose_name_comes_from_a_stage_variable_is_unversioned() {
    for function in [
        "${stageVariables.function}",
        "users-${stageVariables.env}",
        "${stageVariables.function}:${stageVariables.users_get}",
        "arn:aws:lambda:eu-west-1:111111111111:function:${stageVariables.function}",
        "arn:aws:lambda:eu-west-1:111111111111:${stageVariables.function}",
    ] {
        let (what, write) = unversioned(&format!("{LAMBDA}{function}/invocations"));
        assert!(what.ends_with("\", whose name comes from a stage variable"), "{function}: {what}");
        let line = format!(r#"uri = "{LAMBDA}FUNCTION_ARN:$${{stageVariables.KEY}}/invocations""#);
        assert_eq!(write, line, "{function}");
    }
    for uri in [
        "${stageVariables.uri}",
        "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/${stageVariables.path}",
        "arn:aws:apigateway:eu-west-1:${stageVariables.service}:path/2015-03-31/functions/${stageVariables.f}/invocations",
    ] {
        assert!(unversioned(uri).0.contains("whose name comes from a stage variable"), "{uri}");
    }
}

#[test]
fn what_is_not_in_the_contract_is_listed() {
    let other = |name: &str| format!("{LAMBDA}{name}/invocations");
    for (uri, what) in [
        (other(&format!("{ARN}reports")), "function reports"),
        (other(&format!("{ARN}reports:live")), "function reports:live"),
        (other("users-get-old"), "function users-get-old"),
        (
            other("arn:aws:lambda:eu-west-1:222222222222:function:users-get"),
            "function arn:aws:lambda:eu-west-1:222222222222:function:users-get",
        ),
        (
            other("arn:aws:lambda:us-east-1:111111111111:function:users-get:3"),
            "function arn:aws:lambda:us-east-1:111111111111:function:users-get:3",
        ),
        (other("222222222222:users-get"), "function 222222222222:users-get"),
        ("arn:aws:apigateway:eu-west-1:sqs:path/111111111111/jobs".to_owned(), "AWS service sqs"),
        ("arn:aws:apigateway:eu-west-1:abc.kinesis:action/PutRecord".to_owned(), "AWS service kinesis"),
        (
            "arn:aws:apigateway:eu-west-1:s3:path/${stageVariables.bucket}/functions/x/invocations"
                .to_owned(),
            "AWS service s3",
        ),
        (format!("{LAMBDA}users-get"), "AWS service lambda"),
        (format!("{LAMBDA}users-get/configuration"), "AWS service lambda"),
        ("no ARN".to_owned(), "no ARN"),
    ] {
        let found = calls(&uri);
        assert_eq!(found.others.iter().map(|call| call.calls.as_str()).collect::<Vec<_>>(), [what], "{uri}");
        assert!(found.versioned.is_empty() && found.unversioned.is_empty(), "{uri}: {found:?}");
    }
    for (integration, what) in [
        (json!({ "type": "MOCK" }), "MOCK"),
        (json!({ "type": "HTTP", "uri": "https://x.test/a" }), "HTTP https://x.test/a"),
        (
            json!({ "type": "HTTP_PROXY", "uri": "https://${stageVariables.host}/" }),
            "HTTP https://${stageVariables.host}/",
        ),
        (json!({ "type": "NEW" }), "NEW"),
    ] {
        let found = calls_of("GET /users", json!({ "integration": integration }));
        assert_eq!(found.others, [OtherCall { caller: "GET /users".into(), calls: what.into() }]);
    }
}

#[test]
fn authorizers_are_calls_and_other_parts_are_not() {
    let found = calls_of(
        "authorizer jwt",
        json!({ "type": "TOKEN", "uri": format!("{LAMBDA}users-get/invocations") }),
    );
    let [call] = found.unversioned.as_slice() else { panic!("{found:?}") };
    assert_eq!(call.to_string(), "authorizer jwt calls $LATEST of users-get");
    assert!(call.write.starts_with("authorizer_uri = \""), "{call:?}");
    for (name, part) in [
        ("authorizer pool", json!({ "type": "COGNITO_USER_POOLS", "providers": ["arn:x"] })),
        ("model Empty", json!({ "schema": {} })),
        ("api", json!({ "policy": { "uri": 7 } })),
        ("GET /users", json!({ "authorization": "NONE" })),
    ] {
        assert_eq!(calls_of(name, part), Calls::default(), "{name}");
    }
}

#[test]
fn other_calls_are_listed_by_what_they_call() {
    let mock = |number: u32| OtherCall { caller: format!("OPTIONS /{number}"), calls: "MOCK".into() };
    let reports = OtherCall { caller: "GET /reports".into(), calls: "function reports".into() };
    let calls = Calls { others: (1..=7).map(mock).chain([reports]).collect(), ..Calls::default() };
    assert_eq!(
        calls.other_lines(),
        [
            "MOCK: OPTIONS /1, OPTIONS /2, OPTIONS /3, OPTIONS /4, OPTIONS /5 and 2 more",
            "function reports: GET /reports",
        ]
    );
}

#[test]
fn a_declared_alias_and_a_declared_call_without_a_version_are_accepted_and_listed() {
    for (function, called) in [
        ("queue:live", "alias live of queue"),
        ("cron", "$LATEST of cron"),
        ("cron:$LATEST", "$LATEST of cron"),
    ] {
        let found = calls(&format!("{LAMBDA}{ARN}{function}/invocations"));
        assert!(found.unversioned.is_empty(), "{function}: {found:?}");
        assert_eq!(found.declared[0].calls, called);
    }
    let own = calls(&format!("{LAMBDA}{ARN}queue:${{stageVariables.queue}}/invocations"));
    assert_eq!(own.versioned["GET /users"].as_str(), "queue");
    // Only what is declared: another alias, a number, no version, and the alias of another function.
    for function in ["queue:test", "queue", "queue:7", "cron:live", "users-get:live"] {
        let (called, _) = unversioned(&format!("{LAMBDA}{ARN}{function}/invocations"));
        assert!(called.contains(function.split(':').next().unwrap()), "{called}");
    }
}
