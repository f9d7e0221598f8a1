//! The IAM policy that API Gateway evaluates for this request and, from its cache, for the caller's next requests.
//!
//! The cache key is the header, not the route. A policy for only the called route would deny the next request to another
//! route. Therefore the policy does not depend on the called route and contains every route that the user may call.
//!
//! `*` in an execute-api ARN also matches slashes, which has these consequences:
//!
//! - A rule for all methods lists the methods. `stage/*/demo/users` would also match `stage/GET/x/demo/users`.
//! - `{userId}` becomes `*`, so `GET/demo/users/*` would also match `GET/demo/users/1/orders`. An explicit Deny with the
//!   parameter twice (`…/users/*/*`) denies the longer paths. If the user also has a rule for a longer route with the same
//!   prefix, the Deny starts below that route, because it would deny that route, too. Paths in between that have no rule
//!   are then allowed for this user.
//! - A rule for `/demo/{x}` also matches the literal route `/demo/users`: IAM cannot distinguish them. Do not allow a
//!   parameter next to a literal route that the user must not call. The users API has no such routes.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use crate::credentials::UserName;
use crate::rights::{Rule, is_parameter};

/// The response of the authorizer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerResponse {
    principal_id: String,
    policy_document: Value,
    context: Value,
}

/// The policy of this user for the stage of the called method. None if the text is not the ARN of a method.
pub fn policy(user: &UserName, method_arn: &str, rules: &[Rule]) -> Option<AuthorizerResponse> {
    let stage = stage_of(method_arn)?;
    let allowed: BTreeSet<(&str, &str)> =
        rules.iter().flat_map(|rule| rule.methods().map(|method| (method, rule.path()))).collect();
    let resource = |method: &str, path: &str| format!("{stage}/{method}{path}");

    let mut statements = Vec::new();
    if allowed.is_empty() {
        statements.push(statement("Deny", BTreeSet::from([format!("{stage}/*")])));
    } else {
        let resources = allowed.iter().map(|(method, path)| resource(method, &pattern(path, None)));
        statements.push(statement("Allow", resources.collect()));
        let mut longer = BTreeSet::new();
        for (method, path) in &allowed {
            let same_method = allowed.iter().filter(|(other, _)| other == method).map(|(_, other)| *other);
            let longest =
                same_method.filter(|other| may_overlap(path, other)).map(length).max().unwrap_or_default();
            let times = longest.saturating_sub(length(path)) + 2;
            longer
                .extend(parameters(path).map(|index| resource(method, &pattern(path, Some((index, times))))));
        }
        if !longer.is_empty() {
            statements.push(statement("Deny", longer));
        }
    }
    Some(AuthorizerResponse {
        principal_id: user.to_string(),
        policy_document: json!({ "Version": "2012-10-17", "Statement": statements }),
        context: json!({ "user": user.as_str() }),
    })
}

fn statement(effect: &str, resources: BTreeSet<String>) -> Value {
    json!({ "Action": "execute-api:Invoke", "Effect": effect, "Resource": resources })
}

/// The part `arn:aws:execute-api:<region>:<account>:<api>/<stage>` of a method's ARN.
fn stage_of(method_arn: &str) -> Option<&str> {
    let fields: Vec<&str> = method_arn.splitn(6, ':').collect();
    let ["arn", _, "execute-api", _, _, resource] = fields.as_slice() else { return None };
    let mut parts = resource.splitn(3, '/');
    let (api, stage) = (parts.next()?, parts.next()?);
    parts.next()?;
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['*', '?']);
    let length = method_arn.len() - resource.len() + api.len() + 1 + stage.len();
    (is_plain(api) && is_plain(stage)).then(|| method_arn.get(..length)).flatten()
}

/// The route with `*` for each parameter, repeated (`*/*`) for the parameter at the given position.
fn pattern(path: &str, repeated: Option<(usize, usize)>) -> String {
    let segments = path.split('/').enumerate().map(|(index, segment)| match repeated {
        _ if !is_parameter(segment) => segment.to_owned(),
        Some((position, times)) if position == index => vec!["*"; times].join("/"),
        _ => "*".to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The positions of the parameters in the route.
fn parameters(path: &str) -> impl Iterator<Item = usize> {
    path.split('/').enumerate().filter(|(_, segment)| is_parameter(segment)).map(|(index, _)| index)
}

fn length(path: &str) -> usize {
    path.split('/').count()
}

/// Whether a path below one route may match the other: up to its first parameter, one is a prefix of the other.
fn may_overlap(path: &str, other: &str) -> bool {
    fn literal_prefix(path: &str) -> &str {
        path.split('{').next().unwrap_or(path)
    }
    let (path, other) = (literal_prefix(path), literal_prefix(other));
    path.starts_with(other) || other.starts_with(path)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
