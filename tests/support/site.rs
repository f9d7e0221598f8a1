//! A released stage as its callers see it, and as AWS knows it: asked past deployctl.

use std::collections::BTreeMap;

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use serde_json::Value;

use super::sdk;

/// A stage.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where it answers.
    pub url: String,
    http: reqwest::Client,
    gateway: gateway::Client,
    lambda: lambda::Client,
    s3: s3::Client,
    api: String,
    bucket: String,
}

/// What a caller got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `X-Release`: what API Gateway served the request with.
    pub release: String,
    /// `X-Function-Version`: which code answered.
    pub function_version: String,
    /// What the releases of these tests differ in.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Site {
    /// The stage that a document of deployctl tells of.
    pub async fn of(document: &Value) -> Self {
        let url = document["url"].as_str().expect("a url").to_owned();
        let (endpoint, _) = url.split_once("/_aws/").expect("a local url");
        let config = sdk::config(endpoint, "000000000000");
        let mut site = Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            gateway: gateway::Client::new(&config),
            lambda: lambda::Client::new(&config),
            s3: s3::Client::new(&config),
            api: document["api"]["id"].as_str().expect("an API").to_owned(),
            bucket: String::new(),
            url,
        };
        let state = site.object("users-local-tfstate-000000000000", "users/local/base.tfstate").await;
        let outputs = &state.expect("a Terraform state")["outputs"];
        site.bucket = outputs["artifact_bucket"]["value"].as_str().expect("a bucket").to_owned();
        site
    }

    /// Sends a request.
    pub async fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, reqwest::Error> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Answer {
            status: response.status().as_u16(),
            release: header("x-release"),
            function_version: header("x-function-version"),
            content_type: header("content-type"),
            body: response.text().await?,
        })
    }

    /// Sends a request that gets an answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.send(method, path, body).await.unwrap()
    }

    /// Where the stage points: its deployment, and its variables.
    pub async fn pointer(&self) -> (String, BTreeMap<String, String>) {
        let stage = self.gateway.get_stage().rest_api_id(&self.api).stage_name("local").send().await.unwrap();
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

    async fn object(&self, bucket: &str, key: &str) -> Option<Value> {
        let object = self.s3.get_object().bucket(bucket).key(key).send().await.ok()?;
        serde_json::from_slice(&object.body.collect().await.unwrap().into_bytes()).ok()
    }
}

const LEASE: &str = "deployctl/local/lease.json";
