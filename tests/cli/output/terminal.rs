//! A terminal with deployctl in it, and eyes that see each frame.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::program::Program;

/// The terminal. Dropping it is hanging up.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// The program in it.
    pub(crate) child: Child,
    master: Option<OwnedFd>,
    seen: Arc<Mutex<Seen>>,
}

/// What was to be seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// The screen after each write, without changes that are none.
    pub(crate) screens: Vec<String>,
    /// How many writes there were.
    pub(crate) writes: usize,
    /// How many bytes there were.
    pub(crate) bytes: usize,
    /// All of them.
    pub(crate) raw: Vec<u8>,
}

impl Terminal {
    /// Starts deployctl in a terminal of this size, which becomes its controlling terminal.
    pub(crate) fn start(program: &Program, args: &[&str], (width, height): (u16, u16)) -> Self {
        let size = nix::pty::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None).unwrap();
        // Else the program would hold its own terminal open.
        let close = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(&pty.master, close).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let deployctl = program.command(args).into_std();
        let mut command = std::process::Command::new("setsid");
        command.arg("--ctty").arg(deployctl.get_program()).args(deployctl.get_args());
        command.current_dir(deployctl.get_current_dir().unwrap()).env_clear();
        command.envs(deployctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        drop(command);
        drop(pty.slave);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let master = File::from(pty.master.try_clone().unwrap());
        let eyes = Arc::clone(&seen);
        std::thread::spawn(move || watch(master, &eyes, (width, height)));
        Self { child, master: Some(pty.master), seen }
    }

    /// What was to be seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until something is on the screen.
    pub(crate) async fn until(&self, text: &str) {
        for _ in 0..1200 {
            if self.seen().screens.last().is_some_and(|screen| screen.contains(text)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{text:?} never came:\n{}", self.seen().screens.last().cloned().unwrap_or_default());
    }

    /// Waits for the end of the program: its exit code.
    pub(crate) async fn end(&mut self) -> Option<i32> {
        for _ in 0..1800 {
            if let Some(status) = self.child.try_wait().unwrap() {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                return status.code();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        self.child.kill().unwrap();
        panic!("it did not end:\n{}", self.seen().screens.last().cloned().unwrap_or_default());
    }

    /// Takes the terminal away, as a closed window or a lost connection does.
    pub(crate) fn hang_up(&mut self) {
        // The thread that reads holds the other handle; it goes when told that nobody looks any more.
        self.seen.lock().unwrap().writes = GONE;
        self.master = None;
    }
}

const GONE: usize = usize::MAX;

fn watch(mut master: File, seen: &Mutex<Seen>, (width, height): (u16, u16)) {
    use std::os::fd::AsFd as _;
    let mut parser = vt100::Parser::new(height, width, 0);
    let mut buffer = [0; 64 * 1024];
    loop {
        // Looks up now and then, so that it can let go of the terminal.
        let mut ready = [nix::poll::PollFd::new(master.as_fd(), nix::poll::PollFlags::POLLIN)];
        let number = nix::poll::poll(&mut ready, 50_u16).unwrap_or(0);
        if seen.lock().unwrap().writes == GONE {
            return;
        }
        if number == 0 {
            continue;
        }
        // At its end, Linux says EIO.
        let Ok(count @ 1..) = master.read(&mut buffer) else { return };
        parser.process(&buffer[..count]);
        let mut seen = seen.lock().unwrap();
        seen.writes += 1;
        seen.bytes += count;
        seen.raw.extend_from_slice(&buffer[..count]);
        let screen = parser.screen().contents();
        if seen.screens.last() != Some(&screen) {
            seen.screens.push(screen);
        }
    }
}
