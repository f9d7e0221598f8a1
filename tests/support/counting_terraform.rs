//! A program that writes down each of its starts and then is Terraform.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The program.
#[derive(Debug, Clone)]
pub(crate) struct CountingTerraform {
    /// Its path.
    pub(crate) program: PathBuf,
    /// The Terraform that it runs.
    pub(crate) terraform: PathBuf,
    log: PathBuf,
}

impl CountingTerraform {
    /// Writes it to `folder`. It runs `terraform`, a path or a name on `PATH`.
    pub(crate) fn new(folder: &Path, terraform: &Path) -> Self {
        let (program, log) = (folder.join("counting-terraform"), folder.join("terraform-calls"));
        let script = format!(
            "#!/bin/sh\nprintf '%s %s\\n' \"${{PWD##*/}}\" \"$*\" >>'{}'\nexec '{}' \"$@\"\n",
            log.display(),
            terraform.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, terraform: terraform.to_owned(), log }
    }

    /// The processes since this was last called: the folder that each worked in, and its arguments.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        std::fs::remove_file(&self.log).ok();
        text.lines().map(str::to_owned).collect()
    }
}
