//! Finds which artifact each function runs, and where its code comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::edits::Edits;
use super::functions::{Function, key_of};
use super::survey::Survey;
use crate::documents::init::{Advice, AdviceKind, Package};
use crate::terraform::source::{Found, Module, Step, literal, references, traversal_steps};

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Package(Package),
    /// A bootstrap or zip that exists, relative to the project.
    File(PathBuf),
}

/// The attributes of a function's code.
const CODE: [&str; 6] =
    ["filename", "source_code_hash", "code_sha256", "s3_bucket", "s3_key", "s3_object_version"];

/// Assigns an artifact to each function, and returns all artifacts by name.
pub(crate) fn assign(
    survey: &Survey,
    functions: &mut [Function<'_>],
    advice: &mut Vec<Advice>,
) -> BTreeMap<String, Source> {
    let packages = &survey.packages.lambdas;
    let mut artifacts: BTreeMap<String, Source> =
        packages.iter().map(|package| (package.name.clone(), Source::Package(package.clone()))).collect();
    for function in functions {
        let texts = candidates(function);
        if let Some(package) = best(packages, &texts) {
            function.artifact.clone_from(&package.name);
            continue;
        }
        if let Some(package) = packages.first() {
            function.artifact.clone_from(&package.name);
            let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
            let text = format!(
                "{}: the source does not show which of {} it runs; the patch uses {}, in \
                 local.deployctl_functions",
                function.address(),
                names.join(", "),
                package.name
            );
            advice.push(Advice::new(text).about(AdviceKind::UnknownArtifact));
            continue;
        }
        let file = function.block.attribute("filename").and_then(|value| file(survey, function, value));
        let name = key_of(&function.group).replace('_', "-");
        let known = artifacts.iter().find(|(_, source)| match (source, &file) {
            (Source::File(known), Some(file)) => known == file,
            _ => false,
        });
        if let Some((name, _)) = known {
            function.artifact.clone_from(name);
            continue;
        }
        let path = file.unwrap_or_else(|| {
            advice.push(Advice::new(format!(
                "{}: the source does not show what it runs; write its `bootstrap`, or a zip that contains \
                 one, to dist/{name}.zip, or name another file in deployctl.toml",
                function.address()
            )));
            PathBuf::from(format!("dist/{name}.zip"))
        });
        function.artifact.clone_from(&name);
        artifacts.insert(name, Source::File(path));
    }
    artifacts
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
    if let Some(call) = &function.call {
        texts.extend(
            call.block.body.attributes().map(|attribute| call.file.text_of(&attribute.value).to_owned()),
        );
        texts.push(call.name.to_owned());
    }
    texts.extend(["function_name", "handler"].iter().filter_map(|name| value(&function.block, name)));
    texts.push(function.block.name.to_owned());
    texts
}

/// The package that a text names; otherwise the only package, if there is one.
fn best<'p>(packages: &'p [Package], texts: &[String]) -> Option<&'p Package> {
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
    match packages {
        [only] => Some(only),
        _ => None,
    }
}

/// The file that `filename` names, relative to the project.
fn file(survey: &Survey, function: &Function<'_>, value: &hcl_edit::expr::Expression) -> Option<PathBuf> {
    let is_variable = |name: &str| {
        references(value).iter().any(|found| {
            matches!(traversal_steps(found).as_deref(), Some([Step::Attribute("var"), Step::Attribute(var)]) if *var == name)
        })
    };
    // A module often takes the file as a variable.
    if let (Some(call), None) = (&function.call, literal(value)) {
        let given = call.block.body.attributes().find(|attribute| is_variable(attribute.key.as_str()))?;
        return relative(survey, &call_dir(survey, call), call.file.text_of(&given.value));
    }
    relative(survey, &function.module.dir, function.block.file.text_of(value))
}

fn call_dir(survey: &Survey, call: &Found<'_>) -> PathBuf {
    call.file.path.parent().unwrap_or(&survey.root).to_owned()
}

/// A path in Terraform code, as a path relative to the project.
fn relative(survey: &Survey, dir: &Path, text: &str) -> Option<PathBuf> {
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    let text = text.replace("${path.module}", ".").replace("${path.root}", ".").replace("${path.cwd}", ".");
    if text.contains("${") {
        return None;
    }
    let mut whole = PathBuf::new();
    for part in dir.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
    }
    whole.strip_prefix(&survey.root).ok().map(Path::to_owned)
}

/// Changes functions to be created from zips that deployctl has uploaded. `bucket` is the bucket's expression
/// in the layer.
pub(crate) fn from_the_bucket(
    layer: &Module,
    function: &Function<'_>,
    bucket: &str,
    edits: &mut Edits,
    advice: &mut Vec<Advice>,
) {
    let key = format!("\"{}\"", key(&function.artifact).replace("{version}", "${var.release_version}"));
    let Some(call) = &function.call else {
        code(&function.block, bucket, &key, edits);
        return;
    };
    let (bucket_name, key_name) = ("artifact_bucket", "artifact_key");
    let calls = layer.calls().filter(|other| {
        other.block.body.get_attribute("source").map(|a| &a.value).and_then(literal)
            == call.attribute("source").and_then(literal)
    });
    if function.module.declares(bucket_name) || function.module.declares(key_name) {
        advice.push(
            Advice::new(format!(
                "{}: its module already has a variable {bucket_name} or {key_name}; create the function from \
             these values",
                function.address()
            ))
            .write(format!("s3_bucket = {bucket}\ns3_key    = {key}")),
        );
        return;
    }
    let lines = [format!("{bucket_name} = {bucket}"), format!("{key_name}    = {key}")];
    edits.append(call.file, call.block, &lines, true);
    // Several calls share the module: change it once.
    if calls.map(|call| call.name).next() == Some(call.name) {
        code(&function.block, "var.artifact_bucket", "var.artifact_key", edits);
        edits.create(&function.module.dir.join("deployctl.tf"), VARIABLES);
    }
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

/// The key and the value of an artifact's source in `deployctl.toml`.
pub(crate) fn origin(source: &Source) -> (&'static str, String) {
    match source {
        Source::Package(package) => ("package", package.name.clone()),
        Source::File(path) => ("path", path.to_string_lossy().into_owned()),
    }
}
