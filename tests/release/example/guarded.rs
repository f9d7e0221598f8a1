//! Who may call what, over HTTP, with the authorizer on and API Gateway keeping its answers.

use std::path::Path;

use crate::support::http;
use crate::support::stage_file::StageFile;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The users, as the authorizer's example `add_user` prints them. The secret of each is its name and `-secret`.
const USERS: [(&str, &str); 4] = [
    (
        "all",
        r#"{"secret":"$argon2id$v=19$m=7168,t=5,p=1$C+AE0XwW8Fc1kODRCBjcGw$B33ub0aknXab1nOn21hUEFV8M3u5At+PjUMbuVDiP1g","allow":[{"methods":["*"],"path":"/demo/users"},{"methods":["*"],"path":"/demo/users/{userId}"}]}"#,
    ),
    (
        "reader",
        r#"{"secret":"$argon2id$v=19$m=7168,t=5,p=1$4FMc3jn1YbyU4wXSsij0uA$jdpotOWyZADmkZHwY7Fsm+BEp0o6Zj+T5A2/l3tMoio","allow":[{"methods":["GET"],"path":"/demo/users"}]}"#,
    ),
    (
        "writer",
        r#"{"secret":"$argon2id$v=19$m=7168,t=5,p=1$nHwN/uUz1XnjB5z4J0fyJA$qr03LVhsoXOEURf5mOKC6WtZGAK9IhdaWq8wKWKPTpQ","allow":[{"methods":["POST"],"path":"/demo/users"},{"methods":["PATCH","DELETE"],"path":"/demo/users/{userId}"}]}"#,
    ),
    (
        "idle",
        r#"{"secret":"$argon2id$v=19$m=7168,t=5,p=1$xUkH7hKuZ4QTKbrcAHm1dg$hiw+7cMFypxi7X7pn9qVBlBr1WGtXf8r6Try8vVNe9c","allow":[]}"#,
    ),
];

/// Each caller and both ways to say who it is.
const CALLERS: [(&str, [&str; 2]); 4] = [
    ("all", ["Basic YWxsOmFsbC1zZWNyZXQ=", "Bearer all.all-secret"]),
    ("reader", ["Basic cmVhZGVyOnJlYWRlci1zZWNyZXQ=", "Bearer reader.reader-secret"]),
    ("writer", ["Basic d3JpdGVyOndyaXRlci1zZWNyZXQ=", "Bearer writer.writer-secret"]),
    ("idle", ["Basic aWRsZTppZGxlLXNlY3JldA==", "Bearer idle.idle-secret"]),
];

/// Somebody who may do everything.
pub(crate) const ALL: &str = CALLERS[0].1[1];

/// The same as name and secret.
pub(crate) const ALL_PLAIN: &str = "all:all-secret";

/// Where the stages of these tests say that browsers may be.
pub(crate) const ORIGIN: &str = "https://app.example.com";

const USER: &str = "/demo/users/00000000-0000-4000-8000-000000000000";

/// Every route that there is: what it answers to somebody who may call it, and who else may than `all`.
const ROUTES: [(&str, &str, u16, &str); 8] = [
    ("GET", "/demo/users", 200, "reader"),
    // Where GET is a right, so is HEAD.
    ("HEAD", "/demo/users", 200, "reader"),
    ("POST", "/demo/users", 201, "writer"),
    ("DELETE", "/demo/users", 200, "nobody"),
    ("GET", USER, 404, "nobody"),
    ("HEAD", USER, 404, "nobody"),
    ("PATCH", USER, 404, "writer"),
    ("DELETE", USER, 404, "writer"),
];

/// The stage, and the Redis that its users are in.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) url: String,
    pub(crate) redis: Redis,
    http: reqwest::Client,
}

/// The local stage's Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
}

impl Redis {
    /// That of the project in `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { port: StageFile::of(folder).redis().unwrap().port }
    }

    pub(crate) async fn add_users(&self) {
        for (name, record) in USERS {
            assert_eq!(self.command(&["SET", &format!("auth_user_{name}"), record]).await, "+OK\r\n");
        }
    }

    async fn command(&self, words: &[&str]) -> String {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

/// What came back.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// API Gateway's own refusal, in the shape of all errors.
    #[track_caller]
    fn refused(&self, status: u16, code: &str, call: &str) {
        assert_eq!(self.status, status, "{call}: {self:?}");
        assert_eq!(self.header("x-release"), "", "{call} reached a function");
        assert_eq!(self.header("access-control-allow-origin"), ORIGIN, "a page must be able to read it");
        if !call.starts_with("HEAD") {
            let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
            assert_eq!((&body["code"], body["error"].is_string()), (&code.into(), true), "{call}: {self:?}");
        }
    }
}

impl Guarded {
    pub(crate) fn at(url: &str, redis: Redis) -> Self {
        let http = http::client();
        Self { url: url.to_owned(), redis, http }
    }

    async fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> Seen {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if matches!(method, "POST" | "PATCH") {
            request = request.body(r#"{"name":"Ada"}"#);
        }
        if method == "OPTIONS" {
            request = request.header("Origin", ORIGIN).header("Access-Control-Request-Method", "PATCH");
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        assert!(status < StatusCode::INTERNAL_SERVER_ERROR, "{method} {path}: {status}");
        Seen { status: status.as_u16(), headers, body: answer.text().await.unwrap() }
    }

    /// Without credentials, or with wrong ones, every route is shut, and says how it is opened.
    pub(crate) async fn strangers_are_401(&self) -> usize {
        let strangers = [
            None,
            Some(""),
            Some("Bearer all.wrong"),
            Some("Basic YWxsOndyb25n"), // all:wrong
            Some("Bearer nobody.all-secret"),
            Some("Bearer reader.all-secret"),
            Some("Bearer all-secret"),
            Some("Basic all:all-secret"),
            Some("Digest all.all-secret"),
            Some("Bearer *.all-secret"),
        ];
        for (method, path, ..) in ROUTES {
            for authorization in strangers {
                let call = format!("{method} {path} with {authorization:?}");
                let seen = self.ask(method, path, authorization).await;
                seen.refused(401, "unauthorized", &call);
                assert!(seen.header("www-authenticate").starts_with("Basic realm="), "{call}: {seen:?}");
            }
        }
        ROUTES.len() * strangers.len()
    }

    /// Each caller, whatever it called first, gets through where it has a right, and nowhere else. API Gateway asks the
    /// authorizer once for each way to say who it is, and goes by that answer from then on: so each of these calls but the
    /// first is decided by what was answered to another one. Callers take turns, for none may be taken for another.
    pub(crate) async fn rights_are_kept_on_every_route(&self) -> usize {
        let mut calls = 0;
        // The first way begins with the first route, which some may call and some not; the second with the last.
        for (way, order) in [(0, [0, 1, 2, 3, 4, 5, 6, 7]), (1, [7, 6, 5, 4, 3, 2, 1, 0])] {
            for _ in 0..2 {
                for route in order {
                    for (name, headers) in CALLERS {
                        self.right_or_403(name, headers[way], route).await;
                        calls += 1;
                    }
                }
            }
        }
        // And all at once.
        let every = CALLERS.iter().flat_map(|(name, headers)| {
            (0..ROUTES.len() * 2).map(|number| self.right_or_403(name, headers[number % 2], number / 2))
        });
        calls + futures::future::join_all(every).await.len()
    }

    async fn right_or_403(&self, name: &str, authorization: &str, route: usize) {
        let (method, path, status, allowed) = ROUTES[route];
        let call = format!("{method} {path} by {name}");
        let seen = self.ask(method, path, Some(authorization)).await;
        if name == "all" || name == allowed {
            assert_eq!((seen.status, seen.header("x-caller")), (status, name), "{call}: {seen:?}");
            assert_ne!(seen.header("x-release"), "", "{call}: {seen:?}");
        } else {
            seen.refused(403, "forbidden", &call);
        }
    }

    /// That answers are kept is seen when a user is gone: who was known stays so, under the header that was sent.
    pub(crate) async fn decisions_are_kept(&self) {
        let (name, [basic, bearer]) = CALLERS[1];
        self.redis.command(&["DEL", &format!("auth_user_{name}")]).await;
        for header in [basic, bearer] {
            assert_eq!(self.ask("GET", "/demo/users", Some(header)).await.status, 200, "not kept");
        }
        // Another header is another question: the scheme has no case.
        self.ask("GET", "/demo/users", Some(&bearer.to_lowercase())).await.refused(401, "unauthorized", name);
    }

    /// After API Gateway was told to forget.
    pub(crate) async fn decisions_are_forgotten(&self) {
        for header in CALLERS[1].1 {
            self.ask("GET", "/demo/users", Some(header)).await.refused(
                401,
                "unauthorized",
                "the deleted user",
            );
        }
        assert_eq!(self.ask("GET", "/demo/users", Some(ALL)).await.status, 200);
    }

    /// What is no route is nobody's; and a browser asks without credentials.
    pub(crate) async fn what_needs_no_right(&self) {
        for (method, path) in
            [("PUT", "/demo/users"), ("POST", USER), ("GET", "/demo"), ("GET", "/demo/users/a/b")]
        {
            for authorization in [None, Some(ALL)] {
                self.ask(method, path, authorization).await.refused(403, "no_such_route", path);
            }
        }
        for (path, methods) in
            [("/demo/users", "DELETE,GET,HEAD,OPTIONS,POST"), (USER, "DELETE,GET,HEAD,OPTIONS,PATCH")]
        {
            for authorization in [None, Some("Bearer all.wrong")] {
                let seen = self.ask("OPTIONS", path, authorization).await;
                assert_eq!((seen.status, seen.body.as_str()), (204, ""), "{path}: {seen:?}");
                assert_eq!(seen.header("access-control-allow-origin"), ORIGIN);
                assert_eq!(seen.header("access-control-allow-methods"), methods);
                assert!(seen.header("access-control-allow-headers").contains("Authorization"), "{seen:?}");
            }
        }
    }
}
