//! A Redis server for one test. It listens on a free port, writes nothing to disk unless asked to, and is killed when it
//! is dropped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};

use crate::TestResult;

/// A running `redis-server`.
pub struct RedisServer {
    /// The port without encryption.
    pub port: u16,
    options: Vec<String>,
    process: Child,
    directory: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// Redis is not installed and cannot be, or it does not answer within 10 s.
    pub fn start() -> TestResult<Self> {
        Self::start_on(free_port()?)
    }

    /// Starts a server on this port.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(port: u16) -> TestResult<Self> {
        Self::start_with(port, &["--appendonly", "no"])
    }

    /// Starts a server with options of `redis-server`. It always listens on the port without encryption, too.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(port: u16, options: &[&str]) -> TestResult<Self> {
        ensure_installed()?;
        let directory = tempfile::tempdir()?;
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = spawn(port, &options, directory.path())?;
        let server = Self { port, options, process, directory };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Kills the server, waits, and starts it again with the data on its disk.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self, after: Duration) -> TestResult {
        self.process.kill()?;
        self.process.wait()?;
        std::thread::sleep(after);
        self.process = spawn(self.port, &self.options, self.directory.path())?;
        self.wait_until_ready()
    }

    /// Runs one command on a new connection.
    ///
    /// # Errors
    /// The server cannot be reached or rejects the command.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> TestResult<T> {
        let mut command = redis::cmd(words.first().ok_or("no command")?);
        command.arg(words.get(1..).unwrap_or_default());
        Ok(command.query(&mut self.connection()?)?)
    }

    fn connection(&self) -> TestResult<Connection> {
        use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
        let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), self.port).into_connection_info()?;
        let mut options = self.options.iter().skip_while(|option| *option != "--requirepass");
        let address = match options.nth(1) {
            Some(token) => address.set_redis_settings(RedisConnectionInfo::default().set_password(token)),
            None => address,
        };
        Ok(redis::Client::open(address)?.get_connection_with_timeout(Duration::from_secs(1))?)
    }

    fn wait_until_ready(&self) -> TestResult {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.command::<String>(&["PING"]).is_err() {
            if Instant::now() > deadline {
                return Err(format!("redis-server did not answer on port {} within 10 s", self.port).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn spawn(port: u16, options: &[String], directory: &Path) -> TestResult<Child> {
    let started = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(options)
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::null())
        .spawn();
    Ok(started.map_err(|error| {
        format!("redis-server does not start ({error}): install it (Debian: redis-server). These tests are never skipped.")
    })?)
}

/// Checks once per process that `redis-server` is installed. Tries to install it with apt-get; if that fails, the error
/// says how to install it.
fn ensure_installed() -> TestResult {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let is_installed =
            || Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if is_installed() {
            return Ok(());
        }
        // RUNLEVEL=1 keeps the package from starting its service.
        let install = "apt-get update -q && apt-get install -q -y --no-install-recommends redis-server";
        let status = Command::new("sh")
            .args(["-c", install])
            .envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")])
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() && is_installed() => Ok(()),
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
///
/// # Errors
/// No port can be opened.
pub fn free_port() -> TestResult<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
