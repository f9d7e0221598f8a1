//! Tools that deployctl installs: Python packages with fixed versions and hashes, each set in a virtual
//! environment in the user's cache folder.
//!
//! A set is installed once per machine and shared by all projects. The name of its folder contains the hash
//! of its requirements and the version of Python. A virtual environment contains its own path and cannot be
//! moved, so it is created in place, under a lock, and its marker (`….ready`) is written last: an incomplete
//! environment is never used. The marker also lists the installed files: a set that has changed, or that
//! other users can change, is installed again.

mod contents;

use std::fs::File;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::artifact::digest::Sha256;
use crate::error::{Error, ErrorId, Kind};
use crate::event::{Event, Events};
use crate::platform::process::{Command, Failure, ProcessError};
use crate::platform::variables;
use crate::platform::{atomic_file, file_lock};

/// The oldest Python that the pinned packages run on.
const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// The names to search on PATH, in this order.
const PYTHONS: [&str; 6] = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];

/// Prints version, path and missing module of a Python.
const PROBE: &str = "import sys\n\
    try:\n    import venv, ensurepip; missing = ''\nexcept ImportError as error: missing = error.name\n\
    print(*sys.version_info[:2], sys.executable, missing, sep='\\n')";

/// A set of packages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requirements {
    /// The name of the set, in file names and messages.
    pub(crate) name: &'static str,
    /// pip's requirements file: exact versions, each with its hashes.
    pub(crate) text: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Venv {
    dir: PathBuf,
}

impl Venv {
    /// The Python with the packages.
    pub(crate) fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// A program from a package of the set.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// A file inside an installed package, such as `ziglang/zig`.
    pub(crate) fn package_file(&self, path: &str) -> Option<PathBuf> {
        // lib/python3.11/site-packages
        let versions = std::fs::read_dir(self.dir.join("lib")).ok()?;
        versions
            .flatten()
            .map(|folder| folder.path().join("site-packages").join(path))
            .find(|file| file.exists())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PythonTools {
    dir: PathBuf,
}

impl PythonTools {
    /// In `DEPLOYCTL_CACHE_DIR`, else `$XDG_CACHE_HOME/deployctl`, else `~/.cache/deployctl`.
    pub(crate) fn from_env() -> Result<Self, PythonToolsError> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute(variables::CACHE_DIR)
            .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("deployctl")))
            .or_else(|| Some(absolute("HOME")?.join(".cache/deployctl")))
            .map(Self::new)
            .ok_or(PythonToolsError::NoCacheDir)
    }

    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// A folder for the cache of a tool.
    pub(crate) fn cache(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the set. Installs it if it is missing: a download once per machine.
    pub(crate) async fn venv(
        &self,
        requirements: Requirements,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Venv, PythonToolsError> {
        let hash = Sha256::of(requirements.text.as_bytes()).short();
        let root = self.dir.join("venv");
        let marker = root.join(format!("{}-{hash}.ready", requirements.name));
        // Usually this is enough, and no Python is started.
        if let Some(venv) = ready(&marker) {
            return Ok(venv);
        }
        std::fs::create_dir_all(&root).map_err(|e| io(&root, e))?;
        let _lock = lock(&root.join(format!("{}-{hash}.lock", requirements.name)), events).await?;
        if let Some(venv) = ready(&marker) {
            return Ok(venv);
        }
        let python = find_python(cancel).await?;
        let dir =
            root.join(format!("{}-{hash}-py{}.{}", requirements.name, python.version.0, python.version.1));
        let step = format!("install {}", requirements.name);
        events.step(&step, install(&python, &dir, requirements, events, cancel)).await?;
        let installed = contents::list(&dir).map_err(|e| io(&dir, e))?;
        write(&marker, format!("{}\n{installed}", dir.display()).as_bytes())?;
        Ok(Venv { dir })
    }

    /// Whether the set is installed.
    pub(crate) fn has(&self, requirements: Requirements) -> bool {
        let hash = Sha256::of(requirements.text.as_bytes()).short();
        ready(&self.dir.join("venv").join(format!("{}-{hash}.ready", requirements.name))).is_some()
    }
}

/// The Python that sets are installed with, and its version.
pub(crate) async fn python(cancel: &CancellationToken) -> Result<(PathBuf, String), PythonToolsError> {
    let Python { path, version: (major, minor) } = find_python(cancel).await?;
    Ok((path, format!("{major}.{minor}")))
}

/// The environment that the marker names, unless it or its Python was removed or changed.
fn ready(marker: &Path) -> Option<Venv> {
    let text = std::fs::read_to_string(marker).ok()?;
    let (dir, installed) = text.split_once('\n')?;
    let venv = Venv { dir: PathBuf::from(dir) };
    (venv.python().exists() && contents::verify(&venv.dir, installed).is_ok()).then_some(venv)
}

async fn install(
    python: &Python,
    dir: &Path,
    requirements: Requirements,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), PythonToolsError> {
    let purpose = format!("install the tools for {} ({})", requirements.name, dir.display());
    // Whatever the umask, no other user can write here. `--clear` removes the files of an interrupted run.
    create_private(dir).map_err(|e| io(dir, e))?;
    let create = Command::new(&python.path, &purpose).args(["-I", "-m", "venv", "--clear"]).arg(dir);
    run(&create, events, cancel).await?;
    let list = dir.join("requirements.txt");
    write(&list, requirements.text.as_bytes())?;
    run(&pip(dir, &list, &purpose), events, cancel).await
}

/// The pip of the environment in `dir`, installing the requirements in `list`.
fn pip(dir: &Path, list: &Path, purpose: &str) -> Command {
    Command::new(dir.join("bin/python"), purpose)
        // Isolated: the working folder and the user's Python settings could contain another module named pip.
        .args(["-I", "-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"])
        .args([
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
            "--no-warn-script-location",
        ])
        .args(["--quiet", "-r"])
        .arg(list)
        // These would install to another folder.
        .env_remove("PIP_TARGET")
        .env_remove("PIP_PREFIX")
        .env_remove("PIP_USER")
}

async fn run(command: &Command, events: &Events, cancel: &CancellationToken) -> Result<(), PythonToolsError> {
    let exit = command
        .run(cancel, |_, line| events.emit(&Event::ProgramLine { program: "python", line }))
        .await
        .map_err(PythonToolsError::Install)?;
    command.success(exit).map(drop).map_err(PythonToolsError::Install)
}

#[derive(Debug)]
struct Python {
    path: PathBuf,
    version: (u32, u32),
}

async fn find_python(cancel: &CancellationToken) -> Result<Python, PythonToolsError> {
    let mut rejected = Vec::new();
    let mut without_venv = None;
    for name in PYTHONS {
        let probe = Command::new(name, "look for Python").args(["-I", "-c", PROBE]);
        match probe.output(cancel).await {
            Ok(text) => match parse_probe(&text) {
                Some((python, _)) if python.version < OLDEST_PYTHON => {
                    rejected.push(format!("{name} is {}.{}", python.version.0, python.version.1));
                }
                Some((python, missing)) if missing.is_empty() => return Ok(python),
                Some((python, missing)) => {
                    without_venv.get_or_insert((python, missing));
                }
                None => rejected.push(format!("{name} prints no version")),
            },
            Err(ProcessError { failure: Failure::Interrupted { .. }, purpose, command }) => {
                return Err(PythonToolsError::Install(ProcessError {
                    purpose,
                    command,
                    failure: Failure::Interrupted { killed: false },
                }));
            }
            // For example, a shim of a version manager without a Python behind it.
            Err(_) => {}
        }
    }
    Err(match without_venv {
        Some((python, module)) => {
            PythonToolsError::NoVenvModule { python: python.path, version: python.version, module }
        }
        None => PythonToolsError::NoPython { rejected },
    })
}

fn parse_probe(text: &str) -> Option<(Python, String)> {
    let mut lines = text.lines();
    let version = (lines.next()?.parse().ok()?, lines.next()?.parse().ok()?);
    let path = PathBuf::from(lines.next()?);
    let missing = lines.next().unwrap_or_default().to_owned();
    path.is_absolute().then_some((Python { path, version }, missing))
}

async fn lock(path: &Path, events: &Events) -> Result<File, PythonToolsError> {
    let waiting = || events.note("waiting for another deployctl process that installs the same tools");
    file_lock::exclusive(path, waiting).await.map_err(|e| io(path, e))
}

/// Creates a folder that only this user can write to.
fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PythonToolsError> {
    atomic_file::write_private(path, bytes).map_err(|e| io(path, e))
}

fn io(path: &Path, source: std::io::Error) -> PythonToolsError {
    PythonToolsError::Io { path: path.to_owned(), source }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PythonToolsError {
    #[error(
        "failed to find a cache folder: none of DEPLOYCTL_CACHE_DIR, XDG_CACHE_HOME and HOME is an absolute path"
    )]
    NoCacheDir,
    /// No Python, or only old ones.
    #[error("failed to find Python {}.{} or newer on PATH{}", OLDEST_PYTHON.0, OLDEST_PYTHON.1, listed(.rejected))]
    NoPython {
        /// The unsuitable programs, with reasons.
        rejected: Vec<String>,
    },
    /// Debian has a separate package for virtual environments.
    #[error("failed to create a virtual environment: {} has no module {module}", python.display())]
    NoVenvModule { python: PathBuf, version: (u32, u32), module: String },
    /// Creating the environment or installing into it failed.
    #[error(transparent)]
    Install(ProcessError),
    /// A file of the cache is not readable or writable.
    #[error("failed to read or write the cache {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

fn listed(rejected: &[String]) -> String {
    if rejected.is_empty() { String::new() } else { format!(" ({})", rejected.join(", ")) }
}

impl PythonToolsError {
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self, Self::Install(process) if matches!(process.failure, Failure::Interrupted { .. }))
    }
}

impl From<PythonToolsError> for Error {
    fn from(error: PythonToolsError) -> Self {
        let message = error.to_string();
        match error {
            _ if error.is_interrupted() => {
                Self::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted while installing tools")
                    .hint("nothing was changed; what is live is unchanged")
            }
            PythonToolsError::NoCacheDir => Self::preflight(ErrorId::ToolboxCache, message).hint("set DEPLOYCTL_CACHE_DIR"),
            PythonToolsError::NoPython { .. } => Self::preflight(ErrorId::ToolboxPython, message).hint(
                "install it: `apt-get install python3 python3-venv` on Debian and Ubuntu, `brew install python` on macOS",
            ),
            PythonToolsError::NoVenvModule { version: (major, minor), .. } => Self::preflight(ErrorId::ToolboxVenv, message)
                .hint(format!("install it: apt-get install python{major}.{minor}-venv (or python3-venv)")),
            PythonToolsError::Install(_) => Self::preflight(ErrorId::ToolboxInstall, message)
                .hint("check access to the package index (PyPI, or PIP_INDEX_URL), and run the command again"),
            PythonToolsError::Io { .. } => Self::preflight(ErrorId::ToolboxCache, message)
                .hint("make the folder writable, or set DEPLOYCTL_CACHE_DIR to another folder"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_the_probe_is_parsed() {
        let (python, missing) = parse_probe("3\n11\n/usr/bin/python3\nensurepip\n").unwrap();
        assert_eq!((python.version, missing.as_str()), ((3, 11), "ensurepip"));
        assert_eq!(python.path, Path::new("/usr/bin/python3"));
        assert!(parse_probe("3\n13\n/opt/python\n\n").unwrap().1.is_empty());
        for text in ["", "Python 3.11.2", "3\n11\npython3\n"] {
            assert!(parse_probe(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_marker_without_its_environment_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("x.ready");
        assert_eq!(ready(&marker), None);
        std::fs::write(&marker, dir.path().join("gone").to_string_lossy().as_bytes()).unwrap();
        assert_eq!(ready(&marker), None);
    }

    #[test]
    fn pip_takes_no_modules_from_the_working_folder() {
        let pip = pip(Path::new("/venv"), Path::new("/list"), "test");
        assert_eq!(pip.args[..3], ["-I", "-m", "pip"]);
    }

    #[test]
    fn the_missing_debian_package_is_named() {
        let error: Error = PythonToolsError::NoVenvModule {
            python: "/usr/bin/python3".into(),
            version: (3, 11),
            module: "ensurepip".to_owned(),
        }
        .into();
        assert_eq!(error.kind.exit_code(), 10);
        assert!(error.hint.unwrap().contains("python3.11-venv"));
    }
}
