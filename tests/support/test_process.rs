//! A test that runs in a process of its own: one that is measured, or that another test kills.

use std::process::Command;

/// The process that runs nothing but the test `name` of `module`, which is `module_path!()` where the test is.
pub(crate) fn of(module: &str, name: &str) -> Command {
    let (_binary, path) = module.split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{path}::{name}")]);
    command
}
