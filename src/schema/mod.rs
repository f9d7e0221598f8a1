//! What deployctl reads and prints, as types, and the JSON Schemas that are made from them.
//!
//! Every `--output json` document is a type here or in `report::document`; nothing else is printed as JSON. The
//! registry below knows them all. `docs/schemas/` holds the schemas as they were generated, a test compares them,
//! and the tests of the program check every document that they see.

pub mod documents;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use documents as d;

/// A schema that can be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What has this form.
    pub about: &'static str,
    /// The commands whose documents have this form, as they stand in `command`.
    pub commands: &'static [&'static str],
    make: fn(SchemaGenerator) -> Schema,
}

const fn printed<T: JsonSchema>(
    name: &'static str,
    about: &'static str,
    commands: &'static [&'static str],
) -> Entry {
    Entry { name, about, commands, make: |generator| generator.into_root_schema_for::<T>() }
}

/// All schemas.
pub const ALL: &[Entry] = &[
    printed::<crate::settings::File>(CONFIG, "the configuration, deployctl.toml", &[]),
    printed::<crate::report::Document>(
        "result",
        "what a command did to a stage, or found there",
        &["release", "redeploy", "rollback", "promote", "status"],
    ),
    printed::<d::Plan>("plan", "what a release would do", &["plan"]),
    printed::<d::History>("history", "the ledger", &["history"]),
    printed::<Value>("output", "outputs of Terraform: of all layers, of one, or one value", &[]),
    printed::<crate::init::document::Document<'static>>("init", "how a project can be released", &["init"]),
    printed::<crate::doctor::Diagnosis>("doctor", "what stands in the way of a release", &["doctor"]),
    printed::<d::Bootstrap>("bootstrap", "the bucket of the Terraform state", &["bootstrap"]),
    printed::<d::Build>("build", "zips that were made", &["build"]),
    printed::<d::Diff>("diff", "two releases side by side", &["diff"]),
    printed::<d::Prune>("prune", "what was deleted", &["prune"]),
    printed::<d::Unlock>("unlock", "a lease that was freed", &["unlock"]),
    printed::<d::Destroy>("destroy", "a stage that is gone", &["destroy"]),
    printed::<d::LocalUp>("local-up", "an embedded AWS that runs", &["local up"]),
    printed::<d::LocalDown>("local-down", "an embedded AWS that was stopped", &["local down"]),
    printed::<d::LogLine>("logs", "a line of a log: one document a line", &["logs"]),
    printed::<d::Invoke>("invoke", "what a function answered", &["invoke"]),
    printed::<d::Schemas>("schema", "the schemas that there are", &["schema"]),
    printed::<d::Man>("man", "man pages that were written", &["man"]),
    printed::<d::Explained>("explain", "what an error or an exit code means", &["explain"]),
    printed::<d::Failure>("failure", "a command that failed and has no other document", &[]),
];

/// The name of the configuration's schema.
pub const CONFIG: &str = "config";

/// The schema called `name`, or that of the command of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    let file = (name == crate::settings::FILE).then_some(CONFIG);
    let name = file.unwrap_or(name);
    ALL.iter().find(|entry| entry.name == name || entry.commands.contains(&name))
}

impl Entry {
    /// The schema itself.
    pub fn schema(&self) -> Value {
        let settings = SchemaSettings::draft2020_12();
        let settings =
            if self.name == CONFIG { settings.for_deserialize() } else { settings.for_serialize() };
        let mut schema = (self.make)(settings.into_generator()).to_value();
        let command = schema.pointer("/properties/command").is_some();
        if command && !self.commands.is_empty() {
            schema["properties"]["command"] = json!({ "enum": self.commands, "description": "The command." });
        }
        if let Some(object) = schema.as_object_mut() {
            object.remove("description");
            object.insert("title".to_owned(), format!("deployctl: {}", self.about).into());
        }
        schema
    }

    /// The schema as it is printed and committed.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.schema()).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The schema that a printed document must follow; `None` for one that says neither its command nor a failure.
pub fn of_document(document: &Value) -> Option<&'static Entry> {
    let command = document.get("command")?.as_str();
    let shaped = command.and_then(|command| ALL.iter().find(|entry| entry.commands.contains(&command)));
    match shaped {
        // The result document has its own place for what went wrong.
        Some(entry) if entry.name == "result" => Some(entry),
        _ if document.get("outcome").and_then(Value::as_str) == Some("failed") => find("failure"),
        other => other,
    }
}
