//! Compares the users API with the algorithms of the replaced Python program and prints the table in docs/users-api.md.
//!
//! ```sh
//! cargo bench -p users --bench side_by_side
//! ```
//!
//! Both programs get events from the same fake Runtime API (`runtime_api.rs`) and read from the same Redis server on the
//! loopback interface. `USERS_BOOTSTRAP` is the path of a built program; without it, the benchmark builds one with the
//! Lambda profile.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod runtime_api;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runtime_api::RuntimeApi;
use serde_json::{Value, json};
use test_support::redis_server::RedisServer;
use test_support::{TestResult, python};

const USERS: usize = 10_000;
const REDIS_PY: &str = include_str!("../../tests/python/redis.txt");
const ORIGINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/side_by_side/original.py");

fn main() {
    let rust = bootstrap();
    let python = python::install(env!("CARGO_TARGET_TMPDIR"), "redis-py", REDIS_PY).unwrap().join("python");
    let redis = RedisServer::start().unwrap();
    fill(&redis).unwrap();
    let rust = Program { program: rust, argument: None, redis: redis.port };
    let python = Program { program: python, argument: Some(ORIGINAL), redis: redis.port };
    let list = event(None);
    let get = event(Some(&id(USERS / 2)));

    print_line(&format!("{} users, {}\n", USERS, load()));
    print_line("| | Python | Rust | asked | reached |\n|---|---|---|---|---|");
    let ours = rust.median("users_get", &list, 15);
    let one_by_one = python.median("list", &list, 3);
    let at_once = python.median("list_mget", &list, 7);
    ratio("list, one GET per user in Python", one_by_one, ours, 40.0);
    ratio("list, SMEMBERS + MGET in Python", at_once, ours, 2.5);
    let (slow, fast) = (python.per_second("get", &get), rust.per_second("user_get", &get));
    let times = format!("{:.1} times", fast.0 / slow.0);
    print_line(&format!(
        "| single get on one core | {:.0}/s | {:.0}/s | 3 times | {times} |",
        slow.0, fast.0
    ));
    let times = slow.1 / fast.1;
    print_line(&format!(
        "| the same, processor time | {:.3} ms | {:.3} ms | | {times:.1} times |",
        slow.1, fast.1
    ));
    let (cold, memory) = rust.cold_start("user_get", &get);
    let (cold_python, memory_python) = python.cold_start("get", &get);
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let (slow, fast) = (milliseconds(cold_python), milliseconds(cold));
    print_line(&format!("| cold start, start to first answer | {slow} | {fast} | under 15 ms | {fast} |"));
    let megabytes = |kilobytes: usize| format!("{:.1} MB", kilobytes as f64 / 1024.0);
    let (slow, fast) = (megabytes(memory_python), megabytes(memory));
    print_line(&format!("| resident memory after it | {slow} | {fast} | under 16 MB | {fast} |"));
    let zip = format!("{:.2} MB", zipped(&rust.program) as f64 / 1e6);
    print_line(&format!("| zip | | {zip} | under 2 MB | {zip} |"));
}

/// Prints wall-clock time, which depends on the load of the machine, and CPU time, which hardly does.
fn ratio(what: &str, python: (Duration, f64), rust: (Duration, f64), asked: f64) {
    let reached = python.0.as_secs_f64() / rust.0.as_secs_f64();
    let (slow, fast) = (python.0.as_secs_f64() * 1000.0, rust.0.as_secs_f64() * 1000.0);
    print_line(&format!("| {what} | {slow:.0} ms | {fast:.1} ms | {asked} times | {reached:.1} times |"));
    let reached = python.1 / rust.1;
    print_line(&format!(
        "| the same, processor time | {:.0} ms | {:.1} ms | | {reached:.1} times |",
        python.1, rust.1
    ));
}

/// A program to measure.
struct Program {
    program: PathBuf,
    argument: Option<&'static str>,
    redis: u16,
}

/// A running program. It is killed when it is dropped.
struct Running {
    api: RuntimeApi,
    process: Child,
}

impl Program {
    /// `prefix` is a command that runs the program.
    fn start(&self, handler: &str, prefix: &[&str], api: RuntimeApi) -> Running {
        let mut words = prefix.iter().map(Path::new).chain([self.program.as_path()]);
        let process = Command::new(words.next().unwrap())
            .args(words)
            .args(self.argument)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("_HANDLER", handler)
            .env("REDIS_DNS", "127.0.0.1")
            .env("REDIS_PORT", self.redis.to_string())
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "users")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "g")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "s")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running { api, process }
    }

    fn start_warm(&self, handler: &str, event: &str, prefix: &[&str]) -> Running {
        let running = self.start(handler, prefix, RuntimeApi::start().unwrap());
        running.api.give(event).unwrap();
        let answer: Value = serde_json::from_str(&running.api.take().unwrap().body).unwrap();
        assert_eq!(answer["statusCode"], 200, "{handler} of {}", self.program.display());
        if handler.contains("list") || handler == "users_get" {
            let list: Vec<Value> = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            assert_eq!(list.len(), USERS);
        }
        running
    }

    /// The median time of an event in a warm process, and the mean CPU time in milliseconds.
    fn median(&self, handler: &str, event: &str, times: usize) -> (Duration, f64) {
        let running = self.start_warm(handler, event, &[]);
        let before = running.cpu_time();
        let mut took: Vec<Duration> = (0..times)
            .map(|_| {
                running.api.give(event).unwrap();
                running.api.take().unwrap().took()
            })
            .collect();
        took.sort();
        (took[times / 2], (running.cpu_time() - before) / times as f64)
    }

    /// Events per second on one core, the best of five runs, and the mean CPU time per event in milliseconds. The events are
    /// queued in advance, so that the process never waits for one.
    fn per_second(&self, handler: &str, event: &str) -> (f64, f64) {
        const EVENTS: u32 = 2000;
        const ROUNDS: u32 = 5;
        let running = self.start_warm(handler, event, &["taskset", "-c", "0"]);
        let before = running.cpu_time();
        let rounds = (0..ROUNDS).map(|_| {
            let started = Instant::now();
            for _ in 0..EVENTS {
                running.api.give(event).unwrap();
            }
            for _ in 0..EVENTS {
                running.api.take().unwrap();
            }
            f64::from(EVENTS) / started.elapsed().as_secs_f64()
        });
        let best = rounds.fold(0.0, f64::max);
        (best, (running.cpu_time() - before) / f64::from(EVENTS * ROUNDS))
    }

    /// The median time from the start of a process to its first response, and its resident memory at that time, in KB.
    fn cold_start(&self, handler: &str, event: &str) -> (Duration, usize) {
        let mut starts: Vec<(Duration, usize)> = (0..21)
            .map(|_| {
                let api = RuntimeApi::start().unwrap();
                api.give(event).unwrap();
                let started = Instant::now();
                let running = self.start(handler, &[], api);
                let took = running.api.take().unwrap().received - started;
                (took, running.resident())
            })
            .collect();
        starts.sort();
        starts[starts.len() / 2]
    }
}

impl Running {
    /// CPU time in milliseconds. Linux counts it in units of 10 ms.
    fn cpu_time(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // The second field is the name in parentheses; user and system time are the 14th and 15th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() * 10.0).sum()
    }

    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

/// Stores users of about 150 bytes each.
fn fill(redis: &RedisServer) -> TestResult {
    let mut connection = redis::Client::open(("127.0.0.1", redis.port))?.get_connection()?;
    let mut commands = redis::pipe();
    for number in 0..USERS {
        let user = json!({ "id": id(number), "name": format!("User {number}"), "email": format!("user{number}@example.com"),
            "address": { "city": "London", "zip": "N1" }, "tags": ["a", "b"], "age": number % 90 });
        commands.set(format!("user_{}", id(number)), user.to_string()).ignore();
        commands.sadd("users", id(number)).ignore();
    }
    Ok(commands.query(&mut connection)?)
}

fn event(id: Option<&str>) -> String {
    json!({ "httpMethod": "GET", "path": "/demo/users", "headers": { "Accept": "*/*" },
        "pathParameters": id.map(|id| json!({ "userId": id })), "stageVariables": { "release": "1.4.2" },
        "requestContext": { "stage": "prd" }, "body": null, "isBase64Encoded": false })
    .to_string()
}

/// The path of the program, built with the Lambda profile.
fn bootstrap() -> PathBuf {
    if let Some(given) = std::env::var_os("USERS_BOOTSTRAP") {
        return given.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--profile", "lambda", "-p", "users", "--message-format", "json"];
    let built = Command::new(cargo).args(build).stderr(Stdio::inherit()).output().unwrap();
    let messages = String::from_utf8(built.stdout).unwrap();
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.unwrap()
}

/// The compressed size of the program.
fn zipped(program: &Path) -> usize {
    let code = "import sys, zlib; print(len(zlib.compress(open(sys.argv[1], 'rb').read(), 9)))";
    let output = Command::new("python3").args(["-I", "-c", code]).arg(program).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, load {}", load.split(' ').next().unwrap_or_default())
}

fn print_line(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}
