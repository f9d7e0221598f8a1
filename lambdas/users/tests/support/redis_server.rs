//! A real Redis for one test: on a free port, with nothing on disk, gone when dropped. The authorizer's tests compile
//! this same file.

use std::error::Error;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};

pub type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// A running `redis-server`.
pub struct RedisServer {
    pub port: u16,
    process: Child,
    _directory: tempfile::TempDir,
}

impl RedisServer {
    pub fn start() -> TestResult<Self> {
        Self::start_on(free_port()?)
    }

    pub fn start_on(port: u16) -> TestResult<Self> {
        installed()?;
        let directory = tempfile::tempdir()?;
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("redis-server does not start ({error}): install it (Debian: redis-server). These tests are never skipped.")
            })?;
        let server = Self { port, process, _directory: directory };
        let give_up = Instant::now() + Duration::from_secs(10);
        while server.command::<String>(&["PING"]).is_err() {
            if Instant::now() > give_up {
                return Err(format!("redis-server did not answer on port {port} within 10 s").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Runs one command on a connection of its own.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> TestResult<T> {
        let mut command = redis::cmd(words.first().ok_or("no command")?);
        command.arg(words.get(1..).unwrap_or_default());
        Ok(command.query(&mut self.connection()?)?)
    }

    fn connection(&self) -> TestResult<Connection> {
        Ok(redis::Client::open(("127.0.0.1", self.port))?
            .get_connection_with_timeout(Duration::from_secs(1))?)
    }
}

/// Makes sure, once, that there is a `redis-server`: as root on Debian it is installed, elsewhere it is asked for.
fn installed() -> TestResult {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let is_there =
            || Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if is_there() {
            return Ok(());
        }
        // RUNLEVEL=1: the package's own service is not started.
        let install = "apt-get update -q && apt-get install -q -y --no-install-recommends redis-server";
        let status = Command::new("sh")
            .args(["-c", install])
            .envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")])
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() && is_there() => Ok(()),
            other => Err(format!(
                "these tests need redis-server, are never skipped, and could not install it ({other:?}): \
                 install it (Debian: redis-server, macOS: brew install redis)"
            )),
        }
    });
    installed.clone().map_err(Into::into)
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A port that nothing listens on.
pub fn free_port() -> TestResult<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
