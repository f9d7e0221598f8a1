//! The default check of a release: each new version that serves a GET gets one request of its route before the
//! switch. A GET must not change anything, so no other method is tried.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::check::Invocation;
use super::definition::Definition;
use super::model::{FunctionKey, FunctionName, FunctionVersion};
use super::record::Release;
use super::route::Route;

/// The value of each path parameter of the event.
const PARAMETER: &str = "deployctl";

/// The header of the event with the version of the release, by which a function recognises a check.
const HEADER: &str = "X-Deployctl-Check";

/// The host of the event: no request was sent to one.
const HOST: &str = "deployctl.invalid";

const USER_AGENT: &str = concat!("deployctl/", env!("CARGO_PKG_VERSION"));

/// The live version of a function.
pub(crate) type Live = (FunctionName, FunctionVersion);

/// A new version to invoke.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trial {
    pub(crate) key: FunctionKey,
    pub(crate) name: FunctionName,
    pub(crate) version: FunctionVersion,
    /// The path of the event, with its parameters filled in.
    pub(crate) path: String,
    pub(crate) event: Value,
    /// The version that is live for the same stage variable.
    pub(crate) live: Option<Live>,
}

/// The new versions of a release.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trials {
    pub(crate) invoked: Vec<Trial>,
    /// The functions that are not tried, each with the reason.
    pub(crate) not_tried: Vec<(FunctionKey, &'static str)>,
}

/// A release before its switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) release: &'a Release,
    pub(crate) definition: &'a Definition,
    /// The stage's variables after the switch.
    pub(crate) variables: &'a BTreeMap<String, String>,
    /// The versions that are live, by stage variable.
    pub(crate) live: &'a BTreeMap<FunctionKey, Live>,
}

/// The trials of a release. Versions that are live, and functions that a check of the project invokes, need
/// none.
pub(crate) fn trials(candidate: &Candidate<'_>, invocations: &[Invocation], caller: &Caller<'_>) -> Trials {
    let Candidate { release, definition, .. } = *candidate;
    let mut trials = Trials::default();
    for (key, function) in &release.functions {
        let live = candidate.live.get(key);
        let is_live =
            live.is_some_and(|(name, version)| (name, version) == (&function.name, &function.version));
        if is_live || invocations.iter().any(|check| check.function == *key) {
            continue;
        }
        if definition.is_authorizer(key) {
            trials.not_tried.push((key.clone(), "an authorizer"));
            continue;
        }
        let Some(route) = get_route(definition, key) else {
            let by_variable = function.alias.is_none() && !function.latest;
            let why = if by_variable { "serves no GET" } else { "serves no GET by its stage variable" };
            trials.not_tried.push((key.clone(), why));
            continue;
        };
        let (path, parameters) = filled(route.path);
        trials.invoked.push(Trial {
            key: key.clone(),
            name: function.name.clone(),
            version: function.version.clone(),
            event: event(candidate, route.path, (&path, parameters), caller),
            path,
            live: live.cloned(),
        });
    }
    trials
}

/// The route by which a function is tried: a GET rather than an ANY, and one with few parameters.
fn get_route<'a>(definition: &'a Definition, key: &FunctionKey) -> Option<Route<'a>> {
    let served =
        definition.routes().filter(|route| ["GET", "ANY"].contains(&route.method) && route.calls(key));
    served.min_by_key(|route| (route.method == "ANY", route.path.matches('{').count(), route.path))
}

/// A path with its parameters filled in, and their names.
fn filled(resource: &str) -> (String, Vec<&str>) {
    let mut names = Vec::new();
    let parts = resource.split('/').map(|part| match part.strip_prefix('{') {
        Some(name) => {
            names.push(name.trim_end_matches(['+', '}']));
            PARAMETER
        }
        None => part,
    });
    let path = parts.collect::<Vec<_>>().join("/");
    (path, names)
}

/// Who makes the check, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// The ARN of the caller.
    pub(crate) arn: &'a str,
    pub(crate) now: Timestamp,
}

/// The event that API Gateway would pass to the function, as far as it can be known. docs/configuration.md
/// describes it.
fn event(
    candidate: &Candidate<'_>,
    resource: &str,
    (path, parameters): (&str, Vec<&str>),
    caller: &Caller<'_>,
) -> Value {
    let release = candidate.release;
    let version = release.version.as_str();
    let headers = [
        ("Accept", "*/*"),
        ("Host", HOST),
        ("User-Agent", USER_AGENT),
        (HEADER, version),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
    ];
    let single: Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let multiple: Map<String, Value> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect();
    let parameters: Map<String, Value> =
        parameters.into_iter().map(|name| (name.to_owned(), json!(PARAMETER))).collect();
    json!({
        "resource": resource,
        "path": path,
        "httpMethod": "GET",
        "headers": single,
        "multiValueHeaders": multiple,
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": if parameters.is_empty() { Value::Null } else { Value::Object(parameters) },
        "stageVariables": candidate.variables,
        "requestContext": {
            "accountId": caller.arn.split(':').nth(4),
            "apiId": release.api.id,
            "deployctl": { "check": true, "release": version },
            "domainName": HOST,
            "domainPrefix": "deployctl",
            "extendedRequestId": "deployctl-check",
            "httpMethod": "GET",
            "identity": { "sourceIp": "127.0.0.1", "userAgent": USER_AGENT },
            "path": format!("/{}{path}", release.api.stage),
            "protocol": "HTTP/1.1",
            "requestId": "deployctl-check",
            "requestTime": caller.now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "requestTimeEpoch": caller.now.as_millisecond(),
            "resourceId": "deployctl",
            "resourcePath": resource,
            "stage": release.api.stage,
        },
        "body": null,
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Sha256;
    use crate::release::record::{ApiRecord, FunctionRecord};

    fn release(keys: &[&str]) -> Release {
        let function = |key: &str| FunctionRecord {
            name: format!("users-{key}").parse().unwrap(),
            artifact: "users".into(),
            version: "7".parse().unwrap(),
            code_sha256: String::new(),
            config_sha256: Sha256::of(b""),
            aws_config_sha256: None,
            alias: None,
            latest: false,
            provisioned: None,
        };
        Release {
            version: "1.4.2".parse().unwrap(),
            git: None,
            promoted_from: None,
            artifacts: BTreeMap::new(),
            functions: keys.iter().map(|key| (key.parse().unwrap(), function(key))).collect(),
            api: ApiRecord {
                id: "abc123".into(),
                stage: "prd".into(),
                deployment_id: "d1".parse().unwrap(),
                fingerprint: Sha256::of(b""),
                authorizer_cache_seconds: None,
                unproven: Vec::new(),
                versioned: true,
            },
            variables: None,
        }
    }

    fn uri(key: &str) -> String {
        format!("arn:aws:lambda:eu-west-1:111111111111:function:f:${{stageVariables.{key}}}/invocations")
    }

    fn definition(routes: &[(&str, &str)], authorizer: &str) -> Definition {
        let integration = |key: &str| json!({ "integration": { "type": "AWS_PROXY", "uri": uri(key) } });
        let routes = routes.iter().map(|(route, key)| ((*route).to_owned(), integration(key)));
        let authorizer = ("authorizer who".to_owned(), json!({ "uri": uri(authorizer) }));
        Definition::new(routes.chain([authorizer]).collect())
    }

    fn tried(definition: &Definition, release: &Release, live: &[(&str, &str)], invoked: &[&str]) -> Trials {
        let live = live.iter().map(|(key, version)| {
            (key.parse().unwrap(), (format!("users-{key}").parse().unwrap(), version.parse().unwrap()))
        });
        let invocation = |key: &&str| Invocation {
            name: "own".into(),
            function: key.parse().unwrap(),
            payload: json!({}),
            expect: json!({}),
        };
        let candidate = Candidate {
            release,
            definition,
            variables: &[("release".to_owned(), "1.4.2".to_owned())].into(),
            live: &live.collect(),
        };
        let caller = Caller {
            arn: "arn:aws:sts::111111111111:assumed-role/deploy/run",
            now: "2026-11-25T16:00:00Z".parse().unwrap(),
        };
        trials(&candidate, &invoked.iter().map(invocation).collect::<Vec<_>>(), &caller)
    }

    #[test]
    fn a_new_version_is_tried_if_it_serves_a_get_and_no_check_of_the_project_invokes_it() {
        let routes = [
            ("GET /a/{id}/{rest+}", "get"),
            ("GET /a/{id}", "get"),
            ("ANY /b", "get"),
            ("POST /a", "post"),
            ("ANY /any", "any"),
            ("GET /guard", "guard"),
            ("GET /own", "own"),
            ("GET /kept", "kept"),
        ];
        let definition = definition(&routes, "guard");
        let release = release(&["get", "post", "any", "guard", "own", "kept", "queue"]);
        let found = tried(&definition, &release, &[("kept", "7"), ("get", "6")], &["own"]);
        let invoked: Vec<_> =
            found.invoked.iter().map(|trial| (trial.key.as_str(), trial.path.as_str())).collect();
        assert_eq!(invoked, [("any", "/any"), ("get", "/a/deployctl")]);
        assert_eq!(found.invoked[0].live, None);
        assert_eq!(found.invoked[1].live, Some(("users-get".parse().unwrap(), "6".parse().unwrap())));
        let not_tried: Vec<_> = found.not_tried.iter().map(|(key, why)| (key.as_str(), *why)).collect();
        assert_eq!(
            not_tried,
            [("guard", "an authorizer"), ("post", "serves no GET"), ("queue", "serves no GET")]
        );
    }

    #[test]
    fn the_event_is_that_of_the_route_and_says_that_it_is_a_check() {
        let definition = definition(&[("GET /a/{id}/{rest+}", "get")], "guard");
        let found = tried(&definition, &release(&["get"]), &[], &[]);
        let event = &found.invoked[0].event;
        for (pointer, expected) in [
            ("/resource", json!("/a/{id}/{rest+}")),
            ("/path", json!("/a/deployctl/deployctl")),
            ("/httpMethod", json!("GET")),
            ("/pathParameters", json!({ "id": "deployctl", "rest": "deployctl" })),
            ("/headers/X-Deployctl-Check", json!("1.4.2")),
            ("/multiValueHeaders/X-Deployctl-Check", json!(["1.4.2"])),
            ("/stageVariables", json!({ "release": "1.4.2" })),
            ("/requestContext/deployctl", json!({ "check": true, "release": "1.4.2" })),
            ("/requestContext/accountId", json!("111111111111")),
            ("/requestContext/path", json!("/prd/a/deployctl/deployctl")),
            ("/requestContext/requestTime", json!("25/Nov/2026:16:00:00 +0000")),
            ("/body", Value::Null),
        ] {
            assert_eq!(event.pointer(pointer), Some(&expected), "{pointer}");
        }
    }
}
