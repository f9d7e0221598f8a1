//! Starts programs. All of deployctl uses this module.
//!
//! A [`Command`] is data until it runs: purpose, program, arguments and environment can be compared and
//! printed. Running it reads both pipes line by line, so that neither fills up, and keeps the last lines of
//! stderr for the error. If deployctl is interrupted, the program gets SIGINT, and after a grace time its
//! process group gets SIGKILL.
//!
//! A program never outlives deployctl, even if deployctl is killed: a guard, a shell script with a pipe to
//! deployctl, detects that the pipe closes and ends the program with the same signals. `PR_SET_PDEATHSIG` is
//! not enough: without a reader, Terraform dies of SIGPIPE while it prints that it stops, and leaves its
//! state locked and its children running. The guard keeps the pipes open and reads them. Only the servers of
//! the local stage outlive deployctl ([`Command::start_detached`]).

mod guard;
mod lines;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use self::lines::Lines;

/// How long a program may take to end after SIGINT. GitHub Actions kills a cancelled job 10 s after SIGINT
/// (SIGTERM comes after 7.5 s).
pub(crate) fn grace() -> Duration {
    let on_github = std::env::var_os("GITHUB_ACTIONS").is_some();
    if on_github { Duration::from_secs(7) } else { Duration::from_secs(60) }
}

/// How long the pipes are read after the program has ended, because its children may hold them: per line, and
/// in total.
const DRAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Longer lines are cut, unless the command sets another limit.
const MAX_LINE: usize = 8 * 1024 * 1024;

/// Longer lines of stderr, which is for people, are always cut.
const MAX_STDERR_LINE: usize = 16 * 1024;

/// The number of stderr lines in an error, and their bytes.
const TAIL_LINES: usize = 40;
const TAIL_BYTES: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A program to run, as data.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The purpose; it completes "failed to …".
    pub(crate) purpose: String,
    /// A path, or a name on PATH.
    pub(crate) program: PathBuf,
    /// No secrets: every user of the machine can read arguments.
    pub(crate) args: Vec<OsString>,
    /// The working folder.
    pub(crate) dir: Option<PathBuf>,
    /// Changes to the inherited environment: `Some` sets a variable, `None` removes it.
    pub(crate) env: BTreeMap<String, Option<OsString>>,
    /// The limit for a line of stdout, and for the whole of [`Command::output`], in bytes.
    pub(crate) max_line: usize,
}

/// The last lines of stderr, in bounded memory.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, line: &str) {
        // Only the visible part of a progress bar.
        let line = line.rsplit('\r').next().unwrap_or_default();
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > TAIL_LINES || self.bytes > TAIL_BYTES {
            self.bytes -= self.lines.pop_front().map_or(self.bytes, |line| line.len());
        }
    }
}

impl Command {
    pub(crate) fn new(program: impl Into<PathBuf>, purpose: impl Into<String>) -> Self {
        Self {
            purpose: purpose.into(),
            program: program.into(),
            args: Vec::new(),
            dir: None,
            env: BTreeMap::new(),
            max_line: MAX_LINE,
        }
    }

    #[must_use]
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub(crate) fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    #[must_use]
    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), Some(value.into()));
        self
    }

    #[must_use]
    pub(crate) fn env_remove(mut self, name: impl Into<String>) -> Self {
        self.env.insert(name.into(), None);
        self
    }

    /// Runs the program to its end, and passes every line to `on_line`. Any exit code is a success.
    pub(crate) async fn run(
        &self,
        cancel: &CancellationToken,
        mut on_line: impl FnMut(Stream, &str),
    ) -> Result<Exit, ProcessError> {
        self.run_owned(cancel, |stream, line| on_line(stream, &line)).await
    }

    /// The same without a copy of each line.
    async fn run_owned(
        &self,
        cancel: &CancellationToken,
        mut on_line: impl FnMut(Stream, String),
    ) -> Result<Exit, ProcessError> {
        if cancel.is_cancelled() {
            return Err(self.error(Failure::Interrupted { killed: false }));
        }
        let mut child = self.spawn()?;
        let (Some(stdout), Some(stderr), Some(pid)) = (child.stdout.take(), child.stderr.take(), child.id())
        else {
            return Err(self.error(Failure::Io(std::io::Error::other("the child has no pipes"))));
        };
        let guard = Guard::of_pipes(pid, &stdout, &stderr).map_err(|e| self.error(Failure::Io(e)))?;
        let pid = Pid::from_raw(pid.cast_signed());
        let mut stdout = Lines::new(stdout, self.max_line);
        let mut stderr = Lines::new(stderr, self.max_line.min(MAX_STDERR_LINE));
        let mut tail = Tail::default();
        let mut deadline: Option<Instant> = None;
        let mut drain: Option<Instant> = None;
        let mut ended: Option<(std::io::Result<ExitStatus>, Instant)> = None;
        let mut interrupted: Option<bool> = None;
        while ended.is_none() || !stdout.ended || !stderr.ended {
            // Output comes before later events.
            tokio::select! {
                biased;
                line = stdout.next(), if !stdout.ended => {
                    if let Some(line) = line.map_err(|e| self.error(Failure::Io(e)))? {
                        on_line(Stream::Stdout, line);
                    }
                    drain = ended.as_ref().map(|(_, last)| (*last).min(Instant::now() + DRAIN.0));
                }
                line = stderr.next(), if !stderr.ended => {
                    if let Some(line) = line.map_err(|e| self.error(Failure::Io(e)))? {
                        tail.push(&line);
                        on_line(Stream::Stderr, line);
                    }
                    drain = ended.as_ref().map(|(_, last)| (*last).min(Instant::now() + DRAIN.0));
                }
                status = child.wait(), if ended.is_none() => {
                    // A grandchild may hold the pipes; do not wait for it.
                    drain = Some(Instant::now() + DRAIN.0);
                    deadline = None;
                    ended = Some((status, Instant::now() + DRAIN.1));
                }
                () = sleep_until(drain), if drain.is_some() => break,
                () = cancel.cancelled(), if interrupted.is_none() => {
                    interrupted = Some(false);
                    if ended.is_none() {
                        deadline = Some(Instant::now() + grace());
                        // The program may end in between.
                        let _ended = kill(pid, Signal::SIGINT);
                    }
                }
                () = sleep_until(deadline), if deadline.is_some() => {
                    deadline = None;
                    interrupted = Some(true);
                    let _ended = killpg(pid, Signal::SIGKILL);
                }
            }
        }
        guard.dismiss().await;
        if let Some(killed) = interrupted {
            // Also ends its children, such as the command of a provisioner.
            let _ended = killpg(pid, Signal::SIGKILL);
            return Err(self.error(Failure::Interrupted { killed }));
        }
        match ended {
            Some((Ok(status), _)) => Ok(Exit { status, stderr_tail: tail.lines.into() }),
            Some((Err(error), _)) => Err(self.error(Failure::Io(error))),
            None => Err(self.error(Failure::Io(std::io::Error::other("its exit status is unknown")))),
        }
    }

    /// Runs the program and returns its standard output. An exit code other than 0 is an error.
    pub(crate) async fn output(&self, cancel: &CancellationToken) -> Result<String, ProcessError> {
        let mut text = String::new();
        let mut is_too_large = false;
        let exit = self
            .run_owned(cancel, |stream, line| {
                is_too_large |= stream == Stream::Stdout && text.len() + line.len() > self.max_line;
                if is_too_large {
                    text = String::new();
                } else if stream == Stream::Stdout {
                    if text.is_empty() {
                        text = line;
                    } else {
                        text.push_str(&line);
                    }
                    text.push('\n');
                }
            })
            .await?;
        let exit = self.success(exit);
        if exit.is_ok() && is_too_large {
            return Err(self.error(Failure::TooLarge(self.max_line / 1024 / 1024)));
        }
        exit.map(|_| text)
    }

    /// Runs the program on this terminal, for programs that ask questions.
    pub(crate) async fn run_attached(&self, cancel: &CancellationToken) -> Result<ExitStatus, ProcessError> {
        let mut std = self.std();
        std.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let mut child = tokio::process::Command::from(std).spawn().map_err(|e| self.spawn_error(e))?;
        let guard = match child.id() {
            Some(pid) => Some(
                Guard::watch(pid, Stdio::null(), Stdio::null()).map_err(|e| self.error(Failure::Io(e)))?,
            ),
            None => None,
        };
        let status = tokio::select! {
            status = child.wait() => status,
            () = cancel.cancelled() => {
                // Ctrl-C in a terminal reaches the whole process group, including this program.
                if let Some(pid) = child.id().filter(|_| !std::io::stdin().is_terminal()) {
                    let _ended = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT);
                }
                child.wait().await
            }
        };
        if let Some(guard) = guard {
            guard.dismiss().await;
        }
        status.map_err(|e| self.error(Failure::Io(e)))
    }

    /// Starts a program that outlives deployctl: in its own session, without signals of this terminal, with
    /// stdout and stderr in `log`.
    pub(crate) fn start_detached(&self, log: &std::fs::File) -> Result<std::process::Child, ProcessError> {
        let pipe = || log.try_clone().map(Stdio::from).map_err(|e| self.error(Failure::Io(e)));
        let mut std = self.std();
        std.stdin(Stdio::null()).stdout(pipe()?).stderr(pipe()?);
        leave_session(&mut std);
        std.spawn().map_err(|e| self.spawn_error(e))
    }

    pub(crate) fn success(&self, exit: Exit) -> Result<Exit, ProcessError> {
        if exit.status.success() { Ok(exit) } else { Err(self.error(Failure::Exit(exit))) }
    }

    /// Uses a separate process group, so that Ctrl-C in a terminal reaches the program only once, from
    /// [`Command::run`].
    fn spawn(&self) -> Result<tokio::process::Child, ProcessError> {
        tracing::debug!(command = %self, purpose = self.purpose, "program");
        let mut std = self.std();
        std.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut std, 0);
        tokio::process::Command::from(std).spawn().map_err(|e| self.spawn_error(e))
    }

    fn std(&self) -> std::process::Command {
        let mut std = std::process::Command::new(&self.program);
        std.args(&self.args);
        if let Some(dir) = &self.dir {
            std.current_dir(dir);
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => std.env(name, value),
                None => std.env_remove(name),
            };
        }
        with_default_signals(&mut std);
        std
    }

    fn spawn_error(&self, source: std::io::Error) -> ProcessError {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => Failure::NotFound,
            _ => Failure::Io(source),
        };
        self.error(kind)
    }

    fn error(&self, failure: Failure) -> ProcessError {
        ProcessError { purpose: self.purpose.clone(), command: self.to_string(), failure }
    }
}

/// Whether this process ignores `signal`.
#[expect(unsafe_code, reason = "there is no other way to ask")]
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<nix::libc::sigaction>::zeroed();
    // SAFETY: without a new action nothing changes, and the old one is written to a valid local.
    let is_known = unsafe { nix::libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: a sigaction of zeros is also valid.
    is_known && unsafe { action.assume_init() }.sa_sigaction == nix::libc::SIG_IGN
}

/// The signals that end a program. A shell starts background jobs with SIGINT and SIGQUIT ignored, and
/// children inherit this: without the defaults, they would not receive SIGINT. SIGHUP is inherited, because
/// `nohup` ignores it on purpose.
const TERMINATION_SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

#[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
fn with_default_signals(command: &mut std::process::Command) {
    use nix::sys::signal::{SigHandler, signal};
    use std::os::unix::process::CommandExt;
    // SAFETY: `sigaction` is async-signal-safe, no handler is set, and the closure neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| {
            for number in TERMINATION_SIGNALS {
                signal(number, SigHandler::SigDfl).map_err(std::io::Error::from)?;
            }
            Ok(())
        });
    }
}

#[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
fn leave_session(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: `setsid` is async-signal-safe, and the closure neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    /// The last lines of stderr.
    pub(crate) stderr_tail: Vec<String>,
}

/// A program that could not be run, was interrupted, or failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {purpose}: {failure}")]
pub struct ProcessError {
    /// The purpose; it completes "failed to …".
    pub(crate) purpose: String,
    /// The command line, ready to paste.
    pub(crate) command: String,
    pub(crate) failure: Failure,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the program was not found")]
    NotFound,
    /// Starting the program or reading its output failed.
    #[error("{0}")]
    Io(std::io::Error),
    /// deployctl was interrupted and has ended the program.
    #[error("interrupted")]
    Interrupted {
        /// Whether it got SIGKILL, after the grace time.
        killed: bool,
    },
    /// The program printed more than the limit, in MiB.
    #[error("it printed more than {0} MiB")]
    TooLarge(usize),
    /// The program ended with an exit code other than 0, or by a signal.
    #[error("{}{}", .0.status, tail_text(&.0.stderr_tail))]
    Exit(Exit),
}

fn tail_text(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  {line}")).collect()
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", quoted(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            write!(f, " {}", quoted(&arg.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// Shows only the names of variables: their values may be secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("purpose", &self.purpose)
            .field("command", &self.to_string())
            .field("dir", &self.dir)
            .field("env", &self.env.keys())
            .finish()
    }
}

/// Quotes `text` for a POSIX shell.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    // Only NUL cannot be quoted, and arguments do not contain it.
    shlex::try_quote(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests;
