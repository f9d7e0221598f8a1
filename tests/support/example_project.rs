//! A copy of this repository as a user has it, with a local stage of its own.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::counting_terraform::CountingTerraform;
use super::processes;
use super::program::{CommandOutput, Program};

/// What a checkout needs for a release.
const PARTS: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", "deployctl.toml", "src", "benches", "lambdas", "terraform"];

/// The copy. Its local stage ends with it, however the test ends.
#[derive(Debug)]
pub(crate) struct ExampleProject {
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// deployctl in it.
    pub(crate) program: Program,
    terraform: CountingTerraform,
    /// Where cargo builds the Lambdas.
    lambdas: PathBuf,
    _in_use: File,
}

impl ExampleProject {
    /// Copies this checkout, into the first folder that no other test uses. What is built there stays: cargo takes
    /// another path for another source, and a Lambda with all its dependencies takes a minute.
    pub(crate) fn new() -> Self {
        let (folder, lock) = free_folder();
        let (dir, lambdas) = (folder.join("users"), folder.join("lambdas"));
        std::fs::create_dir_all(&dir).unwrap();

        let terraform = CountingTerraform::new(&folder, &terraform_on_path());
        let program = Program::new(&dir)
            .with("CARGO_TARGET_DIR", &lambdas)
            .with("DEPLOYCTL_TERRAFORM", &terraform.program);
        let project = Self { dir, program, terraform, lambdas, _in_use: lock };
        // A test that was killed may have left its stage.
        project.stop();
        for name in [".deployctl", "dist"] {
            std::fs::remove_dir_all(project.dir.join(name)).ok();
        }
        for part in PARTS {
            mirror(&Path::new(env!("CARGO_MANIFEST_DIR")).join(part), &project.dir.join(part));
        }
        drop(project.terraform_calls());
        project
    }

    /// Runs deployctl.
    pub(crate) async fn run(&self, args: &[&str]) -> CommandOutput {
        self.program.run(args).await
    }

    /// Runs deployctl for its JSON document.
    pub(crate) async fn json(&self, args: &[&str]) -> serde_json::Value {
        self.run(&[args, &["--output", "json"]].concat()).await.exit(0).json()
    }

    /// Replaces a text that a file has exactly once.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.dir.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {file}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// The Terraform processes since this was last asked: layer and arguments of each.
    pub(crate) fn terraform_calls(&self) -> Vec<String> {
        self.terraform.calls()
    }

    /// A Lambda's binary as the last release on the local stage left it.
    pub(crate) fn built(&self, package: &str) -> PathBuf {
        self.lambdas.join("x86_64-unknown-linux-gnu/lambda-dev").join(package)
    }

    /// Every process that works inside the project: the servers and all Lambdas.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes::inside(&self.dir)
    }

    fn stop(&self) {
        if self.dir.join(".deployctl/local").exists() {
            let mut down = self.program.command(&["local", "down", "--stage", "local"]).into_std();
            down.status().ok();
        }
        processes::kill_inside(&self.dir);
    }
}

impl Drop for ExampleProject {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A folder in `target/tmp` that is locked for this test.
fn free_folder() -> (PathBuf, File) {
    let folders =
        (1..).map(|number| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("example-{number}")));
    let mut free = folders.filter_map(|folder| {
        std::fs::create_dir_all(&folder).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        lock.try_lock().is_ok().then_some((folder, lock))
    });
    free.next().unwrap()
}

fn terraform_on_path() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("terraform")).find(|file| file.is_file());
    found.expect("these tests need terraform on PATH")
}

/// Makes `to` what `from` is. Files that are the same are not touched: cargo goes by their time.
fn mirror(from: &Path, to: &Path) {
    if from.is_file() {
        let bytes = std::fs::read(from).unwrap();
        if std::fs::read(to).ok().as_ref() != Some(&bytes) {
            std::fs::write(to, bytes).unwrap();
        }
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    let names = |folder: &Path| -> Vec<std::ffi::OsString> {
        std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name()).collect()
    };
    let wanted = names(from);
    for name in names(to).into_iter().filter(|name| !wanted.contains(name)) {
        let path = to.join(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    // What a checkout gathers in use is no part of it.
    for name in wanted.into_iter().filter(|name| name != ".terraform" && name != "target") {
        mirror(&from.join(&name), &to.join(&name));
    }
}
