//! `deployctl terraform <layer> -- <anything>`: Terraform itself, with the stage's state, variables and
//! environment.

use std::ffi::OsString;

use super::Context;
use crate::error::Result;
use crate::terraform::Subcommand;

/// Commands that need no initialised layer, or make one.
const WITHOUT_INIT: [&str; 4] = ["init", "fmt", "version", "get"];

/// Runs it; Terraform's exit code is ours.
pub(super) async fn run(context: &Context, layer: &str, args: &[OsString]) -> Result<u8> {
    let session = context.session().await?;
    let layer = session.settings.layer(layer)?;
    let driver = session.driver_for_live().await?;
    let first = args.first().and_then(|arg| arg.to_str()).unwrap_or_default();
    let mut args = args.to_vec();
    if first == "init" && !args.iter().any(is_without_backend) {
        let settings = driver.backend.for_layer(&layer.name);
        args.extend(
            settings.into_iter().map(|(name, value)| format!("-backend-config={name}={value}").into()),
        );
    }
    if !first.is_empty() && !first.starts_with('-') && !WITHOUT_INIT.contains(&first) {
        driver.init_if_needed(layer).await?;
    }
    let mut command = driver.command(layer, &Subcommand::Raw(args))?;
    // The person in front of the terminal may be asked.
    command.env.insert("TF_INPUT".into(), None);
    let status = command.run_attached(&session.cancel).await.map_err(crate::terraform::Failure::from)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// `-backend=false`, in all the ways that Terraform takes it.
fn is_without_backend(arg: &OsString) -> bool {
    let text = arg.to_string_lossy();
    let Some((name, value)) = text.split_once('=') else { return false };
    matches!(name, "-backend" | "--backend") && matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_not_wanted_gets_no_settings() {
        for arg in ["-backend=false", "--backend=false", "-backend=0", "-backend=F"] {
            assert!(is_without_backend(&arg.into()), "{arg}");
        }
        for arg in ["-backend=true", "-backend", "-backend-config=key=false", "false", "-reconfigure"] {
            assert!(!is_without_backend(&arg.into()), "{arg}");
        }
    }
}
