//! `deployctl validate`: checks `deployctl.toml` and the Terraform layers, without credentials.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::context::Context;
use super::plan::warning;
use crate::documents::{Body as _, ValidateBody};
use crate::error::Result;
use crate::platform::variables;
use crate::project::driver::observer;
use crate::project::settings::Settings;
use crate::terraform::{Driver, Layer, Subcommand, Terraform};

/// Check deployctl.toml and every Terraform layer, without credentials and without a backend
///
/// Terraform installs the providers of a layer once, as `terraform init -backend=false` does. `doctor` checks the
/// rest: credentials, permissions and buckets.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl validate")]
pub(crate) struct Args {}

pub(super) async fn run(context: &Context) -> Result<()> {
    let settings = context.settings()?;
    let driver = driver(context, &settings).await?;
    let mut layers = BTreeMap::new();
    for layer in &settings.layers {
        let step = format!("terraform validate {}", layer.name);
        let warnings = context.events.step(&step, validate(&driver, layer)).await?;
        layers.insert(layer.name.clone(), warnings.into_iter().map(warning).collect::<Vec<_>>());
    }
    let mut text = String::new();
    let path = settings.root.join(crate::project::settings::FILE);
    let _ = writeln!(text, "{} is valid", path.display());
    for (layer, warnings) in &layers {
        let _ = writeln!(text, "layer {layer} is valid");
        for warning in warnings {
            let place = warning.file.as_deref().map(|file| match warning.line {
                Some(line) => format!("{file}:{line}: "),
                None => format!("{file}: "),
            });
            let _ = writeln!(text, "  ! {}{}", place.unwrap_or_default(), warning.summary);
        }
    }
    context.report.show(&ValidateBody { layers }.document(), &text);
    Ok(())
}

async fn validate(
    driver: &Driver,
    layer: &Layer,
) -> Result<Vec<crate::terraform::messages::Diagnostic>, crate::terraform::Failure> {
    let init = ["init", "-backend=false", "-input=false", "-no-color"].map(OsString::from);
    driver.run(layer, &Subcommand::Raw(init.into())).await?;
    driver.require_valid(layer).await?;
    driver.validate(layer).await
}

/// A driver with its own data folder, because a layer without a backend must not be the layer of a stage.
async fn driver(context: &Context, settings: &Settings) -> Result<Driver> {
    let work = settings.work_dir().join("terraform");
    let program =
        std::env::var_os(variables::TERRAFORM).map_or_else(|| PathBuf::from("terraform"), PathBuf::from);
    let terraform = Terraform::locate(&program, &work, &context.cancel).await?;
    Ok(Driver {
        provider_mirror: std::env::var_os(variables::PROVIDER_MIRROR).map(PathBuf::from),
        shared: settings.terraform.clone(),
        observer: observer(&context.events),
        cancel: context.cancel.clone(),
        ..Driver::new(terraform, settings.stage.name.as_str(), work.join("validate"))
    })
}
