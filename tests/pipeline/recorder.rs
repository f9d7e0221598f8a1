//! A proxy before the local stage that takes down every call of AWS.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line and the headers.
    pub head: String,
    /// The body, as text: whatever is looked for in it is.
    pub body: String,
}

/// The proxy.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    /// Starts one before `upstream`, for as long as the runtime lives.
    pub async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = Arc::clone(&recorder.seen);
        drop(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that goes away has nothing more to say.
                drop(tokio::spawn(serve(client, upstream, Arc::clone(&seen))));
            }
        }));
        recorder
    }

    /// What has come since this was last asked.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(mut client: TcpStream, upstream: u16, seen: Arc<Mutex<Vec<Request>>>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    if header(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    assert!(header(&head, "transfer-encoding").is_none(), "a body without a length: {head}");
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(());
        }
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !line.is_empty() && name != "connection" && name != "expect"
    });
    let once: String = kept.flat_map(|line| [line, "\r\n"]).collect();
    server.write_all(format!("{once}Connection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    let request = Request { head, body: String::from_utf8_lossy(&body).into_owned() };
    seen.lock().unwrap().push(request);
    client.write_all(&answer).await
}

/// A header of a request.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut found = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}
