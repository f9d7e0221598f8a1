//! A stage of this project, asked past deployctl: what it points to, who answers, and what is written in its bucket.

use aws_sdk_apigateway as gateway;
use aws_sdk_s3 as s3;
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
    url: String,
    api: String,
    http: reqwest::Client,
    gateway: gateway::Client,
    s3: s3::Client,
}

impl View {
    /// The stage that answers at `url`.
    pub fn of(url: &str) -> Self {
        let (endpoint, path) = url.split_once("/_aws/execute-api/").expect("a local url");
        let config = sdk::config(endpoint, "000000000000");
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            gateway: gateway::Client::new(&config),
            s3: s3::Client::new(&config),
            api: path.split('/').next().unwrap_or_default().to_owned(),
            url: url.to_owned(),
        }
    }

    /// Where the stage points, as the ledger writes it.
    pub async fn pointer(&self) -> Value {
        let stage = self.gateway.get_stage().rest_api_id(&self.api).stage_name("local").send().await.unwrap();
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
        self.object(&self.bucket().await, "deployctl/local/lease.json").await
    }

    /// The record of what is live by the ledger, whose numbers must have no gaps.
    pub async fn newest_live_record(&self) -> Value {
        let bucket = self.bucket().await;
        let mut keys = Vec::new();
        let mut pages = self.s3.list_objects_v2().bucket(&bucket).prefix(LEDGER).into_paginator().send();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        let expected: Vec<String> =
            (1..=keys.len()).map(|number| format!("{LEDGER}{number:08}.json")).collect();
        assert_eq!(keys, expected, "the ledger has gaps");
        for key in keys.iter().rev() {
            let record = self.object(&bucket, key).await;
            if record["outcome"] == "live" {
                return record;
            }
        }
        panic!("the ledger knows of no release");
    }

    async fn bucket(&self) -> String {
        let state = self.object("users-local-tfstate-000000000000", "users/local/base.tfstate").await;
        state["outputs"]["artifact_bucket"]["value"].as_str().expect("a bucket").to_owned()
    }

    async fn object(&self, bucket: &str, key: &str) -> Value {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.unwrap();
        serde_json::from_slice(&object.body.collect().await.unwrap().into_bytes()).unwrap()
    }
}

const LEDGER: &str = "deployctl/local/ledger/";
