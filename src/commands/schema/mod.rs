//! `deployctl schema`: the JSON Schemas of `deployctl.toml` and of all printed documents.

use std::fmt::Write as _;

pub(crate) mod registry;

use self::registry::{self as schema, Entry};
use super::context::Context;
use crate::documents::{Body as _, SchemaName, SchemasBody};
use crate::error::{Error, ErrorId, Result};
use crate::project::settings::nearest;

/// The JSON Schema of deployctl.toml or of a document that --output json prints; without an argument, their names
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl schema config > deployctl.schema.json\n  deployctl schema release"
)]
pub(crate) struct Args {
    /// Its name, or that of a command
    pub(super) name: Option<String>,
}

/// Runs it. A schema is JSON whatever `--output` says.
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
