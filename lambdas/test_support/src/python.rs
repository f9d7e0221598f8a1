//! Python programs for tests and benchmarks, in virtual environments of their own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::TestResult;

/// Installs the packages of a requirements file with hashes, unless they are installed already, and returns the folder of
/// their programs. `folder` is the caller's `CARGO_TARGET_TMPDIR`; `name` names the virtual environment.
///
/// # Errors
/// The environment cannot be created, or a package cannot be installed.
pub fn install(folder: impl AsRef<Path>, name: &str, requirements: &str) -> TestResult<PathBuf> {
    let root = folder.as_ref().join("python");
    std::fs::create_dir_all(&root)?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock()?;
    let (environment, marker) = (root.join(name), root.join(format!("{name}.installed")));
    let programs = environment.join("bin");
    // The marker is written last and contains the requirements, so that an incomplete or outdated environment is
    // installed again.
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == requirements) && programs.exists()
    {
        return Ok(programs);
    }
    run(Command::new("python3").args(["-I", "-m", "venv", "--clear"]).arg(&environment))?;
    let list = root.join(format!("{name}.txt"));
    std::fs::write(&list, requirements)?;
    let options = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"];
    run(Command::new(programs.join("python"))
        .args(["-I", "-m", "pip", "install"])
        .args(options)
        .arg("-r")
        .arg(&list))?;
    std::fs::write(&marker, requirements)?;
    Ok(programs)
}

fn run(command: &mut Command) -> TestResult {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
