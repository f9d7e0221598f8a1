//! The one way to start a program.
//!
//! A [`Command`] is data until it runs: purpose, program, arguments and the changes to the environment can be
//! read, compared and printed. Running it streams both pipes line by line (so neither can fill up and block),
//! keeps the tail of stderr for the error, and ends it politely when deployctl is interrupted: one SIGINT, a
//! grace time, then SIGKILL to the whole process group.
//!
//! A program never outlives deployctl, even one killed by SIGKILL: a guard, a few lines of shell with a pipe
//! to deployctl, sees the pipe close and ends the program in the same polite way. The kernel could send the
//! signal itself (`PR_SET_PDEATHSIG`), but a program whose output pipes broke with deployctl dies of SIGPIPE
//! when it says that it is shutting down: Terraform then leaves its state locked, and its children alive. The
//! guard keeps the pipes open and empty meanwhile. The exception are the servers of the local stage, which
//! are to survive between commands ([`Command::start_detached`]).

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

/// How long a program may take to end after SIGINT. GitHub Actions kills a cancelled job 10 s after its own
/// SIGINT (7.5 s, SIGTERM, 2.5 s), so there the whole must fit in less.
pub(crate) fn grace() -> Duration {
    let on_github = std::env::var_os("GITHUB_ACTIONS").is_some();
    if on_github { Duration::from_secs(7) } else { Duration::from_secs(60) }
}

/// How long other processes may write to the pipes of a program that has ended: per line, and in all.
const DRAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Lines longer than this are cut in what is passed on, unless the command says otherwise; what follows is
/// read and dropped.
const LONGEST_LINE: usize = 8 * 1024 * 1024;

/// How many of the last lines of stderr an error keeps.
const TAIL: usize = 40;

/// Which pipe a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A program to run, as data.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// Why it is run, as it fits into "failed to …".
    pub(crate) purpose: String,
    /// What to run: a path, or a name to be found on PATH.
    pub(crate) program: PathBuf,
    /// Its arguments. Never a secret: every user of the machine can read them.
    pub(crate) args: Vec<OsString>,
    /// The folder it runs in.
    pub(crate) dir: Option<PathBuf>,
    /// Variables set (`Some`) or removed (`None`) on top of the inherited environment.
    pub(crate) env: BTreeMap<String, Option<OsString>>,
    /// How many bytes of a line are kept.
    pub(crate) longest_line: usize,
}

impl Command {
    /// `program`, run in order to `purpose`.
    pub(crate) fn new(program: impl Into<PathBuf>, purpose: impl Into<String>) -> Self {
        Self {
            purpose: purpose.into(),
            program: program.into(),
            args: Vec::new(),
            dir: None,
            env: BTreeMap::new(),
            longest_line: LONGEST_LINE,
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

    /// Runs it in `dir`.
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

    /// Runs it to its end, passing every line to `on_line`. Any exit code is a normal end.
    pub(crate) async fn run(
        &self,
        cancel: &CancellationToken,
        mut on_line: impl FnMut(Stream, &str),
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
        let mut stdout = Lines::new(stdout, self.longest_line);
        let mut stderr = Lines::new(stderr, self.longest_line);
        let mut tail: VecDeque<String> = VecDeque::new();
        let mut deadline: Option<Instant> = None;
        let mut drain: Option<Instant> = None;
        let mut ended: Option<(std::io::Result<ExitStatus>, Instant)> = None;
        let mut interrupted: Option<bool> = None;
        while ended.is_none() || !stdout.ended || !stderr.ended {
            // What was written comes before what happened afterwards.
            tokio::select! {
                biased;
                line = stdout.next(), if !stdout.ended => {
                    if let Some(line) = line.map_err(|e| self.error(Failure::Io(e)))? {
                        on_line(Stream::Stdout, &line);
                    }
                    drain = ended.as_ref().map(|(_, last)| (*last).min(Instant::now() + DRAIN.0));
                }
                line = stderr.next(), if !stderr.ended => {
                    if let Some(line) = line.map_err(|e| self.error(Failure::Io(e)))? {
                        on_line(Stream::Stderr, &line);
                        if tail.len() == TAIL { tail.pop_front(); }
                        // What a progress bar wrote over does not count.
                        tail.push_back(line.rsplit('\r').next().unwrap_or_default().to_owned());
                    }
                    drain = ended.as_ref().map(|(_, last)| (*last).min(Instant::now() + DRAIN.0));
                }
                status = child.wait(), if ended.is_none() => {
                    // It may have left a grandchild behind that holds the pipes: that one is not waited for.
                    drain = Some(Instant::now() + DRAIN.0);
                    deadline = None;
                    ended = Some((status, Instant::now() + DRAIN.1));
                }
                () = sleep_until(drain), if drain.is_some() => break,
                () = cancel.cancelled(), if interrupted.is_none() => {
                    interrupted = Some(false);
                    if ended.is_none() {
                        deadline = Some(Instant::now() + grace());
                        // It may have ended by itself in this very moment.
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
            // What it started and did not stop, such as the command of a provisioner, ends with it.
            let _ended = killpg(pid, Signal::SIGKILL);
            return Err(self.error(Failure::Interrupted { killed }));
        }
        match ended {
            Some((Ok(status), _)) => Ok(Exit { status, stderr_tail: tail.into() }),
            Some((Err(error), _)) => Err(self.error(Failure::Io(error))),
            None => Err(self.error(Failure::Io(std::io::Error::other("its end was not seen")))),
        }
    }

    /// Runs it to its end and returns its standard output; an exit code other than 0 is an error.
    pub(crate) async fn output(&self, cancel: &CancellationToken) -> Result<String, ProcessError> {
        let mut text = String::new();
        let exit = self
            .run(cancel, |stream, line| {
                if stream == Stream::Stdout {
                    text.push_str(line);
                    text.push('\n');
                }
            })
            .await?;
        self.success(exit).map(|_| text)
    }

    /// Runs it with this terminal as its own, for programs that talk to the person in front of it.
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
                // A terminal's Ctrl-C has reached it already: it shares our process group.
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

    /// Starts it so that it outlives deployctl: in a session of its own, out of reach of this terminal's
    /// signals and of its end, with both pipes going to `log`.
    pub(crate) fn start_detached(&self, log: &std::fs::File) -> Result<std::process::Child, ProcessError> {
        let pipe = || log.try_clone().map(Stdio::from).map_err(|e| self.error(Failure::Io(e)));
        let mut std = self.std();
        std.stdin(Stdio::null()).stdout(pipe()?).stderr(pipe()?);
        leave_session(&mut std);
        std.spawn().map_err(|e| self.spawn_error(e))
    }

    /// Turns an exit code other than 0 into an error.
    pub(crate) fn success(&self, exit: Exit) -> Result<Exit, ProcessError> {
        if exit.status.success() { Ok(exit) } else { Err(self.error(Failure::Exit(exit))) }
    }

    /// Starts it in a process group of its own, so that a terminal's Ctrl-C reaches it only through
    /// [`Command::run`], once.
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

/// Whether this process was started with `signal` ignored, and has set no handler for it since.
#[expect(unsafe_code, reason = "there is no other way to ask")]
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<nix::libc::sigaction>::zeroed();
    // SAFETY: without a new action nothing is changed, and the old one is written into memory of ours.
    let known = unsafe { nix::libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: a sigaction of zeros is valid, too.
    known && unsafe { action.assume_init() }.sa_sigaction == nix::libc::SIG_IGN
}

/// The signals by which a program is asked to end. A shell starts its background jobs with SIGINT and SIGQUIT ignored,
/// and a program passes that on: without their defaults, what deployctl starts would not hear that it is to end.
/// SIGHUP stays as it is, because whoever runs `nohup` wants it ignored.
const ASKED_TO_END: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

#[expect(unsafe_code, reason = "the only way to run code between fork and exec")]
fn with_default_signals(command: &mut std::process::Command) {
    use nix::sys::signal::{SigHandler, signal};
    use std::os::unix::process::CommandExt;
    // SAFETY: `sigaction` is async-signal-safe, no handler is set, and the closure neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| {
            for number in ASKED_TO_END {
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

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// Its exit code or signal.
    pub(crate) status: ExitStatus,
    /// The last lines of its stderr.
    pub(crate) stderr_tail: Vec<String>,
}

/// A program that could not be run, was interrupted, or failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {purpose}: {failure}")]
pub struct ProcessError {
    /// What it was run for.
    pub(crate) purpose: String,
    /// The command line, ready to paste.
    pub(crate) command: String,
    pub(crate) failure: Failure,
}

/// What can go wrong with a program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no such program.
    #[error("the program was not found")]
    NotFound,
    /// Starting it, or reading from it, failed.
    #[error("{0}")]
    Io(std::io::Error),
    /// deployctl was interrupted and has stopped the program; `killed`: not before the grace time was over.
    #[error("interrupted")]
    Interrupted {
        /// Whether it had to be killed.
        killed: bool,
    },
    /// It ended with an exit code other than 0, or by a signal.
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

/// Values of the environment may be secrets: only the names are shown.
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

/// `text` as a POSIX shell takes it back.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    // Only a NUL cannot be quoted, and no argument holds one.
    shlex::try_quote(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests;
