//! `deployctl schema`: the form of what deployctl reads and prints.

use std::fmt::Write as _;

use super::Context;
use crate::error::{Error, Result};
use crate::schema::documents::{Body as _, SchemaName, SchemasBody};
use crate::schema::{self, Entry};
use crate::settings::nearest;

/// Runs it. A schema is JSON whatever `--output` says.
pub(super) fn run(context: &Context, name: Option<&str>) -> Result<()> {
    let Some(name) = name else {
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
        let meant = nearest(name, known.copied())
            .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
        Error::usage("schema.unknown", format!("there is no schema {name:?}{meant}"))
            .hint("`deployctl schema` lists all")
    })?;
    context.report.raw(&entry.text());
    Ok(())
}
