//! Adds `ignore_changes` to functions and stage, and a deployment that Terraform creates once.

use hcl_edit::Span as _;
use hcl_edit::expr::Expression;

use super::contract::filled;
use super::edits::Edits;
use crate::documents::init::Advice;
use crate::terraform::source::{Found, Ignored, Module};

/// The attributes of a function that a release changes.
const CODE: [&str; 5] = ["s3_bucket", "s3_key", "s3_object_version", "source_code_hash", "architectures"];

/// The attributes of a stage that a release changes.
pub(crate) const POINTER: [&str; 3] = ["deployment_id", "variables", "canary_settings"];

/// Makes Terraform ignore a function's code.
pub(crate) fn release_code(function: &Found<'_>, edits: &mut Edits) {
    let mut attributes = CODE.to_vec();
    // The patch removes the first two, but the state of an existing function still contains them. The others
    // exist only in some versions of the provider.
    let if_set = ["filename", "code_sha256", "source_kms_key_arn"];
    attributes.extend(if_set.iter().filter(|name| function.attribute(name).is_some()));
    ignore(
        function,
        &attributes,
        "# deployctl manages the code: it uploads and publishes the zips of every release.",
        edits,
    );
}

/// Makes Terraform ignore the stage's deployment and variables.
pub(crate) fn release_pointer(stage: &Found<'_>, edits: &mut Edits) {
    let why = "# deployctl manages these: otherwise, the next apply would undo a release.";
    ignore(stage, &POINTER, why, edits);
}

/// Makes the deployment one that Terraform creates once, because a stage cannot be created without one.
pub(crate) fn bootstrap(layer: &Module, deployment: &Found<'_>, edits: &mut Edits, advice: &mut Vec<Advice>) {
    if deployment.attribute("triggers").is_some() {
        let why =
            "# deployctl deploys the API: Terraform creates this deployment once and never replaces it.";
        ignore(deployment, &["triggers"], why, edits);
    }
    if deployment.repeat() != crate::terraform::source::Repeat::Once {
        advice.push(Advice::new(format!(
            "{} has several instances, but the stage needs only one",
            deployment.address()
        )));
    }
    let Some(stage_name) = deployment.block.body.get_attribute("stage_name") else { return };
    if layer.resources("aws_api_gateway_stage").next().is_some() {
        edits.remove(deployment.file, stage_name);
    }
}

/// Turns a stage that the deployment creates with `stage_name` into a resource. Returns its block.
pub(crate) fn of_its_own(
    layer: &str,
    deployment: &Found<'_>,
    edits: &mut Edits,
    advice: &mut Vec<Advice>,
) -> Option<String> {
    let attribute = deployment.block.body.get_attribute("stage_name")?;
    let name = deployment.file.text_of(&attribute.value).to_owned();
    let api = deployment.attribute("rest_api_id").map(|api| deployment.file.text_of(api).to_owned())?;
    edits.remove(deployment.file, attribute);
    let dropped = ["stage_description", "variables", "canary_settings"];
    for attribute in dropped.iter().filter_map(|name| deployment.block.body.get_attribute(name)) {
        edits.remove(deployment.file, attribute);
    }
    advice.push(
        Advice::new(format!(
            "{} created the stage {name}; the patch makes it a separate resource. If the stage exists, \
             import it before the first release",
            deployment.address()
        ))
        .write(format!(
            "deployctl terraform {layer} --stage STAGE -- import aws_api_gateway_stage.deployctl \
             API_ID/STAGE_NAME"
        )),
    );
    let why = "The deployment used to create it. deployctl manages its deployment and its variables.";
    Some(stage(why, &api, &name, &deployment.address()))
}

/// Adds attributes to `ignore_changes`, and creates it if it is missing.
fn ignore(found: &Found<'_>, attributes: &[&str], why: &str, edits: &mut Edits) {
    let missing = found.ignored().missing(attributes);
    if missing.is_empty() || found.ignored() == Ignored::All {
        return;
    }
    let lifecycle = found.block.body.get_blocks("lifecycle").next();
    let Some(lifecycle) = lifecycle else {
        let mut lines = vec!["lifecycle {".to_owned(), format!("  {why}")];
        lines.extend(list(&missing).into_iter().map(|line| format!("  {line}")));
        lines.push("}".to_owned());
        edits.append(found.file, found.block, &lines, true);
        return;
    };
    let Some(attribute) = lifecycle.body.get_attribute("ignore_changes") else {
        let mut lines = vec![why.to_owned()];
        lines.extend(list(&missing));
        edits.append(found.file, lifecycle, &lines, true);
        return;
    };
    let last = match &attribute.value {
        Expression::Array(array) => array.iter().last().and_then(hcl_edit::Span::span),
        _ => None,
    };
    match (last, attribute.value.span()) {
        (Some(last), _) => edits.replace(found.file, last.end..last.end, format!(", {}", missing.join(", "))),
        (None, Some(whole)) => edits.replace(found.file, whole, format!("[{}]", missing.join(", "))),
        (None, None) => {}
    }
}

/// `ignore_changes = […]`, on one line if it fits.
fn list(attributes: &[&str]) -> Vec<String> {
    if attributes.len() <= 3 {
        return vec![format!("ignore_changes = [{}]", attributes.join(", "))];
    }
    let mut lines = vec!["ignore_changes = [".to_owned()];
    lines.extend(attributes.iter().map(|name| format!("  {name},")));
    lines.push("]".to_owned());
    lines
}

/// The deployment that a new stage needs.
pub(crate) fn deployment(api: &str, integrations: &[String]) -> String {
    let values = [("API", api), ("INTEGRATIONS", &integrations.join(", "))];
    filled(include_str!("templates/deployment.tf.in"), &values)
}

pub(crate) fn new(api: &str, deployment: &str) -> String {
    let why = "deployctl manages its deployment and its variables.";
    stage(why, &format!("{api}.id"), "var.stage", deployment)
}

fn stage(why: &str, api: &str, name: &str, deployment: &str) -> String {
    let ignored = POINTER.join(", ");
    let values =
        [("WHY", why), ("API", api), ("NAME", name), ("DEPLOYMENT", deployment), ("IGNORED", &ignored)];
    filled(include_str!("templates/stage.tf.in"), &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_only_some_providers_have_are_ignored_if_they_are_set() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| {
            let source = format!("resource \"aws_lambda_function\" \"f\" {{\n{text}}}\n");
            std::fs::write(dir.path().join("main.tf"), source).unwrap();
            let module = Module::read(dir.path());
            let mut edits = Edits::default();
            module.resources("aws_lambda_function").for_each(|found| release_code(&found, &mut edits));
            edits.patch(dir.path())
        };
        let plain = write("  s3_key = \"k\"\n");
        assert!(plain.contains("+      architectures,"), "{plain}");
        assert!(!plain.contains("code_sha256") && !plain.contains("source_kms_key_arn"), "{plain}");
        let set = write("  code_sha256        = \"x\"\n  source_kms_key_arn = \"y\"\n");
        for line in ["+      code_sha256,", "+      source_kms_key_arn,"] {
            assert!(set.contains(line), "{set}");
        }
    }
}
