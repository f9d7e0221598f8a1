//! A stage of this project, asked past deployctl: what it points to, who answers, and what is written in its bucket.

use std::collections::BTreeMap;

use aws_sdk_apigateway as gateway;
use aws_sdk_s3 as s3;
use aws_sdk_s3::types::ChecksumMode;
use deployctl::artifact::Sha256;
use serde_json::{Value, json};

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
#[derive(Debug)]
pub struct View {
    /// Its name.
    pub stage: String,
    url: String,
    api: String,
    http: reqwest::Client,
    gateway: gateway::Client,
    s3: s3::Client,
}

impl View {
    /// The stage of deployctl's `document`.
    pub fn of(document: &Value) -> Self {
        let url = document["url"].as_str().expect("a url");
        let (endpoint, path) = url.split_once("/_aws/execute-api/").expect("a local url");
        let config = sdk::config(endpoint, "000000000000");
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            gateway: gateway::Client::new(&config),
            s3: s3::Client::new(&config),
            api: path.split('/').next().unwrap_or_default().to_owned(),
            url: url.to_owned(),
            stage: document["stage"].as_str().expect("a stage").to_owned(),
        }
    }

    /// Where the stage points, as the ledger writes it.
    pub async fn pointer(&self) -> Value {
        let stage =
            self.gateway.get_stage().rest_api_id(&self.api).stage_name(&self.stage).send().await.unwrap();
        json!({ "deployment_id": stage.deployment_id, "variables": stage.variables.unwrap_or_default() })
    }

    /// Asks all functions, and fails the test unless the one release that the stage's variables name answers each
    /// time. How many requests that took.
    pub async fn serves_one_release(&self) -> usize {
        let variables = &self.pointer().await["variables"];
        for (key, method, path) in ROUTES {
            let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
            let answer = request.body("{}").send().await.unwrap();
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let found = (header("x-release"), header("x-function-version"));
            let expected = (variables["release"].as_str(), variables[key].as_str());
            assert_eq!((found.0.as_deref(), found.1.as_deref()), expected, "{method} {path}: {answer:?}");
            assert!(answer.status().as_u16() < 500, "{answer:?}");
        }
        ROUTES.len()
    }

    /// The lease.
    pub async fn lease(&self) -> Value {
        self.object(&self.bucket().await, &format!("deployctl/{}/lease.json", self.stage)).await
    }

    /// A record of the ledger.
    pub async fn record(&self, number: usize) -> Value {
        let key = format!("deployctl/{}/ledger/{number:08}.json", self.stage);
        self.object(&self.bucket().await, &key).await
    }

    /// How many records the ledger has.
    pub async fn numbers(&self) -> usize {
        self.keys(&self.bucket().await, &format!("deployctl/{}/ledger/", self.stage)).await.len()
    }

    /// The record of what is live by the ledger, whose numbers must have no gaps.
    pub async fn newest_live_record(&self) -> Value {
        let bucket = self.bucket().await;
        let ledger = format!("deployctl/{}/ledger/", self.stage);
        let keys = self.keys(&bucket, &ledger).await;
        let expected: Vec<String> =
            (1..=keys.len()).map(|number| format!("{ledger}{number:08}.json")).collect();
        assert_eq!(keys, expected, "the ledger has gaps");
        for key in keys.iter().rev() {
            let record = self.object(&bucket, key).await;
            if record["outcome"] == "live" {
                return record;
            }
        }
        panic!("the ledger knows of no release");
    }

    /// Fails the test unless each zip in the bucket has the bytes that its release has: `hashes` by key, in base64.
    pub async fn zips_are(&self, hashes: &BTreeMap<String, String>) {
        let bucket = self.bucket().await;
        for key in self.keys(&bucket, "").await.iter().filter(|key| key.ends_with(".zip")) {
            let head = self.s3.head_object().bucket(&bucket).key(key).checksum_mode(ChecksumMode::Enabled);
            let head = head.send().await.unwrap();
            let found = match head.checksum_sha256() {
                Some(found) => found.to_owned(),
                // A copy, whose checksum this emulator does not keep.
                None => Sha256::of(&self.bytes(&bucket, key).await).base64(),
            };
            assert_eq!(Some(&found), hashes.get(key), "{key} was overwritten");
        }
    }

    /// Deletes the zips from the bucket, so that the next release brings them anew. The functions have theirs, and the
    /// bucket's older versions stay, which is where the ledger's records point.
    pub async fn forget_zips(&self) {
        let bucket = self.bucket().await;
        for key in self.keys(&bucket, "").await.iter().filter(|key| key.ends_with(".zip")) {
            self.s3.delete_object().bucket(&bucket).key(key).send().await.unwrap();
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

    async fn bucket(&self) -> String {
        let (states, key) = (
            format!("users-{}-tfstate-000000000000", self.stage),
            format!("users/{}/base.tfstate", self.stage),
        );
        let state = self.object(&states, &key).await;
        state["outputs"]["artifact_bucket"]["value"].as_str().expect("a bucket").to_owned()
    }

    async fn object(&self, bucket: &str, key: &str) -> Value {
        serde_json::from_slice(&self.bytes(bucket, key).await).unwrap()
    }

    async fn bytes(&self, bucket: &str, key: &str) -> Vec<u8> {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.unwrap();
        object.body.collect().await.unwrap().to_vec()
    }
}
