//! What is open: routes that anybody may call, and Redis without TLS. A local stage is open on purpose.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::documents::doctor::{Finding, Severity};
use crate::project::session::Session;
use crate::release::definition::Definition;

/// Resources of Terraform that are a Redis, with the attribute that turns TLS on.
const REDIS: [(&str, &str); 3] = [
    ("aws_elasticache_cluster", "transit_encryption_enabled"),
    ("aws_elasticache_replication_group", "transit_encryption_enabled"),
    ("aws_memorydb_cluster", "tls_enabled"),
];

/// The routes of the API that need no credentials.
pub(super) fn routes(definition: &Definition, is_local: bool) -> Finding {
    const CHECK: &str = "open-routes";
    /// An API can have hundreds of routes.
    const SHOWN: usize = 10;
    let open: Vec<&str> =
        definition.parts().iter().filter(|(_, part)| is_open(part)).map(|(name, _)| name.as_str()).collect();
    if open.is_empty() {
        return Finding::ok(CHECK, "every route needs credentials");
    }
    let shown = open.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = match open.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("routes that need no credentials: {shown}{more}");
    if definition.parts().get("api").is_some_and(|api| api.get("policy").is_some()) {
        return Finding::ok(CHECK, format!("{message}; the API has a resource policy"));
    }
    graded(CHECK, message, "set an authorizer for each method, unless everybody may call it", is_local)
}

/// Whether a part is a route of which API Gateway lets everybody call what is behind it. A MOCK, such as the
/// answer to a preflight request, has nothing behind it.
fn is_open(part: &Value) -> bool {
    part["authorization"] == "NONE"
        && part["API key required"] != true
        && part["integration"]["type"].as_str().is_some_and(|kind| kind != "MOCK")
}

/// The encryption of Redis, from the states of the layers.
pub(super) async fn redis(session: &Session) -> Vec<Finding> {
    const CHECK: &str = "open-redis";
    let mut findings = Vec::new();
    for layer in &session.settings.layers {
        let Some(object) = session.state_object(layer) else {
            let message =
                format!("the state of layer {:?} is not in S3, so Redis was not checked", layer.name);
            findings.push(Finding::unchecked(CHECK, message));
            continue;
        };
        let state = match session.state(&object).await {
            Ok(Some(state)) => state,
            Ok(None) => continue,
            Err(error) => {
                findings.push(Finding::of(CHECK, Severity::Unchecked, &error));
                continue;
            }
        };
        match serde_json::from_slice::<State>(&state.body) {
            Ok(state) => findings.extend(servers(&state).into_iter().map(|server| match server {
                Server { name, problem: None } => Finding::ok(CHECK, format!("{name} accepts only TLS")),
                Server { name, problem: Some(problem) } => {
                    let remedy = format!("set {} in layer {:?}", problem.remedy, layer.name);
                    graded(CHECK, format!("{name} {}", problem.message), &remedy, session.local.is_some())
                }
            })),
            // Encrypted by OpenTofu, or of another version.
            Err(_) => findings.push(Finding::unchecked(
                CHECK,
                format!("the state of layer {:?} is not readable, so Redis was not checked", layer.name),
            )),
        }
    }
    findings
}

/// A warning; on a local stage, it is only shown.
fn graded(check: &'static str, message: String, remedy: &str, is_local: bool) -> Finding {
    if is_local {
        return Finding::ok(check, format!("{message} (a local stage)"));
    }
    Finding::warning(check, message, remedy)
}

#[derive(Deserialize)]
struct State {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    #[serde(default)]
    attributes: Map<String, Value>,
}

#[derive(Debug, PartialEq, Eq)]
struct Server {
    name: String,
    problem: Option<Problem>,
}

#[derive(Debug, PartialEq, Eq)]
struct Problem {
    message: &'static str,
    remedy: String,
}

fn servers(state: &State) -> Vec<Server> {
    let managed = state.resources.iter().filter(|resource| resource.mode == "managed");
    let with_tls = managed.filter_map(|resource| {
        let (_, tls) = REDIS.iter().find(|(kind, _)| *kind == resource.kind)?;
        Some((resource, *tls))
    });
    with_tls
        .flat_map(|(resource, tls)| {
            resource.instances.iter().map(move |instance| (&instance.attributes, tls))
        })
        .filter(|(attributes, _)| text(attributes, "engine") != "memcached")
        .map(|(attributes, tls)| Server { name: name(attributes), problem: problem(attributes, tls) })
        .collect()
}

fn name(attributes: &Map<String, Value>) -> String {
    let id = text(attributes, "id");
    if id.is_empty() { "Redis".to_owned() } else { format!("Redis {id}") }
}

fn problem(attributes: &Map<String, Value>, tls: &str) -> Option<Problem> {
    // Terraform stores some of these attributes as text.
    let is_on = attributes.get(tls).is_some_and(|value| *value == Value::Bool(true) || *value == "true");
    if !is_on {
        return Some(Problem { message: "has no TLS", remedy: format!("{tls} = true") });
    }
    (text(attributes, "transit_encryption_mode") == "preferred").then(|| Problem {
        message: "accepts connections without TLS",
        remedy: "transit_encryption_mode = \"required\"".to_owned(),
    })
}

fn text<'a>(attributes: &'a Map<String, Value>, name: &str) -> &'a str {
    attributes.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(parts: Value) -> Definition {
        Definition::new(serde_json::from_value(parts).unwrap())
    }

    fn route(authorization: &str, key: bool, integration: &str) -> Value {
        json!({ "authorization": authorization, "API key required": key, "integration": { "type": integration } })
    }

    #[test]
    fn routes_without_credentials_are_a_warning() {
        let open = json!({
            "api": {},
            "GET /users": route("NONE", false, "AWS_PROXY"),
            "POST /users": route("CUSTOM", false, "AWS_PROXY"),
            "PUT /users": route("NONE", true, "AWS_PROXY"),
            "OPTIONS /users": route("NONE", false, "MOCK"),
        });
        let finding = routes(&definition(open.clone()), false);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.message, "routes that need no credentials: GET /users");
        assert_eq!(routes(&definition(open.clone()), true).severity, Severity::Ok);

        let mut closed = open.clone();
        closed["GET /users"] = route("COGNITO_USER_POOLS", false, "AWS_PROXY");
        assert_eq!(routes(&definition(closed), false).message, "every route needs credentials");

        let mut private = open;
        private["api"] = json!({ "policy": { "Statement": [] } });
        assert_eq!(routes(&definition(private), false).severity, Severity::Ok);
    }

    #[test]
    fn a_redis_without_tls_is_found_in_the_state() {
        let resource = |mode: &str, kind: &str, attributes: Value| json!({ "mode": mode, "type": kind, "instances": [{ "attributes": attributes }] });
        let group = |attributes: Value| resource("managed", "aws_elasticache_replication_group", attributes);
        let state = json!({ "version": 4, "resources": [
            group(json!({ "id": "off", "transit_encryption_enabled": false })),
            group(json!({ "id": "both", "transit_encryption_enabled": true, "transit_encryption_mode": "preferred" })),
            group(json!({ "id": "on", "transit_encryption_enabled": "true", "transit_encryption_mode": "required" })),
            resource("data", "aws_elasticache_replication_group", json!({ "id": "off" })),
            resource("managed", "aws_elasticache_cluster", json!({ "id": "m", "engine": "memcached" })),
            resource("managed", "aws_memorydb_cluster", json!({ "id": "memory", "tls_enabled": true })),
            resource("managed", "aws_s3_bucket", json!({ "id": "bucket" })),
        ] });
        let found = servers(&serde_json::from_value(state).unwrap());
        let found: Vec<_> = found
            .iter()
            .map(|server| (server.name.as_str(), server.problem.as_ref().map(|problem| problem.message)))
            .collect();
        let expected = [
            ("Redis off", Some("has no TLS")),
            ("Redis both", Some("accepts connections without TLS")),
            ("Redis on", None),
            ("Redis memory", None),
        ];
        assert_eq!(found, expected);
    }
}
