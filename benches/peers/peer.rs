//! The tools that are compared: how each is installed, and what it is called with.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::Scenario;
use crate::support::python_tools;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Peer {
    Deployctl,
    /// python-terraform and boto3, one step after the other
    Careful,
    /// the fastest Python that we could write
    Best,
    /// Terraform, the AWS CLI and jq
    Shell,
    /// functions only
    CargoLambda,
    /// AWS SAM, with `CloudFormation`
    Sam,
    /// osls, the open continuation of Serverless 3, with `CloudFormation`
    Serverless,
}

/// A peer that is installed.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    /// Its program, and what comes before the action.
    pub(crate) program: Vec<PathBuf>,
    /// The folder of its tools, which comes first in `PATH`.
    pub(crate) tools: PathBuf,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deployctl => "deployctl",
            Self::Careful => "careful Python",
            Self::Best => "best Python",
            Self::Shell => "shell, AWS CLI",
            Self::CargoLambda => "cargo-lambda",
            Self::Sam => "SAM",
            Self::Serverless => "Serverless (osls)",
        }
    }

    /// Whether it has a stack of its own, made by `CloudFormation`.
    pub(crate) fn has_stack(self) -> bool {
        matches!(self, Self::Sam | Self::Serverless)
    }

    /// The action of its program in a scenario. `None` where it has nothing like it.
    pub(crate) fn action(self, scenario: Scenario) -> Option<&'static str> {
        use Scenario::{CodeOnly, Functions, Layers, OneString, Rate, Release, Rollback};
        match (self, scenario) {
            (_, Release | Functions | Layers) if self != Self::CargoLambda => Some("release"),
            (_, CodeOnly) if !self.has_stack() => Some("code-only"),
            (Self::Deployctl | Self::Careful | Self::Best, Rate) => Some("code-only"),
            (Self::Deployctl | Self::Careful | Self::Best | Self::Shell, Rollback) => Some("rollback"),
            (Self::Deployctl, OneString) => Some("release"),
            (Self::CargoLambda, OneString) => Some("build"),
            _ => None,
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Deployctl => "",
            Self::Careful => "careful",
            Self::Best => "best",
            Self::Shell => "shell",
            Self::CargoLambda => "cargo_lambda",
            Self::Sam => "sam",
            Self::Serverless => "serverless",
        }
    }

    fn requirements(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Careful => Some(("peer-careful", include_str!("careful/requirements.txt"))),
            Self::Best => Some(("peer-best", include_str!("best/requirements.txt"))),
            Self::Shell => Some(("peer-shell", include_str!("shell/requirements.txt"))),
            Self::CargoLambda => Some(("peer-cargo-lambda", include_str!("cargo_lambda/requirements.txt"))),
            Self::Sam => Some(("peer-sam", include_str!("sam/requirements.txt"))),
            Self::Deployctl | Self::Serverless => None,
        }
    }

    /// Installs it into a folder of its own in `target/tmp`, unless it is there already. The error is the reason why it
    /// cannot be.
    pub(crate) async fn install(self) -> Result<Installed, String> {
        if self == Self::Deployctl {
            return Ok(Installed { program: Vec::new(), tools: PathBuf::new() });
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(self.folder());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(self.folder());
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for file in std::fs::read_dir(source).into_iter().flatten().flatten() {
            std::fs::copy(file.path(), folder.join(file.file_name())).map_err(|error| error.to_string())?;
        }
        let tools = match self.requirements() {
            Some((name, requirements)) => python_tools::try_install(name, requirements).await?,
            None => folder.clone(),
        };
        if self == Self::Serverless && !folder.join("node_modules").exists() {
            let npm = ["ci", "--silent", "--ignore-scripts", "--no-fund", "--no-audit"];
            ended_well(Command::new("npm").args(npm).current_dir(&folder))?;
        }
        let program = match self {
            Self::Careful | Self::Best => vec![tools.join("python"), folder.join("release.py")],
            _ => vec!["sh".into(), folder.join("release.sh")],
        };
        Ok(Installed { program, tools })
    }
}

fn ended_well(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() { Ok(()) } else { Err(last_line(&output.stderr)) }
}

/// The line of an output that says most about a failure: the last one that names an error, else the last one.
pub(crate) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let named = lines.clone().rfind(|line| line.to_lowercase().contains("error"));
    named.or_else(|| lines.next_back()).unwrap_or("it printed nothing").to_owned()
}
