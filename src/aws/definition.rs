//! Reads the definition of an API: everything that a deployment freezes.
//!
//! Ids that API Gateway generates (of resources, authorizers, validators) are replaced by paths and names, so
//! that the same API created twice has the same definition.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_apigateway::operation::get_rest_api::GetRestApiOutput;
use aws_sdk_apigateway::types::{
    ApiStatus, Authorizer, EndpointAccessMode, EndpointType, Integration, Method, RequestValidator,
};
use futures::try_join;
use serde_json::{Map, Value, json};

use super::Aws;
use super::members::{Body, meaning};
use crate::engine::failure::Failure;
use crate::release::definition::{Definition, STATUS};

/// API Gateway's largest page.
const PAGE: i32 = 500;

type Names = HashMap<String, String>;

/// A list, read to its end.
struct Listed<T> {
    items: Vec<T>,
    /// The items as API Gateway sent them, with what the SDK does not know.
    raw: Vec<Value>,
    unproven: Vec<String>,
}

/// Reads all pages of a list. The operations have no common type.
macro_rules! list {
    ($aws:expr, $api:expr, $call:expr, $operation:literal, $shape:literal) => {
        async {
            let mut listed = Listed { items: Vec::new(), raw: Vec::new(), unproven: Vec::new() };
            let mut position: Option<String> = None;
            loop {
                let body = Body::default();
                let page = $call
                    .rest_api_id($api)
                    .limit(PAGE)
                    .set_position(position)
                    .customize()
                    .interceptor(body.clone())
                    .send()
                    .await
                    .map_err(|error| Failure::new($operation, format!("API {}", $api), &error))?;
                let answer = body.json();
                let values = $aws.inspector.inspect($operation, ("apigateway", $shape), &answer);
                listed.unproven.extend(values);
                listed.items.extend_from_slice(page.items());
                listed.raw.extend(answer["item"].as_array().into_iter().flatten().cloned());
                position = page.position().filter(|position| !position.is_empty()).map(str::to_owned);
                if position.is_none() {
                    return Ok::<_, Failure>(listed);
                }
            }
        }
    };
}

/// Makes six concurrent reads, and more only if a list has several pages.
pub(super) async fn read(aws: &Aws, api: &str) -> Result<Definition, Failure> {
    let client = &aws.api_gateway;
    let (rest_api, resources, authorizers, validators, models, responses) = try_join!(
        rest_api(aws, api),
        list!(aws, api, client.get_resources().embed("methods"), "GetResources", "Resources"),
        list!(aws, api, client.get_authorizers(), "GetAuthorizers", "Authorizers"),
        list!(aws, api, client.get_request_validators(), "GetRequestValidators", "RequestValidators"),
        list!(aws, api, client.get_models(), "GetModels", "Models"),
        list!(aws, api, client.get_gateway_responses(), "GetGatewayResponses", "GatewayResponses"),
    )?;
    let (rest_api, mut unproven) = rest_api;
    for values in
        [resources.unproven, authorizers.unproven, validators.unproven, models.unproven, responses.unproven]
    {
        unproven.extend(values);
    }

    let mut parts = BTreeMap::new();
    parts.insert("api".to_owned(), settings(&rest_api));
    let (authorizer_names, authorizers) = named_authorizers(&authorizers.items, &authorizers.raw);
    let (validator_names, validators) = named_validators(&validators.items);
    parts.extend(authorizers);
    parts.extend(validators);
    for resource in &resources.items {
        let path = resource.path().unwrap_or_default();
        for (verb, method) in resource.resource_methods().into_iter().flatten() {
            let id = resource.id().unwrap_or_default();
            let names = (&authorizer_names, &validator_names);
            parts.insert(format!("{verb} {path}"), route(method, id, names));
        }
    }
    for model in &models.items {
        let schema = model.schema().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
        parts.insert(
            format!("model {}", model.name().unwrap_or_default()),
            compact(json!({ "content type": model.content_type(), "schema": schema })),
        );
    }
    // Default responses belong to API Gateway, and change without a change of the API.
    for response in responses.items.iter().filter(|response| !response.default_response()) {
        parts.insert(
            format!("gateway response {}", response.response_type().map_or("", |kind| kind.as_str())),
            compact(json!({
                "status": response.status_code(),
                "parameters": sorted(response.response_parameters()),
                "templates": sorted(response.response_templates()),
            })),
        );
    }
    Ok(Definition::new(parts).with_unproven(unproven))
}

/// Reads the API's own settings, and why they may not be all that is deployed.
async fn rest_api(aws: &Aws, api: &str) -> Result<(GetRestApiOutput, Vec<String>), Failure> {
    let body = Body::default();
    let answer = aws
        .api_gateway
        .get_rest_api()
        .rest_api_id(api)
        .customize()
        .interceptor(body.clone())
        .send()
        .await
        .map_err(|error| Failure::new("GetRestApi", format!("API {api}"), &error))?;
    let mut unproven: Vec<String> =
        aws.inspector.inspect("GetRestApi", ("apigateway", "RestApi"), &body.json()).into_iter().collect();
    if let Some(status) = status(&answer) {
        let message = answer.api_status_message().map(|text| format!(": {text}")).unwrap_or_default();
        unproven.push(format!("API Gateway has not completed an update of the API: {status}{message}"));
    }
    Ok((answer, unproven))
}

/// The members that were added after the first version are left out if they have the default value: the
/// fingerprint of a deployment must not change by an update of deployctl or of AWS.
fn settings(rest_api: &GetRestApiOutput) -> Value {
    let mut binary = rest_api.binary_media_types().to_vec();
    binary.sort();
    let access = rest_api.endpoint_access_mode().filter(|mode| **mode != EndpointAccessMode::Basic);
    compact(json!({
        "policy": rest_api.policy().map(policy),
        "binary media types": binary,
        "minimum compression size": rest_api.minimum_compression_size(),
        "API key source": rest_api.api_key_source().map(|source| source.as_str()),
        "default endpoint disabled": Some(rest_api.disable_execute_api_endpoint()).filter(|disabled| *disabled),
        "security policy": security_policy(rest_api),
        "endpoint access mode": access.map(|mode| mode.as_str()),
        STATUS: status(rest_api),
    }))
}

/// The security policy, if it is not the default of the endpoint's type.
fn security_policy(rest_api: &GetRestApiOutput) -> Option<&str> {
    let types = rest_api.endpoint_configuration().map(|endpoint| endpoint.types()).unwrap_or_default();
    let default = if types.contains(&EndpointType::Private) { "TLS_1_2" } else { "TLS_1_0" };
    rest_api.security_policy().map(|policy| policy.as_str()).filter(|policy| *policy != default)
}

/// The status, unless the API is as it is defined.
fn status(rest_api: &GetRestApiOutput) -> Option<&str> {
    rest_api.api_status().filter(|status| **status != ApiStatus::Available).map(|status| status.as_str())
}

fn named_authorizers(authorizers: &[Authorizer], raw: &[Value]) -> (Names, BTreeMap<String, Value>) {
    let mut names = Names::new();
    let mut parts = BTreeMap::new();
    for authorizer in authorizers {
        // The SDK does not know JWT authorizers.
        let sent = raw.iter().find(|sent| sent["id"].as_str() == authorizer.id());
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
                "JWT": sent.and_then(|sent| meaning(&sent["jwtConfiguration"])),
            })),
        );
    }
    (names, parts)
}

fn named_validators(validators: &[RequestValidator]) -> (Names, BTreeMap<String, Value>) {
    let mut names = Names::new();
    let mut parts = BTreeMap::new();
    for validator in validators {
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
