//! The two servers of the local stage as data: what is started with which environment, and how each is asked
//! whether it answers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::artifact::python_tools::{Requirements, Venv};
use crate::platform::process::Command;

/// MiniStack and all that it needs.
pub(crate) const MINISTACK: Requirements =
    Requirements { name: "ministack", text: include_str!("ministack/requirements.txt") };

/// Starts MiniStack with AWS's stage semantics, and ends it with all its Lambdas.
pub(crate) const LAUNCHER: &str = include_str!("ministack/launcher.py");

/// What the launcher puts before MiniStack: requests that are not signed with the stage's secret are refused.
pub(crate) const GUARD: &str = include_str!("ministack/guard.py");

/// What of the environment reaches the servers, and through MiniStack the Lambdas: enough to run, and none of the
/// user's credentials, endpoints or MiniStack settings.
const KEPT: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TZ", "USER"];

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// The Redis that plays ElastiCache.
    Redis,
    /// Everything else of AWS.
    MiniStack,
}

impl Server {
    /// Its name in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::MiniStack => "MiniStack",
        }
    }

    /// Its log in the stage's folder.
    pub(crate) fn log(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Redis => "redis.log",
            Self::MiniStack => "ministack.log",
        })
    }

    /// How long it may take to end when asked. MiniStack's supervisor gives the server 10 s before it kills it.
    pub(crate) const fn grace(self) -> Duration {
        match self {
            Self::Redis => Duration::from_secs(3),
            Self::MiniStack => Duration::from_secs(15),
        }
    }

    /// Whether it answers as itself on `port` of this machine.
    pub(crate) async fn answers(self, port: u16) -> bool {
        let (question, answer): (&[u8], &[u8]) = match self {
            Self::Redis => (b"PING\r\n", b"+PONG"),
            Self::MiniStack => (
                b"GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
                b"HTTP/1.1 200",
            ),
        };
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(question).await?;
            let mut start = vec![0; answer.len()];
            stream.read_exact(&mut start).await?;
            // A Redis that asks for a password is one, too: Terraform has set a token.
            Ok::<_, std::io::Error>(start == answer || self == Self::Redis && start == b"-NOAU")
        };
        matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
    }
}

/// Redis in memory only: the stage forgets everything when it stops, Redis with it.
pub(crate) fn redis(program: &Path, folder: &Path, port: u16) -> Command {
    let port = port.to_string();
    let command = Command::new(program, "start Redis for the local stage")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
        .args(["--daemonize", "no", "--databases", "16", "--dir"])
        .arg(folder)
        .dir(folder);
    isolated(command, std::env::vars_os().map(|(name, _)| name))
}

/// What MiniStack is started with.
#[derive(Clone, Copy)]
pub(crate) struct MiniStack<'a> {
    pub(crate) port: u16,
    pub(crate) redis_port: u16,
    /// What requests have to be signed with.
    pub(crate) secret: &'a str,
    pub(crate) region: &'a str,
}

/// MiniStack on 127.0.0.1, with nothing else listening.
pub(crate) fn ministack(venv: &Venv, folder: &Path, settings: MiniStack<'_>) -> Command {
    let MiniStack { port, redis_port, secret, region } = settings;
    let command = Command::new(venv.python(), "start MiniStack for the local stage")
        // Isolated: neither the user's Python settings nor the working folder supply modules.
        .args(["-I", "-X", "utf8"])
        .arg(folder.join("launcher.py"))
        .dir(folder);
    isolated(command, std::env::vars_os().map(|(name, _)| name))
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", redis_port.to_string())
        // What requests have to be signed with, and what the Lambdas are given to sign theirs with. The environment
        // of a process is for its own user to read.
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("MINISTACK_REGION", region)
        .env("AWS_DEFAULT_REGION", region)
        // Lambdas that use an AWS SDK come back here.
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

    #[test]
    fn redis_keeps_nothing_and_listens_here_only() {
        let line = redis(Path::new("redis-server"), Path::new("/p"), 7000).to_string();
        assert!(line.contains("--bind 127.0.0.1 --port 7000 --save '' --appendonly no"), "{line}");
    }

    #[tokio::test]
    async fn silence_is_no_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(!Server::Redis.answers(port).await);
        assert!(!Server::MiniStack.answers(port).await);
    }
}
