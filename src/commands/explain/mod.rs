//! The explanations of exit codes and errors, for `deployctl explain` and `docs/errors.md`.
//!
//! The texts are in `catalogue.toml`, so that they can be compared and kept consistent. A test fails for an
//! error id without a text.

use crate::commands::context::Context;
use crate::documents::Body as _;
use crate::documents::{ExplainedBody, ExplainedCode, ExplainedError};
use crate::error::{Error, ErrorId, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Explain an exit code or an error: meaning, what is live, what to do; without an argument, list all
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  deployctl explain lease.held\n  deployctl explain 30")]
pub(crate) struct Args {
    /// An exit code, or the id of an error, which is printed in brackets before its message
    pub(super) what: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let what = args.what.as_deref();
    let found = what.map_or_else(all, find)?;
    let text = as_text(&found, what.is_some());
    context.report.show(&found.document(), &text);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    exit_codes: BTreeMap<String, Code>,
    errors: BTreeMap<String, Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    means: String,
    live: String,
    next: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    exit: Vec<u8>,
    means: String,
    live: Option<String>,
    next: String,
}

/// All explanations.
///
/// # Errors
/// Only if the catalogue in the program is damaged.
pub(crate) fn all() -> Result<ExplainedBody> {
    let Catalogue { exit_codes: codes, errors } = toml::from_str(include_str!("catalogue.toml"))
        .map_err(|error| Error::bug("the catalogue of errors is damaged").because(error))?;
    let mut exit_codes = codes
        .into_iter()
        .map(|(number, Code { means, live, next })| {
            let exit_code = number.parse().map_err(|_| Error::bug(format!("no exit code: {number}")))?;
            Ok(ExplainedCode { exit_code, meaning: means, live, next })
        })
        .collect::<Result<Vec<_>>>()?;
    exit_codes.sort_by_key(|code| code.exit_code);
    let of_exit_code = |wanted: u8| exit_codes.iter().find(|code| code.exit_code == wanted);
    let errors = errors
        .into_iter()
        .map(|(id, Text { exit, means, live, next })| {
            let usual = || exit.first().and_then(|code| of_exit_code(*code)).map(|code| code.live.clone());
            let live = live.or_else(usual).unwrap_or_default();
            ExplainedError { id, exit_codes: exit, meaning: means, live, next }
        })
        .collect();
    Ok(ExplainedBody { exit_codes, errors })
}

/// The explanation of an exit code or an error id.
///
/// # Errors
/// `explain.unknown`, with the most similar id.
pub(crate) fn find(what: &str) -> Result<ExplainedBody> {
    let mut found = all()?;
    let known: Vec<String> = found.errors.iter().map(|error| error.id.clone()).collect();
    found.exit_codes.retain(|code| code.exit_code.to_string() == what);
    found.errors.retain(|error| error.id == what);
    if found.exit_codes.is_empty() && found.errors.is_empty() {
        let suggestion = crate::project::settings::nearest(what, known.iter().map(String::as_str))
            .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
        let message = format!("{what:?} is neither an exit code nor an error of deployctl{suggestion}");
        return Err(Error::usage(ErrorId::ExplainUnknown, message).hint("`deployctl explain` lists all"));
    }
    Ok(found)
}

/// The text; `whole` prints one explanation in full, otherwise one line each.
pub(crate) fn as_text(found: &ExplainedBody, whole: bool) -> String {
    let mut text = String::new();
    for ExplainedCode { exit_code, meaning, live, next } in &found.exit_codes {
        let _ = if whole {
            writeln!(text, "exit code {exit_code}: {meaning}\n  live: {live}\n  next: {next}")
        } else {
            writeln!(text, "{exit_code:<31} {meaning}")
        };
    }
    for ExplainedError { id, exit_codes, meaning, live, next } in &found.errors {
        let codes = numbers(exit_codes);
        let _ = if whole {
            writeln!(text, "{id} (exit code {codes}): {meaning}\n  live: {live}\n  next: {next}")
        } else {
            writeln!(text, "{id:<27} {codes:>3} {meaning}")
        };
    }
    text
}

fn numbers(codes: &[u8]) -> String {
    codes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_is_explained_and_a_misspelt_id_gets_a_suggestion() {
        let text = as_text(&find("lease.held").unwrap(), true);
        assert!(text.starts_with("lease.held (exit code 75): Another command holds the stage."), "{text}");
        assert!(text.contains("\n  live: ") && text.contains("\n  next: "), "{text}");
        assert!(as_text(&find("40").unwrap(), true).starts_with("exit code 40: The switch failed"));
        let error = find("lease.hold").unwrap_err();
        assert!(error.message.ends_with("did you mean \"lease.held\"?"), "{error}");
    }
}
