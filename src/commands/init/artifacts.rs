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
    /// A finished file, relative to the project.
    File(PathBuf),
}

/// The attributes that say where a function's code comes from.
const CODE: [&str; 5] = ["filename", "source_code_hash", "s3_bucket", "s3_key", "s3_object_version"];

/// Gives each function its artifact, and returns all artifacts by their names.
pub(crate) fn assign(
    survey: &Survey,
    functions: &mut [Function<'_>],
    advice: &mut Vec<Advice>,
) -> BTreeMap<String, Source> {
    let packages = &survey.packages.lambdas;
    let mut artifacts: BTreeMap<String, Source> =
        packages.iter().map(|package| (package.name.clone(), Source::Package(package.clone()))).collect();
    for function in functions {
        let texts = said_of(function);
        if let Some(package) = best(packages, &texts) {
            function.artifact.clone_from(&package.name);
            continue;
        }
        if let Some(package) = packages.first() {
            function.artifact.clone_from(&package.name);
            let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
            let text = format!(
                "{}: it cannot be told which of {} it runs; the patch says {}, in local.deployctl_functions",
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
                "{}: it cannot be told what it runs; put its `bootstrap`, or a zip that holds one, to dist/{name}.zip, or \
                 name another file in deployctl.toml",
                function.address()
            )));
            PathBuf::from(format!("dist/{name}.zip"))
        });
        function.artifact.clone_from(&name);
        artifacts.insert(name, Source::File(path));
    }
    artifacts
}

/// The artifacts whose functions say that they run on arm64.
pub(crate) fn on_arm64(functions: &[Function<'_>]) -> BTreeSet<String> {
    let says = |function: &&Function<'_>| {
        let list = function.block.attribute("architectures");
        list.is_some_and(|list| function.block.file.text_of(list).contains("\"arm64\""))
    };
    functions.iter().filter(says).map(|function| function.artifact.clone()).collect()
}

/// What a person would look at to tell what a function runs.
fn said_of(function: &Function<'_>) -> Vec<String> {
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

/// The package that is named, the only one, or none.
fn best<'p>(packages: &'p [Package], texts: &[String]) -> Option<&'p Package> {
    let squashed = |text: &str| text.replace('_', "-");
    for text in texts {
        let text = squashed(text);
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        let mut named: Vec<&Package> =
            packages.iter().filter(|package| words.contains(&squashed(&package.name).as_str())).collect();
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
    // In a module, the file is often the caller's to name.
    if let (Some(call), None) = (&function.call, literal(value)) {
        let given = call.block.body.attributes().find(|attribute| is_variable(attribute.key.as_str()))?;
        return relative(survey, &call_dir(survey, call), call.file.text_of(&given.value));
    }
    relative(survey, &function.module.dir, function.block.file.text_of(value))
}

fn call_dir(survey: &Survey, call: &Found<'_>) -> PathBuf {
    call.file.path.parent().unwrap_or(&survey.root).to_owned()
}

/// A path as it is written in Terraform, relative to the project.
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

/// Makes functions be created from what deployctl has uploaded: `bucket` is the expression of the bucket in the layer.
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
        advice.push(Advice::new(format!(
            "{}: its module has variables {bucket_name} or {key_name} already; let it create the function from these",
            function.address()
        )).write(format!("s3_bucket = {bucket}\ns3_key    = {key}")));
        return;
    }
    let lines = [format!("{bucket_name} = {bucket}"), format!("{key_name}    = {key}")];
    edits.append(call.file, call.block, &lines, true);
    // The module itself is changed with the first of its calls.
    if calls.map(|call| call.name).next() == Some(call.name) {
        code(&function.block, "var.artifact_bucket", "var.artifact_key", edits);
        edits.create(&function.module.dir.join("deployctl.tf"), VARIABLES);
    }
}

/// The key of an artifact's zips.
pub(crate) fn key(artifact: &str) -> String {
    format!("{artifact}/{artifact}-{{version}}.zip")
}

const VARIABLES: &str = "\
# Where a function is created from. deployctl updates the code of those that exist.

variable \"artifact_bucket\" {
  description = \"Bucket that deployctl uploads artifacts to.\"
  type        = string
}

variable \"artifact_key\" {
  description = \"Key of the artifact.\"
  type        = string
}
";

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

/// What an artifact's entry in `deployctl.toml` says.
pub(crate) fn origin(source: &Source) -> (&'static str, String) {
    match source {
        Source::Package(package) => ("package", package.name.clone()),
        Source::File(path) => ("path", path.to_string_lossy().into_owned()),
    }
}
