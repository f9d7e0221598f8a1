//! The configuration as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hcl::structure::{Block, Body};

use super::{LAYERS, files, folder, parsed, terraform};

/// Every block of a layer.
fn blocks(layer: &str) -> Vec<Block> {
    files(&folder(layer), ".tf").iter().flat_map(|file| parsed(file).into_blocks()).collect()
}

/// The resources of a type.
fn resources(layer: &str, kind: &str) -> Vec<Block> {
    let mut found = blocks(layer);
    found.retain(|block| {
        block.identifier.as_str() == "resource"
            && block.labels.first().map(|label| label.as_str()) == Some(kind)
    });
    assert!(!found.is_empty(), "{layer} has no {kind}");
    found
}

/// What a resource's `lifecycle` tells Terraform to leave alone.
fn ignored(resource: &Block) -> BTreeSet<String> {
    let ignore = |body: &Body| {
        let found = body.attributes().find(|attribute| attribute.key.as_str() == "ignore_changes");
        found.map(|attribute| attribute.expr.to_string())
    };
    let lifecycle = resource.body.blocks().find(|block| block.identifier.as_str() == "lifecycle");
    let list = lifecycle.and_then(|block| ignore(&block.body)).unwrap_or_default();
    list.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn terraform_keeps_the_values_that_deployctl_sets() {
    let owned: [(&str, &str, &[&str]); 3] = [
        ("app", "aws_api_gateway_stage", &["deployment_id", "variables", "canary_settings"]),
        (
            "app",
            "aws_lambda_function",
            &["s3_bucket", "s3_key", "s3_object_version", "source_code_hash", "architectures"],
        ),
        ("dns", "aws_api_gateway_domain_name", &["mutual_tls_authentication"]),
    ];
    for (layer, kind, attributes) in owned {
        for resource in resources(layer, kind) {
            let expected: BTreeSet<String> = attributes.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(ignored(&resource), expected, "{kind}.{:?}", resource.labels);
        }
    }
}

#[test]
fn the_one_deployment_is_never_replaced() {
    let deployments = resources("app", "aws_api_gateway_deployment");
    assert_eq!(deployments.len(), 1);
    let set: BTreeSet<&str> = deployments[0].body.attributes().map(|a| a.key.as_str()).collect();
    assert_eq!(set, ["depends_on", "description", "rest_api_id"].into());
    // What it depends on inherits create_before_destroy; for a response, that means to be made and then deleted.
    let depends_on = deployments[0].body.attributes().find(|a| a.key.as_str() == "depends_on").unwrap();
    let names = depends_on.expr.to_string();
    let others =
        names.matches("aws_api_gateway_").count() - names.matches("aws_api_gateway_integration.").count();
    assert_eq!(others, 0, "{names}");
}

/// The variables of a layer, as they are written.
fn variables(layer: &str) -> BTreeMap<String, Block> {
    let mut found = blocks(layer);
    found.retain(|block| block.identifier.as_str() == "variable");
    found.into_iter().map(|block| (block.labels[0].as_str().to_owned(), block)).collect()
}

/// Those that deployctl sets, and so nobody has to be told of.
const SET: [&str; 6] = ["project", "stage", "region", "release_version", "state_bucket", "state_prefix"];

#[test]
fn every_variable_is_described_typed_and_documented() {
    let readme = std::fs::read_to_string(terraform().join("README.md")).unwrap();
    for layer in LAYERS {
        for (name, block) in variables(layer) {
            let given: BTreeSet<&str> = block.body.attributes().map(|a| a.key.as_str()).collect();
            assert!(given.contains("description") && given.contains("type"), "{layer}: {name}");
            let row = readme.lines().any(|line| {
                line.starts_with(&format!("| `{layer}` |")) && line.contains(&format!("`{name}`"))
            });
            assert!(
                row || SET.contains(&name.as_str()),
                "terraform/README.md does not tell of {layer}'s {name}"
            );
        }
    }
}

#[test]
fn the_guard_is_the_same_in_every_layer() {
    let rule = |block: &Block| {
        let validation = block.body.blocks().find(|block| block.identifier.as_str() == "validation");
        hcl::to_string(&validation.expect("a validation").body).unwrap()
    };
    let app = variables("app");
    for layer in ["base", "dns"] {
        let shared = variables(layer);
        let mut shared: Vec<_> = shared.iter().filter(|(name, _)| SET.contains(&name.as_str())).collect();
        shared.sort_by_key(|(name, _)| name.as_str());
        assert!(shared.len() >= 3);
        for (name, block) in shared {
            assert_eq!(rule(block), rule(&app[name]), "{layer}: {name}");
        }
    }
}

#[test]
fn every_layer_has_its_lock_file_and_the_same_provider() {
    let lock = |layer: &str| std::fs::read_to_string(folder(layer).join(".terraform.lock.hcl")).unwrap();
    for layer in LAYERS {
        assert_eq!(lock(layer), lock("base"), "{layer}");
        assert!(Path::new(&folder(layer)).join("versions.tf").exists());
    }
}
