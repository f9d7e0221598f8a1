//! The document of `init`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::result::SCHEMA;

/// What `init` did and what it proposes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Document<'a> {
    /// The form of this document.
    pub(crate) schema: u32,
    /// The command.
    pub(crate) command: &'static str,
    /// `written`, or `kept` where a `deployctl.toml` was there.
    pub(crate) outcome: &'static str,
    /// `deployctl.toml`; null for the example.
    pub(crate) settings: Option<SettingsFile<'a>>,
    /// What was found; null for the example.
    pub(crate) found: Option<&'a Inventory>,
    /// The patch; null for the example.
    pub(crate) patch: Option<&'a str>,
    /// The folder that the paths in the patch are relative to.
    pub(crate) patch_root: Option<&'a Path>,
    /// What is left to do by hand.
    pub(crate) by_hand: &'a [Advice],
    /// The files of the example.
    pub(crate) files: &'a [PathBuf],
    /// Always null: a command that fails has another document.
    pub(crate) error: Option<()>,
}

/// `deployctl.toml` as it is proposed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SettingsFile<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// What it would say.
    pub(crate) text: &'a str,
    /// Whether it was written.
    pub(crate) written: bool,
}

impl Document<'_> {
    /// A document that says nothing but how it ended.
    pub(crate) fn empty(outcome: &'static str) -> Self {
        Self {
            schema: SCHEMA,
            command: "init",
            outcome,
            settings: None,
            found: None,
            patch: None,
            patch_root: None,
            by_hand: &[],
            files: &[],
            error: None,
        }
    }
}

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Inventory {
    /// The Terraform root modules, in the order in which they are applied.
    pub(crate) layers: Vec<LayerFound>,
    /// The functions, as `stage variable ← address`.
    pub(crate) functions: Vec<FunctionFound>,
    /// The address of the REST API.
    pub(crate) rest_api: Option<String>,
    /// The address of its stage.
    pub(crate) stage: Option<String>,
    /// The address of the deployment that Terraform keeps.
    pub(crate) deployment: Option<String>,
    /// The cargo packages that are Lambda functions.
    pub(crate) packages: Vec<Package>,
}

/// A layer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LayerFound {
    /// Its name in `deployctl.toml`.
    pub(crate) name: String,
    /// Its folder, relative to the project.
    pub(crate) path: PathBuf,
    /// The layers that it reads.
    pub(crate) depends_on: Vec<String>,
    /// Whether the patch makes it.
    pub(crate) new: bool,
}

/// A function, or as many as `for_each` makes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FunctionFound {
    /// Its stage variable; an expression where there are several.
    pub(crate) key: String,
    /// Its address in the layer.
    pub(crate) address: String,
    /// The artifact that it runs.
    pub(crate) artifact: String,
}

/// Something that a person has to do or to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Advice {
    /// What, and why.
    pub(crate) what: String,
    /// The lines to write or the command to run.
    pub(crate) write: Option<String>,
    // A doc comment would become part of the document's description.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) kind: AdviceKind,
}

/// What an advice is about, where that decides whether it is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AdviceKind {
    /// Which artifact a function runs could not be found out.
    UnknownArtifact,
    #[default]
    Other,
}

impl Advice {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), write: None, kind: AdviceKind::Other }
    }

    pub(crate) fn about(self, kind: AdviceKind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn write(mut self, lines: impl Into<String>) -> Self {
        self.write = Some(lines.into());
        self
    }
}

/// A package that deployctl can build into an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder, relative to the project.
    pub(crate) path: PathBuf,
}
