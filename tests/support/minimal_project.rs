//! The smallest project: two layers without resources, and one artifact that needs no build.

use std::path::{Path, PathBuf};

use super::program::{CommandOutput, Program};
use super::stage_file::StageFile;

/// Its `deployctl.toml`.
pub(crate) const SETTINGS: &str = r#"project = "small"
default_stage = "local"

[stages.local]
local = true

[stages.dev]
account = "111111111111"
region = "us-east-1"

[layers.base]

[layers.app]
depends_on = ["base"]

[artifacts.hello]
path = "dist/bootstrap"
key = "hello/{version}.zip"
"#;

/// The project. Its local stage, if it has one, ends with it.
#[derive(Debug)]
pub(crate) struct MinimalProject {
    dir: tempfile::TempDir,
    /// deployctl in it.
    pub(crate) program: Program,
}

impl MinimalProject {
    /// A project whose layers have the outputs that a release needs. Its bucket and its API do not exist.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = Program::new(dir.path());
        let project = Self { dir, program };
        project.write("deployctl.toml", SETTINGS);
        project.layer("base", "output \"artifact_bucket\" {\n  value = \"small-artifacts\"\n}\n");
        project.layer("app", "");
        project.write("dist/bootstrap", executable(std::env::consts::ARCH));
        project
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes a layer.
    pub(crate) fn layer(&self, name: &str, outputs: &str) {
        self.write(
            &format!("terraform/{name}/main.tf"),
            format!("terraform {{\n  backend \"s3\" {{}}\n}}\n\n{outputs}"),
        );
    }

    /// Writes `deployctl.toml` with a text replaced, which must be there.
    pub(crate) fn settings(&self, from: &str, to: &str) {
        assert!(SETTINGS.contains(from), "{from:?}");
        self.write("deployctl.toml", SETTINGS.replacen(from, to, 1));
    }

    /// Makes the artifact's executable with other bytes for each version.
    pub(crate) fn build(&self, version: &str) {
        let mut bytes = executable(std::env::consts::ARCH);
        bytes.extend_from_slice(version.as_bytes());
        self.write("dist/bootstrap", bytes);
    }

    /// Where deployctl finds its local stage.
    pub(crate) fn stage_file(&self) -> StageFile {
        StageFile::of(self.path())
    }

    /// Runs deployctl.
    pub(crate) async fn run(&self, args: &[&str]) -> CommandOutput {
        self.program.run(args).await
    }
}

impl Drop for MinimalProject {
    fn drop(&mut self) {
        if self.dir.path().join(".deployctl/local").exists() {
            self.write("deployctl.toml", SETTINGS);
            self.program.command(&["local", "down", "--stage", "local"]).into_std().status().ok();
        }
    }
}

/// The shortest file that is an executable of `arch`: a header of ELF that loads nothing.
pub(crate) fn executable(arch: &str) -> Vec<u8> {
    let machine: u16 = if arch == "aarch64" { 183 } else { 62 };
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16..18].copy_from_slice(&2_u16.to_le_bytes());
    header[18..20].copy_from_slice(&machine.to_le_bytes());
    header[20..24].copy_from_slice(&1_u32.to_le_bytes());
    header[52..54].copy_from_slice(&64_u16.to_le_bytes());
    header
}
