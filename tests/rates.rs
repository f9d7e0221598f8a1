//! What the clients do when AWS says "later" or "no": in a real account it says so for reasons that the local stage does
//! not have. The answers are those of the API references, given by a server that has nothing else to say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deployctl::aws::Aws;
use deployctl::aws::api_gateway::Site;
use deployctl::aws::failure::Meaning;
use deployctl::contract::Contract;
use deployctl::local::LocalStage;
use deployctl::settings::Stage;
use deployctl::world::World as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is said of throttling, with the time to wait.
const LATER: Answer = Answer(
    429,
    "x-amzn-ErrorType: TooManyRequestsException\r\nRetry-After: 2\r\n",
    r#"{"message":"Rate exceeded"}"#,
);
const DEPLOYED: Answer = Answer(201, "", r#"{"id":"d1"}"#);
const PUBLISHED: Answer = Answer(201, "", r#"{"Version":"7","CodeSha256":"abc"}"#);

#[tokio::test]
async fn the_time_to_wait_is_aws_to_say() {
    let cloud = Cloud::new(false, [LATER, DEPLOYED]).await;
    assert_eq!(cloud.site.create_deployment("note").await.unwrap().as_str(), "d1");
    assert_eq!(cloud.gaps(&["POST /restapis/api/deployments", "POST /restapis/api/deployments"]), [2]);
}

/// API Gateway allows one deployment in 5 s, and Lambda 15 calls a second.
#[tokio::test]
async fn calls_are_kept_apart_before_aws_refuses_them() {
    let cloud = Cloud::new(true, [DEPLOYED, DEPLOYED]).await;
    for _ in 0..2 {
        cloud.site.create_deployment("note").await.unwrap();
    }
    assert_eq!(cloud.gaps(&["POST /restapis/api/deployments", "POST /restapis/api/deployments"]), [5]);

    let cloud = Cloud::new(true, [PUBLISHED; 16]).await;
    let name = "f".parse().unwrap();
    let calls = (0..16).map(|_| cloud.site.publish(&name, "abc", None));
    futures::future::try_join_all(calls).await.unwrap();
    let (first, last) = cloud.first_and_last();
    assert!(last - first >= Duration::from_secs(1), "16 calls in {:?}", last - first);
}

#[tokio::test]
async fn a_role_that_is_still_on_its_way_is_waited_for() {
    let young = Answer(
        400,
        "x-amzn-ErrorType: InvalidParameterValueException\r\n",
        r#"{"Type":"User","message":"The role defined for the function cannot be assumed by Lambda."}"#,
    );
    let cloud = Cloud::new(false, [young, young, PUBLISHED]).await;
    let published = cloud.site.publish(&"f".parse().unwrap(), "abc", None).await.unwrap();
    assert_eq!(published.version.as_str(), "7");
    assert_eq!(cloud.count(), 3);
}

#[tokio::test]
async fn an_update_that_failed_is_not_waited_for() {
    let failed = r#"{"FunctionName":"f","State":"Active","LastUpdateStatus":"Failed","LastUpdateStatusReasonCode":"SubnetOutOfIPAddresses","LastUpdateStatusReason":"the subnet has no address left"}"#;
    let cloud = Cloud::new(false, [Answer(200, "", failed)]).await;
    let start = Instant::now();
    let failure = cloud.site.wait_active(&"f".parse().unwrap(), &"7".parse().unwrap()).await.unwrap_err();
    assert_eq!(failure.meaning, Meaning::Rejected);
    assert!(
        failure.to_string().contains("f:7") && failure.to_string().contains("the subnet has no address left")
    );
    assert_eq!(cloud.count(), 1, "asked once");
    assert!(start.elapsed() < Duration::from_secs(60), "it was waited for");
}

/// A refusal is final, and nobody is kept waiting for it.
#[tokio::test]
async fn no_means_no() {
    let no = Answer(
        403,
        "x-amzn-ErrorType: AccessDeniedException\r\n",
        r#"{"message":"not authorized to perform: apigateway:POST"}"#,
    );
    let cloud = Cloud::new(false, [no]).await;
    let failure = cloud.site.create_deployment("note").await.unwrap_err();
    assert_eq!((failure.meaning, cloud.count()), (Meaning::Denied, 1));
    assert!(failure.to_string().contains("not authorized to perform: apigateway:POST"), "{failure}");
}

/// Status, headers and body.
#[derive(Debug, Clone, Copy)]
struct Answer(u16, &'static str, &'static str);

/// A cloud that gives these answers, one after the other, and takes down what it was asked and when.
struct Cloud {
    site: Site,
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Cloud {
    async fn new(pacing: bool, answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let taken = Arc::clone(&asked);
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        drop(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Some(line) = request_line(&mut client).await else { continue };
                taken.lock().unwrap().push((line, Instant::now()));
                let Answer(status, headers, body) =
                    answers.pop_front().unwrap_or(Answer(404, "", "asked too often"));
                let text = format!(
                    "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
                client.write_all(text.as_bytes()).await.unwrap();
            }
        }));
        let local = LocalStage {
            endpoint: format!("http://127.0.0.1:{port}"),
            port,
            redis_port: 0,
            region: "eu-west-1".to_owned(),
            pid: 0,
            redis_pid: 0,
        };
        let stage = Stage {
            name: "dev".parse().unwrap(),
            account: "111111111111".parse().unwrap(),
            region: "eu-west-1".to_owned(),
            profile: None,
            local: None,
            state_bucket: "states".to_owned(),
            variables: std::collections::BTreeMap::new(),
            pacing,
        };
        let contract = Contract {
            artifact_bucket: "bucket".to_owned(),
            rest_api_id: "api".to_owned(),
            stage_name: "v1".to_owned(),
            invoke_url: "unused".to_owned(),
            functions: std::collections::BTreeMap::new(),
        };
        let site = Aws::connect(&stage, Some(&local)).await.site(&contract, "http://unused").unwrap();
        Self { site, asked }
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn first_and_last(&self) -> (Instant, Instant) {
        let asked = self.asked.lock().unwrap();
        (asked[0].1, asked[asked.len() - 1].1)
    }

    /// The whole seconds between the requests, which must be these.
    fn gaps(&self, expected: &[&str]) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
        assert_eq!(lines, expected);
        asked.windows(2).map(|two| (two[1].1 - two[0].1).as_secs()).collect()
    }
}

/// Method and path of a request, which is read to its end.
async fn request_line(client: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    head.lines().next()?.strip_suffix(" HTTP/1.1").map(str::to_owned)
}
