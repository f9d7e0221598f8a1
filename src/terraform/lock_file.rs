//! The providers in `.terraform.lock.hcl`, and whether a package of a mirror has one of their hashes.
//!
//! Terraform compares the hashes again whenever it uses a package. They are compared here to decide whether a
//! mirror that nobody has configured may be used at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hcl_edit::expr::Expression;
use hcl_edit::parser::parse_body;
use hcl_edit::structure::Block;
use ring::digest::{Context, Digest, SHA256};

use super::source::literal;
use crate::platform::hex;

/// The name of a lock file, in the folder of its layer.
pub(super) const FILE: &str = ".terraform.lock.hcl";

/// A provider of a lock file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LockedProvider {
    /// The source without the host: `namespace/type`.
    pub name: String,
    version: String,
    hashes: BTreeSet<String>,
}

/// The providers of `host`, such as `registry.terraform.io`, in the text of a lock file.
pub(super) fn providers(text: &str, host: &str) -> Vec<LockedProvider> {
    let Ok(body) = parse_body(text) else { return Vec::new() };
    let blocks = body.blocks().filter(|block| block.ident.as_str() == "provider");
    blocks.filter_map(|block| provider(block, host)).collect()
}

fn provider(block: &Block, host: &str) -> Option<LockedProvider> {
    let name = block.labels.first()?.as_str().strip_prefix(host)?.strip_prefix('/')?;
    let Expression::Array(hashes) = &block.body.get_attribute("hashes")?.value else { return None };
    Some(LockedProvider {
        name: name.to_owned(),
        version: literal(&block.body.get_attribute("version")?.value)?.to_owned(),
        hashes: hashes.iter().filter_map(literal).map(str::to_owned).collect(),
    })
}

impl LockedProvider {
    /// Whether a mirror's folder for the host has the package for `platform`, such as `linux_amd64`, with one
    /// of the hashes. Where it has both an unpacked package and a zip, both must have one.
    pub(super) fn is_in(&self, folder: &Path, platform: &str) -> bool {
        let (name, version) = (&self.name, &self.version);
        let kind = name.rsplit('/').next().unwrap_or(name);
        let unpacked = folder.join(name).join(version).join(platform);
        let zip = folder.join(name).join(format!("terraform-provider-{kind}_{version}_{platform}.zip"));
        let mut hashes = Vec::new();
        if unpacked.is_dir() {
            hashes.push(hash_of_folder(&unpacked));
        }
        if zip.is_file() {
            hashes.push(hash_of_file(&zip).map(|digest| format!("zh:{}", hex(digest))));
        }
        let is_locked = |hash: io::Result<String>| hash.is_ok_and(|hash| self.hashes.contains(&hash));
        !hashes.is_empty() && hashes.into_iter().all(is_locked)
    }
}

/// The SHA-256 of some bytes, in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes))
}

/// The hash with the scheme `h1`, which is Go's `dirhash`: the SHA-256 of a list of all files, sorted by name,
/// with the SHA-256 of each.
fn hash_of_folder(folder: &Path) -> io::Result<String> {
    let folder = folder.canonicalize()?;
    let mut names = Vec::new();
    list(&folder, "", &mut names)?;
    names.sort();
    let mut all = Context::new(&SHA256);
    for name in names {
        let digest = hash_of_file(&folder.join(&name))?;
        all.update(format!("{}  {name}\n", hex(digest)).as_bytes());
    }
    Ok(format!("h1:{}", STANDARD.encode(all.finish())))
}

/// Adds the names of all files, relative to the root. A package has no links and no special files.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidData)?;
        if name.contains('\n') {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            list(&entry.path(), &format!("{path}/"), names)?;
        } else if kind.is_file() {
            names.push(path);
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

pub(super) fn hash_of_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    // Providers have hundreds of megabytes.
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(context.finish()),
            length => context.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "registry.example";

    fn lock(version: &str, hash: &str) -> String {
        format!(
            "provider \"registry.example/acme/tool\" {{\n  version = \"{version}\"\n  hashes = [\n    \"{hash}\",\n  ]\n}}\n\
             provider \"other.example/acme/tool\" {{\n  version = \"9.0.0\"\n  hashes = []\n}}\n"
        )
    }

    fn is_in(folder: &Path, version: &str, hash: &str) -> bool {
        let providers = providers(&lock(version, hash), HOST);
        assert_eq!(providers.len(), 1, "{providers:?}");
        providers[0].is_in(folder, "linux_amd64")
    }

    fn write(path: &Path, bytes: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn an_unpacked_package_is_compared_with_the_hash_of_its_files() {
        let root = tempfile::tempdir().unwrap();
        let package = root.path().join("acme/tool/1.0.0/linux_amd64");
        write(&package.join("b/inner.txt"), "inner\n");
        write(&package.join("a.txt"), "a\n");
        // Made with `sha256sum a.txt b/inner.txt | sha256sum`, in base64.
        let hash = "h1:6sqMazFAnpWKSL/22YBcuMKkj/EGP1RqGh5KrJgy0rQ=";
        assert!(is_in(root.path(), "1.0.0", hash), "{:?}", hash_of_folder(&package));
        assert!(!is_in(root.path(), "1.0.1", hash), "another version");
        assert!(!is_in(root.path(), "1.0.0", "h1:AAAA"));
        write(&package.join("a.txt"), "b\n");
        assert!(!is_in(root.path(), "1.0.0", hash), "another file");
        write(&package.join("a.txt"), "a\n");
        std::os::unix::fs::symlink("a.txt", package.join("c")).unwrap();
        assert!(!is_in(root.path(), "1.0.0", hash), "a link");
    }

    #[test]
    fn a_zip_is_compared_with_the_hash_of_its_bytes() {
        const ABC: &str = "zh:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let root = tempfile::tempdir().unwrap();
        assert!(!is_in(root.path(), "1.0.0", ABC), "there is no package");
        write(&root.path().join("acme/tool/terraform-provider-tool_1.0.0_linux_amd64.zip"), "abc");
        assert!(is_in(root.path(), "1.0.0", ABC));
        // Terraform could also take this one.
        write(&root.path().join("acme/tool/1.0.0/linux_amd64/terraform-provider-tool"), "other");
        assert!(!is_in(root.path(), "1.0.0", ABC));
    }

    #[test]
    fn a_damaged_lock_file_names_no_provider() {
        assert_eq!(providers("provider {", HOST), []);
        assert_eq!(providers("provider \"registry.example.org/acme/tool\" {}\n", HOST), []);
    }
}
