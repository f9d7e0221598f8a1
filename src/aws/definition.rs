//! Reads the definition of an API: everything that a deployment freezes.
//!
//! Ids that API Gateway generates (of resources, authorizers, validators) are replaced by paths and names, so
//! that the same API created twice has the same definition.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_apigateway::Client;
use aws_sdk_apigateway::operation::get_authorizers::GetAuthorizersOutput;
use aws_sdk_apigateway::operation::get_request_validators::GetRequestValidatorsOutput;
use aws_sdk_apigateway::types::{Integration, Method, Resource};
use futures::try_join;
use serde_json::{Map, Value, json};

use crate::engine::failure::Failure;
use crate::release::definition::Definition;

/// API Gateway's largest page.
const PAGE: i32 = 500;

type Names = HashMap<String, String>;

/// Makes six concurrent reads, and more only if the API has over 500 resources.
pub(super) async fn read(client: &Client, api: &str) -> Result<Definition, Failure> {
    let about = format!("API {api}");
    let fail = &about;
    let (rest_api, resources, authorizers, validators, models, responses) = try_join!(
        async {
            client
                .get_rest_api()
                .rest_api_id(api)
                .send()
                .await
                .map_err(|e| Failure::new("GetRestApi", fail, &e))
        },
        resources(client, api),
        async {
            let call = client.get_authorizers().rest_api_id(api).limit(PAGE);
            call.send().await.map_err(|e| Failure::new("GetAuthorizers", fail, &e))
        },
        async {
            let call = client.get_request_validators().rest_api_id(api).limit(PAGE);
            call.send().await.map_err(|e| Failure::new("GetRequestValidators", fail, &e))
        },
        async {
            let call = client.get_models().rest_api_id(api).limit(PAGE);
            call.send().await.map_err(|e| Failure::new("GetModels", fail, &e))
        },
        async {
            let call = client.get_gateway_responses().rest_api_id(api).limit(PAGE);
            call.send().await.map_err(|e| Failure::new("GetGatewayResponses", fail, &e))
        },
    )?;

    let mut parts = BTreeMap::new();
    let mut binary = rest_api.binary_media_types().to_vec();
    binary.sort();
    parts.insert(
        "api".to_owned(),
        compact(json!({
            "policy": rest_api.policy().map(policy),
            "binary media types": binary,
            "minimum compression size": rest_api.minimum_compression_size(),
            "API key source": rest_api.api_key_source().map(|source| source.as_str()),
            "default endpoint disabled": Some(rest_api.disable_execute_api_endpoint()).filter(|disabled| *disabled),
        })),
    );
    let (authorizer_names, authorizers) = named_authorizers(&authorizers);
    let (validator_names, validators) = named_validators(&validators);
    parts.extend(authorizers);
    parts.extend(validators);
    for resource in &resources {
        let path = resource.path().unwrap_or_default();
        for (verb, method) in resource.resource_methods().into_iter().flatten() {
            let id = resource.id().unwrap_or_default();
            let names = (&authorizer_names, &validator_names);
            parts.insert(format!("{verb} {path}"), route(method, id, names));
        }
    }
    for model in models.items() {
        let schema = model.schema().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
        parts.insert(
            format!("model {}", model.name().unwrap_or_default()),
            compact(json!({ "content type": model.content_type(), "schema": schema })),
        );
    }
    // Default responses belong to API Gateway, and change without a change of the API.
    for response in responses.items().iter().filter(|response| !response.default_response()) {
        parts.insert(
            format!("gateway response {}", response.response_type().map_or("", |kind| kind.as_str())),
            compact(json!({
                "status": response.status_code(),
                "parameters": sorted(response.response_parameters()),
                "templates": sorted(response.response_templates()),
            })),
        );
    }
    Ok(Definition::new(parts))
}

async fn resources(client: &Client, api: &str) -> Result<Vec<Resource>, Failure> {
    let mut pages =
        client.get_resources().rest_api_id(api).embed("methods").limit(PAGE).into_paginator().send();
    let mut resources = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Failure::new("GetResources", format!("API {api}"), &error))?;
        resources.extend(page.items().iter().cloned());
    }
    Ok(resources)
}

fn named_authorizers(authorizers: &GetAuthorizersOutput) -> (Names, BTreeMap<String, Value>) {
    let mut names = Names::new();
    let mut parts = BTreeMap::new();
    for authorizer in authorizers.items() {
        let name = authorizer.name().unwrap_or_default();
        names.insert(authorizer.id().unwrap_or_default().to_owned(), name.to_owned());
        let mut providers = authorizer.provider_arns().to_vec();
        providers.sort();
        parts.insert(
            format!("authorizer {name}"),
            compact(json!({
                "type": authorizer.r#type().map(|kind| kind.as_str()),
                "uri": authorizer.authorizer_uri(),
                "credentials": authorizer.authorizer_credentials(),
                "identity source": authorizer.identity_source(),
                "identity validation": authorizer.identity_validation_expression(),
                "result TTL": authorizer.authorizer_result_ttl_in_seconds(),
                "providers": providers,
            })),
        );
    }
    (names, parts)
}

fn named_validators(validators: &GetRequestValidatorsOutput) -> (Names, BTreeMap<String, Value>) {
    let mut names = Names::new();
    let mut parts = BTreeMap::new();
    for validator in validators.items() {
        let name = validator.name().unwrap_or_default();
        names.insert(validator.id().unwrap_or_default().to_owned(), name.to_owned());
        parts.insert(
            format!("request validator {name}"),
            json!({ "body": validator.validate_request_body(), "parameters": validator.validate_request_parameters() }),
        );
    }
    (names, parts)
}

fn route(method: &Method, resource: &str, (authorizers, validators): (&Names, &Names)) -> Value {
    let by_name = |names: &Names, id: Option<&str>| {
        id.map(|id| names.get(id).cloned().unwrap_or_else(|| id.to_owned()))
    };
    let mut scopes = method.authorization_scopes().to_vec();
    scopes.sort();
    let responses: BTreeMap<&String, Value> = method
        .method_responses()
        .into_iter()
        .flatten()
        .map(|(status, response)| {
            let value = json!({
                "parameters": sorted(response.response_parameters()),
                "models": sorted(response.response_models()),
            });
            (status, compact(value))
        })
        .collect();
    compact(json!({
        "authorization": method.authorization_type(),
        "authorizer": by_name(authorizers, method.authorizer_id()),
        "API key required": method.api_key_required(),
        "scopes": scopes,
        "operation name": method.operation_name(),
        "request validator": by_name(validators, method.request_validator_id()),
        "request parameters": sorted(method.request_parameters()),
        "request models": sorted(method.request_models()),
        "responses": responses,
        "integration": method.method_integration().map(|method_integration| integration(method_integration, resource)),
    }))
}

fn integration(integration: &Integration, resource: &str) -> Value {
    // The default is the resource's id, which API Gateway generates.
    let cache_namespace = integration.cache_namespace().filter(|namespace| *namespace != resource);
    let transfer = integration.response_transfer_mode().map(|mode| mode.as_str());
    let insecure = integration.tls_config().map(|tls| tls.insecure_skip_verification());
    let mut cache_keys = integration.cache_key_parameters().to_vec();
    cache_keys.sort();
    let responses: BTreeMap<&String, Value> = integration
        .integration_responses()
        .into_iter()
        .flatten()
        .map(|(status, response)| {
            let value = json!({
                "selection pattern": response.selection_pattern(),
                "parameters": sorted(response.response_parameters()),
                "templates": sorted(response.response_templates()),
                "content handling": response.content_handling().map(|handling| handling.as_str()),
            });
            (status, compact(value))
        })
        .collect();
    compact(json!({
        "type": integration.r#type().map(|kind| kind.as_str()),
        "verb": integration.http_method(),
        "uri": integration.uri(),
        "connection type": integration.connection_type().map(|kind| kind.as_str()),
        "connection": integration.connection_id(),
        "credentials": integration.credentials(),
        "request parameters": sorted(integration.request_parameters()),
        "request templates": sorted(integration.request_templates()),
        "passthrough": integration.passthrough_behavior(),
        "content handling": integration.content_handling().map(|handling| handling.as_str()),
        "timeout": integration.timeout_in_millis(),
        "cache keys": cache_keys,
        "cache namespace": cache_namespace,
        "unverified TLS": insecure.filter(|insecure| *insecure),
        "transfer": transfer.filter(|mode| *mode != "BUFFERED"),
        "target": integration.integration_target(),
        "responses": responses,
    }))
}

fn sorted<V: Clone + Into<Value>>(map: Option<&HashMap<String, V>>) -> Map<String, Value> {
    map.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone().into())).collect()
}

/// API Gateway returns a policy with escaped quotes and its original spacing.
fn policy(text: &str) -> Value {
    let unescaped = text.replace("\\\"", "\"");
    serde_json::from_str(&unescaped).unwrap_or_else(|_| json!(text))
}

/// Omits absent and empty values: `null`, `{}` and a missing field are the same.
fn compact(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let present = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    Value::Object(fields.into_iter().filter(|(_, value)| present(value)).collect())
}
