//! Helpers that the test binaries share.

#![expect(dead_code, reason = "each test binary uses a part of them")]

pub(crate) mod caller;
pub(crate) mod counted_stage;
pub(crate) mod counting_terraform;
pub(crate) mod deployed_stage;
pub(crate) mod digest;
pub(crate) mod example_project;
pub(crate) mod fake_released_stage;
pub(crate) mod fixtures;
pub(crate) mod http;
pub(crate) mod lambda_zip;
pub(crate) mod markdown;
pub(crate) mod minimal_project;
pub(crate) mod private;
pub(crate) mod processes;
pub(crate) mod program;
pub(crate) mod progress;
pub(crate) mod provider_mirror;
pub(crate) mod proxy;
pub(crate) mod pty;
pub(crate) mod python_tools;
pub(crate) mod sdk;
pub(crate) mod seeded_stage;
pub(crate) mod session;
pub(crate) mod signed;
pub(crate) mod sigv4;
pub(crate) mod snapshot;
pub(crate) mod stage_file;
pub(crate) mod test_process;
pub(crate) mod traffic;

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
