//! Compares `deployctl.toml` with its schema, and reports all differences with their lines. serde would stop
//! at the first one.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Schema;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::problem::{Problem, ProblemKind, Suggestion};

/// The parsed file with positions.
#[derive(Debug)]
pub(super) struct Places<'a> {
    text: &'a str,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Places<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, toml::de::Error> {
        Ok(Self { text, table: DeTable::parse(text)? })
    }

    /// The text of a key of the file itself.
    pub(super) fn string(&self, name: &str) -> Option<&str> {
        let (_, value) = self.table.get_ref().iter().find(|(key, _)| key.get_ref() == name)?;
        value.get_ref().as_str()
    }

    /// The line of `path`, or of the table that lacks it.
    pub(super) fn line_of(&self, path: &[String]) -> Option<usize> {
        let mut span = None;
        let mut current: Option<&DeValue<'_>> = None;
        for step in path {
            let (name, index) = match step.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (step.as_str(), None),
            };
            let table = match current {
                None => self.table.get_ref(),
                Some(DeValue::Table(table)) => table,
                Some(_) => break,
            };
            let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
            span = Some(key.span());
            current = Some(value.get_ref());
            if let (Some(index), Some(DeValue::Array(items))) = (index, current) {
                let item = items.get(index.checked_sub(1)?)?;
                span = Some(item.span());
                current = Some(item.get_ref());
            }
        }
        span.map(|span| self.line(&span))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn problems(&self, schema: &Schema) -> Vec<Problem> {
        let mut validator = Validator { places: self, root: schema, problems: Vec::new() };
        validator.table(self.table.get_ref(), schema, &mut Vec::new(), None);
        validator.problems.sort_by_key(|problem| problem.line);
        validator.problems
    }
}

/// The file without its removable problems.
pub(super) fn without_removable(text: &str, problems: &[Problem]) -> Option<Table> {
    let mut table: Table = text.parse().ok()?;
    for problem in problems.iter().filter(|problem| problem.removable) {
        let (last, before) = problem.path.split_last()?;
        let mut current = &mut table;
        for step in before {
            let (name, index) = step.split_once('[').map_or((step.as_str(), None), |(name, rest)| {
                (name, rest.trim_end_matches(']').parse::<usize>().ok())
            });
            current = match (current.get_mut(name)?, index) {
                (Value::Table(table), None) => table,
                (Value::Array(items), Some(index)) => items.get_mut(index.checked_sub(1)?)?.as_table_mut()?,
                _ => return None,
            };
        }
        current.remove(last);
    }
    Some(table)
}

struct Validator<'a> {
    places: &'a Places<'a>,
    root: &'a Schema,
    problems: Vec<Problem>,
}

impl<'a> Validator<'a> {
    fn report(&mut self, path: &[String], span: Option<&Range<usize>>, kind: ProblemKind, removable: bool) {
        let line = span.map(|span| self.places.line(span));
        self.problems.push(Problem { path: path.to_vec(), line, kind, removable });
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        schema: &'a Schema,
        path: &mut Vec<String>,
        place: Option<&Range<usize>>,
    ) {
        let known: BTreeMap<&str, &'a Schema> =
            schema["properties"].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v)).collect();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Schema::as_str).collect();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            path.push(name.to_owned());
            match (known.get(name), &schema["additionalProperties"]) {
                (Some(inner), _) => self.value(value, inner, path, !required.contains(&name)),
                (None, inner @ Schema::Object(_)) => self.value(value, inner, path, true),
                (None, Schema::Bool(false)) => {
                    let suggestion = self.suggest(name, known.keys().copied());
                    self.report(path, Some(&key.span()), ProblemKind::UnknownKey(suggestion), true);
                }
                _ => {}
            }
            path.pop();
        }
        for name in required {
            if !table.iter().any(|(key, _)| key.get_ref() == name) {
                path.push(name.to_owned());
                let is_table = known.get(name).is_some_and(|inner| inner["type"] == "object");
                let kind = if is_table { ProblemKind::MissingTable } else { ProblemKind::Missing };
                self.report(path, place, kind, false);
                path.pop();
            }
        }
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        schema: &'a Schema,
        path: &mut Vec<String>,
        removable: bool,
    ) {
        let schema = self.chosen(schema, value.get_ref());
        let span = value.span();
        if let Some(expected) = Self::mismatch(value.get_ref(), schema) {
            let found = kind(value.get_ref());
            self.report(path, Some(&span), ProblemKind::WrongType { expected, found }, removable);
            return;
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, schema, path, Some(&span)),
            DeValue::Array(items) => {
                let last = path.pop().unwrap_or_default();
                for (item, number) in items.iter().zip(1..) {
                    path.push(format!("{last}[{number}]"));
                    self.value(item, &schema["items"], path, false);
                    path.pop();
                }
                path.push(last);
            }
            _ => {}
        }
    }

    /// Follows references, and skips "or null", which TOML does not have.
    fn resolved(&self, schema: &'a Schema) -> &'a Schema {
        self.choices(schema).first().copied().unwrap_or(schema)
    }

    /// The same for a value: of several choices, the one that has its type, or the first.
    fn chosen(&self, schema: &'a Schema, value: &DeValue<'_>) -> &'a Schema {
        let choices = self.choices(schema);
        let fitting = choices.iter().find(|choice| Self::mismatch(value, choice).is_none());
        fitting.or(choices.first()).copied().unwrap_or(schema)
    }

    /// What a value may be, without references and "or null".
    fn choices(&self, schema: &'a Schema) -> Vec<&'a Schema> {
        if let Some(name) = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/")) {
            return self.choices(&self.root["$defs"][name]);
        }
        match schema["anyOf"].as_array() {
            Some(choices) => {
                let real = choices.iter().filter(|choice| choice["type"] != "null");
                real.flat_map(|choice| self.choices(choice)).collect()
            }
            None => vec![schema],
        }
    }

    /// The expected type, if `value` has another one.
    fn mismatch(value: &DeValue<'_>, schema: &Schema) -> Option<String> {
        let types: Vec<&str> = match &schema["type"] {
            Schema::String(one) => vec![one],
            Schema::Array(some) => some.iter().filter_map(Schema::as_str).collect(),
            _ => return None,
        };
        let expected = *types.iter().find(|name| **name != "null")?;
        let found = match value {
            DeValue::String(_) => "string",
            DeValue::Integer(_) => "integer",
            DeValue::Float(_) => "number",
            DeValue::Boolean(_) => "boolean",
            DeValue::Datetime(_) => "datetime",
            DeValue::Array(_) => "array",
            DeValue::Table(_) => "object",
        };
        let (minimum, maximum) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        match value {
            DeValue::Integer(number) if expected == "integer" => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                let fits = number.is_some_and(|number| {
                    minimum.is_none_or(|minimum| number >= minimum)
                        && maximum.is_none_or(|maximum| number <= maximum)
                });
                let range = match (minimum, maximum) {
                    (Some(minimum), Some(maximum)) => format!("an integer from {minimum} to {maximum}"),
                    (Some(minimum), None) => format!("an integer of at least {minimum}"),
                    _ => "an integer".to_owned(),
                };
                (!fits).then_some(range)
            }
            _ if found == expected => None,
            _ => Some(word(expected).to_owned()),
        }
    }

    fn suggest<'b>(&self, name: &str, known: impl Iterator<Item = &'b str> + Clone) -> Suggestion {
        match (among(name, known), self.elsewhere(name)) {
            (Suggestion::Known(_), Some(place)) => Suggestion::Table(place),
            (suggestion, _) => suggestion,
        }
    }

    /// The table that has a key of this name.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let tables = self.root["properties"].as_object()?;
        tables.iter().find_map(|(table, schema)| {
            let schema = self.resolved(schema);
            let many = self.resolved(&schema["additionalProperties"]);
            if schema["properties"].get(name).is_some() {
                Some(table.clone())
            } else {
                many["properties"].get(name).is_some().then(|| format!("{table}.<name>"))
            }
        })
    }
}

/// What of `known` could have been meant by `name`.
pub(super) fn among<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Suggestion {
    match nearest(name, known.clone()) {
        Some(best) => Suggestion::Name(best.to_owned()),
        None => Suggestion::Known(known.collect::<Vec<_>>().join(", ")),
    }
}

/// The name in `known` that is most similar to `name`.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
    known
        .map(|known| (similarity(known), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn word(json_type: &str) -> &'static str {
    match json_type {
        "string" => "a string",
        "integer" => "an integer",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "another type",
    }
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(_) => "a number with a point".to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
