//! Finds a route for the probe.

use super::tree::Tree;
use crate::terraform::source::{Found, Step, literal, steps};

/// The path of a route that answers a `GET`, best one without credentials and without parameters.
pub(crate) fn path(tree: &Tree<'_>) -> Option<String> {
    let methods = tree.resources("aws_api_gateway_method").filter_map(|(scope, method)| {
        let verb = tree.value(scope, method.attribute("http_method")?)?;
        let path = of_resource(tree, scope, &method, "resource_id", 0)?;
        let is_open = method.attribute("authorization").and_then(literal) == Some("NONE");
        let rank = (!is_open, path.contains('{'), path.len());
        (verb == "GET" || verb == "ANY").then_some((rank, path))
    });
    let found = methods.min().map(|(_, path)| path);
    let path = found.or_else(|| super::openapi::texts(tree).iter().find_map(|text| of_document(text)))?;
    // A parameter matches any text.
    let parts: Vec<&str> =
        path.split('/').map(|part| if part.starts_with('{') { "probe" } else { part }).collect();
    Some(parts.join("/"))
}

/// A path of an OpenAPI document that answers a `GET`.
fn of_document(text: &str) -> Option<String> {
    let mut paths: Vec<(bool, String)> = Vec::new();
    let mut current: Option<(usize, &str)> = None;
    for line in text.lines() {
        let width = line.len() - line.trim_start().len();
        let Some((key, _)) = line.split_once(':') else { continue };
        let key = key.trim().trim_matches(['"', '\'']);
        if key.starts_with('/') {
            current = Some((width, key));
        } else if let Some((outer, path)) = current
            && width > outer
            && matches!(key, "get" | "x-amazon-apigateway-any-method")
        {
            paths.push((path.contains('{'), path.to_owned()));
        }
    }
    paths.sort();
    paths.into_iter().next().map(|(_, path)| path)
}

/// The path of the resource that an attribute names.
fn of_resource(
    tree: &Tree<'_>,
    scope: usize,
    found: &Found<'_>,
    attribute: &str,
    depth: usize,
) -> Option<String> {
    let value = found.attribute(attribute)?;
    if depth > 16 {
        return None;
    }
    match steps(value)?.as_slice() {
        [Step::Attribute("aws_api_gateway_resource"), Step::Attribute(name), ..] => {
            let resource =
                tree.module(scope).resources("aws_api_gateway_resource").find(|found| found.name == *name)?;
            let parent = of_resource(tree, scope, &resource, "parent_id", depth + 1)?;
            let part = tree.value(scope, resource.attribute("path_part")?)?;
            Some(format!("{}/{part}", parent.trim_end_matches('/')))
        }
        [.., Step::Attribute("root_resource_id")] => Some("/".to_owned()),
        _ => None,
    }
}
