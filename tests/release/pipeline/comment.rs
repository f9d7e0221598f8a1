//! The sticky comment, against a server that speaks GitHub's API as far as it is used.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::repository;

/// GitHub's API for the comments of one pull request.
#[derive(Debug)]
pub(crate) struct FakeApi {
    /// What `GITHUB_API_URL` says.
    pub(crate) url: String,
    comments: Arc<Mutex<Vec<Value>>>,
}

impl FakeApi {
    /// Starts it; the thread ends with the test program.
    pub(crate) async fn start() -> Self {
        Self::with(Vec::new())
    }

    fn with(comments: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let comments = Arc::new(Mutex::new(comments));
        let shared = Arc::clone(&comments);
        drop(std::thread::spawn(move || {
            for client in listener.incoming() {
                serve(client.unwrap(), &shared);
            }
        }));
        Self { url, comments }
    }

    /// The comments of the pipeline.
    pub(crate) fn comments(&self) -> Vec<String> {
        let comments = self.comments.lock().unwrap();
        let ours = comments.iter().filter(|comment| comment["user"]["login"] == "github-actions[bot]");
        ours.map(|comment| comment["body"].as_str().unwrap().to_owned()).collect()
    }
}

fn serve(client: TcpStream, comments: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let (mut request, mut length, mut trusted) = (String::new(), 0, false);
    reader.read_line(&mut request).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => trusted = value == "Bearer the-token",
            _ => {}
        }
    }
    assert!(trusted, "no token");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, answer) = answer(&request, &body, &mut comments.lock().unwrap());
    let answer = answer.to_string();
    let mut client = client;
    write!(
        client,
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
    .unwrap();
}

fn answer(request: &str, body: &[u8], comments: &mut Vec<Value>) -> (u16, Value) {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let text = || serde_json::from_slice::<Value>(body).unwrap()["body"].clone();
    if text_of_comment(body).is_some_and(|text| text.chars().count() > 65_536) {
        return (422, json!({ "message": "Body is too long (maximum is 65536 characters)" }));
    }
    match (method, path.split_once('?')) {
        ("GET", Some(("/repos/example/shop/issues/12/comments", query))) => {
            let page = query.rsplit_once("page=").unwrap().1.parse::<usize>().unwrap();
            (200, comments.chunks(100).nth(page - 1).unwrap_or_default().into())
        }
        ("POST", None) if path == "/repos/example/shop/issues/12/comments" => {
            comments.push(comment(comments.len(), "github-actions[bot]", text()));
            (201, comments.last().unwrap().clone())
        }
        ("PATCH", None) => {
            let id = path.strip_prefix("/repos/example/shop/issues/comments/").unwrap();
            let id: u64 = id.parse().unwrap();
            let known = comments.iter_mut().find(|comment| comment["id"] == id).unwrap();
            known["body"] = text();
            (200, known.clone())
        }
        _ => (404, json!({ "message": "Not Found" })),
    }
}

fn text_of_comment(body: &[u8]) -> Option<String> {
    Some(serde_json::from_slice::<Value>(body).ok()?["body"].as_str()?.to_owned())
}

fn comment(id: usize, login: &str, body: Value) -> Value {
    json!({ "id": id, "user": { "login": login }, "body": body })
}

fn write(api: &FakeApi, text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.md");
    std::fs::write(&file, text).unwrap();
    let mut python = Command::new("python3");
    python.arg("-I").arg(repository(".github/actions/comment/comment.py"));
    for (name, value) in [
        ("NAME", "plan for dev"),
        ("FILE", file.to_str().unwrap()),
        ("PULL_REQUEST", "12"),
        ("TOKEN", "the-token"),
        ("GITHUB_API_URL", &api.url),
        ("GITHUB_SERVER_URL", "https://github.example"),
        ("GITHUB_REPOSITORY", "example/shop"),
        ("GITHUB_RUN_ID", "7"),
    ] {
        python.env(name, value);
    }
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn several_comments_are_reduced_to_one() {
    // A person has copied the marker, and others have talked past the first page.
    let mut known = vec![comment(0, "mallory", "<!-- sticky: plan for dev -->\nall fine".into())];
    known.extend((1..150).map(|id| comment(id, "ada", "hm".into())));
    let api = FakeApi::with(known);
    for plan in ["first", "second"] {
        write(&api, plan);
        assert_eq!(api.comments(), [format!("<!-- sticky: plan for dev -->\n{plan}")]);
    }
}

#[test]
fn a_long_plan_is_shortened_with_a_remark() {
    let api = FakeApi::with(Vec::new());
    write(&api, &format!("```\n{}\n```\n", "ü\n".repeat(60_000)));
    let comments = api.comments();
    assert!(comments[0].ends_with(
        "```\n\n… too long for a comment: [all of it](https://github.example/example/shop/actions/runs/7)\n"
    ));
}
