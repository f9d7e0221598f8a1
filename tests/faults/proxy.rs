//! What the proxy itself does to requests, with a program that can be stopped in place of deployctl.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::http;
use crate::support::proxy::{Fault, Injection, Proxy};

/// Long enough for an answer that is going to come.
const SOON: Duration = Duration::from_secs(5);

/// Long enough to see that none comes.
const A_WHILE: Duration = Duration::from_millis(300);

/// A server that says yes on New Year's Eve.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            http::read_request(&mut client).await.unwrap();
            let answer =
                "HTTP/1.1 200 OK\r\nDate: Thu, 31 Dec 2026 23:59:30 GMT\r\nContent-Length: 3\r\n\r\nyes";
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    }));
    port
}

fn ask(proxy: &Proxy, line: &'static str) -> JoinHandle<String> {
    let port = proxy.port;
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    })
}

#[tokio::test]
async fn the_proxy_injects_holds_stops_and_conflicts() {
    let proxy = Proxy::start(server().await).await;
    proxy.hold(2);
    assert!(ask(&proxy, "GET /1").await.unwrap().ends_with("yes"));
    let mut held = ask(&proxy, "GET /2");
    timeout(SOON, proxy.fired()).await.unwrap();
    assert!(ask(&proxy, "GET /3").await.unwrap().ends_with("yes"), "others pass");
    assert!(timeout(A_WHILE, &mut held).await.is_err(), "it is held");
    proxy.let_go();
    assert!(timeout(SOON, held).await.unwrap().unwrap().ends_with("yes"));

    for fault in [Fault::SilentBefore, Fault::SilentAfter] {
        proxy.arm(1, fault);
        assert!(timeout(A_WHILE, ask(&proxy, "GET /1")).await.is_err(), "{fault:?}");
        assert!(proxy.disarm().fired);
    }

    proxy.arm(1, Fault::Conflict(2));
    for answer in ["409", "409", "200"] {
        assert!(ask(&proxy, "PATCH /1").await.unwrap().contains(answer));
        assert!(ask(&proxy, "GET /2").await.unwrap().contains("200"), "only that request");
    }

    proxy.shift_date(100);
    assert!(ask(&proxy, "GET /1").await.unwrap().contains("Date: Fri, 01 Jan 2027 00:01:10 GMT"));
    proxy.shift_date(0);

    let mut child = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id().unwrap());
    let stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
    proxy.arm(1, Fault::Stopped);
    proxy.aim(child.id().unwrap());
    drop(ask(&proxy, "GET /1").await);
    let until = async |wanted| {
        while stopped() != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, until(true)).await.unwrap();
    proxy.let_go();
    timeout(SOON, until(false)).await.unwrap();
    child.kill().await.unwrap();
}

#[tokio::test]
async fn an_injected_answer_meets_only_the_requests_that_match() {
    let proxy = Proxy::start(server().await).await;
    let answer =
        |word: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len()).into_bytes();
    proxy.inject(Injection {
        method: "PUT".to_owned(),
        path: "/bucket/*/**".to_owned(),
        parts: vec!["zip".to_owned()],
        call: 2,
        times: 1,
        answer: answer("injected"),
        then: Some(answer("afterwards")),
    });
    for (line, expected) in [
        ("GET /bucket/a/b.zip", "yes"),
        ("PUT /bucket/b.zip", "yes"),
        ("PUT /bucket/a/b/lease", "yes"),
        ("PUT /bucket/a/b.zip?versionId=1", "yes"),
        ("PUT /bucket/a/b/c.zip", "injected"),
        ("PUT /bucket/a/b.zip", "afterwards"),
    ] {
        let found = ask(&proxy, line).await.unwrap();
        assert!(found.ends_with(expected), "{line}: {found}");
    }
    let lines: Vec<String> = proxy.injected().into_iter().map(|request| request.line).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[1], "PUT /bucket/a/b/c.zip HTTP/1.1");
    assert!(ask(&proxy, "PUT /bucket/a/b.zip").await.unwrap().ends_with("yes"), "no longer");
}
