//! Checks in the source that Terraform ignores what deployctl sets.

use crate::documents::doctor::Finding;
use crate::project::settings::Settings;
use crate::terraform::plan;
use crate::terraform::source::{Found, Module, with_called};

const CHECK: &str = "ownership-source";

/// The layer of the contract, and the modules of this source tree that it calls.
pub(crate) fn in_source(settings: &Settings) -> Vec<Finding> {
    let contract = &settings.contract;
    let Some(layer) = settings.layers.iter().find(|layer| layer.name == contract.layer) else {
        return Vec::new();
    };
    let root = Module::read(&layer.dir);
    if root.is_empty() {
        let message = format!("layer {} has no Terraform code in {}", layer.name, layer.dir.display());
        return vec![Finding::problem(CHECK, message, "correct its `path` in deployctl.toml")];
    }
    let modules = with_called(root);
    let mut findings: Vec<Finding> = modules
        .iter()
        .flat_map(|module| &module.unreadable)
        .map(|(path, why)| Finding::unchecked(CHECK, format!("failed to read {}: {why}", path.display())))
        .collect();
    let mut checked = 0;
    for module in &modules {
        for (kind, owned) in plan::OWNED {
            for found in module.resources(kind) {
                checked += 1;
                findings.extend(missing(settings, &found, owned));
            }
        }
        findings.extend(module.resources("aws_api_gateway_deployment").filter_map(|found| replaced(&found)));
    }
    let output = |module: &Module| {
        module
            .blocks("output")
            .any(|(_, block)| block.labels.first().is_some_and(|l| l.as_str() == contract.output))
    };
    let all_readable = modules.iter().all(|module| module.unreadable.is_empty());
    if settings.contract_table.is_none() && all_readable && !modules.first().is_some_and(output) {
        findings.push(Finding::problem(
            "contract-source",
            format!("layer {} has no output {:?}", layer.name, contract.output),
            "`deployctl init` prints it, with everything it needs",
        ));
    }
    if findings.is_empty() {
        let message =
            format!("Terraform ignores what deployctl manages ({checked} resources in layer {})", layer.name);
        findings.push(Finding::ok(CHECK, message));
    }
    findings
}

fn missing(settings: &Settings, found: &Found<'_>, owned: &[&str]) -> Option<Finding> {
    // Terraform removes attributes that a stage does not set, but keeps those that a function does not set.
    let is_stage = found.kind == "aws_api_gateway_stage";
    let managed: Vec<&str> =
        owned.iter().copied().filter(|name| is_stage || found.attribute(name).is_some()).collect();
    let missing = found.ignored().missing(&managed);
    if missing.is_empty() {
        return None;
    }
    let file = found.file.path.strip_prefix(&settings.root).unwrap_or(&found.file.path);
    let message = format!(
        "{} in {} does not ignore {}: the next apply would undo a release",
        found.address(),
        file.display(),
        missing.join(", ")
    );
    let remedy = format!(
        "lifecycle {{ ignore_changes = [{}] }}; `deployctl init` prints the patch",
        managed.join(", ")
    );
    Some(Finding::problem(CHECK, message, remedy))
}

/// A deployment with `triggers` is replaced, and Terraform deletes the one that the stage may still serve.
fn replaced(found: &Found<'_>) -> Option<Finding> {
    let triggers =
        found.attribute("triggers").is_some() && !found.ignored().missing(&["triggers"]).is_empty();
    triggers.then(|| {
        Finding::warning(
            CHECK,
            format!(
                "{} is replaced when its triggers change, but deployctl creates the deployments",
                found.address()
            ),
            "remove `triggers` if the stage is new, otherwise add `lifecycle { ignore_changes = [triggers] }`",
        )
    })
}
