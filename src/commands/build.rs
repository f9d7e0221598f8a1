//! `deployctl build`: builds the zips of a release in a job without credentials.
//!
//! A build runs the build scripts and macros of every crate that the Lambdas depend on. A pipeline does that
//! in a job without credentials, and passes the zips to the job that has them (`--artifacts`) and compiles
//! nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::context::Context;
use crate::artifact::build::PROFILE;
use crate::artifact::python_tools::PythonTools;
use crate::artifact::{self, Artifact, Contents};
use crate::documents::{Body as _, BuildBody, BuiltZip};
use crate::error::{Error, ErrorId, Result};
use crate::platform::atomic_file;

/// Build and check the zips only; needs no credentials, no Terraform and no stage
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  deployctl build --into dist && deployctl release --version 1.4.2 --artifacts dist"
)]
pub(crate) struct Args {
    /// The folder for the zips, each named after its artifact
    #[arg(long, value_name = "DIR")]
    pub(super) into: PathBuf,
}

fn copy(from: &Path, into: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(into)?;
    atomic_file::write(to, &std::fs::read(from)?)
}

pub(super) async fn run(context: &Context, Args { into }: &Args) -> Result<()> {
    let settings = context.settings()?;
    let recipes: Vec<_> = settings.artifacts.iter().map(|artifact| artifact.recipe.clone()).collect();
    let tools = PythonTools::from_env()?;
    // The zips may go to any stage, so the stage of this command does not choose the profile.
    let make = artifact::make(&settings.root, (&recipes, PROFILE), &tools, &context.events, &context.cancel);
    let artifacts = context.events.step("build", make).await?;
    let mut text = String::new();
    let mut zips = BTreeMap::new();
    for Artifact { name, path, sha256, size, contents, .. } in artifacts {
        if contents == Contents::Image {
            continue;
        }
        let zip = into.join(format!("{name}.zip"));
        copy(&path, into, &zip).map_err(|error| {
            Error::preflight(ErrorId::BuildNotWritten, format!("failed to write {}", zip.display()))
                .because(error)
                .hint("name a folder that can be written with --into")
        })?;
        // The form that `sha256sum --check` reads.
        let _ = writeln!(text, "{}  {}", sha256.hex(), zip.display());
        zips.insert(name, BuiltZip { path: zip, sha256: sha256.hex(), size });
    }
    context.report.show(&BuildBody { artifacts: zips }.document(), &text);
    Ok(())
}
