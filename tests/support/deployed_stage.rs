//! A released stage of this project, read without deployctl: what it points to, who answers, and what is in its bucket.

use std::collections::BTreeMap;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use aws_sdk_s3::types::ChecksumMode;
use serde_json::{Value, json};

use super::caller::{Answer, Caller};
use super::sdk;

/// The routes that change nothing, and may be asked of any release: function, method and path.
const ROUTES: [(&str, &str, &str); 6] = [
    ("users_get", "GET", "/demo/users"),
    ("users_post", "POST", "/demo/users"),
    ("users_delete", "DELETE", "/demo/users"),
    ("user_get", "GET", "/demo/users/nobody"),
    ("user_patch", "PATCH", "/demo/users/nobody"),
    ("user_delete", "DELETE", "/demo/users/nobody"),
];

/// The stage.
#[derive(Debug, Clone)]
pub(crate) struct DeployedStage {
    /// A client of the stage.
    pub(crate) caller: Caller,
    gateway: gateway::Client,
    lambda: lambda::Client,
    s3: s3::Client,
    api: String,
    /// Its name.
    pub(crate) stage: String,
    bucket: String,
}

impl DeployedStage {
    /// The stage of a document that deployctl printed.
    pub(crate) async fn of(document: &Value) -> Self {
        let url = document["url"].as_str().expect("a url");
        let (endpoint, _) = url.split_once("/_aws/").expect("a local url");
        let config = sdk::config(endpoint, "000000000000");
        let mut deployed = Self {
            caller: Caller::of(document),
            gateway: gateway::Client::new(&config),
            lambda: lambda::Client::new(&config),
            s3: s3::Client::new(&config),
            api: document["api"]["id"].as_str().expect("an API").to_owned(),
            stage: document["stage"].as_str().expect("a stage").to_owned(),
            bucket: String::new(),
        };
        let stage = &deployed.stage;
        let states = format!("users-{stage}-tfstate-000000000000");
        let state = deployed.object(&states, &format!("users/{stage}/base.tfstate")).await;
        let outputs = &state["outputs"];
        deployed.bucket = outputs["artifact_bucket"]["value"].as_str().expect("a bucket").to_owned();
        deployed
    }

    /// Sends a request that gets an answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.caller.send(method, path, body).await.unwrap()
    }

    /// Where the stage points: its deployment, and its variables.
    pub(crate) async fn pointer(&self) -> (String, BTreeMap<String, String>) {
        let stage =
            self.gateway.get_stage().rest_api_id(&self.api).stage_name(&self.stage).send().await.unwrap();
        let variables = stage.variables.unwrap_or_default();
        (stage.deployment_id.unwrap_or_default(), variables.into_iter().collect())
    }

    /// The same as the ledger writes it.
    pub(crate) async fn pointer_record(&self) -> Value {
        let (deployment, variables) = self.pointer().await;
        json!({ "deployment_id": deployment, "variables": variables })
    }

    /// Asks all functions, and fails the test unless the one release that the stage's variables name answers each
    /// time. How many requests that took.
    pub(crate) async fn serves_one_release(&self) -> usize {
        let (_, variables) = self.pointer().await;
        for (key, method, path) in ROUTES {
            let answer = self.caller.send(method, path, Some("{}")).await.unwrap();
            let found = (&answer.release, &answer.function_version);
            assert_eq!(found, (&variables["release"], &variables[key]), "{method} {path}: {answer:?}");
            assert!(answer.status < 500, "{answer:?}");
        }
        ROUTES.len()
    }

    /// How many versions each of these functions has.
    pub(crate) async fn published(&self, functions: &Value) -> BTreeMap<String, usize> {
        let mut published = BTreeMap::new();
        for function in functions.as_object().expect("functions").values() {
            let name = function["name"].as_str().expect("a name");
            let versions = self.lambda.list_versions_by_function().function_name(name).send().await.unwrap();
            published.insert(name.to_owned(), versions.versions().len());
        }
        published
    }

    /// The lease.
    pub(crate) async fn lease(&self) -> Value {
        self.object(&self.bucket, &self.lease_key()).await
    }

    /// Writes the lease, whoever holds it.
    pub(crate) async fn write_lease(&self, lease: &Value) {
        let body = s3::primitives::ByteStream::from(serde_json::to_vec(lease).unwrap());
        self.s3.put_object().bucket(&self.bucket).key(self.lease_key()).body(body).send().await.unwrap();
    }

    fn lease_key(&self) -> String {
        format!("deployctl/{}/lease.json", self.stage)
    }

    /// Writes the hash of other bytes into every record of `version`.
    pub(crate) async fn change_zip_hash_in_ledger(&self, version: &str) {
        let mut changed = 0;
        for key in self.keys(&self.bucket, &format!("deployctl/{}/ledger/", self.stage)).await {
            let mut record = self.object(&self.bucket, &key).await;
            if record["release"]["version"] == version {
                record["release"]["artifacts"]["users"]["sha256"] = "0".repeat(64).into();
                let body = s3::primitives::ByteStream::from(serde_json::to_vec(&record).unwrap());
                self.s3.put_object().bucket(&self.bucket).key(key).body(body).send().await.unwrap();
                changed += 1;
            }
        }
        assert!(changed > 0, "no record of {version}");
    }

    /// A record of the ledger.
    pub(crate) async fn record(&self, number: usize) -> Value {
        let key = format!("deployctl/{}/ledger/{number:08}.json", self.stage);
        self.object(&self.bucket, &key).await
    }

    /// How many records the ledger has.
    pub(crate) async fn numbers(&self) -> usize {
        self.keys(&self.bucket, &format!("deployctl/{}/ledger/", self.stage)).await.len()
    }

    /// The record of what is live by the ledger, whose numbers must have no gaps.
    pub(crate) async fn newest_live_record(&self) -> Value {
        let bucket = &self.bucket;
        let ledger = format!("deployctl/{}/ledger/", self.stage);
        let keys = self.keys(bucket, &ledger).await;
        let expected: Vec<String> =
            (1..=keys.len()).map(|number| format!("{ledger}{number:08}.json")).collect();
        assert_eq!(keys, expected, "the ledger has gaps");
        for key in keys.iter().rev() {
            let record = self.object(bucket, key).await;
            if record["outcome"] == "live" {
                return record;
            }
        }
        panic!("the ledger knows of no release");
    }

    /// Fails the test unless each zip in the bucket has the bytes that its release has: `hashes` by key, in base64.
    pub(crate) async fn zips_are(&self, hashes: &BTreeMap<String, String>) {
        let bucket = &self.bucket;
        for key in self.keys(bucket, "").await.iter().filter(|key| key.ends_with(".zip")) {
            let head = self.s3.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
            let head = head.send().await.unwrap();
            let found = match head.checksum_sha256() {
                Some(found) => found.to_owned(),
                // A copy, whose checksum this emulator does not keep.
                None => super::digest::sha256_base64(&self.bytes(bucket, key).await),
            };
            assert_eq!(Some(&found), hashes.get(key), "{key} was overwritten");
        }
    }

    /// Deletes the zips from the bucket, so that the next release brings them anew. The functions have theirs, and the
    /// bucket's older versions stay, which is where the ledger's records point.
    pub(crate) async fn forget_zips(&self) {
        let bucket = &self.bucket;
        for key in self.keys(bucket, "").await.iter().filter(|key| key.ends_with(".zip")) {
            self.s3.delete_object().bucket(bucket).key(key).send().await.unwrap();
        }
    }

    async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut pages = self.s3.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys
    }

    async fn find_object(&self, bucket: &str, key: &str) -> Option<Value> {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.ok()?;
        serde_json::from_slice(&object.body.collect().await.unwrap().into_bytes()).ok()
    }

    async fn object(&self, bucket: &str, key: &str) -> Value {
        serde_json::from_slice(&self.bytes(bucket, key).await).unwrap()
    }

    async fn bytes(&self, bucket: &str, key: &str) -> Vec<u8> {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.unwrap();
        object.body.collect().await.unwrap().to_vec()
    }
}
