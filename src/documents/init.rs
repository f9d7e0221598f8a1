//! The document of `init`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::result::SCHEMA;

/// What `init` did and what it proposes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Document<'a> {
    /// The version of this document's schema.
    pub(crate) schema: u32,
    /// The command that wrote this document.
    pub(crate) command: &'static str,
    /// `written`, or `kept` if `deployctl.toml` existed.
    pub(crate) outcome: &'static str,
    /// The proposed `deployctl.toml`; null for the example.
    pub(crate) settings: Option<SettingsFile<'a>>,
    /// What was found in the project; null for the example.
    pub(crate) found: Option<&'a Inventory>,
    /// A patch for the Terraform files; null for the example.
    pub(crate) patch: Option<&'a str>,
    /// The folder that the paths in the patch are relative to.
    pub(crate) patch_root: Option<&'a Path>,
    /// What the user has to do by hand.
    pub(crate) by_hand: &'a [Advice],
    /// The files of the example that were written.
    pub(crate) files: &'a [PathBuf],
    /// Always null: a failed command prints another document.
    pub(crate) error: Option<()>,
}

/// The proposed `deployctl.toml`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SettingsFile<'a> {
    /// The path of the file.
    pub(crate) path: &'a Path,
    /// The text of the file.
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

/// What `init` found in the project.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Inventory {
    /// The Terraform root modules, in the order in which they are applied.
    pub(crate) layers: Vec<LayerFound>,
    /// The functions that the API calls.
    pub(crate) functions: Vec<FunctionFound>,
    /// The Terraform address of the REST API.
    pub(crate) rest_api: Option<String>,
    /// The Terraform address of its stage.
    pub(crate) stage: Option<String>,
    /// The Terraform address of its deployment.
    pub(crate) deployment: Option<String>,
    /// The cargo packages that are Lambda functions.
    pub(crate) packages: Vec<Package>,
    /// The integrations of the API, and what they call.
    pub(crate) integrations: Vec<CallFound>,
    /// The authorizers of the API, and what they call.
    pub(crate) authorizers: Vec<CallFound>,
    /// What `init` met and did not understand.
    pub(crate) not_understood: Vec<String>,
    /// The environments: stages that the project has already.
    pub(crate) stages: Vec<String>,
}

/// An integration or an authorizer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CallFound {
    /// The full Terraform address.
    pub(crate) address: String,
    /// The address of the function, or the source of the URI; empty without a URI.
    pub(crate) calls: String,
}

/// A Terraform root module of the project.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LayerFound {
    /// The name of the layer in `deployctl.toml`.
    pub(crate) name: String,
    /// The folder, relative to the project.
    pub(crate) path: PathBuf,
    /// The layers whose outputs it reads.
    pub(crate) depends_on: Vec<String>,
    /// Whether the patch creates it.
    pub(crate) new: bool,
}

/// A function, or all functions of one `for_each`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FunctionFound {
    /// The stage variable; an expression if there are several.
    pub(crate) key: String,
    /// The full Terraform address, without indices.
    pub(crate) address: String,
    /// The artifact with the function's code.
    pub(crate) artifact: String,
}

/// Something that the user has to do or to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Advice {
    /// What to do, and the reason.
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
    /// A stage that exists is imported. The settings of stages that are known say so already.
    AdoptStage,
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
    /// The name of the cargo package.
    pub(crate) name: String,
    /// The folder, relative to the project.
    pub(crate) path: PathBuf,
    /// The folder of its cargo workspace, relative to the project; empty for the project's own.
    pub(crate) workspace: PathBuf,
}
