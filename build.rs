//! Embeds the example project, which `deployctl init --example` writes.
//!
//! `src/commands/init/example` contains links to the project's own files, so that no file exists twice. Some
//! files end with `.in` there: cargo would treat the folder of a `Cargo.toml` as a package, and git would
//! apply a `.gitignore`.

use std::fmt::Write as _;
use std::io::Result;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "src/commands/init/example";

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut files = Vec::new();
    collect(&root.join(EXAMPLE), "", &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for (name, path) in &files {
        let _ = writeln!(table, "    ({name:?}, include_str!({:?})),", path.display().to_string());
    }
    table.push_str("]\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("example.rs"), table)
}

/// The files below `folder`, under the names that `init --example` writes, without the working files of
/// Terraform and deployctl.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    // For a folder, cargo also detects new files.
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let is_working_file = matches!(name.as_str(), ".terraform" | ".deployctl" | "target")
            || name.contains(".tfstate")
            || name.ends_with('~');
        // The deploy role of this repository.
        let is_own_pipeline = prefix == "terraform/" && name == "github";
        if is_working_file || is_own_pipeline {
            continue;
        }
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            let name = match name.as_str() {
                "gitignore.in" => ".gitignore",
                name => name.strip_suffix(".in").unwrap_or(name),
            };
            files.push((format!("{prefix}{name}"), path.canonicalize()?));
        }
    }
    Ok(())
}
