//! Terraform's JSON syntax as HCL.

use std::fmt::Write as _;

use serde_json::Value;

/// How many labels a block of the file has.
fn labels(kind: &str) -> Option<usize> {
    match kind {
        "resource" | "data" | "ephemeral" => Some(2),
        "module" | "variable" | "output" | "provider" | "check" => Some(1),
        "terraform" | "locals" | "moved" | "import" | "removed" => Some(0),
        _ => None,
    }
}

/// How many labels a block inside another one has. Without a schema, only these are known to be blocks.
fn inner_labels(kind: &str) -> Option<usize> {
    match kind {
        "backend" => Some(1),
        "lifecycle" | "required_providers" | "environment" | "vpc_config" | "endpoints" | "assume_role"
        | "cloud" => Some(0),
        _ => None,
    }
}

/// # Errors
/// The text is no JSON, or no object.
pub(super) fn to_hcl(text: &str) -> Result<String, String> {
    let value: Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())?;
    let Value::Object(file) = value else { return Err("the file is no JSON object".to_owned()) };
    let mut hcl = String::new();
    for (kind, content) in &file {
        if let Some(count) = labels(kind) {
            block(&mut hcl, kind, count, content, 0);
        }
    }
    Ok(hcl)
}

fn block(hcl: &mut String, head: &str, labels: usize, content: &Value, depth: usize) {
    let inner = match content {
        Value::Array(items) => {
            for item in items {
                block(hcl, head, labels, item, depth);
            }
            return;
        }
        Value::Object(inner) => inner,
        _ => return,
    };
    if labels > 0 {
        for (label, content) in inner.iter().filter(|(label, _)| *label != "//") {
            block(hcl, &format!("{head} {}", Value::from(label.as_str())), labels - 1, content, depth);
        }
        return;
    }
    let indent = "  ".repeat(depth);
    let _ = writeln!(hcl, "{indent}{head} {{");
    for (name, value) in inner.iter().filter(|(name, _)| *name != "//") {
        match inner_labels(name) {
            Some(count) if value.is_object() || value.is_array() => {
                block(hcl, name, count, value, depth + 1);
            }
            _ if name == "ignore_changes" || name == "depends_on" => {
                let _ = writeln!(hcl, "{indent}  {name} = {}", names(value));
            }
            _ => {
                let _ = writeln!(hcl, "{indent}  {name} = {}", expression(value));
            }
        }
    }
    let _ = writeln!(hcl, "{indent}}}");
}

/// The strings of a list, as references.
fn names(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(word) => word.clone(),
        _ => "[]".to_owned(),
    }
}

fn expression(value: &Value) -> String {
    match value {
        Value::String(text) => template(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(expression).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{} = {}", Value::from(key.as_str()), expression(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// A string is a template. One that consists of a single interpolation is that expression.
fn template(text: &str) -> String {
    let is_valid = |text: &str| text.parse::<hcl_edit::expr::Expression>().is_ok();
    if let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && is_valid(inner)
    {
        return inner.to_owned();
    }
    let plain = format!("\"{text}\"");
    if !text.contains(['\n', '\\']) && is_valid(&plain) { plain } else { Value::from(text).to_string() }
}
