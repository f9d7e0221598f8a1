//! What a release does around its switch: a function that runs once, provisioned concurrency, and the event after it.
//! With the real program on a local stage, and a server that receives the events.

use std::sync::{Arc, Mutex};

use aws_sdk_lambda::types::ProvisionedConcurrencyStatusEnum as Status;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::fake_released_stage::FakeReleasedStage;
use crate::support::http;

/// A server that accepts events. Returns its port and the requests.
async fn receiver() -> (u16, Arc<Mutex<Vec<(String, Value)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = Arc::<Mutex<Vec<_>>>::default();
    let recorded = Arc::clone(&received);
    drop(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Ok(Some((head, body))) = http::read_request(&mut stream).await {
                recorded.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
                let answer = b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    }));
    (port, received)
}

/// The provisioned concurrency of a version that is allocated; `None` if it has none.
async fn provisioned(fake: &FakeReleasedStage, version: &str) -> Option<i32> {
    let call = fake.lambda.get_provisioned_concurrency_config().function_name("small-0").qualifier(version);
    let answer = call.send().await.ok()?;
    assert_eq!(answer.status(), Some(&Status::Ready));
    answer.allocated_provisioned_concurrent_executions()
}

#[tokio::test]
async fn a_release_prepares_provisions_and_notifies() {
    let mut fake = FakeReleasedStage::new().await;
    fake.create_functions(1).await;
    let (port, received) = receiver().await;
    fake.project.program =
        fake.project.program.clone().with("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let table = format!(
        "[contract]\nrest_api_id = \"{}\"\nstage_name = \"v1\"\n\n[contract.functions.f0]\nname = \"small-0\"\n\
         artifact = \"hello\"\nprovisioned = 2\n\n[[prepare]]\ninvoke = \"f0\"\nname = \"tables\"\n\n\
         [stages.local.notify]\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret_env = \"HOOK_SECRET\"\n\n\
         [probe]\ntimeout_seconds = 20\n\n[artifacts.hello]",
        fake.api
    );
    fake.project.settings("[artifacts.hello]", &table);
    let json = async |code: i32, args: &[&str]| {
        fake.project.run(&[args, &["--output", "json"]].concat()).await.exit(code).json()
    };
    // The function has no code that runs, so it fails.
    fake.project.build("1.0.0");
    for _ in 0..2 {
        let failed = json(30, &["release", "1.0.0"]).await;
        assert_eq!(failed["error"]["id"], "prepare.failed", "{failed:#}");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("prepare \"tables\" failed (small-0:"), "{message}");
    }
    assert!(received.lock().unwrap().is_empty(), "nothing was moved");

    let mut versions = Vec::new();
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        fake.project.build(version);
        let released = json(0, &["release", version, "--prepare", "skip"]).await;
        versions.push(released["functions"]["f0"]["version"].as_str().unwrap().to_owned());
    }
    let [first, second, third] = versions.try_into().unwrap();
    assert_eq!(provisioned(&fake, &first).await, None);
    assert_eq!((provisioned(&fake, &second).await, provisioned(&fake, &third).await), (Some(2), Some(2)));
    json(0, &["rollback"]).await;
    assert_eq!((provisioned(&fake, &second).await, provisioned(&fake, &third).await), (Some(2), Some(2)));

    let received = received.lock().unwrap().clone();
    let types: Vec<_> = received.iter().map(|(_, event)| event["type"].as_str().unwrap()).collect();
    let release = "deployctl.release.live";
    assert_eq!(types, [release, release, release, "deployctl.rollback.live"]);
    let (head, event) = &received[3];
    assert_eq!((&event["subject"], &event["data"]["number"]), (&"2.0.0".into(), &4.into()), "{event:#}");
    assert_eq!(http::header(head, "webhook-id"), event["id"].as_str());
    assert!(http::header(head, "webhook-signature").unwrap().starts_with("v1,"));
    assert!(!head.contains("MfKQ9r8") && !event.to_string().contains("MfKQ9r8"));
}
