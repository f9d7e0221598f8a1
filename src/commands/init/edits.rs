//! Changes to source files as values, and as a patch for `git apply` and `patch -p1`.
//!
//! A change replaces a range of the text and keeps every other byte, including comments and layout.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hcl_edit::Span as _;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Attribute, Block};
use similar::TextDiff;

use crate::documents::init::Advice;
use crate::terraform::source::{self, SourceFile};

/// Changes to the files of a project.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    changed: BTreeMap<PathBuf, Changed>,
    new: BTreeMap<PathBuf, String>,
}

#[derive(Debug)]
struct Changed {
    text: String,
    edits: Vec<(Range<usize>, String)>,
    /// The text is what JSON means as HCL: the file cannot be changed.
    is_json: bool,
}

impl Edits {
    /// Replaces a range of a file.
    pub(crate) fn replace(&mut self, file: &SourceFile, range: Range<usize>, with: impl Into<String>) {
        self.replace_in(&file.path, &file.text, range, with);
        if let Some(changed) = self.changed.get_mut(&file.path) {
            changed.is_json = file.is_json;
        }
    }

    /// Replaces a range of any file with this text.
    pub(crate) fn replace_in(
        &mut self,
        path: &Path,
        text: &str,
        range: Range<usize>,
        with: impl Into<String>,
    ) {
        let changed = self.changed.entry(path.to_owned()).or_insert_with(|| Changed {
            text: text.to_owned(),
            edits: Vec::new(),
            is_json: false,
        });
        let edit = (range, with.into());
        // A module that two layers call is changed twice, in the same way.
        if !changed.edits.contains(&edit) {
            changed.edits.push(edit);
        }
    }

    /// Creates a file, or appends to a created one.
    pub(crate) fn create(&mut self, path: &Path, text: &str) {
        let file = self.new.entry(path.to_owned()).or_default();
        if !file.is_empty() {
            file.push('\n');
        }
        file.push_str(text);
    }

    /// The same, unless the file already contains the text.
    pub(crate) fn create_once(&mut self, path: &Path, text: &str) {
        if !self.new.get(path).is_some_and(|known| known.contains(text)) {
            self.create(path, text);
        }
    }

    /// Replaces the value of an attribute.
    pub(crate) fn value(&mut self, file: &SourceFile, value: &Expression, with: impl Into<String>) {
        if let Some(range) = value.span() {
            self.replace(file, range, with);
        }
    }

    /// Removes the lines of an attribute.
    pub(crate) fn remove(&mut self, file: &SourceFile, attribute: &Attribute) {
        let Some(range) = attribute.span() else { return };
        let whole = lines(&file.text, &range);
        let before = file.text.get(whole.start..range.start).unwrap_or_default();
        // In a block on one line, the rest stays.
        self.replace(file, if before.trim().is_empty() { whole } else { range }, "");
    }

    /// Removes the lines of a block.
    pub(crate) fn remove_block(&mut self, file: &SourceFile, block: &Block) {
        if let Some(range) = block.span() {
            let mut whole = lines(&file.text, &range);
            // And one of the blank lines around it.
            if file.text.get(whole.end..).is_some_and(|rest| rest.starts_with('\n')) {
                whole.end += 1;
            }
            self.replace(file, whole, "");
        }
    }

    /// Inserts an attribute below another one, with the `=` in the same column if possible.
    pub(crate) fn below(&mut self, file: &SourceFile, attribute: &Attribute, name: &str, value: &str) {
        let Some(range) = attribute.span() else { return };
        let whole = lines(&file.text, &range);
        let line =
            format!("{}{} = {value}\n", indent(&file.text, range.start), padded(file, attribute, name));
        self.replace(file, whole.end..whole.end, line);
    }

    /// Appends lines without indentation to a block; `apart` adds a blank line before them.
    pub(crate) fn append(&mut self, file: &SourceFile, block: &Block, text: &[String], apart: bool) {
        let Some(range) = block.span() else { return };
        let outer = indent(&file.text, range.start);
        let inner: String = text
            .iter()
            .map(|line| if line.is_empty() { "\n".into() } else { format!("{outer}  {line}\n") })
            .collect();
        let brace = range.end.saturating_sub(1);
        let before = file.text.get(..brace).unwrap_or_default();
        let own_line = before.trim_end_matches([' ', '\t']).ends_with('\n');
        if own_line {
            let start = before.trim_end_matches([' ', '\t']).len();
            let is_empty = before.trim_end().ends_with('{');
            let gap = if apart && !is_empty { "\n" } else { "" };
            self.replace(file, start..start, format!("{gap}{inner}"));
        } else {
            self.open_up(file, &range, &outer, text);
        }
    }

    /// Appends lines to a block on one line: an argument that is there moves to a line of its own.
    fn open_up(&mut self, file: &SourceFile, range: &Range<usize>, outer: &str, text: &[String]) {
        let brace = range.end.saturating_sub(1);
        let block = file.text.get(range.start..brace).unwrap_or_default();
        let Some(open) = block.find('{').map(|at| range.start + at + 1) else { return };
        let content = file.text.get(open..brace).unwrap_or_default();
        if !content.trim().is_empty() {
            let blank = content.len() - content.trim_start().len();
            self.replace(file, open..open + blank, format!("\n{outer}  "));
        }
        let end = open + content.trim_end().len();
        self.replace(file, end..brace, format!("\n{outer}"));
        let inner: String = text.iter().map(|line| format!("  {line}\n{outer}")).collect();
        self.replace(file, brace..brace, inner);
    }

    /// The new text of a file.
    fn apply(changed: &Changed) -> String {
        let mut edits: Vec<&(Range<usize>, String)> = changed.edits.iter().collect();
        // Stable: insertions at the same place keep their order.
        edits.sort_by_key(|(range, _)| (range.start, range.end));
        let crlf = changed.text.contains("\r\n");
        let (mut text, mut at) = (String::new(), 0);
        for (range, with) in edits {
            // The edit before it has already replaced this range.
            if range.start < at {
                continue;
            }
            text.push_str(changed.text.get(at..range.start).unwrap_or_default());
            if crlf {
                text.push_str(&with.replace('\n', "\r\n"))
            } else {
                text.push_str(with)
            }
            at = range.end;
        }
        text.push_str(changed.text.get(at..).unwrap_or_default());
        text
    }

    /// The patch, with paths relative to `root`, and what it leaves to the user: changes of JSON files, and
    /// changes after which a file could not be parsed.
    pub(crate) fn patch(&self, root: &Path) -> (String, Vec<Advice>) {
        let (mut patch, mut advice) = (String::new(), Vec::new());
        let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        for (path, changed) in &self.changed {
            let after = Self::apply(changed);
            if after == changed.text {
                continue;
            }
            let name = name(path);
            let diff = diff(&changed.text, &after, &format!("a/{name}"), &format!("b/{name}"));
            if let Some(why) = refusal(path, changed, &after) {
                advice.push(Advice::new(format!("{name} {why}")).write(diff));
            } else {
                patch.push_str(&diff);
            }
        }
        for (path, text) in &self.new {
            let is_terraform = path.extension().is_some_and(|ending| ending == "tf");
            match is_terraform.then(|| source::parse(text).err()).flatten() {
                Some(why) => advice.push(
                    Advice::new(format!("{} is not created: it cannot be parsed ({why})", name(path)))
                        .write(text),
                ),
                None => patch.push_str(&diff("", text, "/dev/null", &format!("b/{}", name(path)))),
            }
        }
        (patch, advice)
    }
}

/// Why a change cannot be part of the patch.
fn refusal(path: &Path, changed: &Changed, after: &str) -> Option<String> {
    if changed.is_json {
        return Some("is JSON, which the patch does not change; as HCL, the change is".to_owned());
    }
    let is_terraform = path.extension().is_some_and(|ending| ending == "tf" || ending == "tofu");
    let problem = is_terraform.then(|| source::parse(after).err()).flatten();
    problem.map(|why| format!("is not changed: after this change it cannot be parsed ({why})"))
}

fn diff(before: &str, after: &str, from: &str, to: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(from, to).to_string()
}

/// The indentation of the line at `at`.
pub(crate) fn indent(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    before[line..].chars().take_while(|c| *c == ' ' || *c == '\t').collect()
}

/// The whole lines of a range.
fn lines(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.get(..range.start).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    // A span may include the line break.
    if text.get(..range.end).is_some_and(|before| before.ends_with('\n')) {
        return start..range.end;
    }
    let end =
        text.get(range.end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| range.end + end + 1);
    start..end
}

/// A name, padded to the width of a neighbour's name.
pub(crate) fn padded(file: &SourceFile, neighbour: &Attribute, name: &str) -> String {
    let width = neighbour
        .span()
        .and_then(|range| file.text.get(range))
        .and_then(|text| text.split_once('='))
        .map_or(0, |(key, _)| key.len().saturating_sub(1));
    format!("{name:<width$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::source::Module;

    #[test]
    fn a_change_keeps_the_rest_and_its_patch_can_be_applied_by_git() {
        let dir = tempfile::tempdir().unwrap();
        let before =
            "# top\nresource \"a\" \"b\" {\n  uri   = x.y # why\n  other = 1\n}\n\nresource \"a\" \"c\" {}";
        std::fs::write(dir.path().join("main.tf"), before).unwrap();
        let module = Module::read(dir.path());
        let mut edits = Edits::default();
        for found in module.resources("a") {
            edits.append(found.file, found.block, &["lifecycle {".into(), "}".into()], true);
            if let Some(uri) = found.block.body.get_attribute("uri") {
                edits.value(found.file, &uri.value, "f(x.y)");
                edits.below(found.file, uri, "role", "r.arn");
            }
            if let Some(other) = found.block.body.get_attribute("other") {
                edits.remove(found.file, other);
            }
        }
        edits.create(&dir.path().join("sub/new.tf"), "locals {}\n");
        let (patch, refused) = edits.patch(dir.path());
        assert!(refused.is_empty());
        let mut git = std::process::Command::new("git")
            .args(["apply", "-"])
            .current_dir(dir.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut git.stdin.take().unwrap(), patch.as_bytes()).unwrap();
        assert!(git.wait().unwrap().success(), "{patch}");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("main.tf")).unwrap(),
            "# top\nresource \"a\" \"b\" {\n  uri   = f(x.y) # why\n  role  = r.arn\n\n  lifecycle {\n  }\n}\n\nresource \
             \"a\" \"c\" {\n  lifecycle {\n  }\n}"
        );
        assert_eq!(std::fs::read_to_string(dir.path().join("sub/new.tf")).unwrap(), "locals {}\n");
    }

    #[test]
    fn a_block_on_one_line_is_opened_up() {
        let dir = tempfile::tempdir().unwrap();
        let before = "terraform { required_version = \">= 1.5\" }\nresource \"a\" \"b\" {\n  lifecycle { create_before_destroy = true }\n}\n";
        std::fs::write(dir.path().join("main.tf"), before).unwrap();
        let module = Module::read(dir.path());
        let mut edits = Edits::default();
        for (file, block) in module.blocks("terraform") {
            edits.append(file, block, &["backend \"s3\" {}".into()], true);
            edits.append(file, block, &["# twice".into()], true);
        }
        let found = module.resources("a").next().unwrap();
        let lifecycle = found.block.body.get_blocks("lifecycle").next().unwrap();
        edits.append(found.file, lifecycle, &["ignore_changes = [x]".into()], true);
        let (_, changed) = edits.changed.iter().next().unwrap();
        assert_eq!(
            Edits::apply(changed),
            "terraform {\n  required_version = \">= 1.5\"\n  backend \"s3\" {}\n  # twice\n}\nresource \"a\" \"b\" {\n  \
             lifecycle {\n    create_before_destroy = true\n    ignore_changes = [x]\n  }\n}\n"
        );
        assert!(source::parse(&Edits::apply(changed)).is_ok());
    }

    #[test]
    fn windows_line_breaks_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("main.tf"), "resource \"a\" \"b\" {\r\n  x = 1\r\n}\r\n").unwrap();
        let module = Module::read(dir.path());
        let found = module.resources("a").next().unwrap();
        let mut edits = Edits::default();
        edits.append(found.file, found.block, &["y = 2".into()], false);
        let (path, changed) = edits.changed.iter().next().unwrap();
        assert_eq!(path, &dir.path().join("main.tf"));
        assert_eq!(Edits::apply(changed), "resource \"a\" \"b\" {\r\n  x = 1\r\n  y = 2\r\n}\r\n");
    }
}
