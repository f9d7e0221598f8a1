//! Digests of what a plan of a layer reads on this machine: its files, variables and lock file. Equal digests
//! mean that Terraform would plan the same again, as far as the outside world is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use hcl_edit::expr::{Expression, FuncCall, Traversal, TraversalOperator};
use hcl_edit::parser::parse_body;
use hcl_edit::template::{Element, StringTemplate};
use hcl_edit::visit::{self, Visit};
use ring::digest::{Context, SHA256};
use serde_json::Value;

use super::layers::Layer;
use super::source::literal;
use super::{environment, init, lock_file, variables};
use crate::platform::{hex, paths};

/// The variable that differs in each release.
const VERSION: &str = "release_version";

/// The digests of a layer, in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// The configuration of the layer and its local modules, the files that they refer to, and the files with
    /// values of variables.
    pub(crate) files: String,
    pub(crate) variables: String,
    /// `None` without a lock file.
    pub(crate) lock_file: Option<String>,
}

impl Inputs {
    /// Reads the inputs of `layer`. `inherited` is the environment of the process.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn read(
        layer: &Layer,
        variables: &BTreeMap<String, Value>,
        inherited: impl Iterator<Item = (OsString, OsString)>,
    ) -> io::Result<Self> {
        let lock_file = Self::lock_file(layer)?;
        let files = files(layer)?;
        let files = digest(files.iter().map(|(path, digest)| (path.as_str(), digest.as_bytes())));
        let variables = values(variables, inherited);
        let variables = digest(variables.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        Ok(Self { files, variables, lock_file })
    }

    /// Reads the lock file alone.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn lock_file(layer: &Layer) -> io::Result<Option<String>> {
        match std::fs::read(layer.dir.join(lock_file::FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(digest([(lock_file::FILE, bytes?.as_slice())]))),
        }
    }
}

/// The values of Terraform's variables, but for the version of the release.
fn values(
    variables: &BTreeMap<String, Value>,
    inherited: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    let inherited = inherited.filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix("TF_VAR_")?.to_owned();
        Some((name, value.to_string_lossy().into_owned()))
    });
    let mut values: BTreeMap<String, String> = inherited.collect();
    values.extend(variables.iter().map(|(name, value)| (name.clone(), environment::variable(value))));
    values.remove(VERSION);
    values
}

fn digest<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Context::new(&SHA256);
    for (name, bytes) in parts {
        // With the lengths, different inputs cannot give the same bytes.
        hash.update(format!("{} {name} {}\n", name.len(), bytes.len()).as_bytes());
        hash.update(bytes);
    }
    hex(hash.finish())
}

/// The digests of the files that Terraform reads for a layer, by their paths relative to its folder.
fn files(layer: &Layer) -> io::Result<BTreeMap<String, String>> {
    let root = layer.dir.canonicalize()?;
    let mut files = BTreeMap::new();
    for path in paths(layer)? {
        add_all(&root, &path, &mut files)?;
    }
    Ok(files)
}

/// The files and folders that Terraform reads for a layer.
///
/// # Errors
/// The folder of the layer cannot be read.
pub(crate) fn paths(layer: &Layer) -> io::Result<BTreeSet<PathBuf>> {
    let root = layer.dir.canonicalize()?;
    let mut paths = BTreeSet::new();
    for (path, text) in init::configuration(&root) {
        let module = path.parent().unwrap_or(&root).to_owned();
        match parse_body(&text) {
            Ok(body) if path.extension().is_some_and(|ending| ending != "json") => {
                let mut references = References { root: &root, module: &module, paths: &mut paths };
                references.visit_body(&body);
            }
            // JSON may refer to any file of its module.
            _ => drop(paths.insert(module)),
        }
        paths.insert(path);
    }
    for entry in std::fs::read_dir(&root)? {
        let entry = entry?;
        if variables::holds_values(&entry.file_name().to_string_lossy()) {
            paths.insert(entry.path());
        }
    }
    paths.extend(layer.var_files.iter().map(|file| root.join(file)));
    Ok(paths)
}

/// Adds a file, or all files in a folder but for hidden ones and states. One that does not exist is an empty
/// file: the configuration refers to it, and it may exist later.
fn add_all(root: &Path, path: &Path, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(relative(root, path), file_digest(path)?);
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_state = name.contains(".tfstate") || name == "crash.log";
        let is_link_to_folder = entry.file_type()?.is_symlink() && entry.path().is_dir();
        if !name.starts_with('.') && !is_state && !is_link_to_folder {
            add_all(root, &entry.path(), files)?;
        }
    }
    Ok(())
}

fn file_digest(path: &Path) -> io::Result<String> {
    match lock_file::hash_of_file(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(lock_file::sha256(b""))
        }
        digest => digest.map(hex),
    }
}

/// `path` from `root`, so that the digest does not depend on where the project is.
fn relative(root: &Path, path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| paths::normal(path));
    paths::relative(root, &path).to_string_lossy().into_owned()
}

/// Collects the files and folders that a module refers to: paths that begin with `path.module` or `path.root`,
/// and the literal arguments of functions that read files. Of a path whose end is computed, the folder.
struct References<'a> {
    root: &'a Path,
    module: &'a Path,
    paths: &'a mut BTreeSet<PathBuf>,
}

impl References<'_> {
    /// The folder that `path.module`, `path.root` or `path.cwd` names.
    fn folder(&self, expression: &Expression) -> Option<&Path> {
        match expression {
            Expression::Traversal(traversal) => self.folder_of(traversal),
            Expression::Parenthesis(inner) => self.folder(inner.inner()),
            _ => None,
        }
    }

    fn folder_of(&self, traversal: &Traversal) -> Option<&Path> {
        let Expression::Variable(variable) = &traversal.expr else { return None };
        let [operator] = traversal.operators.as_slice() else { return None };
        match operator.value() {
            TraversalOperator::GetAttr(name) if variable.as_str() == "path" => match name.as_str() {
                "module" => Some(self.module),
                "root" | "cwd" => Some(self.root),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Visit for References<'_> {
    fn visit_string_template(&mut self, template: &StringTemplate) {
        let mut elements = template.iter().peekable();
        let folder = match elements.peek() {
            Some(Element::Interpolation(interpolation)) => self.folder(&interpolation.expr),
            _ => None,
        };
        if let Some(folder) = folder.map(Path::to_owned) {
            elements.next();
            let text = match elements.peek() {
                Some(Element::Literal(text)) => text.as_str().trim_start_matches('/').to_owned(),
                _ => String::new(),
            };
            let is_whole = template.iter().count() == if text.is_empty() { 1 } else { 2 };
            let end = if is_whole { text.len() } else { text.rfind('/').unwrap_or(0) };
            self.paths.insert(folder.join(&text[..end]));
        }
        elements.for_each(|element| self.visit_element(element));
    }

    fn visit_traversal(&mut self, traversal: &Traversal) {
        if let Some(folder) = self.folder_of(traversal).map(Path::to_owned) {
            self.paths.insert(folder);
        }
        visit::visit_traversal(self, traversal);
    }

    fn visit_func_call(&mut self, call: &FuncCall) {
        let name = call.name.name.as_str();
        let path = call.args.iter().next().and_then(literal);
        if let Some(path) = path.filter(|_| name.starts_with("file") || name == "templatefile") {
            // Terraform runs in the layer's folder.
            self.paths.insert(self.root.join(path));
        }
        visit::visit_func_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = r#"
module "queue" { source = "../modules/queue" }
resource "x" "y" {
  policy = file("policy.json")
  body   = templatefile("${path.module}/api/body.json", { name = "a" })
  each   = { for name in var.names : name => file("${path.module}/texts/${name}.txt") }
}
"#;

    struct Project(tempfile::TempDir);

    impl Project {
        fn new() -> Self {
            let project = Self(tempfile::tempdir().unwrap());
            project.write("terraform/app/main.tf", MAIN);
            project.write("terraform/app/policy.json", "{}");
            project.write("terraform/app/api/body.json", "{}");
            project.write("terraform/app/texts/a.txt", "a");
            project.write("terraform/modules/queue/main.tf", "data \"a\" \"b\" { dir = path.module }\n");
            project
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn inputs(&self, variables: &[(&str, &str)], inherited: &[(&str, &str)]) -> Inputs {
            let dir = self.0.path().join("terraform/app");
            let var_files = vec![self.0.path().join("values/dev.tfvars"), "eu.tfvars".into()];
            let layer = Layer { name: "app".into(), dir, var_files, depends_on: Vec::new() };
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
            let inherited = inherited.iter().map(|(name, value)| (name.into(), value.into()));
            Inputs::read(&layer, &variables.collect(), inherited).unwrap()
        }
    }

    #[test]
    fn what_terraform_reads_changes_the_digest_and_nothing_else_does() {
        let project = Project::new();
        let before = project.inputs(&[], &[]);
        // As in another checkout.
        assert_eq!(Project::new().inputs(&[], &[]), before);
        for ignored in [
            "src/main.rs",
            "terraform/app/README.md",
            "terraform/app/other/file.txt",
            "terraform/app/.terraform/providers/a",
            "terraform/app/terraform.tfstate",
            "terraform/app/other.tfvars",
            "values/prd.tfvars",
            "terraform/modules/unused/main.tf",
        ] {
            project.write(ignored, "changed");
            assert_eq!(project.inputs(&[], &[]), before, "{ignored}");
        }
        let mut last = before.files;
        for read in [
            "terraform/app/policy.json",
            "terraform/app/api/body.json",
            "terraform/app/texts/b.txt",
            "terraform/app/terraform.tfvars",
            "terraform/app/eu.auto.tfvars",
            "terraform/app/eu.tfvars",
            "values/dev.tfvars",
            "terraform/app/second.tf",
            "terraform/modules/queue/main.tf",
            // The module has a bare `path.module`, before the line above replaces it.
        ] {
            project.write(read, "# changed\n");
            let now = project.inputs(&[], &[]);
            assert_ne!(now.files, last, "{read}");
            assert_eq!((now.lock_file, &now.variables), (None, &before.variables), "{read}");
            last = now.files;
        }
    }

    #[test]
    fn a_bare_path_is_its_whole_folder() {
        let project = Project::new();
        let before = project.inputs(&[], &[]);
        project.write("terraform/modules/queue/handler/index.js", "changed");
        assert_ne!(project.inputs(&[], &[]).files, before.files);
    }

    #[test]
    fn the_version_is_no_input_and_other_variables_are() {
        let project = Project::new();
        let one =
            project.inputs(&[("release_version", "1"), ("size", "s")], &[("TF_VAR_a", "1"), ("B", "1")]);
        let two =
            project.inputs(&[("release_version", "2"), ("size", "s")], &[("TF_VAR_a", "1"), ("B", "2")]);
        assert_eq!(one, two);
        for (variables, inherited) in [
            ([("size", "l")], [("TF_VAR_a", "1")]),
            ([("size", "s")], [("TF_VAR_a", "2")]),
            ([("size", "s")], [("TF_VAR_b", "1")]),
        ] {
            assert_ne!(project.inputs(&variables, &inherited).variables, one.variables);
        }
        // What the stage sets takes precedence.
        let set = project.inputs(&[("a", "1"), ("size", "s")], &[("TF_VAR_a", "2")]);
        assert_eq!(set.variables, one.variables);
        project.write("terraform/app/.terraform.lock.hcl", "provider \"a\" {}\n");
        assert!(project.inputs(&[], &[]).lock_file.is_some());
    }
}
