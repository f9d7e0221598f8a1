//! Makes the patch, the settings and the advice from what was found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::artifacts;
use super::contract::{self, Additions};
use super::edits::Edits;
use super::functions::{self, Function};
use super::survey::{Layer, Survey, remote_output};
use super::{packages, settings_file, stage, uris};
use crate::delivery::stage_variables;
use crate::documents::init::{Advice, AdviceKind, FunctionFound, Inventory, LayerFound};
use crate::project::settings::OutputName;
use crate::terraform::source::{Found, Module, Repeat, Step, steps};

#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) found: Inventory,
    /// The text of `deployctl.toml`.
    pub(crate) settings: String,
    /// The changes to the project's files, for `git apply` or `patch -p1`.
    pub(crate) patch: String,
    /// The folder that the paths in the patch are relative to.
    pub(crate) patch_root: PathBuf,
    /// What to do by hand.
    pub(crate) by_hand: Vec<Advice>,
}

/// The output that names the artifact bucket.
#[derive(Debug, Clone)]
pub(crate) struct BucketPlace {
    /// The layer and its output.
    pub(crate) output: OutputName,
    /// Its expression in the layer with the contract.
    pub(crate) expression: String,
    /// The path of the layer, if the patch creates it.
    pub(crate) new: Option<PathBuf>,
}

/// The proposal while it is being collected.
pub(crate) struct Work {
    pub(crate) edits: Edits,
    pub(crate) advice: Vec<Advice>,
    additions: BTreeMap<String, Additions>,
    found: Inventory,
}

pub(crate) fn rewrite(survey: Survey, patch_root: PathBuf) -> Proposal {
    let mut work = Work {
        edits: Edits::default(),
        advice: survey.advice.clone(),
        additions: BTreeMap::new(),
        found: Inventory { packages: survey.packages.lambdas.clone(), ..Inventory::default() },
    };
    work.advice.extend(survey.packages.advice.iter().cloned());
    work.found.layers = survey.layers.iter().map(Layer::found).collect();
    let layer = contract_layer(&survey);
    let (mut functions, refused) = functions::find(&survey, &layer.module);
    for (address, why) in refused {
        work.advice.push(Advice::new(format!("{address} is not released: {why}")));
    }
    let artifacts = artifacts::assign(&survey, &mut functions, &mut work.advice);
    if has_output(&layer.module) {
        // The existing contract names the artifacts.
        work.advice.retain(|advice| advice.kind != AdviceKind::UnknownArtifact);
    }
    let bucket = bucket(&survey, layer, &functions);
    work.backends(&survey);
    work.remote_states(&survey);
    work.api(layer, &functions, &bucket);
    work.code(layer, &functions, &bucket);
    if let Some(path) = &bucket.new {
        work.bucket_layer(&survey, layer, &bucket, path.clone());
    }
    if let Some((manifest, text)) = &survey.packages.without_profile {
        let gap = if text.ends_with('\n') { "\n" } else { "\n\n" };
        let profile = format!("{gap}{}", packages::PROFILE_LINES);
        work.edits.replace_in(manifest, text, text.len()..text.len(), profile);
    }
    work.write_additions(&survey);
    work.ignored_by_git(&survey);
    work.found.functions = functions
        .iter()
        .map(|function| FunctionFound {
            key: function.key(Some("key")),
            address: function.address(),
            artifact: function.artifact.clone(),
        })
        .collect();
    let arm64 = artifacts::on_arm64(&functions);
    let settings = settings_file::text(
        &survey,
        &work.found,
        (&artifacts, &arm64),
        &bucket.output,
        &layer.name,
        &mut work.advice,
    );
    let Work { edits, advice, found, .. } = work;
    Proposal { found, settings, patch: edits.patch(&patch_root), patch_root, by_hand: advice }
}

/// The layer with the stage; otherwise the one with the API, the first with functions, or the last one.
fn contract_layer(survey: &Survey) -> &Layer {
    let has = |kind: &str| survey.layers.iter().find(|layer| layer.module.resources(kind).next().is_some());
    has("aws_api_gateway_stage")
        .or_else(|| has("aws_api_gateway_rest_api"))
        .or_else(|| survey.layers.iter().find(|layer| !functions::find(survey, &layer.module).0.is_empty()))
        .unwrap_or_else(|| survey.layers.last().unwrap_or(&survey.layers[0]))
}

/// The artifact bucket: the one that functions already use, if it is an output of another layer; otherwise a
/// new one.
fn bucket(survey: &Survey, layer: &Layer, functions: &[Function<'_>]) -> BucketPlace {
    for function in functions {
        let block = function.call.as_ref().unwrap_or(&function.block);
        let values = block.block.body.attributes().map(|attribute| &attribute.value);
        for value in values {
            let Some((data, output)) = read_from(&layer.module, value) else { continue };
            let names_a_bucket = output.contains("bucket");
            let other = layer.module.data("terraform_remote_state").find(|found| found.name == data);
            let other = other.and_then(|found| survey.remote(layer, &found));
            if let Some(other) = other.filter(|_| names_a_bucket) {
                return BucketPlace {
                    output: OutputName { layer: other.name.clone(), output },
                    expression: block.file.text_of(value).to_owned(),
                    new: None,
                };
            }
        }
    }
    let (expression, output) =
        ("data.terraform_remote_state.deployctl.outputs.artifact_bucket", "artifact_bucket");
    let has_output = |layer: &&Layer| {
        layer
            .module
            .blocks("output")
            .any(|(_, block)| block.labels.first().is_some_and(|l| l.as_str() == output))
    };
    let existing = survey.layers.iter().filter(|other| other.name != layer.name).find(has_output);
    let name = match existing {
        Some(existing) => existing.name.clone(),
        None if survey.layer("base").is_none() => "base".to_owned(),
        None => "artifacts".to_owned(),
    };
    let new = existing.is_none().then(|| match layer.path.parent() {
        // Beside the layer; below it, if the layer is the project's folder.
        Some(parent) if !layer.path.as_os_str().is_empty() => parent.join(&name),
        _ => PathBuf::from("terraform").join(&name),
    });
    BucketPlace {
        output: OutputName { layer: name, output: output.to_owned() },
        expression: expression.to_owned(),
        new,
    }
}

/// The remote state and the output that a value reads, directly or through a local.
fn read_from(layer: &Module, value: &hcl_edit::expr::Expression) -> Option<(String, String)> {
    let found = steps(value)?;
    if let Some((data, output)) = remote_output(&found) {
        return Some((data.to_owned(), output.to_owned()));
    }
    let [Step::Attribute("local"), Step::Attribute(name), Step::Attribute(output)] = found.as_slice() else {
        return None;
    };
    match steps(layer.local(name)?.1)?.as_slice() {
        [
            Step::Attribute("data"),
            Step::Attribute("terraform_remote_state"),
            Step::Attribute(data),
            Step::Attribute("outputs"),
        ] => Some(((*data).to_owned(), (*output).to_owned())),
        _ => None,
    }
}

impl Work {
    /// The content of the layer's `deployctl.tf`.
    pub(crate) fn additions(&mut self, layer: &Layer) -> &mut Additions {
        self.additions.entry(layer.name.clone()).or_default()
    }

    /// Changes the API, its stage, its deployment and its URIs, and adds the contract.
    fn api(&mut self, layer: &Layer, functions: &[Function<'_>], bucket: &BucketPlace) {
        let module = &layer.module;
        let apis: Vec<Found<'_>> = module.resources("aws_api_gateway_rest_api").collect();
        let deployment = module.resources("aws_api_gateway_deployment").next();
        let stages: Vec<Found<'_>> = module.resources("aws_api_gateway_stage").collect();
        let of_stage = stages.first().and_then(|stage| steps(stage.attribute("rest_api_id")?));
        let named = of_stage.and_then(|steps| match steps.get(1) {
            Some(Step::Attribute(name)) => apis.iter().find(|api| api.name == *name),
            _ => None,
        });
        let Some(api) = named.or_else(|| apis.first()) else {
            self.no_api(layer);
            return;
        };
        if apis.len() > 1 || stages.len() > 1 {
            self.advice.push(Advice::new(format!(
                "layer {} has {} APIs and {} stages; deployctl releases one: {}",
                layer.name,
                apis.len(),
                stages.len(),
                api.address()
            )));
        }
        if api.attribute("body").is_some() {
            self.advice.push(uris::in_a_document(api, functions));
        }
        self.found.rest_api = Some(api.address());
        self.found.deployment = deployment.map(|found| found.address());
        if let Some(deployment) = &deployment {
            stage::bootstrap(module, deployment, &mut self.edits, &mut self.advice);
        }
        let with_variables = stages.first().or(deployment.as_ref().filter(|_| stages.is_empty()));
        let keys: Vec<String> = functions.iter().map(|function| function.key(None)).collect();
        let is_function = |name: &str| keys.iter().any(|key| key == name);
        let own = with_variables.and_then(|found| stage_variables::own(found, is_function));
        let stage_address = match stages.first() {
            Some(found) => self.existing_stage(found, own.is_some()),
            None => self.add_stage(layer, api, deployment.as_ref()),
        };
        self.found.stage = Some(stage_address.clone());
        uris::rewrite(module, functions, &mut self.edits, &mut self.advice);
        let own = own.as_ref().map(|own| own.value.as_str());
        if has_output(module) {
            if let Some(own) = own {
                let what =
                    "the stage sets variables: they belong to the output `deployctl`, which has to set them";
                self.advice.push(Advice::new(what.to_owned()).write(format!("variables = {own}")));
            }
            return;
        }
        if api.repeat() != Repeat::Once || stage_address.contains("STAGE") {
            self.advice.push(
                Advice::new(format!(
                    "{} or its stage has several instances: name the released one in the output",
                    api.address()
                ))
                .write(contract::output(
                    &bucket.expression,
                    &api.address(),
                    &stage_address,
                    own,
                )),
            );
            let blocks = contract::contract(functions, &bucket.expression, None, None, None);
            self.additions(layer).blocks.extend(blocks);
        } else {
            let (api, stage) = (api.address(), stage_address);
            let blocks = contract::contract(functions, &bucket.expression, Some(&api), Some(&stage), own);
            self.additions(layer).blocks.extend(blocks);
        }
        self.additions(layer).variables.insert("region");
    }

    /// Lets releases move a stage, and returns its address. Its own variables move into the contract.
    fn existing_stage(&mut self, stage: &Found<'_>, has_own_variables: bool) -> String {
        if let Some(variables) = stage.block.body.get_attribute("variables").filter(|_| has_own_variables) {
            self.edits.remove(stage.file, variables);
        }
        stage::release_pointer(stage, &mut self.edits);
        match stage.repeat() {
            Repeat::Once => stage.address(),
            Repeat::Count => format!("{}[0]", stage.address()),
            Repeat::ForEach => format!("{}[\"STAGE\"]", stage.address()),
        }
    }

    fn no_api(&mut self, layer: &Layer) {
        let http = layer.module.resources("aws_apigatewayv2_api").next();
        let what = match http {
            Some(found) => format!(
                "{} is an HTTP or WebSocket API: deployctl cannot release it, because its deployments have \
                 no stage variables",
                found.address()
            ),
            None => format!(
                "layer {} has no aws_api_gateway_rest_api: deployctl releases functions behind a REST API, \
                 by one call to its stage",
                layer.name
            ),
        };
        self.advice.push(Advice::new(what).write(contract::output(
            "BUCKET",
            "aws_api_gateway_rest_api.NAME",
            "aws_api_gateway_stage.NAME",
            None,
        )));
    }

    /// Adds a stage and returns its address.
    fn add_stage(&mut self, layer: &Layer, api: &Found<'_>, deployment: Option<&Found<'_>>) -> String {
        let address = "aws_api_gateway_stage.deployctl".to_owned();
        if let Some(block) = deployment
            .and_then(|found| stage::of_its_own(&layer.name, found, &mut self.edits, &mut self.advice))
        {
            self.additions(layer).blocks.push(block);
            return address;
        }
        let mut block = String::new();
        let deployment = match deployment {
            Some(found) => found.address(),
            None => {
                let integrations: Vec<String> = layer
                    .module
                    .resources("aws_api_gateway_integration")
                    .map(|found| found.address())
                    .collect();
                block.push_str(&stage::deployment(&api.address(), &integrations));
                "aws_api_gateway_deployment.deployctl".to_owned()
            }
        };
        block.push_str(&stage::new(&api.address(), &deployment));
        let additions = self.additions(layer);
        additions.variables.insert("stage");
        additions.blocks.push(block);
        address
    }

    /// Functions: Terraform ignores their code, and creates new ones from the bucket.
    fn code(&mut self, layer: &Layer, functions: &[Function<'_>], bucket: &BucketPlace) {
        for function in functions {
            let block = function.call.as_ref().unwrap_or(&function.block);
            let values = block.block.body.attributes().map(|attribute| block.file.text_of(&attribute.value));
            if !values.into_iter().any(|text| text.contains("var.release_version")) {
                artifacts::from_the_bucket(
                    &layer.module,
                    function,
                    &bucket.expression,
                    &mut self.edits,
                    &mut self.advice,
                );
                self.additions(layer).variables.insert("release_version");
            }
            // After the edits of the code's source, so that `lifecycle` is below it.
            stage::release_code(&function.block, &mut self.edits);
            if let Some(output) = contract::name_output(function) {
                self.edits.create_once(&function.module.dir.join("deployctl.tf"), &output);
            }
        }
        let reads = bucket.expression.contains("terraform_remote_state.deployctl.");
        let has = layer.module.data("terraform_remote_state").any(|data| data.name == "deployctl");
        if !functions.is_empty() && reads && !has {
            let additions = self.additions(layer);
            additions.variables.extend(["state_bucket", "state_prefix", "region"]);
            additions.blocks.insert(0, contract::read_bucket_layer(&bucket.output.layer));
        }
    }

    fn bucket_layer(&mut self, survey: &Survey, layer: &Layer, bucket: &BucketPlace, path: PathBuf) {
        let version = layer.module.blocks("terraform").find_map(|(file, block)| {
            let required = block.body.get_blocks("required_providers").next()?;
            let aws = &required.body.get_attribute("aws")?.value;
            Some(file.text_of(super::survey::object_value(aws, "version")?).to_owned())
        });
        let file = survey.root.join(&path).join("main.tf");
        self.edits.create(&file, &contract::bucket_layer(version.as_deref()));
        let name = bucket.output.layer.clone();
        for found in self.found.layers.iter_mut().filter(|found| found.name == layer.name) {
            found.depends_on.push(name.clone());
        }
        self.found.layers.insert(0, LayerFound { name, path, depends_on: Vec::new(), new: true });
    }

    /// Adds the working files of deployctl and Terraform to `.gitignore`.
    fn ignored_by_git(&mut self, survey: &Survey) {
        let path = survey.root.join(".gitignore");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let wanted = ["/.deployctl", ".terraform/"];
        let is_ignored = |name: &str| {
            text.lines().any(|line| line.trim().trim_matches(['/', '*']) == name.trim_matches('/'))
        };
        let missing: String =
            wanted.iter().filter(|name| !is_ignored(name)).map(|name| format!("{name}\n")).collect();
        if missing.is_empty() {
            return;
        }
        if text.is_empty() {
            self.edits.create(&path, &missing);
        } else {
            let gap = if text.ends_with('\n') { "" } else { "\n" };
            self.edits.replace_in(&path, &text, text.len()..text.len(), format!("{gap}{missing}"));
        }
    }

    fn write_additions(&mut self, survey: &Survey) {
        for (name, additions) in &self.additions {
            let Some(layer) = survey.layer(name) else { continue };
            let text = additions.text(&layer.module);
            if !text.is_empty() {
                let file = layer.module.dir.join("deployctl.tf");
                let known = layer.module.files.iter().find(|source| source.path == file);
                match known {
                    // An earlier patch created the file.
                    Some(source) => {
                        let end = source.text.len();
                        self.edits.replace(source, end..end, format!("\n{text}"));
                    }
                    None => self.edits.create(&file, &text),
                }
            }
        }
    }
}

fn has_output(layer: &Module) -> bool {
    layer
        .blocks("output")
        .any(|(_, block)| block.labels.first().is_some_and(|label| label.as_str() == "deployctl"))
}
