//! A client that sends one request after the other, and remembers which edition of the code answered.

use std::time::Duration;

use crate::support::http;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A method, a path and the status of its answer.
pub(super) type Request = (&'static str, &'static str, u16);

/// Between two requests, so that the processes of a release get the machine, too.
const PAUSE: Duration = Duration::from_millis(20);
/// More than a switch needs until it is seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The clients of a project: one for each request.
pub(super) struct Clients {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Seen>>,
    newest: Vec<watch::Receiver<String>>,
}

/// What one client saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    requests: usize,
    /// The editions that answered, each as often as it came after another one.
    editions: Vec<String>,
    failed: Vec<String>,
}

impl Clients {
    pub(super) fn start(url: &str, requests: &'static [Request]) -> Self {
        let stop = CancellationToken::new();
        let (mut tasks, mut newest) = (Vec::new(), Vec::new());
        for request in requests {
            let (sender, receiver) = watch::channel(String::new());
            newest.push(receiver);
            tasks.push(tokio::spawn(send(url.to_owned(), *request, sender, stop.clone())));
        }
        Self { stop, tasks, newest }
    }

    /// Waits until every client has got an answer of `edition`.
    pub(super) async fn see(&self, edition: &str) {
        for newest in &self.newest {
            let mut newest = newest.clone();
            let seen = tokio::time::timeout(PATIENCE, newest.wait_for(|seen| seen == edition)).await;
            assert!(seen.is_ok_and(|seen| seen.is_ok()), "edition {edition} does not answer");
        }
    }

    pub(super) async fn stop(self) -> AllSeen {
        self.stop.cancel();
        let mut all = Vec::new();
        for task in self.tasks {
            all.push(task.await.unwrap());
        }
        AllSeen(all)
    }
}

async fn send(
    url: String,
    (method, path, status): Request,
    newest: watch::Sender<String>,
    stop: CancellationToken,
) -> Seen {
    let http = http::client();
    let mut seen = Seen::default();
    while !stop.is_cancelled() {
        seen.requests += 1;
        let request = http.request(method.parse().unwrap(), format!("{url}{path}")).body("{}");
        match edition_of(request, status).await {
            Ok(edition) => {
                newest.send_replace(edition.clone());
                if seen.editions.last() != Some(&edition) {
                    seen.editions.push(edition);
                }
            }
            Err(failure) => seen.failed.push(format!("{method} {path}: {failure}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

/// The field `edition` of the answer, or why there is none.
async fn edition_of(request: reqwest::RequestBuilder, status: u16) -> Result<String, String> {
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let found = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    match json["edition"].as_str() {
        Some(edition) if found == status => Ok(edition.to_owned()),
        _ => Err(format!("{found} {body}")),
    }
}

/// What all clients of a project saw.
pub(super) struct AllSeen(Vec<Seen>);

impl AllSeen {
    /// Fails the test unless no request failed and each client saw exactly these editions, one after the other. How many
    /// requests that were.
    #[track_caller]
    pub(super) fn went_through(&self, editions: &[&str]) -> usize {
        for seen in &self.0 {
            let some: Vec<_> = seen.failed.iter().take(5).collect();
            assert!(some.is_empty(), "{} of {} requests failed: {some:#?}", seen.failed.len(), seen.requests);
            assert_eq!(seen.editions, editions);
        }
        self.0.iter().map(|seen| seen.requests).sum()
    }
}
