//! Parsed Terraform source with positions, so that single expressions can be read and replaced.
//!
//! Nothing is evaluated: values that depend on variables or resources are expressions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, Traversal, TraversalOperator};
use hcl_edit::structure::{Block, Body};
use hcl_edit::visit::Visit;

use super::layers::is_configuration;

mod json;

/// A parsed file.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    /// Of a JSON file: the same as HCL, in which the positions are.
    pub(crate) text: String,
    pub(crate) body: Body,
    pub(crate) is_json: bool,
}

/// A folder of Terraform source.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) dir: PathBuf,
    pub(crate) files: Vec<SourceFile>,
    /// `override.tf` and `*_override.tf`, which Terraform merges into the other files.
    pub(crate) overrides: Vec<SourceFile>,
    /// The files that were not parsed, with the reason.
    pub(crate) unreadable: Vec<(PathBuf, String)>,
}

/// A `resource`, `data` or `module` block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) file: &'a SourceFile,
    pub(crate) block: &'a Block,
    /// The resource type; empty for a module.
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
}

/// The meta-argument that repeats a resource or module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Once,
    ForEach,
    Count,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ignored {
    All,
    These(BTreeSet<String>),
}

impl Ignored {
    /// The `attributes` that are not ignored.
    pub(crate) fn missing<'a>(&self, attributes: &[&'a str]) -> Vec<&'a str> {
        match self {
            Self::All => Vec::new(),
            Self::These(ignored) => {
                attributes.iter().copied().filter(|name| !ignored.contains(*name)).collect()
            }
        }
    }
}

/// A step of a reference such as `aws_lambda_function.this["a"].arn`.
#[derive(Debug, Clone)]
pub(crate) enum Step<'a> {
    Attribute(&'a str),
    Index(&'a Expression),
    Splat,
}

impl Module {
    /// Reads the files of `dir`. An unreadable folder gives an empty module.
    pub(crate) fn read(dir: &Path) -> Self {
        let mut module =
            Self { dir: dir.to_owned(), files: Vec::new(), overrides: Vec::new(), unreadable: Vec::new() };
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.file_name().is_some_and(|name| is_configuration(&name.to_string_lossy())));
        paths.sort();
        for path in paths {
            match SourceFile::read(&path) {
                Ok(file) if is_override(&path) => module.overrides.push(file),
                Ok(file) => module.files.push(file),
                Err(reason) => module.unreadable.push((path, reason)),
            }
        }
        module
    }

    /// The block of an override file that changes a resource, and its file.
    pub(crate) fn overriding<'m>(&'m self, found: &Found<'_>) -> Option<(&'m SourceFile, &'m Block)> {
        let names = |block: &Block| -> Vec<String> {
            let labels = block.labels.iter().map(|label| label.as_str().to_owned());
            [block.ident.as_str().to_owned()].into_iter().chain(labels).collect()
        };
        let wanted = names(found.block);
        self.overrides
            .iter()
            .find_map(|file| Some((file, file.body.blocks().find(|block| names(block) == wanted)?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.overrides.is_empty() && self.unreadable.is_empty()
    }

    /// The blocks of a kind, such as `terraform`.
    pub(crate) fn blocks<'a>(&'a self, ident: &'a str) -> impl Iterator<Item = (&'a SourceFile, &'a Block)> {
        self.files.iter().flat_map(move |file| file.body.get_blocks(ident).map(move |block| (file, block)))
    }

    /// The `backend` or `cloud` block. That of an override file replaces that of any other file.
    pub(crate) fn backend(&self) -> Option<&Block> {
        let files = self.overrides.iter().chain(&self.files);
        let settings = files.flat_map(|file| file.body.get_blocks("terraform"));
        let is_backend = |block: &&Block| matches!(block.ident.as_str(), "backend" | "cloud");
        settings.filter_map(|settings| settings.body.blocks().find(is_backend)).next()
    }

    pub(crate) fn resources<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Found<'a>> {
        self.labelled("resource", kind)
    }

    pub(crate) fn data<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Found<'a>> {
        self.labelled("data", kind)
    }

    /// The `module` blocks.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Found<'_>> {
        self.blocks("module").filter_map(|(file, block)| {
            let name = block.labels.first()?.as_str();
            Some(Found { file, block, kind: "", name })
        })
    }

    /// The folder of a called module with a relative `source`.
    pub(crate) fn local_source(&self, call: &Found<'_>) -> Option<PathBuf> {
        let source = literal(&call.block.body.get_attribute("source")?.value)?;
        source.starts_with('.').then(|| self.dir.join(source).canonicalize().ok()).flatten()
    }

    pub(crate) fn declares(&self, variable: &str) -> bool {
        self.blocks("variable").any(|(_, block)| block.labels.first().is_some_and(|l| l.as_str() == variable))
    }

    /// The value of a local, and its file.
    pub(crate) fn local(&self, name: &str) -> Option<(&SourceFile, &Expression)> {
        self.blocks("locals").find_map(|(file, block)| Some((file, &block.body.get_attribute(name)?.value)))
    }

    fn labelled<'a>(&'a self, ident: &'a str, kind: &'a str) -> impl Iterator<Item = Found<'a>> {
        self.blocks(ident).filter_map(move |(file, block)| match block.labels.as_slice() {
            [found, name] if found.as_str() == kind => {
                Some(Found { file, block, kind: found.as_str(), name: name.as_str() })
            }
            _ => None,
        })
    }
}

impl<'a> Found<'a> {
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a Expression> {
        self.block.body.get_attribute(name).map(|attribute| &attribute.value)
    }

    pub(crate) fn repeat(&self) -> Repeat {
        match (self.attribute("for_each"), self.attribute("count")) {
            (Some(_), _) => Repeat::ForEach,
            (None, Some(_)) => Repeat::Count,
            (None, None) => Repeat::Once,
        }
    }

    /// The address inside the module, without indices.
    pub(crate) fn address(&self) -> String {
        if self.kind.is_empty() {
            format!("module.{}", self.name)
        } else {
            format!("{}.{}", self.kind, self.name)
        }
    }

    /// The `ignore_changes` of its `lifecycle` block.
    pub(crate) fn ignored(&self) -> Ignored {
        let lifecycle = self.block.body.get_blocks("lifecycle").next();
        let list = lifecycle.and_then(|block| Some(&block.body.get_attribute("ignore_changes")?.value));
        match list {
            Some(Expression::Variable(word)) if word.as_str() == "all" => Ignored::All,
            Some(Expression::Array(array)) => {
                Ignored::These(array.iter().filter_map(attribute_name).collect())
            }
            _ => Ignored::These(BTreeSet::new()),
        }
    }
}

impl SourceFile {
    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let text = if is_json { json::to_hcl(&text)? } else { text };
        Ok(Self { path: path.to_owned(), body: parse(&text)?, text, is_json })
    }

    pub(crate) fn text_of(&self, expression: &Expression) -> &str {
        expression.span().and_then(|span| self.text.get(span)).unwrap_or_default().trim()
    }
}

/// The attribute name in an element of `ignore_changes`.
fn attribute_name(element: &Expression) -> Option<String> {
    match element {
        Expression::Variable(name) => Some(name.as_str().to_owned()),
        // The syntax before Terraform 0.12.
        Expression::String(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

/// The text of a string without interpolation.
pub(crate) fn literal(expression: &Expression) -> Option<&str> {
    match expression {
        Expression::String(text) => Some(text.as_str()),
        _ => None,
    }
}

/// The steps of a reference, such as `aws_lambda_function`, `this` and `arn`. `None` for other expressions.
pub(crate) fn steps(expression: &Expression) -> Option<Vec<Step<'_>>> {
    match expression {
        Expression::Variable(name) => Some(vec![Step::Attribute(name.as_str())]),
        Expression::Traversal(traversal) => traversal_steps(traversal),
        Expression::Parenthesis(inner) => steps(inner.inner()),
        _ => None,
    }
}

pub(crate) fn traversal_steps(traversal: &Traversal) -> Option<Vec<Step<'_>>> {
    let mut path = steps(&traversal.expr)?;
    path.extend(traversal.operators.iter().map(|operator| match &**operator {
        TraversalOperator::GetAttr(name) => Step::Attribute(name.as_str()),
        TraversalOperator::Index(index) => Step::Index(index),
        TraversalOperator::LegacyIndex(_)
        | TraversalOperator::AttrSplat(_)
        | TraversalOperator::FullSplat(_) => Step::Splat,
    }));
    Some(path)
}

/// All references in an expression, including nested ones.
pub(crate) fn references(expression: &Expression) -> Vec<Traversal> {
    struct All(Vec<Traversal>);
    impl Visit for All {
        fn visit_traversal(&mut self, traversal: &Traversal) {
            self.0.push(traversal.clone());
            hcl_edit::visit::visit_traversal(self, traversal);
        }
    }
    let mut all = All(Vec::new());
    all.visit_expr(expression);
    all.0
}

/// A module, and the modules of this source tree that it calls.
pub(crate) fn with_called(root: Module) -> Vec<Module> {
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    let mut modules = Vec::new();
    let mut waiting = vec![root];
    while let Some(module) = waiting.pop() {
        let called: Vec<PathBuf> = module.calls().filter_map(|call| module.local_source(&call)).collect();
        waiting
            .extend(called.into_iter().filter(|dir| seen.insert(dir.clone())).map(|dir| Module::read(&dir)));
        modules.push(module);
    }
    modules
}

/// All folders with Terraform files in and below `root`, sorted by path. Skips hidden folders, `target`,
/// `node_modules` and `vendor`.
pub(crate) fn find(root: &Path) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let module = Module::read(&folder);
        if !module.is_empty() {
            modules.push(module);
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).filter_map(
            |entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_skipped =
                    name.starts_with('.') || matches!(name.as_str(), "target" | "node_modules" | "vendor");
                (!is_skipped).then(|| entry.path())
            },
        ));
    }
    modules.sort_by(|a, b| a.dir.cmp(&b.dir));
    modules
}

/// Whether Terraform merges the file into the others.
fn is_override(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').next().unwrap_or_default();
    stem == "override" || stem.ends_with("_override")
}

/// Parses what Terraform accepts: also a byte order mark, and objects with a key twice.
///
/// # Errors
/// The first problem, with its line.
pub(crate) fn parse(text: &str) -> Result<Body, String> {
    // As many bytes, so that positions stay.
    let mut text = text.strip_prefix('\u{feff}').map_or_else(|| text.to_owned(), |rest| format!("   {rest}"));
    for attempt in 0..MAX_DUPLICATES {
        match hcl_edit::parser::parse_body(&text) {
            Ok(body) => return Ok(body),
            Err(error) if error.message().contains("redefined object key") => {
                let at = error.location().offset();
                rename(&mut text, at, attempt).ok_or_else(|| first_line(&error))?;
            }
            Err(error) => return Err(first_line(&error)),
        }
    }
    Err(format!("more than {MAX_DUPLICATES} keys occur twice"))
}

const MAX_DUPLICATES: usize = 64;

/// Replaces the first letter of a key by another one.
fn rename(text: &mut String, at: usize, attempt: usize) -> Option<()> {
    let at = at + text.get(at..)?.find(|c: char| c.is_ascii_alphanumeric() || c == '_')?;
    let letter = char::from(b"abcdefghijklmnopqrstuvwxyz".get(attempt % 26).copied()?);
    text.replace_range(at..=at, &letter.to_string());
    Some(())
}

fn first_line(error: &hcl_edit::parser::Error) -> String {
    let location = error.location();
    format!("line {}, column {}: {}", location.line(), location.column(), error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> (tempfile::TempDir, Module) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("main.tf"), text).unwrap();
        let module = Module::read(dir.path());
        (dir, module)
    }

    #[test]
    fn resources_have_an_address_a_repetition_and_ignored_changes() {
        let (_dir, module) = module(
            "resource \"aws_lambda_function\" \"a\" {\n  for_each = local.x\n  lifecycle {\n    ignore_changes = [s3_key, \
             tags[\"x\"]] # why\n  }\n}\nresource \"aws_lambda_function\" \"b\" {\n  lifecycle {\n    ignore_changes = \
             all\n  }\n}\nresource \"other\" \"c\" {}\n",
        );
        let found: Vec<_> = module.resources("aws_lambda_function").collect();
        assert_eq!(
            found.iter().map(Found::address).collect::<Vec<_>>(),
            ["aws_lambda_function.a", "aws_lambda_function.b"]
        );
        assert_eq!((found[0].repeat(), found[1].repeat()), (Repeat::ForEach, Repeat::Once));
        assert_eq!(found[0].ignored().missing(&["s3_key", "filename"]), ["filename"]);
        assert!(found[1].ignored().missing(&["s3_key"]).is_empty());
    }

    #[test]
    fn references_are_found_in_templates_and_functions() {
        let (_dir, module) = module(
            "locals {\n  a = \"x${aws_lambda_function.f[each.key].arn}y\"\n  b = one(module.m[*].arn)\n}\n",
        );
        let names = |local: &str| -> Vec<String> {
            let all = references(module.local(local).unwrap().1);
            all.iter().map(|found| format!("{:?}", traversal_steps(found).unwrap())).collect()
        };
        assert!(
            names("a").iter().any(|steps| steps.contains("aws_lambda_function") && steps.contains("Index"))
        );
        assert!(names("b").iter().any(|steps| steps.contains("module") && steps.contains("Splat")));
        let file = &module.files[0];
        assert_eq!(file.text_of(module.local("b").unwrap().1), "one(module.m[*].arn)");
    }

    #[test]
    fn what_terraform_accepts_is_read() {
        let marked = "\u{feff}locals {\n  a = { x = 1, x = 2, x = 3, \"x\" = 4 }\n  b = \"c\"\n}\n";
        let (_dir, read) = module(marked);
        assert!(read.unreadable.is_empty(), "{:?}", read.unreadable);
        let (file, value) = read.local("b").unwrap();
        assert_eq!((file.text_of(value), literal(value)), ("\"c\"", Some("c")));

        let dir = tempfile::tempdir().unwrap();
        let json = serde_json::json!({
            "//": "a comment",
            "terraform": { "backend": { "s3": { "bucket": "b" } } },
            "resource": { "aws_lambda_function": { "f": {
                "function_name": "f-${var.stage}", "filename": "${path.module}/f.zip",
                "role": "${aws_iam_role.r.arn}",
                "environment": { "variables": { "A": "x \"y\"\n", "N": 1 } },
                "lifecycle": { "ignore_changes": ["filename"] },
            } } },
            "module": { "m": { "source": "./m", "for_each": { "a": 1 } } },
        });
        std::fs::write(dir.path().join("main.tf.json"), json.to_string()).unwrap();
        std::fs::write(dir.path().join("x_override.tf"), "resource \"aws_lambda_function\" \"f\" {}\n")
            .unwrap();
        let read = Module::read(dir.path());
        assert!(read.unreadable.is_empty(), "{:?}", read.unreadable);
        let found: Vec<_> = read.resources("aws_lambda_function").collect();
        assert_eq!(found.len(), 1, "an override is no second resource");
        assert!(read.overriding(&found[0]).is_some());
        assert_eq!(found[0].ignored().missing(&["filename", "s3_key"]), ["s3_key"]);
        let role = steps(found[0].attribute("role").unwrap()).unwrap();
        assert!(matches!(role.as_slice(), [Step::Attribute("aws_iam_role"), ..]));
        assert_eq!(read.calls().next().unwrap().repeat(), Repeat::ForEach);
        let backend = read.blocks("terraform").next().unwrap().1.body.get_blocks("backend").next().unwrap();
        assert_eq!(backend.labels[0].as_str(), "s3");
    }

    #[test]
    fn an_unparsable_file_is_listed_with_its_line() {
        let (_dir, module) = module("resource \"a\" {\n  x = \n}\n");
        assert!(module.files.is_empty());
        assert!(module.unreadable[0].1.starts_with("line 2"), "{:?}", module.unreadable);
    }
}
