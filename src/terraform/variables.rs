//! The values of a layer's variables: those of tfvars files, and those of the driver, which replace them.
//!
//! Terraform takes a value of an environment variable (`TF_VAR_…`) only if no file has one. So the driver's
//! values also are in a file that is named last.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, ObjectKey};
use hcl_edit::parser::parse_body;
use serde_json::{Map, Value};

use super::layers::Layer;
use super::source::{Module, literal};

/// A value in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assigned {
    pub(crate) file: PathBuf,
    /// The line; `None` in a JSON file.
    pub(crate) line: Option<usize>,
    /// `None`: not a literal.
    pub(crate) value: Option<Value>,
}

/// The files with values that Terraform reads first.
const FIRST: [&str; 2] = ["terraform.tfvars", "terraform.tfvars.json"];

/// The values that Terraform takes from files, by variable: `terraform.tfvars`, `*.auto.tfvars` and the layer's
/// own list, in this order; the last one wins. A file that cannot be parsed is left to Terraform.
pub(crate) fn assigned(layer: &Layer) -> BTreeMap<String, Assigned> {
    let mut values = BTreeMap::new();
    let listed = layer.var_files.iter().map(|file| layer.dir.join(file));
    for file in automatic(&layer.dir).into_iter().chain(listed) {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let text = text.trim_start_matches('\u{feff}');
        if file.extension().is_some_and(|ending| ending == "json") {
            let Ok(Value::Object(fields)) = serde_json::from_str(text) else { continue };
            for (name, value) in fields {
                values.insert(name, Assigned { file: file.clone(), line: None, value: Some(value) });
            }
        } else if let Ok(body) = parse_body(text) {
            for attribute in body.attributes() {
                let before = attribute.span().and_then(|span| text.get(..span.start));
                let line = before.map(|before| before.matches('\n').count() + 1);
                let assigned = Assigned { file: file.clone(), line, value: value(&attribute.value) };
                values.insert(attribute.key.as_str().to_owned(), assigned);
            }
        }
    }
    values
}

/// The files that Terraform reads without being told, in its order.
fn automatic(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut auto: Vec<String> = names.filter(|name| is_auto(name)).collect();
    auto.sort();
    let first = FIRST.map(str::to_owned);
    first.into_iter().chain(auto).map(|name| dir.join(name)).filter(|file| file.is_file()).collect()
}

/// Whether Terraform reads a file of this name for values of variables without being told.
pub(super) fn holds_values(name: &str) -> bool {
    FIRST.contains(&name) || is_auto(name)
}

fn is_auto(name: &str) -> bool {
    name.ends_with(".auto.tfvars") || name.ends_with(".auto.tfvars.json")
}

/// The value of a literal; `None` for other expressions.
fn value(expression: &Expression) -> Option<Value> {
    Some(match expression {
        Expression::Null(_) => Value::Null,
        Expression::Bool(flag) => Value::Bool(*flag.as_ref()),
        Expression::Number(number) => serde_json::from_str(&number.to_string()).ok()?,
        Expression::Array(items) => Value::Array(items.iter().map(value).collect::<Option<_>>()?),
        Expression::Object(items) => {
            let item = |(key, item): (&ObjectKey, &hcl_edit::expr::ObjectValue)| {
                let key = match key {
                    ObjectKey::Ident(name) => name.as_str().to_owned(),
                    ObjectKey::Expression(text) => literal(text)?.to_owned(),
                };
                Some((key, value(item.expr())?))
            };
            Value::Object(items.iter().map(item).collect::<Option<Map<_, _>>>()?)
        }
        Expression::Parenthesis(inner) => value(inner.inner())?,
        text => Value::String(literal(text)?.to_owned()),
    })
}

/// Whether Terraform takes both for the same value: it converts between texts, numbers and booleans.
pub(crate) fn are_equal(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| are_equal(a, b)))
        }
        (a, b) => a == b || (text(a).is_some() && text(a) == text(b)),
    }
}

/// The variables that a root module declares, and whether a text is a value of their type. JSON files do not say.
pub(crate) fn declared(dir: &Path) -> BTreeMap<String, bool> {
    let module = Module::read(dir);
    let mut declared = BTreeMap::new();
    for (_, block) in module.blocks("variable") {
        let Some(name) = block.labels.first() else { continue };
        let takes_text = match block.body.get_attribute("type").map(|attribute| &attribute.value) {
            None => true,
            Some(Expression::Variable(kind)) => matches!(kind.as_str(), "string" | "number" | "bool" | "any"),
            Some(_) => false,
        };
        declared.insert(name.as_str().to_owned(), takes_text);
    }
    for (path, _) in &module.unreadable {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let names: BTreeSet<&String> = json["variable"].as_object().into_iter().flat_map(Map::keys).collect();
        declared.extend(names.into_iter().map(|name| (name.clone(), false)));
    }
    declared
}

/// The values that `layer` declares, as a JSON file for `-var-file`. `None` if it would be empty. A text for a list
/// or an object is an expression, which such a file cannot contain.
pub(super) fn file(layer: &Layer, values: &BTreeMap<String, Value>) -> Option<Vec<u8>> {
    let declared = declared(&layer.dir);
    let is_taken = |(name, value): &(&String, &Value)| {
        declared.get(*name).is_some_and(|takes_text| *takes_text || !value.is_string())
    };
    let taken: BTreeMap<&String, &Value> = values.iter().filter(is_taken).collect();
    if taken.is_empty() {
        return None;
    }
    serde_json::to_vec(&taken).ok()
}

/// Whether a command, given as its arguments, takes `-var-file`. An apply of a plan file has all values.
pub(crate) fn takes_values(args: &[OsString]) -> bool {
    const WITH_VALUE: [&str; 10] = [
        "backup",
        "exclude",
        "lock-timeout",
        "parallelism",
        "replace",
        "state",
        "state-out",
        "target",
        "var",
        "var-file",
    ];
    let Some((command, options)) = args.split_first() else { return false };
    match command.to_str() {
        Some("plan" | "destroy" | "refresh" | "import" | "console") => true,
        Some("apply") => {
            let mut options = options.iter().map(|option| option.to_string_lossy());
            while let Some(option) = options.next() {
                if !option.starts_with('-') {
                    return false;
                }
                if WITH_VALUE.contains(&option.trim_start_matches('-')) {
                    options.next();
                }
            }
            true
        }
        _ => false,
    }
}

/// The arguments of a command with `files` as `-var-file`, before the caller's own options.
pub(super) fn with_files(args: &[OsString], files: &[PathBuf]) -> Vec<OsString> {
    let option = |file: &PathBuf| {
        let mut option = OsString::from("-var-file=");
        option.push::<&OsStr>(file.as_ref());
        option
    };
    let (first, rest) = args.split_at(args.len().min(1));
    first.iter().cloned().chain(files.iter().map(option)).chain(rest.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn layer(files: &[(&str, &str)], listed: &[&str]) -> (tempfile::TempDir, Layer) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let var_files = listed.iter().map(PathBuf::from).collect();
        let layer = Layer { name: "app".into(), dir: dir.path().into(), var_files, depends_on: Vec::new() };
        (dir, layer)
    }

    #[test]
    fn the_last_file_wins_as_in_terraform() {
        let (_dir, layer) = layer(
            &[
                ("terraform.tfvars", "\u{feff}# names\nstage = \"dev\"\nsize  = 5\ntags = { a = \"b\" }\n"),
                ("b.auto.tfvars.json", r#"{ "region": "eu-west-1" }"#),
                ("a.auto.tfvars", "region = \"us-east-1\"\n"),
                ("prd.tfvars", "size = 7\n"),
                ("other.tfvars", "size = 9\n"),
            ],
            &["prd.tfvars"],
        );
        let found = assigned(&layer);
        assert_eq!((found["stage"].line, &found["stage"].value), (Some(2), &Some(json!("dev"))));
        assert_eq!((found["size"].line, &found["size"].value), (Some(1), &Some(json!(7))));
        assert_eq!(found["tags"].value, Some(json!({ "a": "b" })));
        assert_eq!((found["region"].line, &found["region"].value), (None, &Some(json!("eu-west-1"))));
    }

    #[test]
    fn values_are_equal_if_terraform_converts_one_to_the_other() {
        assert!(are_equal(&json!("5"), &json!(5)) && are_equal(&json!(true), &json!("true")));
        assert!(are_equal(&json!({ "a": [1] }), &json!({ "a": ["1"] })));
        assert!(!are_equal(&json!("a"), &json!("b")) && !are_equal(&json!([]), &json!({})));
        assert!(!are_equal(&json!({ "a": 1 }), &json!({ "a": 1, "b": 2 })));
    }

    #[test]
    fn only_declared_variables_are_in_the_file() {
        let (_dir, layer) = layer(
            &[
                ("a.tf", "variable \"stage\" {}\nvariable \"ids\" {\n  type = list(string)\n}\n"),
                ("b.tf.json", r#"{ "variable": { "count": { "type": "number" } } }"#),
            ],
            &[],
        );
        let values = |values: Value| serde_json::from_value(values).unwrap();
        let text = |given: Value| file(&layer, &values(given)).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(
            text(json!({ "stage": "dev", "ids": ["a"], "count": 3, "other": "x" })).as_deref(),
            Some(r#"{"count":3,"ids":["a"],"stage":"dev"}"#)
        );
        assert_eq!(text(json!({ "ids": "[\"a\"]", "other": 1 })), None);
    }

    #[test]
    fn commands_that_take_values() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for taken in ["plan", "apply -auto-approve", "apply -var a=b", "import a.b id", "destroy"] {
            assert!(takes_values(&args(taken)), "{taken}");
        }
        for other in ["apply p", "apply -auto-approve p", "state list", "-chdir=x plan", "show"] {
            assert!(!takes_values(&args(other)), "{other}");
        }
        let files = [PathBuf::from("/a.tfvars")];
        assert_eq!(with_files(&args("plan -out=p"), &files), args("plan -var-file=/a.tfvars -out=p"));
    }
}
