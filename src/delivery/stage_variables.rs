//! Refuses a stage whose Terraform sets variables that no release would set: Terraform ignores the variables of
//! the stage, so a change of them would never reach it.

use std::path::Path;

use hcl_edit::expr::{Expression, ObjectKey};

use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::contract::Contract;
use crate::project::settings::{FILE, OutputName, Settings};
use crate::release::model::RELEASE_VARIABLE;
use crate::terraform::source::{Found, Module, with_called};

/// Checks that the contract has the stage variables of the project, if the Terraform source sets some.
///
/// # Errors
/// `contract.variables` with the line to write.
pub(super) fn must_be_in_contract(settings: &Settings, contract: &Contract) -> Result<()> {
    let layer = settings.layers.iter().find(|layer| layer.name == settings.contract.layer);
    let Some(layer) = layer.filter(|_| contract.variables.is_empty()) else { return Ok(()) };
    let modules = with_called(Module::read(&layer.dir));
    let stages = modules.iter().flat_map(|module| {
        module.resources("aws_api_gateway_stage").map(|stage| (stage, module.dir == layer.dir))
    });
    let mut refusals = stages.filter_map(|(stage, is_root)| {
        let is_function = |name: &str| contract.functions.keys().any(|key| key.as_str() == name);
        let own = own(&stage, is_function)?;
        let file = stage.file.path.strip_prefix(&settings.root).unwrap_or(&stage.file.path);
        let in_table = settings.contract_table.is_some();
        Some(refusal(&stage.address(), file, (&settings.contract, in_table), &own, is_root))
    });
    refusals.next().map_or(Ok(()), Err)
}

fn refusal(
    stage: &str,
    file: &Path,
    (output, in_table): (&OutputName, bool),
    own: &Own,
    is_root: bool,
) -> Error {
    let message = format!(
        "refused: {stage} in {} sets stage variables ({}), and the contract has none: no release would set them",
        file.display(),
        own.names
    );
    if in_table {
        return Error::new(Kind::Terraform, ErrorId::ContractVariables, message).hint(format!(
            "what is live is unchanged; make them outputs of layer {:?}, name these in [contract.variables] of \
             {FILE}, and remove `variables` from the stage",
            output.layer
        ));
    }
    let from_module = if is_root { "" } else { " (with values that the module returns)" };
    Error::new(Kind::Terraform, ErrorId::ContractVariables, message).hint(format!(
        "what is live is unchanged; write this line into the output {:?} of layer {:?}{from_module}, and remove \
         `variables` from the stage:\n    variables = {}",
        output.output, output.layer, own.value
    ))
}

/// Stage variables in Terraform source that are not deployctl's.
pub(crate) struct Own {
    pub(crate) names: String,
    /// The source text of the map.
    pub(crate) value: String,
}

/// The variables of a stage other than those with the keys of functions, and the one of the release.
pub(crate) fn own(stage: &Found<'_>, is_function: impl Fn(&str) -> bool) -> Option<Own> {
    let expression = stage.attribute("variables")?;
    let text = |expression: &Expression| stage.file.text_of(expression).to_owned();
    let Expression::Object(object) = expression else {
        let value = text(expression);
        return (value != "null").then(|| Own { names: value.clone(), value });
    };
    let entries = object.iter().filter_map(|(key, value)| {
        let name = match key {
            ObjectKey::Ident(name) => name.as_str().to_owned(),
            ObjectKey::Expression(Expression::String(name)) => name.as_str().to_owned(),
            ObjectKey::Expression(key) => text(key),
        };
        let is_ours = name == RELEASE_VARIABLE || is_function(&name);
        (!is_ours).then(|| (name, text(value.expr())))
    });
    let (names, entries): (Vec<String>, Vec<String>) =
        entries.map(|(name, value)| (name.clone(), format!("{name} = {value}"))).unzip();
    (!names.is_empty())
        .then(|| Own { names: names.join(", "), value: format!("{{ {} }}", entries.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused of a stage with these arguments.
    fn found(arguments: &str) -> Option<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let source = format!("resource \"aws_api_gateway_stage\" \"this\" {{\n{arguments}\n}}\n");
        std::fs::write(dir.path().join("main.tf"), source).unwrap();
        let module = Module::read(dir.path());
        let stage = module.resources("aws_api_gateway_stage").next().unwrap();
        own(&stage, |name| name == "users_get").map(|own| (own.names, own.value))
    }

    #[test]
    fn variables_that_are_not_deployctls_are_found_with_their_source() {
        let some = |names: &str, value: &str| Some((names.to_owned(), value.to_owned()));
        for (arguments, expected) in [
            ("stage_name = var.stage", None),
            ("variables = null", None),
            ("variables = {}", None),
            ("variables = { users_get = \"1\", release = \"1\" }", None),
            (
                "variables = { users_get = \"1\", table = aws_dynamodb_table.x.name }",
                some("table", "{ table = aws_dynamodb_table.x.name }"),
            ),
            (
                "variables = {\n  \"table\" : \"one\"\n  feature = var.on ? \"on\" : \"off\"\n}",
                some("table, feature", "{ table = \"one\", feature = var.on ? \"on\" : \"off\" }"),
            ),
            ("variables = local.settings", some("local.settings", "local.settings")),
        ] {
            assert_eq!(found(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn the_refusal_contains_the_line_to_write() {
        let own = Own { names: "table".into(), value: "{ table = \"one\" }".into() };
        let output = OutputName { layer: "app".into(), output: "deployctl".into() };
        let error = refusal(
            "aws_api_gateway_stage.this",
            Path::new("terraform/app/api.tf"),
            (&output, false),
            &own,
            true,
        );
        assert_eq!((error.kind.exit_code(), error.id), (20, ErrorId::ContractVariables));
        assert!(error.message.contains("aws_api_gateway_stage.this in terraform/app/api.tf"), "{error}");
        let hint = error.hint.unwrap();
        assert!(hint.contains("what is live is unchanged"), "{hint}");
        assert!(hint.ends_with("\n    variables = { table = \"one\" }"), "{hint}");
    }
}
