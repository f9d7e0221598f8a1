//! `setup-deployctl`: what is installed is what the checksum says, and nothing else is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::digest::sha256_hex;

use super::repository;

const RELEASE: &str = "/example/deployctl/releases/download/deployctl-v0.1.0/";

/// A server that has one file of the release, for as long as the test program runs.
fn server(file: &'static str, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = String::new();
            BufReader::new(client.try_clone().unwrap()).read_line(&mut request).unwrap();
            let found = request.starts_with(&format!("GET {RELEASE}{file}"));
            let (status, body) = if found { (200, bytes.as_slice()) } else { (404, b"".as_slice()) };
            write!(
                client,
                "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .unwrap();
            client.write_all(body).unwrap();
        }
    }));
    url
}

fn archive(dir: &Path) -> Vec<u8> {
    std::fs::write(dir.join("deployctl"), "#!/bin/sh\necho installed\n").unwrap();
    std::fs::write(dir.join("LICENSE"), "").unwrap();
    let tar =
        Command::new("tar").args(["-czf", "a.tar.gz", "deployctl", "LICENSE"]).current_dir(dir).status();
    assert!(tar.unwrap().success());
    std::fs::read(dir.join("a.tar.gz")).unwrap()
}

fn install(dir: &Path, server: &str, version: &str, sha256: &str) -> Output {
    install_with(&std::env::var("PATH").unwrap(), dir, server, version, sha256)
}

fn install_with(path: &str, dir: &Path, server: &str, version: &str, sha256: &str) -> Output {
    let mut install = Command::new(repository(".github/actions/setup-deployctl/install"));
    install.env_clear().env("PATH", path).current_dir(dir);
    install.env("VERSION", version).env("SHA256", sha256).env("REPOSITORY", "example/deployctl");
    install.env("GITHUB_SERVER_URL", server).env("RUNNER_TEMP", dir).env("GITHUB_PATH", dir.join("path"));
    install.output().unwrap()
}

#[test]
fn the_file_of_the_checksum_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive(dir.path());
    let output =
        install(dir.path(), &server("deployctl-0.1.0-", bytes.clone()), "0.1.0", &sha256_hex(&bytes));
    assert!(output.status.success(), "{output:?}");
    let folder = std::fs::read_to_string(dir.path().join("path")).unwrap();
    let program = Path::new(folder.trim()).join("deployctl");
    assert!(!Path::new(folder.trim()).join("LICENSE").exists());
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(Command::new(program).output().unwrap().stdout, b"installed\n");
}

#[test]
fn another_file_is_not_and_neither_is_nonsense() {
    let dir = tempfile::tempdir().unwrap();
    let server = server("deployctl-0.1.0-", archive(dir.path()));
    let other = sha256_hex(b"other");
    for (version, sha256, why) in [
        ("0.1.0", other.as_str(), "is not the file whose SHA-256 was given"),
        ("0.1.0", "", "64 hexadecimal digits"),
        ("latest", other.as_str(), "version must look like"),
        ("0.1.0/../../x", other.as_str(), "version must look like"),
        ("0.1.0$(touch pwned)", other.as_str(), "version must look like"),
    ] {
        let output = install(dir.path(), &server, version, sha256);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{version} {sha256}: {text}");
        assert!(!dir.path().join("path").exists(), "{version}: something was installed");
        assert!(!dir.path().join("pwned").exists() && !dir.path().join("deployctl-0.1.0/deployctl").exists());
    }
}

/// On machines of each kind, of which only `uname` is here. macOS has `shasum` and not `sha256sum`.
#[test]
fn each_machine_gets_its_archive_and_others_get_none() {
    for (system, machine, target) in [
        ("Linux", "x86_64", "x86_64-unknown-linux-musl"),
        ("Linux", "aarch64", "aarch64-unknown-linux-musl"),
        ("Darwin", "arm64", "aarch64-apple-darwin"),
        ("Darwin", "x86_64", "x86_64-apple-darwin"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(dir.path());
        let server = server(format!("deployctl-0.1.0-{target}.tar.gz").leak(), bytes.clone());
        let path = programs(dir.path(), system, machine);
        let output = install_with(&path, dir.path(), &server, "0.1.0", &sha256_hex(&bytes));
        assert!(output.status.success(), "{target}: {output:?}");
        assert!(dir.path().join("deployctl-0.1.0/deployctl").is_file(), "{target}");
        let refused = install_with(&path, dir.path(), &server, "0.1.0", &sha256_hex(b"other"));
        assert!(!refused.status.success(), "{target}: {refused:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = programs(dir.path(), "MINGW64_NT", "x86_64");
    let output = install_with(&path, dir.path(), "http://127.0.0.1:9", "0.1.0", &sha256_hex(b""));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("no archive for MINGW64_NT on x86_64"), "{text}");
}

/// A `PATH` with the programs that the script needs, and a `uname` of another machine.
fn programs(dir: &Path, system: &str, machine: &str) -> String {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let sums = if system == "Darwin" { "shasum" } else { "sha256sum" };
    for program in ["bash", "env", "mkdir", "curl", "tar", "gzip", "perl", sums] {
        std::os::unix::fs::symlink(which::which(program).unwrap(), bin.join(program)).unwrap();
    }
    let uname = format!("#!/bin/sh\ncase $1 in -s) echo {system} ;; -m) echo {machine} ;; esac\n");
    std::fs::write(bin.join("uname"), uname).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("uname"), executable).unwrap();
    bin.display().to_string()
}
