//! A fake of Lambda's Runtime API: it delivers queued events and collects the responses.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use test_support::TestResult;

/// The timeout of one event.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct RuntimeApi {
    pub(crate) address: String,
    events: Sender<String>,
    answers: Receiver<InvocationResponse>,
}

/// The response to one event.
pub(crate) struct InvocationResponse {
    pub(crate) handed_out: Instant,
    pub(crate) received: Instant,
    pub(crate) body: String,
}

impl InvocationResponse {
    pub(crate) fn took(&self) -> Duration {
        self.received - self.handed_out
    }
}

impl RuntimeApi {
    pub(crate) fn start() -> TestResult<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (events, waiting) = channel();
        let (answered, answers) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (waiting, answered) = (Arc::clone(&waiting), answered.clone());
                // A process that exits closes its connections, which is not an error here.
                std::thread::spawn(move || drop(serve(&stream, &waiting, &answered)));
            }
        });
        Ok(Self { address, events, answers })
    }

    /// Queues an event.
    pub(crate) fn give(&self, event: &str) -> TestResult {
        Ok(self.events.send(event.to_owned())?)
    }

    /// Waits for the next response.
    pub(crate) fn take(&self) -> TestResult<InvocationResponse> {
        Ok(self.answers.recv_timeout(TIMEOUT)?)
    }
}

fn serve(
    stream: &TcpStream,
    waiting: &Mutex<Receiver<String>>,
    answered: &Sender<InvocationResponse>,
) -> TestResult {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream.try_clone()?);
    let mut handed_out = HashMap::new();
    for number in 0_u64.. {
        let Some((path, body)) = request(&mut reader)? else { break };
        if path.ends_with("/invocation/next") {
            let Ok(event) = waiting.lock().map_err(|_| "poisoned")?.recv() else { break };
            let id = format!("{number:08}-{}", stream.peer_addr()?.port());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: {id}\r\n\
                 Lambda-Runtime-Deadline-Ms: 4102444800000\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:111111111111:function:f\r\n\
                 Content-Length: {}\r\n\r\n",
                event.len()
            );
            handed_out.insert(id, Instant::now());
            writer.write_all([head.as_bytes(), event.as_bytes()].concat().as_slice())?;
        } else {
            let id = path.rsplit('/').nth(1).unwrap_or_default();
            let received = Instant::now();
            writer.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
            // The response may come over another connection than its event.
            let handed_out = handed_out.remove(id).unwrap_or(received);
            answered.send(InvocationResponse { handed_out, received, body })?;
        }
    }
    Ok(())
}

/// The path and the body of the next request, or None at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> TestResult<Option<(String, String)>> {
    let (mut path, mut length, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        match (path.is_some(), text.split_once(": ")) {
            (false, _) => path = Some(text.split(' ').nth(1).ok_or("no path")?.to_owned()),
            (true, _) if text.is_empty() => break,
            (true, Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse()?
            }
            (true, Some((name, _))) if name.eq_ignore_ascii_case("transfer-encoding") => {
                return Err("a body of unknown length".into());
            }
            (true, _) => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(path.zip(String::from_utf8(body).ok()))
}
