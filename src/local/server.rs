//! The server of the local stage: its command, environment and health check.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::redis;
use crate::artifact::python_tools::{Requirements, Venv};
use crate::platform::process::Command;

/// MiniStack and its dependencies.
pub(crate) const MINISTACK: Requirements =
    Requirements { name: "ministack", text: include_str!("ministack/requirements.txt") };

/// The programs that start MiniStack with the behaviour of AWS, and end it together with its Lambdas. The first
/// one loads the others: the guard refuses requests that are not signed with the stage's secret.
pub(crate) const LAUNCHER: [(&str, &str); 9] = [
    ("launcher.py", include_str!("ministack/launcher.py")),
    ("guard.py", include_str!("ministack/guard.py")),
    ("functions.py", include_str!("ministack/functions.py")),
    ("provisioned.py", include_str!("ministack/provisioned.py")),
    ("update_stage.py", include_str!("ministack/update_stage.py")),
    ("openapi.py", include_str!("ministack/openapi.py")),
    ("snapshot.py", include_str!("ministack/snapshot.py")),
    ("redis_server.py", include_str!("ministack/redis_server.py")),
    ("traffic.py", include_str!("ministack/traffic.py")),
];

/// What of the environment reaches the servers, and through MiniStack the Lambdas: enough to run, and none of
/// the user's credentials, endpoints or MiniStack settings.
const KEPT: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TZ", "USER"];

/// The name in messages.
pub(crate) const NAME: &str = "MiniStack";

/// How long it may take to end after SIGTERM. Its supervisor kills the server after 20 s.
pub(crate) const GRACE: Duration = Duration::from_secs(25);

pub(crate) fn log(folder: &Path) -> PathBuf {
    folder.join("ministack.log")
}

/// What outlives the server: the snapshot, and the dump of Redis.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// Whether the server responds on `port`.
pub(crate) async fn responds(port: u16) -> bool {
    const REQUEST: &[u8] = b"GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    const RESPONSE: &[u8] = b"HTTP/1.1 200";
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(REQUEST).await?;
        let mut start = [0; RESPONSE.len()];
        stream.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(start == RESPONSE)
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), exchange).await, Ok(Ok(true)))
}

#[derive(Clone, Copy)]
pub(crate) struct MiniStack<'a> {
    pub(crate) port: u16,
    /// The secret key that signs requests.
    pub(crate) secret: &'a str,
    pub(crate) region: &'a str,
    /// What signs the snapshot of the stage.
    pub(crate) snapshot_key: &'a str,
}

/// MiniStack on 127.0.0.1, with all other listeners off.
pub(crate) fn ministack(venv: &Venv, folder: &Path, settings: MiniStack<'_>) -> Command {
    let MiniStack { port, secret, region, snapshot_key } = settings;
    let command = Command::new(venv.python(), "start MiniStack for the local stage")
        // Isolated: the user's Python settings and the working folder must not supply modules.
        .args(["-I", "-X", "utf8"])
        .arg(folder.join(LAUNCHER[0].0))
        .dir(folder);
    isolated(command, std::env::vars_os().map(|(name, _)| name))
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("DEPLOYCTL_REDIS_FINDER", redis::finder())
        .env("DEPLOYCTL_SNAPSHOT_KEY", snapshot_key)
        // What requests have to be signed with, and what the Lambdas are given to sign theirs with. The
        // environment of a process is for its own user to read.
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("MINISTACK_REGION", region)
        .env("AWS_DEFAULT_REGION", region)
        // For the AWS SDKs in Lambdas.
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("LAMBDA_EXECUTOR", "local")
        .env("PERSIST_STATE", "0")
        .env("S3_PERSIST", "0")
        .env("STATE_DIR", folder.join("tmp"))
        .env("S3_DATA_DIR", folder.join("tmp"))
        // Both would listen on all interfaces.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("TMPDIR", folder.join("tmp"))
        .env("HOME", folder.join("tmp"))
        .env("PYTHONUNBUFFERED", "1")
}

fn isolated(command: Command, names: impl Iterator<Item = OsString>) -> Command {
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| !KEPT.contains(&name.as_str()))
        .fold(command, Command::env_remove)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_credentials_do_not_reach_the_lambdas() {
        let names = ["AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GITHUB_TOKEN", "PATH"].map(OsString::from);
        let command = isolated(Command::new("x", "test"), names.into_iter());
        assert_eq!(
            command.env.into_iter().collect::<Vec<_>>(),
            ["AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"].map(|name| (name.to_owned(), None))
        );
    }

    #[tokio::test]
    async fn a_closed_port_does_not_respond() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(!responds(port).await);
    }
}
