//! Makes the patch, the settings and the advice from what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::artifacts;
use super::contract::{self, Additions};
use super::edits::Edits;
use super::functions::{self, Function};
use super::layouts::Layout;
use super::survey::{Layer, Survey, remote_output};
use super::tree::Tree;
use super::{packages, probe, settings_file, stage};
use crate::documents::init::{Advice, AdviceKind, FunctionFound, Inventory, LayerFound};
use crate::error::{Error, ErrorId, Result};
use crate::project::settings::OutputName;
use crate::terraform::source::{Module, Step, literal, steps};

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

/// Where the artifact bucket is named.
#[derive(Debug, Clone)]
pub(crate) struct BucketPlace {
    /// The layer and its output, if a layer makes it.
    pub(crate) output: Option<OutputName>,
    /// Its name with `{stage}`, for `artifact_bucket` in deployctl.toml, if no layer makes it.
    pub(crate) name: Option<String>,
    /// Its expression in the layer with the contract.
    pub(crate) expression: String,
    /// The path of the layer, if the patch creates it.
    pub(crate) new: Option<PathBuf>,
}

/// The proposal while it is being collected.
pub(crate) struct Work {
    pub(crate) edits: Edits,
    pub(crate) advice: Vec<Advice>,
    /// The content of `deployctl.tf`, by folder.
    additions: BTreeMap<PathBuf, Additions>,
    pub(crate) found: Inventory,
    /// Whether a stage has to be imported.
    pub(crate) imports: bool,
}

/// A folder of the layer with the contract, and all that it calls.
#[derive(Clone, Copy)]
pub(crate) struct Project<'f, 'a> {
    pub(crate) layer: &'a Layer,
    pub(crate) tree: &'f Tree<'a>,
    pub(crate) functions: &'f [Function<'a>],
}

impl<'a> Project<'_, 'a> {
    /// The layer's own module, in this folder.
    pub(crate) fn root(&self) -> &'a Module {
        self.tree.module(0)
    }
}

pub(crate) fn rewrite(survey: &Survey, patch_root: PathBuf) -> Result<Proposal> {
    let mut work = Work {
        edits: Edits::default(),
        advice: survey.advice.clone(),
        additions: BTreeMap::new(),
        found: Inventory { packages: survey.packages.lambdas.clone(), ..Inventory::default() },
        imports: false,
    };
    work.advice.extend(survey.packages.advice.iter().cloned());
    work.found.layers = survey.layers.iter().map(Layer::found).collect();
    let layout = Layout::find(survey, &mut work.advice);
    let layer = contract_layer(survey);
    let tree = Tree::of(survey, &layer.module, &layer.installed);
    refuse_http_api(&tree)?;
    work.not_understood(survey, &tree);
    let (mut functions, refused) = functions::find(&tree);
    for (address, why) in refused {
        work.advice.push(Advice::new(format!("{address} is not released: {why}")));
    }
    let artifacts = artifacts::assign(survey, &tree, &mut functions, &mut work.advice);
    if has_output(&layer.module) {
        // The existing contract names the artifacts.
        work.advice.retain(|advice| advice.kind != AdviceKind::UnknownArtifact);
    }
    let bucket = bucket(survey, &layout, &tree, layer, &functions);
    if !layout.own {
        work.backends(survey);
        work.remote_states(survey);
    }
    for module in layer.modules() {
        let tree = Tree::of(survey, module, &layer.installed);
        let mut functions = functions::find(&tree).0;
        artifacts::assign(survey, &tree, &mut functions, &mut Vec::new());
        let project = Project { layer, tree: &tree, functions: &functions };
        work.api(project, &bucket);
        work.code(project, &bucket);
    }
    if layout.own {
        work.advice.retain(|advice| advice.kind != AdviceKind::AdoptStage);
    }
    work.warn_of_other_callers(survey, layer, &functions);
    if layout.own && layout.stages.len() > 1 && layer.environments.is_empty() {
        work.names_without_stage(&tree);
    }
    if let Some(path) = &bucket.new {
        work.bucket_layer(survey, layer, &bucket, path.clone());
    }
    if let Some(name) = &bucket.name {
        work.existing_bucket(name, &layout);
    }
    for (manifest, text) in &survey.packages.without_profile {
        let gap = if text.ends_with('\n') { "\n" } else { "\n\n" };
        let profile = format!("{gap}{}", packages::PROFILE_LINES);
        work.edits.replace_in(manifest, text, text.len()..text.len(), profile);
    }
    work.write_additions(survey);
    work.ignored_by_git(survey);
    work.found.stages = layout.stages.iter().map(|stage| stage.name.clone()).collect();
    work.found.functions = functions.iter().map(found_function).collect();
    let arm64 = artifacts::on_arm64(&functions);
    let input = settings_file::Input {
        survey,
        layout: &layout,
        bucket: &bucket,
        contract_layer: &layer.name,
        probe: probe::path(&tree),
        imports: work.imports,
    };
    let settings = settings_file::text(&input, &work.found, (&artifacts, &arm64), &mut work.advice);
    let (patch, refused) = work.edits.patch(&patch_root);
    let mut by_hand: Vec<Advice> = Vec::new();
    for advice in work.advice.into_iter().chain(refused) {
        if !by_hand.contains(&advice) {
            by_hand.push(advice);
        }
    }
    Ok(Proposal { found: work.found, settings, patch, patch_root, by_hand })
}

fn found_function(function: &Function<'_>) -> FunctionFound {
    FunctionFound {
        key: function.key(Some("key")),
        address: function.address(),
        artifact: function.artifact.clone(),
    }
}

/// The layer with the stage; otherwise the one with the API, the first with functions, or the last one.
fn contract_layer(survey: &Survey) -> &Layer {
    let has = |kind: &'static str| {
        survey
            .layers
            .iter()
            .find(|layer| Tree::of(survey, &layer.module, &layer.installed).resources(kind).next().is_some())
    };
    has("aws_api_gateway_stage")
        .or_else(|| has("aws_api_gateway_rest_api"))
        .or_else(|| has("aws_apigatewayv2_api"))
        .or_else(|| has("aws_lambda_function"))
        .unwrap_or_else(|| survey.layers.last().unwrap_or(&survey.layers[0]))
}

/// # Errors
/// `init.http_api` if the project has only an HTTP or WebSocket API.
fn refuse_http_api(tree: &Tree<'_>) -> Result<()> {
    let http = tree.resources("aws_apigatewayv2_api").next();
    match (http, tree.resources("aws_api_gateway_rest_api").next()) {
        (Some((scope, found)), None) => Err(Error::usage(
            ErrorId::InitHttpApi,
            format!(
                "{} is an HTTP or WebSocket API (API Gateway v2), and deployctl releases only REST APIs",
                tree.address(scope, &found)
            ),
        )
        .hint("nothing was written; `aws_api_gateway_rest_api` is the resource of a REST API")),
        _ => Ok(()),
    }
}

/// The artifact bucket: the one that functions already use, if it is an output of another layer; otherwise
/// the one that they name, or a new one.
fn bucket(
    survey: &Survey,
    layout: &Layout,
    tree: &Tree<'_>,
    layer: &Layer,
    functions: &[Function<'_>],
) -> BucketPlace {
    for function in functions {
        let block = function.outer();
        let values = block.block.body.attributes().map(|attribute| &attribute.value);
        for value in values {
            let Some((data, output)) = read_from(&layer.module, value) else { continue };
            let names_a_bucket = output.contains("bucket");
            let other = layer.module.data("terraform_remote_state").find(|found| found.name == data);
            let other = other.and_then(|found| survey.remote(layer, &found));
            if let Some(other) = other.filter(|_| names_a_bucket) {
                return BucketPlace {
                    output: Some(OutputName { layer: other.name.clone(), output }),
                    name: None,
                    expression: block.file.text_of(value).to_owned(),
                    new: None,
                };
            }
        }
    }
    if layout.own {
        return named_bucket(survey, tree, functions);
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
        output: Some(OutputName { layer: name, output: output.to_owned() }),
        name: None,
        expression: expression.to_owned(),
        new,
    }
}

/// The bucket that a function is created from, or a name for a bucket that exists beside the layers.
fn named_bucket(survey: &Survey, tree: &Tree<'_>, functions: &[Function<'_>]) -> BucketPlace {
    let given = functions.iter().filter(|function| function.depth() == 0).find_map(|function| {
        let value = function.block.attribute("s3_bucket")?;
        Some((tree.value(0, value)?, function.block.file.text_of(value).to_owned()))
    });
    let (name, expression) = given.unwrap_or_else(|| {
        let project = settings_file::project(survey);
        (format!("{project}-artifacts-{{stage}}"), format!("\"{project}-artifacts-${{var.stage}}\""))
    });
    BucketPlace { output: None, name: Some(name), expression, new: None }
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
    /// The content of the folder's `deployctl.tf`.
    pub(crate) fn additions(&mut self, dir: &Path) -> &mut Additions {
        self.additions.entry(dir.to_owned()).or_default()
    }

    /// Functions: Terraform ignores their code, and creates new ones from the bucket.
    fn code(&mut self, project: Project<'_, '_>, bucket: &BucketPlace) {
        let (tree, root) = (project.tree, project.root());
        let mut is_read = false;
        for function in project.functions {
            let (edits, advice) = (&mut self.edits, &mut self.advice);
            if artifacts::from_the_bucket(tree, function, &bucket.expression, edits, advice) {
                self.additions(&root.dir).variables.insert("release_version");
                is_read = true;
            }
            // After the edits of the code's source, so that `lifecycle` is below it.
            stage::release_code(&function.block, &mut self.edits);
            if let Some(alias) = function.alias.filter(|_| function.depth() == 0) {
                stage::release_alias(&alias, &mut self.edits);
            }
            for (scope, output) in contract::name_outputs(tree, function) {
                self.module_block(tree.module(scope), output);
            }
        }
        let reads = bucket.expression.contains("terraform_remote_state.deployctl.");
        let has = root.data("terraform_remote_state").any(|data| data.name == "deployctl");
        if let Some(output) =
            bucket.output.as_ref().filter(|_| !project.functions.is_empty() && reads && !has)
        {
            let additions = self.additions(&root.dir);
            additions.variables.extend(["state_bucket", "state_prefix", "region"]);
            additions.blocks.insert(0, contract::read_bucket_layer(&output.layer));
        }
        if is_read && bucket.expression.contains("var.stage") {
            self.additions(&root.dir).variables.insert("stage");
        }
    }

    /// Adds a block to the `deployctl.tf` of a module, once.
    pub(crate) fn module_block(&mut self, module: &Module, block: String) {
        let blocks = &mut self.additions(&module.dir).blocks;
        if !blocks.contains(&block) {
            blocks.push(block);
        }
    }

    /// The bucket that `deployctl.toml` names.
    fn existing_bucket(&mut self, name: &str, layout: &Layout) {
        if !name.contains("{stage}") {
            return;
        }
        let lines = layout.stages.iter().map(|stage| {
            let name = name.replace("{stage}", &stage.name);
            let region = stage.region.as_deref().unwrap_or("REGION");
            format!(
                "aws s3 mb s3://{name} --region {region} && aws s3api put-bucket-versioning --bucket {name} \
                 --versioning-configuration Status=Enabled"
            )
        });
        self.advice.push(
            Advice::new(format!(
                "zips and the ledger need a bucket with versioning for each stage; deployctl.toml names {name}: \
                 create it, or write the name of one that exists"
            ))
            .write(lines.collect::<Vec<_>>().join("\n")),
        );
    }

    /// Functions of other layers that share a changed module keep their code, too.
    fn warn_of_other_callers(&mut self, survey: &Survey, layer: &Layer, functions: &[Function<'_>]) {
        let changed: BTreeSet<&Path> = functions
            .iter()
            .filter(|function| function.depth() > 0)
            .map(|function| function.module.dir.as_path())
            .collect();
        for other in survey.layers.iter().filter(|other| other.name != layer.name) {
            let tree = Tree::of(survey, &other.module, &other.installed);
            for (scope, found) in tree.resources("aws_lambda_function") {
                if changed.contains(tree.module(scope).dir.as_path()) {
                    self.advice.push(Advice::new(format!(
                        "layer {}: {} comes from a module in which the patch makes Terraform ignore the code; \
                         deployctl releases only layer {}, so give it a module of its own",
                        other.name,
                        tree.address(scope, &found),
                        layer.name
                    )));
                }
            }
        }
    }

    /// Names that two stages of one account cannot both have.
    fn names_without_stage(&mut self, tree: &Tree<'_>) {
        let mut places = Vec::new();
        for (kind, attribute) in [("aws_lambda_function", "function_name"), ("aws_iam_role", "name")] {
            for (scope, found) in tree.resources(kind) {
                let name = found.attribute(attribute).and_then(literal);
                if let Some(name) = name.filter(|_| !tree.is_installed(scope)) {
                    places.push(format!(
                        "{}: {attribute} = \"{name}-${{var.stage}}\"",
                        tree.address(scope, &found)
                    ));
                }
            }
        }
        if !places.is_empty() {
            let what = "names that do not contain the stage: two stages in one account cannot both have them. A \
                        function that runs is replaced when it is renamed, so change them only if stages share an \
                        account, and before the second one exists";
            self.advice.push(Advice::new(what).write(places.join("\n")));
        }
    }

    /// Lists what is there and is not read.
    fn not_understood(&mut self, survey: &Survey, tree: &Tree<'_>) {
        let mut all: Vec<String> = tree
            .absent
            .iter()
            .map(|(address, source)| {
                format!(
                    "{address}: the module {source} is not here; run `terraform init` in the layer, then init"
                )
            })
            .collect();
        for kind in ["aws_lambda_function", "aws_api_gateway_stage", "aws_api_gateway_integration"] {
            for (scope, found) in tree.resources(kind) {
                if let Some((file, _)) = tree.module(scope).overriding(&found) {
                    let file = file.path.strip_prefix(&survey.root).unwrap_or(&file.path);
                    let address = tree.address(scope, &found);
                    all.push(format!(
                        "{address}: {} overrides it; check there what the patch changes",
                        file.display()
                    ));
                }
            }
        }
        for kind in ["aws_apigatewayv2_api", "aws_cloudformation_stack", "aws_lambda_function_url"] {
            for (scope, found) in tree.resources(kind) {
                all.push(format!("{}: deployctl does not release it", tree.address(scope, &found)));
            }
        }
        all.extend(survey.unused().map(|dir| {
            format!(
                "{}: it has resources, but no provider or backend block, and nothing calls it; if it is a root \
                 module, add it to deployctl.toml as a layer",
                dir.display()
            )
        }));
        for text in &all {
            self.advice.push(Advice::new(format!("not understood: {text}")));
        }
        self.found.not_understood = all;
    }

    fn bucket_layer(&mut self, survey: &Survey, layer: &Layer, bucket: &BucketPlace, path: PathBuf) {
        let version = layer.module.blocks("terraform").find_map(|(file, block)| {
            let required = block.body.get_blocks("required_providers").next()?;
            let aws = &required.body.get_attribute("aws")?.value;
            Some(file.text_of(super::survey::object_value(aws, "version")?).to_owned())
        });
        let file = survey.root.join(&path).join("main.tf");
        self.edits.create(&file, &contract::bucket_layer(version.as_deref()));
        let Some(name) = bucket.output.as_ref().map(|output| output.layer.clone()) else { return };
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
        for (dir, additions) in &self.additions {
            let Some(module) = survey.module(dir) else { continue };
            let text = additions.text(module);
            if text.is_empty() {
                continue;
            }
            let file = dir.join("deployctl.tf");
            match module.files.iter().find(|source| source.path == file) {
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

pub(crate) fn has_output(layer: &Module) -> bool {
    super::uris::has_output(layer, "deployctl")
}
