//! Reads what a stage serves: the definition that its deployment froze, as far as GetExport shows it.

use std::collections::BTreeMap;

use aws_sdk_apigateway::Client;
use serde_json::{Value, json};

use super::api_gateway::AwsStage;
use crate::engine::failure::Failure;
use crate::release::definition::{AUTHORIZER, Definition};

impl AwsStage {
    /// The methods of the stage's deployment with the type and the URI of their integrations, and its
    /// authorizers.
    pub(super) async fn export(&self) -> Result<Definition, Failure> {
        self.aws.rate_limiter.gateway().await;
        let document = get_export(self.gateway(), &self.rest_api_id, &self.stage_name).await?;
        Ok(Definition::new(parts(&document)))
    }
}

/// What a stage serves, as an `OpenAPI` document.
///
/// # Errors
/// Those of API Gateway, which cannot export some models, and a document that is no JSON.
pub(super) async fn get_export(gateway: &Client, api: &str, stage: &str) -> Result<Value, Failure> {
    let about = || format!("stage {stage} of API {api}");
    let export = gateway.get_export().rest_api_id(api).stage_name(stage).export_type("oas30");
    let export = export.parameters("extensions", "apigateway").accepts("application/json");
    let answer = export.send().await.map_err(|error| Failure::new("GetExport", about(), &error))?;
    let body = answer.body().map(AsRef::<[u8]>::as_ref).unwrap_or_default();
    serde_json::from_slice(body)
        .map_err(|error| Failure::rejected("GetExport", about(), format!("it is not JSON: {error}")))
}

/// The members of an OpenAPI path that are methods.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The route of a member of an OpenAPI path, such as `GET /users`; `None` if the member is no method.
pub(super) fn route(path: &str, member: &str) -> Option<String> {
    match member {
        "x-amazon-apigateway-any-method" => Some(format!("ANY {path}")),
        method => METHODS.contains(&method).then(|| format!("{} {path}", method.to_ascii_uppercase())),
    }
}

fn parts(document: &Value) -> BTreeMap<String, Value> {
    let mut parts = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let integration = &operation["x-amazon-apigateway-integration"];
            let Some(name) = route(path, method).filter(|_| integration.is_object()) else { continue };
            // An export writes the types in lower case.
            let kind = integration["type"].as_str().map(str::to_uppercase);
            let integration = json!({ "type": kind, "uri": integration["uri"] });
            parts.insert(name, json!({ "integration": integration }));
        }
    }
    for (name, scheme) in document["components"]["securitySchemes"].as_object().into_iter().flatten() {
        let uri = &scheme["x-amazon-apigateway-authorizer"]["authorizerUri"];
        if uri.is_string() {
            parts.insert(format!("{AUTHORIZER}{name}"), json!({ "uri": uri }));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_names_what_each_method_calls() {
        let call = |kind: &str, uri: &str| json!({ "x-amazon-apigateway-integration": { "type": kind, "uri": uri } });
        let document = json!({
            "paths": {
                "/users": { "get": call("aws_proxy", "u1"), "x-amazon-apigateway-any-method": call("http", "u2") },
                "/none": { "get": {}, "parameters": [] },
            },
            "components": { "securitySchemes": {
                "who": { "x-amazon-apigateway-authorizer": { "authorizerUri": "u3" } },
                "pool": { "x-amazon-apigateway-authorizer": { "providerARNs": [] } },
            } },
        });
        let found = parts(&document);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["ANY /users", "GET /users", "authorizer who"]);
        assert_eq!(found["GET /users"]["integration"], json!({ "type": "AWS_PROXY", "uri": "u1" }));
        assert_eq!(found["authorizer who"]["uri"], "u3");
    }
}
