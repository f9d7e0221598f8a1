//! Python packages for tests and benchmarks: pinned, with hashes, in a virtual environment of their own below `target`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::redis_server::TestResult;

/// The folder of the programs of this set, installed first where it is not there yet.
pub fn programs(name: &str, requirements: &str) -> TestResult<PathBuf> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    std::fs::create_dir_all(&root)?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock()?;
    let (folder, marker) = (root.join(name), root.join(format!("{name}.installed")));
    let programs = folder.join("bin");
    // The marker is written last and holds what was installed: half an environment, or an older one, does not count.
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == requirements) && programs.exists()
    {
        return Ok(programs);
    }
    run(Command::new("python3").args(["-I", "-m", "venv", "--clear"]).arg(&folder))?;
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
