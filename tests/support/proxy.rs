//! A proxy between deployctl and the local stage that makes one request fail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::http;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not passed on, and the connection is closed.
    Refused,
    /// It takes effect, and the connection is closed without an answer.
    Swallowed,
    /// It takes effect, and the answer ends in the middle.
    Cut,
    /// It is not passed on, and answered with this status; 429 with the time to wait.
    Status(u16),
    /// It is passed on late.
    Delayed,
    /// It is not passed on, and deployctl is killed.
    KilledBefore,
    /// It takes effect, and deployctl is killed before the answer.
    KilledAfter,
    /// It takes effect, and deployctl gets SIGINT before the answer.
    Interrupted,
    /// It takes effect, and deployctl gets SIGTERM before the answer.
    Terminated,
    /// It is not passed on, and no answer ever comes, while the connection stays open.
    SilentBefore,
    /// It takes effect, and no answer ever comes, while the connection stays open.
    SilentAfter,
    /// It and as many repetitions of it, less one, are not passed on, and answered with API Gateway's conflict that
    /// passes by itself.
    Conflict(usize),
    /// It is passed on when the test says so.
    Held,
    /// It takes effect, and deployctl is stopped, as on a suspended machine, before the answer.
    Stopped,
}

/// An answer that the proxy gives in AWS's place.
#[derive(Debug)]
pub(crate) struct Injection {
    /// The method of the requests.
    pub(crate) method: String,
    /// Their path, in which `*` stands for anything without a slash, and a last `**` for anything.
    pub(crate) path: String,
    /// Texts that their first line and headers contain, in lower case.
    pub(crate) parts: Vec<String>,
    /// The first of these requests that is answered, from 1.
    pub(crate) call: usize,
    /// How many are.
    pub(crate) times: usize,
    /// The answer, as it is sent.
    pub(crate) answer: Vec<u8>,
    /// What the requests after these are answered with; they are passed on without it.
    pub(crate) then: Option<Vec<u8>>,
}

/// A request that an injection matched.
#[derive(Debug)]
pub(crate) struct Matched {
    /// Its first line.
    pub(crate) line: String,
    /// When it came.
    pub(crate) at: std::time::Instant,
}

impl Injection {
    fn matches(&self, head: &str) -> bool {
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let lower = head.to_ascii_lowercase();
        let mut parts = target.split('?').next().unwrap_or_default().trim_matches('/').split('/');
        let is_path = self.path.trim_matches('/').split('/').all(|wanted| match wanted {
            "**" => parts.by_ref().count() > 0,
            wanted => parts.next().is_some_and(|part| wanted == "*" || wanted == part),
        });
        method == self.method
            && is_path
            && parts.next().is_none()
            && self.parts.iter().all(|part| lower.contains(part))
    }
}

/// What API Gateway says while another change is under way.
const CONFLICT: &str =
    r#"{"message":"Unable to complete operation due to concurrent modification. Please try again later."}"#;

/// What Lambda says to more requests than an account may make.
const TOO_FAST: &str = "HTTP/1.1 429 Too Many Requests\r\nx-amzn-errortype: TooManyRequestsException\r\n\
                        Content-Type: application/json\r\nContent-Length: 27\r\nConnection: close\r\n\r\n\
                        {\"message\":\"Rate exceeded\"}";

/// Longer than any answer takes by itself.
const DELAY: std::time::Duration = std::time::Duration::from_millis(1500);

/// Longer than it takes a client to begin requests that it makes at the same time.
const SLOW: std::time::Duration = std::time::Duration::from_millis(300);

/// The proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    upstream: u16,
    plan: Mutex<Option<(usize, Fault)>>,
    client: Mutex<Option<u32>>,
    /// How much later each request is passed on.
    latency: Mutex<std::time::Duration>,
    /// The most requests to Lambda in a second; more are answered with 429. 0 for no limit.
    rate: AtomicUsize,
    lambda: Mutex<VecDeque<std::time::Instant>>,
    refused: AtomicUsize,
    /// The first lines of the requests, each with its round.
    lines: Mutex<Vec<(usize, String)>>,
    writes_only: AtomicBool,
    count: AtomicUsize,
    rounds: AtomicUsize,
    rounds_to_switch: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
    fired: AtomicBool,
    /// The first line of the request that meets conflicts, and how many more of them.
    conflicts: Mutex<Option<(String, usize)>>,
    injection: Mutex<Option<(Injection, Vec<Matched>)>>,
    /// Seconds that are added to the date of every answer.
    shift: AtomicI64,
    let_go: watch::Sender<bool>,
}

impl Proxy {
    /// Starts a proxy to `upstream` on this machine, for as long as the runtime lives.
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            upstream,
            plan: Mutex::new(None),
            client: Mutex::new(None),
            latency: Mutex::default(),
            rate: AtomicUsize::new(0),
            lambda: Mutex::default(),
            refused: AtomicUsize::new(0),
            lines: Mutex::default(),
            writes_only: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            rounds: AtomicUsize::new(0),
            rounds_to_switch: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            fired: AtomicBool::new(false),
            conflicts: Mutex::new(None),
            injection: Mutex::new(None),
            shift: AtomicI64::new(0),
            let_go: watch::Sender::new(false),
        });
        let proxy = Self { port: listener.local_addr().unwrap().port(), state: Arc::clone(&state) };
        drop(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                // A client that has gone away is the point of it.
                drop(tokio::spawn(async move { state.serve(client).await.ok() }));
            }
        }));
        proxy
    }

    /// Makes the `number`th request from now on fail.
    pub(crate) fn arm(&self, number: usize, fault: Fault) {
        *self.state.plan.lock().unwrap() = Some((number, fault));
        *self.state.client.lock().unwrap() = None;
        *self.state.conflicts.lock().unwrap() = None;
        self.state.let_go.send_replace(false);
        *self.state.latency.lock().unwrap() = std::time::Duration::ZERO;
        self.state.rate.store(0, Ordering::SeqCst);
        self.state.refused.store(0, Ordering::SeqCst);
        self.state.lambda.lock().unwrap().clear();
        self.state.lines.lock().unwrap().clear();
        self.state.writes_only.store(false, Ordering::SeqCst);
        self.state.count.store(0, Ordering::SeqCst);
        self.state.rounds.store(0, Ordering::SeqCst);
        self.state.rounds_to_switch.store(0, Ordering::SeqCst);
        self.state.most.store(0, Ordering::SeqCst);
        self.state.fired.store(false, Ordering::SeqCst);
    }

    /// Keeps the `number`th request from now on until [`Proxy::let_go`].
    pub(crate) fn hold(&self, number: usize) {
        self.arm(number, Fault::Held);
    }

    /// Waits until the fault has happened: until the request is held, or deployctl is stopped.
    pub(crate) async fn fired(&self) {
        while !self.state.fired.load(Ordering::SeqCst) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Passes on what is held, and lets a deployctl that was stopped go on.
    pub(crate) fn let_go(&self) {
        self.state.let_go.send_replace(true);
        if let Some((_, Fault::Stopped)) = *self.state.plan.lock().unwrap() {
            self.state.send(Signal::SIGCONT);
        }
    }

    /// Gives an answer in AWS's place from now on.
    pub(crate) fn inject(&self, injection: Injection) {
        *self.state.injection.lock().unwrap() = Some((injection, Vec::new()));
    }

    /// Lets everything pass, and returns the requests that the injection matched.
    pub(crate) fn injected(&self) -> Vec<Matched> {
        let injection = self.state.injection.lock().unwrap().take();
        injection.map(|(_, matched)| matched).unwrap_or_default()
    }

    /// Adds seconds to the date of every answer from now on: the server's clock is not ours.
    pub(crate) fn shift_date(&self, seconds: i64) {
        self.state.shift.store(seconds, Ordering::SeqCst);
    }

    /// The requests since the proxy was armed, by the round in which they were made: what each of them had to wait for is
    /// in an earlier one.
    pub(crate) fn lines(&self) -> Vec<(usize, String)> {
        let mut lines = self.state.lines.lock().unwrap().clone();
        lines.sort();
        lines
    }

    /// Makes the `number`th request fail of those that may change something.
    pub(crate) fn arm_writes(&self, number: usize, fault: Fault) {
        self.arm(number, fault);
        self.state.writes_only.store(true, Ordering::SeqCst);
    }

    /// Lets everything pass from now on, but so late that requests which do not wait for each other are seen to be
    /// under way at once.
    pub(crate) fn slow(&self) {
        self.delay(SLOW);
    }

    /// Lets everything pass from now on, each request this much later.
    pub(crate) fn delay(&self, latency: std::time::Duration) {
        self.arm(usize::MAX, Fault::Delayed);
        *self.state.latency.lock().unwrap() = latency;
    }

    /// Refuses requests to Lambda beyond so many in a second, but for invocations.
    pub(crate) fn limit(&self, rate: usize) {
        self.state.rate.store(rate, Ordering::SeqCst);
    }

    /// The process that the fault signals or kills.
    pub(crate) fn aim(&self, pid: u32) {
        *self.state.client.lock().unwrap() = Some(pid);
    }

    /// Lets everything pass, and returns the counts since the proxy was armed.
    pub(crate) fn disarm(&self) -> ProxyCounts {
        *self.state.plan.lock().unwrap() = None;
        ProxyCounts {
            fired: self.state.fired.load(Ordering::SeqCst),
            requests: self.state.count.load(Ordering::SeqCst),
            at_once: self.state.most.load(Ordering::SeqCst),
            rounds: self.state.rounds.load(Ordering::SeqCst),
            rounds_to_switch: self.state.rounds_to_switch.load(Ordering::SeqCst),
            lambda: self.state.lambda.lock().unwrap().len(),
            refused: self.state.refused.load(Ordering::SeqCst),
        }
    }
}

/// What a proxy has counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProxyCounts {
    /// Whether the fault happened.
    pub(crate) fired: bool,
    /// The requests.
    pub(crate) requests: usize,
    /// The most requests that were under way at once.
    pub(crate) at_once: usize,
    /// The most requests of which each began when the one before it had been answered.
    pub(crate) rounds: usize,
    /// The same, up to the switch and with it.
    pub(crate) rounds_to_switch: usize,
    /// The requests to Lambda that were passed on, but for invocations.
    pub(crate) lambda: usize,
    /// Those that were refused for their rate.
    pub(crate) refused: usize,
}

impl State {
    async fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let served = self.pass_on(client).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        served
    }

    async fn pass_on(&self, mut client: TcpStream) -> std::io::Result<()> {
        let Some((head, body)) = http::read_request(&mut client).await? else { return Ok(()) };
        if let Some(answer) = self.answer_of(&head) {
            return client.write_all(&answer).await;
        }
        // How deployctl asks whether a local stage still runs; it has no part in what it does there.
        let aside = head.contains("/_ministack/health");
        let read = head.starts_with("GET ") || head.starts_with("HEAD ");
        let counts = !(aside || read && self.writes_only.load(Ordering::SeqCst));
        let fault = if counts { self.fault_of() } else { None };
        if self.is_conflict(&head, fault) {
            let length = CONFLICT.len();
            let head = format!(
                "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nx-amzn-errortype: ConflictException\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            return client.write_all((head + CONFLICT).as_bytes()).await;
        }
        let round = self.rounds.load(Ordering::SeqCst) + 1;
        if !aside {
            let line = head.lines().next().unwrap_or_default().to_owned();
            self.lines.lock().unwrap().push((round, line));
        }
        let latency = *self.latency.lock().unwrap();
        tokio::time::sleep(latency).await;
        if self.is_too_fast(&head) {
            return client.write_all(TOO_FAST.as_bytes()).await;
        }
        match fault {
            Some(Fault::Refused) => return Ok(()),
            Some(Fault::Status(status)) => {
                let wait = if status == 429 { "Retry-After: 1\r\n" } else { "" };
                let text =
                    format!("HTTP/1.1 {status} x\r\n{wait}Content-Length: 0\r\nConnection: close\r\n\r\n");
                return client.write_all(text.as_bytes()).await;
            }
            Some(Fault::SilentBefore) => return until_closed(&mut client).await,
            Some(Fault::Held) => drop(self.let_go.subscribe().wait_for(|go| *go).await),
            Some(Fault::Delayed) => tokio::time::sleep(DELAY).await,
            Some(Fault::KilledBefore) => {
                self.send(Signal::SIGKILL);
                return Ok(());
            }
            Some(Fault::Interrupted) => self.send(Signal::SIGINT),
            _ => {}
        }
        let answer = http::forward(self.upstream, &head, &body).await?;
        let answer = with_shifted_date(answer, self.shift.load(Ordering::SeqCst));
        if !aside {
            self.rounds.fetch_max(round, Ordering::SeqCst);
        }
        if head.starts_with("PATCH /restapis/")
            && head.lines().next().unwrap_or_default().contains("/stages/")
        {
            self.rounds_to_switch.fetch_max(round, Ordering::SeqCst);
        }
        match fault {
            Some(Fault::Swallowed) => Ok(()),
            Some(Fault::KilledAfter) => {
                self.send(Signal::SIGKILL);
                Ok(())
            }
            Some(Fault::SilentAfter) => until_closed(&mut client).await,
            Some(Fault::Stopped) => {
                self.send(Signal::SIGSTOP);
                client.write_all(&answer).await
            }
            Some(Fault::Terminated) => {
                self.send(Signal::SIGTERM);
                client.write_all(&answer).await
            }
            Some(Fault::Cut) => client.write_all(&answer[..answer.len() / 2]).await,
            _ => client.write_all(&answer).await,
        }
    }

    /// Whether Lambda has passed on as many requests in the last second as the limit allows.
    fn is_too_fast(&self, head: &str) -> bool {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if !path.starts_with("/2015-03-31/functions/") || path.contains("/invocations") {
            return false;
        }
        let rate = self.rate.load(Ordering::SeqCst);
        let mut passed = self.lambda.lock().unwrap();
        let now = std::time::Instant::now();
        let last = passed.iter().rev().take_while(|at| now.duration_since(**at).as_secs() == 0).count();
        if rate > 0 && last >= rate {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        passed.push_back(now);
        false
    }

    /// The answer that is injected for this request.
    fn answer_of(&self, head: &str) -> Option<Vec<u8>> {
        let mut injection = self.injection.lock().unwrap();
        let (injection, matched) = injection.as_mut()?;
        if !injection.matches(head) {
            return None;
        }
        let line = head.lines().next().unwrap_or_default().to_owned();
        matched.push(Matched { line, at: std::time::Instant::now() });
        let number = matched.len();
        if number < injection.call {
            None
        } else if number - injection.call < injection.times {
            Some(injection.answer.clone())
        } else {
            injection.then.clone()
        }
    }

    /// Whether this request meets the conflict, now or as a repetition.
    fn is_conflict(&self, head: &str, fault: Option<Fault>) -> bool {
        let line = head.lines().next().unwrap_or_default();
        let mut conflicts = self.conflicts.lock().unwrap();
        if let Some(Fault::Conflict(number)) = fault {
            *conflicts = Some((line.to_owned(), number));
        }
        match conflicts.as_mut() {
            Some((known, left)) if known == line && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    fn fault_of(&self) -> Option<Fault> {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let (number, fault) = (*self.plan.lock().unwrap())?;
        let mine = count == number;
        self.fired.fetch_or(mine, Ordering::SeqCst);
        mine.then_some(fault)
    }

    fn send(&self, signal: Signal) {
        let pid = self.client.lock().unwrap().expect("a process to tell");
        kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
    }
}

/// Waits until the client gives up.
async fn until_closed(client: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.map(drop)
}

/// An answer whose date is some seconds later.
fn with_shifted_date(answer: Vec<u8>, seconds: i64) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]);
    let dates = head.split("\r\n").find_map(|line| {
        let (name, date) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("date").then_some((line, name, date))
    });
    let Some((line, name, date)) = dates.filter(|_| seconds != 0) else { return answer };
    let date = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    let later = date + jiff::SignedDuration::from_secs(seconds);
    let later = format!("{name}: {}", later.strftime("%a, %d %b %Y %H:%M:%S GMT"));
    [head.replacen(line, &later, 1).as_bytes(), &answer[end..]].concat()
}
