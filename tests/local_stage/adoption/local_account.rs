//! A local stage that stands for the account in which the projects run, with what their teams made by hand.

use std::path::Path;

use aws_sdk_s3 as s3;

use crate::support::minimal_project::MinimalProject;
use crate::support::stage_file::StageFile;
use crate::support::{fixtures, http, sdk, sigv4};

/// Where the projects keep their Terraform states.
const STATES: &str = "harbour-tfstate";
/// The DynamoDB table in which one of them locks its state.
const LOCKS: &str = "harbour-locks";

/// The account. It ends with its value.
#[derive(Debug)]
pub(super) struct LocalAccount {
    /// The project whose local stage it is.
    host: MinimalProject,
    /// Where its servers are.
    pub(super) file: StageFile,
}

impl LocalAccount {
    pub(super) async fn start() -> Self {
        let host = MinimalProject::new();
        host.run(&["local", "up"]).await.exit(0);
        let account = Self { file: host.stage_file(), host };
        let s3 = s3::Client::new(&account.config());
        fixtures::create_bucket(&s3, STATES).await;
        account.create_lock_table().await;
        account
    }

    pub(super) fn config(&self) -> aws_types::SdkConfig {
        sdk::config(&self.file.endpoint(), "000000000000")
    }

    /// What a shell has after `eval "$(deployctl local env)"`.
    pub(super) fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("AWS_ENDPOINT_URL", self.file.endpoint()),
            ("AWS_ACCESS_KEY_ID", "000000000000".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.file.secret().to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ]
    }

    /// Lets deployctl in `project` find this local stage as its own.
    pub(super) fn lend_to(&self, project: &Path) {
        let (from, to) = (self.host.path().join(".deployctl/local"), project.join(".deployctl/local"));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(from.join("stage.json"), to.join("stage.json")).unwrap();
    }

    async fn create_lock_table(&self) {
        let body = serde_json::json!({
            "TableName": LOCKS,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{ "AttributeName": "LockID", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "LockID", "KeyType": "HASH" }],
        })
        .to_string();
        let endpoint = self.file.endpoint();
        let (host, target) = (endpoint.trim_start_matches("http://"), "DynamoDB_20120810.CreateTable");
        let signer = ("000000000000", self.file.secret());
        let what = ("POST", host, "/", target);
        let signed = sigv4::headers(signer, "dynamodb", &sigv4::time(0), what, body.as_bytes());
        let http = http::client();
        let request = http.post(&endpoint).header("X-Amz-Target", target).body(body);
        let request = request.header("Content-Type", "application/x-amz-json-1.0");
        let request = signed.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }
}
