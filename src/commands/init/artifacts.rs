//! Finds which artifact each function runs, and where its code comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hcl_edit::expr::Expression;

use super::edits::Edits;
use super::functions::{Function, is_image};
use super::survey::Survey;
use super::tree::Tree;
use crate::documents::init::{Advice, AdviceKind, Package};
use crate::platform::paths;
use crate::terraform::source::{Found, Repeat, Step, steps};

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Package(Package),
    /// A bootstrap or zip that exists, relative to the project.
    File(PathBuf),
    /// A container image by digest.
    Image(String),
}

/// The attributes of a function's code.
const CODE: [&str; 6] =
    ["filename", "source_code_hash", "code_sha256", "s3_bucket", "s3_key", "s3_object_version"];

/// Assigns an artifact to each function, and returns all artifacts by name.
pub(crate) fn assign(
    survey: &Survey,
    tree: &Tree<'_>,
    functions: &mut [Function<'_>],
    advice: &mut Vec<Advice>,
) -> BTreeMap<String, Source> {
    let packages = &survey.packages.lambdas;
    let mut artifacts: BTreeMap<String, Source> =
        packages.iter().map(|package| (package.name.clone(), Source::Package(package.clone()))).collect();
    let files: Vec<Option<PathBuf>> =
        functions.iter().map(|function| zip(survey, tree, function).map(|zip| zip.path)).collect();
    for at in 0..functions.len() {
        let Some(function) = functions.get(at) else { continue };
        let name = function.short_name().replace('_', "-");
        let (name, source) = if is_image(&function.block) {
            (name, image(tree, function, advice))
        } else if let Some(package) = package(tree, packages, function, at, &files, advice) {
            (package.name.clone(), Source::Package(package))
        } else {
            (name.clone(), file(survey, tree, function, &name, advice))
        };
        let known = artifacts.iter().find(|(_, known)| **known == source).map(|(name, _)| name.clone());
        let name = known.unwrap_or(name);
        artifacts.entry(name.clone()).or_insert(source);
        if let Some(function) = functions.get_mut(at) {
            function.artifact = name;
        }
    }
    artifacts
}

/// The runtime, if the source shows it.
fn runtime(tree: &Tree<'_>, function: &Function<'_>) -> Option<String> {
    tree.value(function.scope, function.block.attribute("runtime")?)
}

/// The cargo package that a function runs. One with a managed runtime runs none.
fn package(
    tree: &Tree<'_>,
    packages: &[Package],
    function: &Function<'_>,
    at: usize,
    files: &[Option<PathBuf>],
    advice: &mut Vec<Advice>,
) -> Option<Package> {
    if runtime(tree, function).is_some_and(|runtime| !runtime.starts_with("provided")) {
        return None;
    }
    if let Some(package) = named(packages, &candidates(function)) {
        return Some(package.clone());
    }
    let file = files.get(at).and_then(Option::as_ref);
    // A function's own zip is never replaced by that of another one.
    let is_shared = files.iter().all(|other| other.as_ref() == file);
    let only = match packages {
        [only] if is_shared => return Some(only.clone()),
        [] => return None,
        [first, ..] => first,
    };
    if file.is_some() && !is_shared {
        return None;
    }
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let text = format!(
        "{}: the source does not show which of {} it runs; the patch uses {}, in local.deployctl_functions",
        function.address(),
        names.join(", "),
        only.name
    );
    advice.push(Advice::new(text).about(AdviceKind::UnknownArtifact));
    Some(only.clone())
}

fn image(tree: &Tree<'_>, function: &Function<'_>, advice: &mut Vec<Advice>) -> Source {
    let uri = function.block.attribute("image_uri").and_then(|value| tree.value(function.scope, value));
    match uri.filter(|uri| uri.contains("@sha256:")) {
        Some(uri) => Source::Image(uri),
        None => {
            advice.push(Advice::new(format!(
                "{} is a container image: write its address with the digest into deployctl.toml, in place of the zeros",
                function.address()
            )));
            // Settings take digests only, and no image has this one.
            let digest = "0".repeat(64);
            Source::Image(format!(
                "000000000000.dkr.ecr.us-east-1.amazonaws.com/{}@sha256:{digest}",
                function.short_name()
            ))
        }
    }
}

/// The zip of a function's code.
struct Zip {
    /// Relative to the project.
    path: PathBuf,
    /// The command that makes it, if Terraform does so now.
    command: Option<String>,
}

fn file(
    survey: &Survey,
    tree: &Tree<'_>,
    function: &Function<'_>,
    name: &str,
    advice: &mut Vec<Advice>,
) -> Source {
    let Some(zip) = zip(survey, tree, function) else {
        let content = match runtime(tree, function) {
            Some(runtime) if !runtime.starts_with("provided") => format!("a zip for {runtime}"),
            _ => "its `bootstrap`, or a zip that contains one,".to_owned(),
        };
        advice.push(
            Advice::new(format!(
                "{}: the source does not show what it runs; write {content} to dist/{name}.zip, or name \
                 another file in deployctl.toml",
                function.address()
            ))
            .about(AdviceKind::UnknownArtifact),
        );
        return Source::File(PathBuf::from(format!("dist/{name}.zip")));
    };
    if let Some(command) = zip.command {
        advice.push(
            Advice::new(format!(
                "{}: an archive_file makes its zip while Terraform plans, but a release needs it before; make it \
                 in the build",
                function.address()
            ))
            .write(command),
        );
    }
    Source::File(zip.path)
}

/// The zip that `filename` names, also through variables and `archive_file`.
fn zip(survey: &Survey, tree: &Tree<'_>, function: &Function<'_>) -> Option<Zip> {
    zip_of(survey, tree, function.scope, function.block.attribute("filename")?)
}

fn zip_of(survey: &Survey, tree: &Tree<'_>, scope: usize, value: &Expression) -> Option<Zip> {
    match steps(value).as_deref() {
        Some([Step::Attribute("var"), Step::Attribute(name)]) => {
            if let Some((parent, call)) = tree.parent(scope)
                && let Some(given) = call.attribute(name)
            {
                return zip_of(survey, tree, parent, given);
            }
        }
        Some(
            [Step::Attribute("data"), Step::Attribute("archive_file"), Step::Attribute(name), ..]
            | [Step::Attribute("archive_file"), Step::Attribute(name), ..],
        ) => {
            let module = tree.module(scope);
            let mut archives = module.data("archive_file").chain(module.resources("archive_file"));
            let archive = archives.find(|archive| archive.name == *name)?;
            let path = |name: &str| {
                let value = tree.value(scope, archive.attribute(name)?)?;
                Some(relative(survey, &module.dir, &value))
            };
            let output = path("output_path")?;
            let command = match (path("source_dir"), path("source_file")) {
                (Some(dir), _) => format!(
                    "(cd {0} && rm -f \"$OLDPWD/{1}\" && zip -q -X -r \"$OLDPWD/{1}\" .)",
                    dir.display(),
                    output.display()
                ),
                (_, Some(file)) => format!("zip -q -X -j {} {}", output.display(), file.display()),
                _ => format!("zip -q -X {} FILES", output.display()),
            };
            return Some(Zip { path: output, command: Some(command) });
        }
        _ => {}
    }
    let value = tree.value(scope, value)?;
    // Terraform reads a relative path from the folder of the layer.
    Some(Zip { path: relative(survey, &tree.module(0).dir, &value), command: None })
}

/// A path in Terraform code, as a path relative to the project.
fn relative(survey: &Survey, dir: &Path, text: &str) -> PathBuf {
    paths::relative(&survey.root, &paths::normal(&dir.join(text)))
}

/// The artifacts of functions that run on arm64.
pub(crate) fn on_arm64(functions: &[Function<'_>]) -> BTreeSet<String> {
    let is_arm64 = |function: &&Function<'_>| {
        let list = function.block.attribute("architectures");
        list.is_some_and(|list| function.block.file.text_of(list).contains("\"arm64\""))
    };
    functions.iter().filter(is_arm64).map(|function| function.artifact.clone()).collect()
}

/// The values that can contain the name of a function's artifact, most specific first.
fn candidates(function: &Function<'_>) -> Vec<String> {
    let value = |found: &Found<'_>, name: &str| Some(found.file.text_of(found.attribute(name)?).to_owned());
    let mut texts: Vec<String> =
        ["filename", "s3_key"].iter().filter_map(|name| value(&function.block, name)).collect();
    for call in function.calls() {
        texts.extend(
            call.block.body.attributes().map(|attribute| call.file.text_of(&attribute.value).to_owned()),
        );
        texts.push(call.name.to_owned());
    }
    texts.extend(["function_name", "handler"].iter().filter_map(|name| value(&function.block, name)));
    texts.push(function.block.name.to_owned());
    texts
}

/// The package that a text names.
fn named<'p>(packages: &'p [Package], texts: &[String]) -> Option<&'p Package> {
    let normalized = |text: &str| text.replace('_', "-");
    for text in texts {
        let text = normalized(text);
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        let mut named: Vec<&Package> =
            packages.iter().filter(|package| words.contains(&normalized(&package.name).as_str())).collect();
        named.sort_by_key(|package| std::cmp::Reverse(package.name.len()));
        if let Some(package) = named.first() {
            return Some(package);
        }
    }
    None
}

/// Changes a function to be created from a zip that deployctl has uploaded. `bucket` is the bucket's
/// expression in the layer. Returns whether the layer passes the release's version.
pub(crate) fn from_the_bucket(
    tree: &Tree<'_>,
    function: &Function<'_>,
    bucket: &str,
    edits: &mut Edits,
    advice: &mut Vec<Advice>,
) -> bool {
    let key = format!("\"{}\"", key(&function.artifact).replace("{version}", "${var.release_version}"));
    let own = function.outer();
    let mut values = own.block.body.attributes().map(|attribute| own.file.text_of(&attribute.value));
    if is_image(&function.block) || values.any(|text| text.contains("var.release_version")) {
        return false;
    }
    let Some(call) = &function.call else {
        code(&function.block, bucket, &key, edits);
        return true;
    };
    let is_alone = function.module.resources("aws_lambda_function").count() == 1;
    // A deeper function is created from its own zip, as before.
    if function.depth() > 1 || !is_alone || function.block.repeat() != Repeat::Once {
        return false;
    }
    let (bucket_name, key_name) = ("artifact_bucket", "artifact_key");
    let module = tree.module(function.scope);
    let is_ours = module.files.iter().any(|file| file.path.ends_with("deployctl.tf"));
    if !is_ours && (module.declares(bucket_name) || module.declares(key_name)) {
        advice.push(
            Advice::new(format!(
                "{}: its module already has a variable {bucket_name} or {key_name}; create the function from \
                 these values",
                function.address()
            ))
            .write(format!("s3_bucket = {bucket}\ns3_key    = {key}")),
        );
        return true;
    }
    let lines = [format!("{bucket_name} = {bucket}"), format!("{key_name}    = {key}")];
    edits.append(call.file, call.block, &lines, true);
    if !module.declares(bucket_name) {
        code_of_module(&function.block, edits);
        edits.create_once(&module.dir.join("deployctl.tf"), VARIABLES);
    }
    true
}

/// The key of an artifact's zips.
pub(crate) fn key(artifact: &str) -> String {
    format!("{artifact}/{artifact}-{{version}}.zip")
}

const VARIABLES: &str = include_str!("templates/module_variables.tf.in");

fn code(block: &Found<'_>, bucket: &str, key: &str, edits: &mut Edits) {
    let mut present =
        CODE.iter().filter_map(|name| block.block.body.get_attribute(name)).collect::<Vec<_>>().into_iter();
    let Some(first) = present.next() else {
        let lines = [format!("s3_bucket = {bucket}"), format!("s3_key    = {key}")];
        edits.append(block.file, block.block, &lines, true);
        return;
    };
    edits.below(block.file, first, "s3_bucket", bucket);
    edits.below(block.file, first, "s3_key", key);
    edits.remove(block.file, first);
    for attribute in present {
        edits.remove(block.file, attribute);
    }
}

/// Creates the function of a module from the bucket where a caller passes one, and as before elsewhere.
fn code_of_module(block: &Found<'_>, edits: &mut Edits) {
    let present: Vec<_> = CODE.iter().filter_map(|name| block.block.body.get_attribute(name)).collect();
    for attribute in &present {
        let old = block.file.text_of(&attribute.value);
        let new = match attribute.key.as_str() {
            "s3_bucket" => "var.artifact_bucket",
            "s3_key" => "var.artifact_key",
            _ => "null",
        };
        let value = format!("var.artifact_bucket == null ? {old} : {new}");
        edits.value(block.file, &attribute.value, value);
    }
    let missing = ["s3_bucket", "s3_key"].into_iter().filter(|name| block.attribute(name).is_none());
    let value = |name: &str| if name == "s3_bucket" { "var.artifact_bucket" } else { "var.artifact_key" };
    match present.first() {
        Some(first) => missing.for_each(|name| edits.below(block.file, first, name, value(name))),
        None => {
            let lines: Vec<String> = missing.map(|name| format!("{name} = {}", value(name))).collect();
            edits.append(block.file, block.block, &lines, true);
        }
    }
}

/// The key and the value of an artifact's source in `deployctl.toml`.
pub(crate) fn origin(source: &Source) -> (&'static str, String) {
    match source {
        Source::Package(package) => ("package", package.name.clone()),
        Source::File(path) => ("path", path.to_string_lossy().into_owned()),
        Source::Image(image) => ("image", image.clone()),
    }
}
