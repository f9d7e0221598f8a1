//! The JSON document of `init`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Advice, Inventory};

/// What `init` did and what it proposes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document<'a> {
    /// The form of this document.
    pub schema: u32,
    /// The command.
    pub command: &'static str,
    /// `written`, or `kept` where a `deployctl.toml` was there.
    pub outcome: &'static str,
    /// `deployctl.toml`; null for the example.
    pub settings: Option<SettingsFile<'a>>,
    /// What was found; null for the example.
    pub found: Option<&'a Inventory>,
    /// The patch; null for the example.
    pub patch: Option<&'a str>,
    /// The folder that the paths in the patch are relative to.
    pub patch_root: Option<&'a Path>,
    /// What is left to do by hand.
    pub by_hand: &'a [Advice],
    /// The files of the example.
    pub files: &'a [PathBuf],
    /// Always null: a command that fails has another document.
    pub error: Option<()>,
}

/// `deployctl.toml` as it is proposed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SettingsFile<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What it would say.
    pub text: &'a str,
    /// Whether it was written.
    pub written: bool,
}

impl Document<'_> {
    /// A document that says nothing but how it ended.
    pub fn empty(outcome: &'static str) -> Self {
        Self {
            schema: crate::report::document::SCHEMA,
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
