//! Python programs that tests run, installed into the project's `target` folder.

use std::path::PathBuf;

/// Installs the packages of a requirements file with hashes, once, and returns the folder of their programs.
pub(crate) async fn install(name: &'static str, requirements: &'static str) -> PathBuf {
    try_install(name, requirements).await.unwrap()
}

/// The same, with the reason why it cannot be done.
pub(crate) async fn try_install(name: &'static str, requirements: &'static str) -> Result<PathBuf, String> {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let install =
        move || test_support::python::install(folder, name, requirements).map_err(|error| error.to_string());
    tokio::task::spawn_blocking(install).await.unwrap()
}
