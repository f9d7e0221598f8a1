//! `deployctl schema`: the JSON Schemas of `deployctl.toml` and of all printed documents.

use std::fmt::Write as _;

pub(crate) mod registry;

use self::registry::{self as schema, Entry};
use super::context::Context;
use crate::documents::{Body as _, SchemaName, SchemasBody};
use crate::error::{Error, ErrorId, Result};
use crate::project::settings::nearest;

/// Print the JSON Schema of deployctl.toml or of a document of --output json; without an argument, list them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl schema config > deployctl.schema.json\n  deployctl schema release"
)]
pub(crate) struct Args {
    /// The name of a schema or of a command
    pub(super) name: Option<String>,
}

/// A schema is printed as JSON, independent of `--output`.
pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let Some(name) = args.name.as_deref() else {
        let mut text = String::new();
        for Entry { name, about, commands, .. } in schema::ALL {
            let of = if commands.is_empty() { String::new() } else { format!(" ({})", commands.join(", ")) };
            let _ = writeln!(text, "{name:<12} {about}{of}");
        }
        let schemas = schema::ALL.iter().map(|entry| SchemaName {
            name: entry.name,
            about: entry.about,
            commands: entry.commands.to_vec(),
        });
        context.report.show(&SchemasBody { schemas: schemas.collect() }.document(), &text);
        return Ok(());
    };
    let entry = schema::find(name).ok_or_else(|| {
        let known = schema::ALL.iter().flat_map(|entry| entry.commands.iter().chain([&entry.name]));
        let suggestion = nearest(name, known.copied())
            .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
        Error::usage(ErrorId::SchemaUnknown, format!("there is no schema {name:?}{suggestion}"))
            .hint("`deployctl schema` lists all")
    })?;
    context.report.raw(&entry.text());
    Ok(())
}
