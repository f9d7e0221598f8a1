//! The JSON Schemas of what deployctl reads and prints, generated from types.
//!
//! Every `--output json` document is a type in `documents` and has an entry below. `docs/schemas/` contains
//! the generated schemas, which a test compares. The tests of the program validate every document that they
//! read.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::documents as d;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// Also the title of the schema.
    pub(crate) about: &'static str,
    /// The commands that print this document, as the field `command` names them.
    pub(crate) commands: &'static [&'static str],
    make: fn(SchemaGenerator) -> Schema,
}

const fn printed<T: JsonSchema>(
    name: &'static str,
    about: &'static str,
    commands: &'static [&'static str],
) -> Entry {
    Entry { name, about, commands, make: |generator| generator.into_root_schema_for::<T>() }
}

pub(crate) const ALL: &[Entry] = &[
    printed::<crate::project::settings::File>(CONFIG, "the configuration, deployctl.toml", &[]),
    printed::<crate::fleet::file::File>("fleet", "the members of a fleet, fleet.toml", &[]),
    printed::<crate::output::Document>(
        "result",
        "what a command did to a stage, or found there",
        &["release", "redeploy", "rollback", "promote", "canary", "status"],
    ),
    printed::<d::Plan>("plan", "what a release would do", &["plan"]),
    printed::<d::History>("history", "the ledger", &["history"]),
    printed::<Value>("output", "outputs of Terraform: of all layers, of one, or one value", &[]),
    printed::<d::init::Document<'static>>("init", "how a project can be released", &["init"]),
    printed::<d::doctor::Diagnosis>("doctor", "what stands in the way of a release", &["doctor"]),
    printed::<d::ConformanceDocument>(
        "conformance",
        "whether AWS behaves as deployctl assumes",
        &["conformance"],
    ),
    printed::<d::Bootstrap>("bootstrap", "the bucket of the Terraform state", &["bootstrap"]),
    printed::<d::Build>("build", "zips that were made", &["build"]),
    printed::<d::Diff>("diff", "two releases side by side", &["diff"]),
    printed::<d::Prune>("prune", "what was deleted", &["prune"]),
    printed::<d::PreviewUp>("preview-up", "a preview that is up", &["preview up"]),
    printed::<d::PreviewList>("preview-list", "the previews of a stage", &["preview list"]),
    printed::<d::PreviewDown>(
        "preview-down",
        "previews that were closed",
        &["preview down", "preview prune"],
    ),
    printed::<d::Unlock>("unlock", "a lease that was freed", &["unlock"]),
    printed::<d::Destroy>("destroy", "a stage that is gone", &["destroy"]),
    printed::<d::FleetPlan>("fleet-plan", "the members of a fleet to release", &["fleet plan"]),
    printed::<d::FleetRun>("fleet-run", "what became of a member in a run", &["fleet run"]),
    printed::<d::FleetStatus>("fleet-status", "what became of all members of a run", &["fleet status"]),
    printed::<d::FleetRollback>("fleet-rollback", "which members of a run went back", &["fleet rollback"]),
    printed::<d::Dev>("dev", "what dev serves after a change: one document a line", &["dev"]),
    printed::<d::LocalUp>("local-up", "an embedded AWS that runs", &["local up"]),
    printed::<d::LocalDown>("local-down", "an embedded AWS that was stopped", &["local down"]),
    printed::<d::LocalReset>("local-reset", "a local stage whose content was deleted", &["local reset"]),
    printed::<d::LocalStatus>("local-status", "whether the local stage runs", &["local status"]),
    printed::<d::Url>("url", "the URL of a stage", &["url"]),
    printed::<d::Validate>("validate", "what Terraform warns of", &["validate"]),
    printed::<d::LogLine>("logs", "a line of a log: one document a line", &["logs"]),
    printed::<d::Invoke>("invoke", "what a function answered", &["invoke"]),
    printed::<d::Schemas>("schema", "the schemas that there are", &["schema"]),
    printed::<d::Man>("man", "man pages that were written", &["man"]),
    printed::<d::Explained>("explain", "what an error or an exit code means", &["explain"]),
    printed::<d::Failure>("failure", "a command that failed and has no other document", &[]),
];

pub(crate) const CONFIG: &str = "config";

/// The schema with this name, or the schema of the command with this name.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    let file = (name == crate::project::settings::FILE).then_some(CONFIG);
    let name = file.unwrap_or(name);
    ALL.iter().find(|entry| entry.name == name || entry.commands.contains(&name))
}

impl Entry {
    pub(crate) fn schema(&self) -> Value {
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
    pub(crate) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.schema()).unwrap_or_default();
        text.push('\n');
        text
    }
}
