//! A proxy before the local stage that takes down every call of AWS.

use std::sync::{Arc, Mutex};

use crate::support::http;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The request line and the headers.
    pub(crate) head: String,
    /// The body, as text: whatever is looked for in it is.
    pub(crate) body: String,
}

/// The proxy.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    /// Starts one before `upstream`, for as long as the runtime lives.
    pub(crate) async fn start(upstream: u16) -> Self {
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
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(mut client: TcpStream, port: u16, seen: Arc<Mutex<Vec<Request>>>) -> std::io::Result<()> {
    let Some((head, body)) = http::read_request(&mut client).await? else { return Ok(()) };
    let answer = http::forward(port, &head, &body).await?;
    let request = Request { head, body: String::from_utf8_lossy(&body).into_owned() };
    seen.lock().unwrap().push(request);
    client.write_all(&answer).await
}
