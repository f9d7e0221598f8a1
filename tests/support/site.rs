//! A released stage as its callers see it, and as AWS knows it: asked past deployctl.

use std::collections::BTreeMap;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use serde_json::Value;

use super::caller::{Answer, Caller};
use super::sdk;

/// A stage.
#[derive(Debug, Clone)]
pub struct Site {
    /// Somebody who asks it.
    pub caller: Caller,
    gateway: gateway::Client,
    lambda: lambda::Client,
    s3: s3::Client,
    api: String,
    stage: String,
    bucket: String,
}

impl Site {
    /// The stage that a document of deployctl tells of.
    pub async fn of(document: &Value) -> Self {
        let url = document["url"].as_str().expect("a url");
        let (endpoint, _) = url.split_once("/_aws/").expect("a local url");
        let config = sdk::config(endpoint, "000000000000");
        let mut site = Self {
            caller: Caller::of(document),
            gateway: gateway::Client::new(&config),
            lambda: lambda::Client::new(&config),
            s3: s3::Client::new(&config),
            api: document["api"]["id"].as_str().expect("an API").to_owned(),
            stage: document["stage"].as_str().expect("a stage").to_owned(),
            bucket: String::new(),
        };
        let stage = &site.stage;
        let states = format!("users-{stage}-tfstate-000000000000");
        let state = site.object(&states, &format!("users/{stage}/base.tfstate")).await;
        let outputs = &state.expect("a Terraform state")["outputs"];
        site.bucket = outputs["artifact_bucket"]["value"].as_str().expect("a bucket").to_owned();
        site
    }

    /// Sends a request that gets an answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.caller.send(method, path, body).await.unwrap()
    }

    /// Where the stage points: its deployment, and its variables.
    pub async fn pointer(&self) -> (String, BTreeMap<String, String>) {
        let stage =
            self.gateway.get_stage().rest_api_id(&self.api).stage_name(&self.stage).send().await.unwrap();
        let variables = stage.variables.unwrap_or_default();
        (stage.deployment_id.unwrap_or_default(), variables.into_iter().collect())
    }

    /// How many versions each of these functions has.
    pub async fn published(&self, functions: &Value) -> BTreeMap<String, usize> {
        let mut published = BTreeMap::new();
        for function in functions.as_object().expect("functions").values() {
            let name = function["name"].as_str().expect("a name");
            let versions = self.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
            published.insert(name.to_owned(), versions.versions().len());
        }
        published
    }

    /// The lease.
    pub async fn lease(&self) -> Value {
        self.object(&self.bucket, LEASE).await.expect("a lease")
    }

    /// Writes the lease, whoever holds it.
    pub async fn write_lease(&self, lease: &Value) {
        let body = s3::primitives::ByteStream::from(serde_json::to_vec(lease).unwrap());
        self.s3.put_object().bucket(&self.bucket).key(LEASE).body(body).send().await.unwrap();
    }

    /// Lets the newest live record of `version` tell of other bytes than were released.
    pub async fn falsify_the_ledger(&self, version: &str) {
        for number in (1..100).rev() {
            let key = format!("deployctl/local/ledger/{number:08}.json");
            let Some(mut record) = self.object(&self.bucket, &key).await else { continue };
            if record["release"]["version"] == version && record["outcome"] == "live" {
                record["release"]["artifacts"]["users"]["sha256"] = "0".repeat(64).into();
                let body = s3::primitives::ByteStream::from(serde_json::to_vec(&record).unwrap());
                self.s3.put_object().bucket(&self.bucket).key(key).body(body).send().await.unwrap();
                return;
            }
        }
        panic!("no record of {version}");
    }

    async fn object(&self, bucket: &str, key: &str) -> Option<Value> {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.ok()?;
        serde_json::from_slice(&object.body.collect().await.unwrap().into_bytes()).ok()
    }
}

const LEASE: &str = "deployctl/local/lease.json";
