//! The first five minutes: what `deployctl init` finds in a project, and what it says to change.
//!
//! ```text
//! folder ─► survey: layers, functions, API, packages ─► rewrite: edits ─┬─► patch (git apply)
//!                                                                       ├─► deployctl.toml
//!                                                                       └─► what is left to do by hand
//! ```
//!
//! Only source is read: no Terraform is run, no AWS is asked. What cannot be told from the source is not guessed, but
//! said, with what to write. [`example`] is the other way to begin: a whole project in an empty folder.

mod artifacts;
mod contract;
pub mod document;
mod edits;
pub mod example;
mod functions;
mod packages;
mod rewrite;
mod settings_file;
mod stage;
mod states;
mod survey;
mod uris;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::settings::FILE;

pub use self::packages::Package;
pub use self::survey::Survey;

/// What `deployctl init` has to say about a project.
#[derive(Debug, Serialize)]
pub struct Proposal {
    /// What is there.
    pub found: Inventory,
    /// The text of `deployctl.toml`.
    #[serde(skip)]
    pub settings: String,
    /// The changes to the project's files, for `git apply` or `patch -p1`.
    pub patch: String,
    /// The folder that the paths in the patch are relative to.
    pub patch_root: PathBuf,
    /// What a person has to do or to decide.
    pub by_hand: Vec<Advice>,
}

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Inventory {
    /// The Terraform root modules, in the order in which they are applied.
    pub layers: Vec<LayerFound>,
    /// The functions, as `stage variable ← address`.
    pub functions: Vec<FunctionFound>,
    /// The address of the REST API.
    pub rest_api: Option<String>,
    /// The address of its stage.
    pub stage: Option<String>,
    /// The address of the deployment that Terraform keeps.
    pub deployment: Option<String>,
    /// The cargo packages that are Lambda functions.
    pub packages: Vec<Package>,
}

impl Inventory {
    /// What was found, a line each.
    pub fn summary(&self) -> String {
        settings_file::summary(self)
    }
}

/// A layer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LayerFound {
    /// Its name in `deployctl.toml`.
    pub name: String,
    /// Its folder, relative to the project.
    pub path: PathBuf,
    /// The layers that it reads.
    pub depends_on: Vec<String>,
    /// Whether the patch makes it.
    pub new: bool,
}

/// A function, or as many as `for_each` makes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FunctionFound {
    /// Its stage variable; an expression where there are several.
    pub key: String,
    /// Its address in the layer.
    pub address: String,
    /// The artifact that it runs.
    pub artifact: String,
}

/// Something that a person has to do or to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Advice {
    /// What, and why.
    pub what: String,
    /// The lines to write or the command to run.
    pub write: Option<String>,
}

impl Advice {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), write: None }
    }

    fn write(mut self, lines: impl Into<String>) -> Self {
        self.write = Some(lines.into());
        self
    }
}

/// Looks at the project in `root` and says how deployctl could release it.
///
/// # Errors
/// `init.no_terraform` where there is nothing to begin with.
pub async fn propose(root: &Path, cancel: &CancellationToken) -> Result<Proposal> {
    let survey = Survey::of(root, cancel).await;
    if survey.layers.is_empty() {
        return Err(Error::usage("init.no_terraform", format!("there is no Terraform code in {}", root.display()))
            .hint("run it in the project's folder; or let `deployctl init --example DIR` write a whole project into an empty one"));
    }
    let patch_root = repository(root);
    Ok(rewrite::rewrite(survey, patch_root))
}

/// The folder that `git apply` takes a patch's paths to be relative to: that of the repository, else the project's.
fn repository(root: &Path) -> PathBuf {
    root.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(root).to_owned()
}

/// Where the settings of a project are written.
pub fn settings_path(root: &Path) -> PathBuf {
    root.join(FILE)
}
