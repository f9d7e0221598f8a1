//! `deployctl terraform <layer> <anything>`: Terraform itself, with the stage's state, variables and
//! environment.

use std::ffi::OsString;

use super::completion;
use super::context::Context;
use crate::error::{Error, ErrorId, Result};
use crate::project::driver::init_if_needed;
use crate::terraform::variables::takes_values;
use crate::terraform::{Outputs, Subcommand};

/// Run any Terraform command in a layer, with the stage's state, variables and environment
///
/// Options of deployctl come before Terraform's command; what follows it goes to Terraform.
/// Terminal, output and exit code are Terraform's own, independent of --output. In a GitHub job, the values
/// of sensitive outputs are masked in the log. The guard and the lease do not apply. A workspace that is
/// selected here applies to `deployctl terraform` only, and only if the stage names none: releases use the
/// workspace of the stage.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl terraform app plan\n  deployctl terraform app --stage dev state list"
)]
pub(crate) struct Args {
    /// The layer
    #[arg(add = completion::layers())]
    pub(super) layer: String,
    /// Terraform's command and its arguments; a `--` before them is allowed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub(super) args: Vec<std::ffi::OsString>,
}

/// Commands that need no initialised layer, or make one.
const WITHOUT_INIT: [&str; 4] = ["init", "fmt", "version", "get"];

/// Commands that can print the values of outputs.
const PRINT_VALUES: [&str; 4] = ["console", "output", "show", "state"];

/// Returns Terraform's exit code.
pub(super) async fn run(context: &Context, args: &Args) -> Result<u8> {
    if args.args.iter().any(|arg| arg == "--stage" || arg.to_string_lossy().starts_with("--stage=")) {
        return Err(Error::usage(ErrorId::Usage, "--stage is no option of Terraform").hint(format!(
            "nothing was run; options of deployctl come first: `deployctl terraform {} --stage <NAME> …`",
            args.layer
        )));
    }
    let session = context.session().await?;
    let layer = session.settings.layer(&args.layer)?;
    if takes_values(&args.args) {
        session.settings.require_agreeing_variables([layer])?;
    }
    let driver = session.driver_for_live().await?;
    let mut args = args.args.clone();
    let first = args.first().and_then(|arg| arg.to_str()).unwrap_or_default().to_owned();
    if first == "init" && !args.iter().any(is_without_backend) {
        driver.backend.check()?;
        let settings = driver.backend.for_layer(&layer.name);
        args.extend(settings.into_iter().map(|setting| format!("-backend-config={setting}").into()));
    }
    if !first.is_empty() && !first.starts_with('-') && !WITHOUT_INIT.contains(&first.as_str()) {
        init_if_needed(&session.events, &driver, layer).await?;
    }
    // These print values that Terraform marks as sensitive.
    let prints_values = args.iter().any(|arg| PRINT_VALUES.iter().any(|command| arg == command));
    if context.report.on_github() && prints_values {
        let outputs = session.outputs(&layer.name).await?;
        let sensitive = outputs.iter().flat_map(Outputs::iter).filter(|(_, output)| output.sensitive);
        sensitive.for_each(|(_, output)| super::output::mask(context, &output.value));
    }
    let status = driver.run_attached(layer, &Subcommand::Raw(args)).await?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// `-backend=false`, in all forms that Terraform accepts.
fn is_without_backend(arg: &OsString) -> bool {
    let text = arg.to_string_lossy();
    let Some((name, value)) = text.split_once('=') else { return false };
    matches!(name, "-backend" | "--backend") && matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_backend_gets_no_settings() {
        for arg in ["-backend=false", "--backend=false", "-backend=0", "-backend=F"] {
            assert!(is_without_backend(&arg.into()), "{arg}");
        }
        for arg in ["-backend=true", "-backend", "-backend-config=key=false", "false", "-reconfigure"] {
            assert!(!is_without_backend(&arg.into()), "{arg}");
        }
    }
}
