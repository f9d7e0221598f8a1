//! Rights as the IAM policy that API Gateway evaluates, for this request and, cached, for the caller's next ones.
//!
//! The cache is keyed by the header, not by the route: a policy for only the route that was called would answer 403 on
//! every other one. So the policy is the same whatever was called, and says exactly what the user may call.
//!
//! "Exactly" needs care, because `*` in an execute-api ARN matches slashes too:
//!
//! - A rule for any method spells the methods out. `stage/*/demo/users` would also match `stage/GET/x/demo/users`.
//! - `{userId}` becomes `*`, so `GET/demo/users/*` would also match `GET/demo/users/1/orders`. An explicit Deny with
//!   the parameter written twice (`…/users/*/*`) takes the longer paths away again. Where the user has a longer route
//!   under the same beginning, the Deny starts below that route, or it would take it too: paths in between that no rule
//!   names are then open to this user.
//! - The *sibling* `/demo/users` is matched by a rule for `/demo/{x}`, as IAM cannot tell them apart. Do not give a
//!   right to a parameter that has literal siblings the user must not call. The users API has none.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use crate::credentials::UserName;
use crate::rights::{Rule, is_parameter};

/// The authorizer's answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    principal_id: String,
    policy_document: Value,
    context: Value,
}

/// The policy of this user on the stage of the method that was called; None if that is no method's ARN.
pub fn policy(user: &UserName, method_arn: &str, rules: &[Rule]) -> Option<Answer> {
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
                same_method.filter(|other| may_meet(path, other)).map(length).max().unwrap_or_default();
            let times = longest.saturating_sub(length(path)) + 2;
            longer
                .extend(parameters(path).map(|index| resource(method, &pattern(path, Some((index, times))))));
        }
        if !longer.is_empty() {
            statements.push(statement("Deny", longer));
        }
    }
    Some(Answer {
        principal_id: user.to_string(),
        policy_document: json!({ "Version": "2012-10-17", "Statement": statements }),
        context: json!({ "user": user.as_str() }),
    })
}

fn statement(effect: &str, resources: BTreeSet<String>) -> Value {
    json!({ "Action": "execute-api:Invoke", "Effect": effect, "Resource": resources })
}

/// `arn:aws:execute-api:<region>:<account>:<api>/<stage>` of a method's ARN.
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

/// The route with `*` for each parameter, and several (`*/*`) for the one at the given position.
fn pattern(path: &str, repeated: Option<(usize, usize)>) -> String {
    let segments = path.split('/').enumerate().map(|(index, segment)| match repeated {
        _ if !is_parameter(segment) => segment.to_owned(),
        Some((position, times)) if position == index => vec!["*"; times].join("/"),
        _ => "*".to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The positions of the parameters among the route's segments.
fn parameters(path: &str) -> impl Iterator<Item = usize> {
    path.split('/').enumerate().filter(|(_, segment)| is_parameter(segment)).map(|(index, _)| index)
}

fn length(path: &str) -> usize {
    path.split('/').count()
}

/// Whether a path below one route may belong to the other: one begins as the other does, up to the first parameter.
fn may_meet(path: &str, other: &str) -> bool {
    fn beginning(path: &str) -> &str {
        path.split('{').next().unwrap_or(path)
    }
    let (path, other) = (beginning(path), beginning(other));
    path.starts_with(other) || other.starts_with(path)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
