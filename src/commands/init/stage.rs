//! Adds `ignore_changes` to functions and stage, and a deployment that Terraform creates once.

use hcl_edit::Span as _;
use hcl_edit::expr::Expression;

use super::contract::filled;
use super::edits::Edits;
use super::functions::is_image;
use crate::documents::init::Advice;
use crate::terraform::source::{Found, Ignored, Module, Repeat};

/// The attributes of a function that a release changes.
const CODE: [&str; 5] = ["s3_bucket", "s3_key", "s3_object_version", "source_code_hash", "architectures"];

/// The attributes of a stage that a release changes.
pub(crate) const POINTER: [&str; 3] = ["deployment_id", "variables", "canary_settings"];

/// Makes Terraform ignore a function's code.
pub(crate) fn release_code(function: &Found<'_>, edits: &mut Edits) {
    if is_image(function) {
        let why = "# deployctl manages the code: it publishes the image of every release.";
        ignore(function, &["image_uri"], why, edits);
        return;
    }
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

/// Makes Terraform ignore the version of an alias.
pub(crate) fn release_alias(alias: &Found<'_>, edits: &mut Edits) {
    let why = "# deployctl moves the alias right after the switch.";
    ignore(alias, &["function_version", "routing_config"], why, edits);
}

/// Makes Terraform ignore the stage's deployment and variables.
pub(crate) fn release_pointer(stage: &Found<'_>, edits: &mut Edits) {
    let why = "# deployctl manages these: otherwise, the next apply would undo a release.";
    ignore(stage, &POINTER, why, edits);
}

/// Makes the deployment one that Terraform creates once, because a stage cannot be created without one.
pub(crate) fn bootstrap(deployment: &Found<'_>, edits: &mut Edits, advice: &mut Vec<Advice>) {
    destroy_first(deployment, edits);
    if deployment.attribute("triggers").is_some() {
        let why =
            "# deployctl deploys the API: Terraform creates this deployment once and never replaces it.";
        ignore(deployment, &["triggers"], why, edits);
    }
    if deployment.repeat() != Repeat::Once {
        advice.push(Advice::new(format!(
            "{} has several instances, but the stage needs only one",
            deployment.address()
        )));
    }
}

/// Integrations inherit `create_before_destroy` of the deployment that depends on them. One that is replaced, as for a
/// role, would be created and then deleted, because both have the same id.
fn destroy_first(deployment: &Found<'_>, edits: &mut Edits) {
    let lifecycle = deployment.block.body.get_blocks("lifecycle").next();
    let inherited = lifecycle.and_then(|block| block.body.get_attribute("create_before_destroy"));
    let Some(range) = inherited.and_then(|attribute| attribute.value.span()) else { return };
    let text = &deployment.file.text;
    if text.get(range.clone()) != Some("true") {
        return;
    }
    let rest = text.get(range.end..).unwrap_or_default().lines().next().unwrap_or_default();
    let why = if rest.trim().is_empty() {
        " # integrations inherit it, and one that is replaced would be created, then deleted"
    } else {
        ""
    };
    edits.replace(deployment.file, range, format!("false{why}"));
}

/// Whether the deployment creates a stage: the provider deletes that stage together with it.
pub(crate) fn creates_stage(deployment: &Found<'_>) -> bool {
    let name = deployment.attribute("stage_name");
    name.is_some_and(|name| !matches!(deployment.file.text_of(name), "\"\"" | "null"))
}

/// What takes the place of a deployment that creates the stage.
pub(crate) struct Replacement {
    /// Blocks for the module of the deployment.
    pub(crate) blocks: String,
    /// The expressions of the API's id and of the stage's name, in that module.
    pub(crate) api: String,
    pub(crate) name: String,
}

/// Takes a deployment that creates the stage out of Terraform's hands without destroying it, and adds a
/// bootstrap deployment. `stage` is the resource of the stage, if there is one already.
pub(crate) fn replace_deployment(
    module: &Module,
    deployment: &Found<'_>,
    stage: Option<&str>,
    edits: &mut Edits,
) -> Option<Replacement> {
    let text = |name: &str| Some(deployment.file.text_of(deployment.attribute(name)?).to_owned());
    let (api, name) = (text("rest_api_id")?, text("stage_name")?);
    let depends_on = text("depends_on").map(|list| format!("\n  depends_on  = {list}")).unwrap_or_default();
    let removed = [("ADDRESS", deployment.address())];
    let removed: Vec<(&str, &str)> = removed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut blocks = filled(include_str!("templates/removed.tf.in"), &removed);
    let values = [("API", api.as_str()), ("DEPENDS_ON", depends_on.as_str())];
    blocks.push_str(&filled(include_str!("templates/bootstrap.tf.in"), &values));
    if stage.is_none() {
        let why = "The deployment used to create it. deployctl manages its deployment and its variables.";
        let mut block = self::stage(why, &api, &name, BOOTSTRAP);
        if let Some(description) = text("stage_description") {
            block = block
                .replace("\n\n  lifecycle", &format!("\n  description   = {description}\n\n  lifecycle"));
        }
        blocks.push('\n');
        blocks.push_str(&block);
    }
    edits.remove_block(deployment.file, deployment.block);
    rename(module, deployment, stage.unwrap_or("aws_api_gateway_stage.deployctl"), edits);
    Some(Replacement { blocks, api, name })
}

const BOOTSTRAP: &str = "aws_api_gateway_deployment.deployctl";

/// Replaces the references to a deployment by those to its stage and to the new deployment.
fn rename(module: &Module, deployment: &Found<'_>, stage: &str, edits: &mut Edits) {
    let address = deployment.address();
    let own = deployment.block.span().unwrap_or_default();
    for file in &module.files {
        for (at, _) in file.text.match_indices(&address) {
            let is_own = std::ptr::eq(file, deployment.file) && own.contains(&at);
            let rest = file.text.get(at + address.len()..).unwrap_or_default();
            let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            if is_own || rest.starts_with(is_name) || file.text[..at].ends_with(is_name) {
                continue;
            }
            let attribute: String =
                rest.trim_start_matches('.').chars().take_while(|c| is_name(*c)).collect();
            let new = match attribute.as_str() {
                "id" | "rest_api_id" | "created_date" if rest.starts_with('.') => BOOTSTRAP,
                _ => stage,
            };
            edits.replace(file, at..at + address.len(), new);
        }
    }
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
            edits.patch(dir.path()).0
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
