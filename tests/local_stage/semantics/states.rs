//! When Lambda runs, updates and publishes a function, and when it refuses to. docs/aws-facts.md says where each
//! answer comes from.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Api, bootstrap};
use crate::support::signed::{Signed, WireAnswer};

const NAME: &str = "states";
/// Seconds in which nothing becomes active by itself.
const LONG: f64 = 600.0;
const PENDING: &str = "The operation cannot be performed at this time. The function is currently in the following \
                       state: Pending";
const UPDATING: &str = "The operation cannot be performed at this time. An update is in progress for resource: \
                        arn:aws:lambda:us-east-1:000000000000:function:states";
const INACTIVE: &str = "The function is inactive and its VPC connection is no longer available. Wait for the VPC \
                        connection to reestablish and try again.";

/// A function that is called by its name and perhaps a version.
struct Function<'a>(&'a Signed);

impl Function<'_> {
    async fn call(&self, method: &str, path: &str, body: &Value) -> WireAnswer {
        self.0.send("lambda", method, &format!("/2015-03-31/functions{path}"), body).await
    }

    async fn create(&self) -> Value {
        let role = "arn:aws:iam::000000000000:role/any";
        let function = json!({
            "FunctionName": NAME, "Runtime": "provided.al2023", "Handler": "bootstrap", "Role": role,
            "Publish": true, "Code": { "ZipFile": zip("one") },
        });
        expect(self.call("POST", "", &function).await, 201)
    }

    async fn update(&self, word: &str) -> WireAnswer {
        let code = json!({ "ZipFile": zip(word), "Publish": true });
        self.call("PUT", &format!("/{NAME}/code"), &code).await
    }

    async fn publish(&self) -> WireAnswer {
        self.call("POST", &format!("/{NAME}/versions"), &json!({})).await
    }

    async fn configure(&self, seconds: u32) -> WireAnswer {
        self.call("PUT", &format!("/{NAME}/configuration"), &json!({ "Timeout": seconds })).await
    }

    async fn read(&self, version: &str) -> Value {
        let path = format!("/{NAME}:{version}/configuration");
        expect(self.call("GET", &path, &Value::Null).await, 200)
    }

    async fn invoke(&self, version: &str) -> WireAnswer {
        self.call("POST", &format!("/{NAME}:{version}/invocations"), &json!({})).await
    }

    /// Ends all waiting, and reads the version.
    async fn when_active(&self, version: &str) -> Value {
        self.0.set_times(&[("pending_seconds", 0.0)]).await;
        for _ in 0..500 {
            let read = self.read(version).await;
            if read["State"] == "Active" && read["LastUpdateStatus"] == "Successful" {
                self.0.set_times(&[("pending_seconds", LONG)]).await;
                return read;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("version {version} does not become active");
    }
}

fn zip(word: &str) -> String {
    STANDARD.encode(bootstrap(word))
}

fn expect(answer: WireAnswer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.body
}

fn refused(answer: &WireAnswer, status: u16, code: &str, message: &str) {
    assert_eq!((answer.status, answer.error.as_deref()), (status, Some(code)), "{answer:?}");
    assert_eq!(answer.body["message"], message, "{answer:?}");
}

/// What a configuration says about its state.
fn state(configuration: &Value) -> [&str; 4] {
    ["State", "StateReasonCode", "LastUpdateStatus", "LastUpdateStatusReasonCode"]
        .map(|name| configuration[name].as_str().unwrap_or("-"))
}

const CREATING: [&str; 4] = ["Pending", "Creating", "-", "-"];
const READY: [&str; 4] = ["Active", "-", "Successful", "-"];

/// A version is used only when it is active.
pub(crate) async fn versions_are_pending_first(endpoint: &str) {
    let aws = Signed::new(endpoint);
    aws.set_times(&[("pending_seconds", LONG)]).await;
    let function = Function(&aws);

    let created = function.create().await;
    assert_eq!((&created["Version"], state(&created)), (&json!("1"), CREATING));
    let latest = function.read("$LATEST").await;
    assert_eq!(state(&latest), CREATING);
    for version in ["1", "$LATEST"] {
        refused(&function.invoke(version).await, 409, "ResourceConflictException", PENDING);
    }
    refused(&function.update("early").await, 409, "ResourceConflictException", PENDING);
    assert_eq!(state(&function.when_active("1").await), READY);
    let before = function.when_active("$LATEST").await["RevisionId"].clone();
    assert_ne!(before, latest["RevisionId"], "the revision moves when a function becomes active");

    let updated = expect(function.update("two").await, 200);
    assert_eq!((&updated["Version"], state(&updated)), (&json!("2"), CREATING));
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:states:2";
    assert_eq!(updated["FunctionArn"], arn);
    let latest = function.read("$LATEST").await;
    assert_eq!(state(&latest), ["Active", "-", "InProgress", "Creating"]);
    assert!(![&before, &updated["RevisionId"]].contains(&&latest["RevisionId"]), "a revision of its own");
    assert_eq!(state(&function.read("2").await), CREATING);
    refused(&function.invoke("2").await, 409, "ResourceConflictException", PENDING);
    for answer in [function.update("three").await, function.publish().await, function.configure(9).await] {
        refused(&answer, 409, "ResourceConflictException", UPDATING);
    }
    assert_eq!(expect(function.invoke("1").await, 200)["body"], "one 1", "the released version still runs");
    assert_eq!(state(&function.when_active("2").await), READY);
    let after = function.when_active("$LATEST").await;
    assert_ne!(after["RevisionId"], latest["RevisionId"], "the revision moves again at the end");
    assert_eq!(expect(function.invoke("2").await, 200)["body"], "two 2");

    let again = expect(function.publish().await, 201);
    assert_eq!((&again["Version"], state(&again)), (&json!("2"), READY), "nothing has changed");
    expect(function.configure(9).await, 200);
    function.when_active("$LATEST").await;
    let published = expect(function.publish().await, 201);
    assert_eq!((&published["Version"], state(&published)), (&json!("3"), CREATING));
}

/// The first call of an inactive version fails, and wakes it.
pub(crate) async fn an_inactive_version_is_woken(endpoint: &str) {
    let aws = Signed::new(endpoint);
    let function = Function(&aws);
    let api = Api::create(endpoint, "inactive").await.unwrap();
    let route = api.resource("f").await.unwrap();
    api.function(&route, NAME).await.unwrap();
    let deployment = api.deploy().await.unwrap();
    api.stage(&deployment, &[("f", "1")]).await.unwrap();
    api.expect("active", "/f", "200 one 1").await.unwrap();

    aws.make_inactive(NAME, "1").await;
    assert_eq!(state(&function.read("1").await), ["Inactive", "Idle", "Successful", "-"]);
    refused(&function.invoke("1").await, 502, "ResourceNotReadyException", INACTIVE);
    assert_eq!(state(&function.read("1").await), ["Pending", "Restoring", "Successful", "-"]);
    refused(&function.invoke("1").await, 409, "ResourceConflictException", PENDING);
    api.expect("waking up", "/f", "500").await.unwrap();
    function.when_active("1").await;
    assert_eq!(expect(function.invoke("1").await, 200)["body"], "one 1");

    aws.make_inactive(NAME, "1").await;
    api.expect("inactive", "/f", "500").await.unwrap();
    function.when_active("1").await;
    api.expect("woken by the API", "/f", "200 one 1").await.unwrap();
}
