//! Puts the example project into the program: `deployctl init --example` writes it from there.
//!
//! `src/commands/init/example` consists of links to the project's own files, so that there is one of each. Whatever has to have
//! another name in a package of cargo's (a `Cargo.toml` would make the folder a package of its own, a `.gitignore` would
//! be obeyed) ends with `.in` there.

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

/// The files below `folder`, by the names that they are written under. What Terraform and deployctl leave in a
/// checkout that is worked in is no part of the example.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    // Also tells cargo to look for new files.
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let left_behind = matches!(name.as_str(), ".terraform" | ".deployctl" | "target")
            || name.contains(".tfstate")
            || name.ends_with('~');
        // Not the users API's, but this repository's own.
        let not_of_the_example = prefix == "terraform/" && name == "github";
        if left_behind || not_of_the_example {
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
