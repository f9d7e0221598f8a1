//! Clients that send requests while a stage changes, and the responses that they got.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::caller::{Answer, Caller};

/// The responses of one client, in their order, each with the function that was asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: Vec<(&'static str, Answer)>,
    failed: Vec<String>,
}

/// How a client tells one release from another.
#[derive(Debug, Clone)]
pub(crate) struct ReleaseMarks {
    version: String,
    content_type: String,
    functions: BTreeMap<String, String>,
}

impl ReleaseMarks {
    /// The marks of the release in deployctl's `document`, which answers with `content_type`.
    pub(crate) fn of(document: &Value, content_type: &str) -> Self {
        let functions = document["functions"].as_object().expect("functions").iter();
        let version = |function: &Value| function["version"].as_str().expect("a version").to_owned();
        Self {
            version: document["version"].as_str().expect("a version").to_owned(),
            content_type: content_type.to_owned(),
            functions: functions.map(|(key, function)| (key.clone(), version(function))).collect(),
        }
    }

    /// Whether `answer`, of the function `key`, comes from this release.
    pub(crate) fn is_of(&self, key: &str, answer: &Answer) -> bool {
        answer.release == self.version
            && answer.content_type == self.content_type
            && self.functions.get(key) == Some(&answer.function_version)
    }
}

/// Two clients, one request after the other each, until `stop`: the first goes through all six routes.
pub(crate) async fn drive(caller: &Caller, stop: &CancellationToken) -> [Seen; 2] {
    let (mut all, mut reader) = (Seen::default(), Seen::default());
    let first = async {
        while !stop.is_cancelled() {
            all.round(caller).await;
        }
    };
    let second = async {
        while !stop.is_cancelled() {
            reader.send(caller, "user_get", "GET", "/demo/users/nobody", None, 404).await;
            reader.send(caller, "users_get", "GET", "/demo/users", None, 200).await;
        }
    };
    tokio::join!(first, second);
    [all, reader]
}

impl Seen {
    async fn round(&mut self, caller: &Caller) {
        let made = self.send(caller, "users_post", "POST", "/demo/users", Some(r#"{"name":"x"}"#), 201).await;
        let Some(id) = made.and_then(|answer| answer.json()["id"].as_str().map(str::to_owned)) else {
            return;
        };
        let user = format!("/demo/users/{id}");
        self.send(caller, "users_get", "GET", "/demo/users", None, 200).await;
        self.send(caller, "user_get", "GET", &user, None, 200).await;
        self.send(caller, "user_patch", "PATCH", &user, Some(r#"{"name":"y"}"#), 200).await;
        self.send(caller, "user_delete", "DELETE", &user, None, 200).await;
        self.send(caller, "users_delete", "DELETE", "/demo/users", None, 200).await;
    }

    async fn send(
        &mut self,
        caller: &Caller,
        key: &'static str,
        method: &str,
        path: &str,
        body: Option<&str>,
        status: u16,
    ) -> Option<Answer> {
        match caller.send(method, path, body).await {
            Ok(answer) if answer.status == status => {
                self.answers.push((key, answer.clone()));
                return Some(answer);
            }
            Ok(answer) => self.failed.push(format!("{method} {path}: {answer:?}")),
            Err(error) => self.failed.push(format!("{method} {path}: {error}")),
        }
        None
    }
}

/// Counts what the clients saw while the stage moved along `releases`, and fails the test for a failed
/// request, an answer that is of none of them, or a client that saw an earlier one again.
#[track_caller]
pub(crate) fn assert_consistent(seen: &[Seen], releases: &[ReleaseMarks]) -> String {
    let mut counts = vec![0_usize; releases.len()];
    for client in seen {
        assert_eq!(client.failed, Vec::<String>::new(), "failed requests");
        let mut newest = 0;
        for (key, answer) in &client.answers {
            let (seen, to_come) = releases.split_at(newest);
            let Some(next) = to_come.iter().position(|release| release.is_of(key, answer)) else {
                let known = seen.iter().any(|release| release.is_of(key, answer));
                let what = if known { "an earlier release came back" } else { "a mixture" };
                panic!("{what}, by {key}: {answer:?}\nreleases: {releases:#?}");
            };
            newest += next;
            counts[newest] += 1;
        }
    }
    let shown: Vec<String> = releases
        .iter()
        .zip(&counts)
        .map(|(release, count)| format!("{count} by {}", release.version))
        .collect();
    assert!(counts.iter().all(|count| *count > 0), "a release that nobody saw: {shown:?}");
    format!(
        "{} requests ({}), 0 failed, 0 mixed, 0 steps back",
        counts.iter().sum::<usize>(),
        shown.join(", ")
    )
}
