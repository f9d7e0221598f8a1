//! The methods of an API, and the functions that they call.

use serde_json::Value;

use super::definition::{AUTHORIZER, Definition};
use super::model::FunctionKey;

/// A method of an API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) method: &'a str,
    /// The path of its resource, such as `/users/{userId}`.
    pub(crate) path: &'a str,
    part: &'a Value,
}

impl Definition {
    pub(crate) fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        self.parts().iter().filter_map(|(name, part)| {
            let (method, path) = name.split_once(' ')?;
            let is_route = path.starts_with('/') && method.chars().all(|c| c.is_ascii_uppercase());
            is_route.then_some(Route { method, path, part })
        })
    }

    /// The method that API Gateway chooses for a request: the most specific path, and a method before `ANY`.
    pub(crate) fn route_of(&self, method: &str, path: &str) -> Option<Route<'_>> {
        let path = path.split(['?', '#']).next().unwrap_or(path);
        let served = self.routes().filter(|route| [method, "ANY"].contains(&route.method));
        served
            .filter_map(|route| Some((specificity(route.path, path)?, route.method == method, route)))
            .max_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)))
            .map(|(_, _, route)| route)
    }

    /// Whether a function is an authorizer of the API.
    pub(crate) fn is_authorizer(&self, key: &FunctionKey) -> bool {
        self.parts().iter().any(|(name, part)| name.starts_with(AUTHORIZER) && names(&part["uri"], key))
    }

    /// Of `keys`, the functions that a request of this method needs: its own, and its authorizer.
    pub(crate) fn needed_by<'k>(
        &self,
        route: &Route<'_>,
        keys: impl Iterator<Item = &'k FunctionKey>,
    ) -> Vec<&'k FunctionKey> {
        let authorizer = route.part["authorizer"].as_str();
        let authorizer = authorizer.and_then(|name| self.part(&format!("{AUTHORIZER}{name}")));
        keys.filter(|key| route.calls(key) || authorizer.is_some_and(|part| names(&part["uri"], key)))
            .collect()
    }
}

impl Route<'_> {
    /// Whether the method passes its requests to a function whose version is the stage variable `key`.
    pub(crate) fn calls(&self, key: &FunctionKey) -> bool {
        let integration = &self.part["integration"];
        integration["type"] == "AWS_PROXY" && names(&integration["uri"], key)
    }
}

/// Whether a URI takes the version of its function from the stage variable `key`.
fn names(uri: &Value, key: &FunctionKey) -> bool {
    uri.as_str().is_some_and(|uri| uri.contains(&format!(":${{stageVariables.{key}}}/")))
}

/// How well a resource fits a path, one number for each of its parts; `None` if it does not.
fn specificity(resource: &str, path: &str) -> Option<Vec<u8>> {
    let mut parts = path.trim_end_matches('/').split('/').skip(1);
    let mut fit = Vec::new();
    for expected in resource.trim_end_matches('/').split('/').skip(1) {
        let found = parts.next()?;
        match expected.strip_prefix('{') {
            Some(name) if name.ends_with("+}") => {
                fit.push(0);
                return Some(fit);
            }
            Some(_) => fit.push(1),
            None if expected == found => fit.push(2),
            None => return None,
        }
    }
    parts.next().is_none().then_some(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn calling(key: &str) -> Value {
        let uri = format!(
            "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/\
             arn:aws:lambda:eu-west-1:111111111111:function:f:${{stageVariables.{key}}}/invocations"
        );
        json!({ "integration": { "type": "AWS_PROXY", "uri": uri }, "authorizer": "who" })
    }

    fn definition() -> Definition {
        let parts = [
            ("GET /users", calling("users_get")),
            ("ANY /users", calling("users_any")),
            ("GET /users/{id}", calling("user_get")),
            ("GET /users/me", calling("me")),
            ("ANY /{proxy+}", calling("rest")),
            ("authorizer who", json!({ "uri": calling("guard")["integration"]["uri"] })),
            ("model /x", json!({})),
        ];
        Definition::new(parts.map(|(name, part)| (name.to_owned(), part)).into())
    }

    #[test]
    fn a_request_is_served_by_the_most_specific_method() {
        let definition = definition();
        assert_eq!(definition.routes().count(), 5);
        for (method, path, found) in [
            ("GET", "/users?page=2", Some("GET /users")),
            ("POST", "/users/", Some("ANY /users")),
            ("GET", "/users/7", Some("GET /users/{id}")),
            ("GET", "/users/me", Some("GET /users/me")),
            ("DELETE", "/users/me", Some("ANY /{proxy+}")),
            ("GET", "/users/7/x", Some("ANY /{proxy+}")),
            ("GET", "/", None),
        ] {
            let route = definition.route_of(method, path);
            let name = route.map(|route| format!("{} {}", route.method, route.path));
            assert_eq!(name.as_deref(), found, "{method} {path}");
        }
    }

    #[test]
    fn a_request_needs_its_function_and_its_authorizer() {
        let definition = definition();
        let keys: Vec<FunctionKey> =
            ["guard", "me", "users", "users_get"].map(|key| key.parse().unwrap()).into();
        let route = definition.route_of("GET", "/users").unwrap();
        let needed: Vec<&str> =
            definition.needed_by(&route, keys.iter()).into_iter().map(FunctionKey::as_str).collect();
        assert_eq!(needed, ["guard", "users_get"]);
        assert!(definition.is_authorizer(&keys[0]) && !definition.is_authorizer(&keys[3]));
    }
}
