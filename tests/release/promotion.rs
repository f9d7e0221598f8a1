//! A release of one account and region goes live in another: the very bytes, by the rights of whoever promotes.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;
use serde_json::{Value, json};

use crate::support::minimal_project::MinimalProject;
use crate::support::program::{CommandOutput, Program};
use crate::support::{fixtures, sdk};

/// A stage of its own account and region.
#[derive(Debug, Clone, Copy)]
struct Stage {
    name: &'static str,
    account: &'static str,
    region: &'static str,
}

/// The object of `dev` that a promotion reads beside the states.
const PROMOTION: &str = "small/dev/promotion.json";
const DEV: Stage = Stage { name: "dev", account: "111111111111", region: "us-east-1" };
const PRD: Stage = Stage { name: "prd", account: "222222222222", region: "eu-central-1" };

#[tokio::test]
async fn to_another_account_and_region() {
    let cloud = TwoAccounts::new().await;
    cloud.release("1.0.0").await;
    // What is built since then is of no interest.
    cloud.project.build("1.0.1");

    // The account of `prd` may not read the zips of `dev`. That is seen before anything is changed.
    cloud.settings("profile");
    let told = ["promote.denied", "small-dev/*", "allow account 222222222222 s3:GetObject"];
    cloud.promote(&cloud.profiles, "1.0.0").await.exit(10).says(&told);
    let states = cloud.keys(PRD, "small-prd-tfstate-222222222222").await;
    assert_eq!(states, [""; 0], "Terraform was not begun");

    cloud.lets_read("small-dev").await;
    let promoted = cloud.promote(&cloud.profiles, "1.0.0").await.exit(0).json();
    assert_eq!((&promoted["stage"], &promoted["version"]), (&json!("prd"), &json!("1.0.0")));
    let (from, to) = (cloud.record(DEV, 1).await, cloud.record(PRD, 1).await);
    assert_eq!((&to["action"], &to["release"]["promoted_from"]), (&json!("promote"), &json!("dev")));
    for same in ["sha256", "size", "key"] {
        let of = |record: &Value| record["release"]["artifacts"]["hello"][same].clone();
        assert_eq!(of(&from), of(&to), "{same}");
    }
    let code = |record: &Value| record["release"]["functions"]["hello"]["code_sha256"].clone();
    assert!(code(&from).is_string() && code(&from) == code(&to), "{to:#}");
    assert_eq!(cloud.zip(PRD, "1.0.0").await, cloud.zip(DEV, "1.0.0").await);
    assert_eq!(to["who"]["arn"], "arn:aws:iam::222222222222:root");
}

/// A pipeline has one role, that of the target. It needs to be let in to the state of the source, too.
#[tokio::test]
async fn by_the_role_of_the_target() {
    let cloud = TwoAccounts::new().await;
    cloud.release("1.1.0").await;
    let role = cloud.role_of_the_target();
    cloud.lets_read("small-dev").await;
    cloud.promote(&role, "1.1.0").await.exit(10).says(&["small-dev-tfstate-111111111111", PROMOTION]);
    // One object is enough: the states, with all their secrets, stay closed.
    cloud.lets(&["s3:GetObject"], "small-dev-tfstate-111111111111", PROMOTION).await;
    assert_eq!(cloud.promote(&role, "1.1.0").await.exit(0).json()["version"], "1.1.0");
    // But never to write where it does not belong.
    role.run(&["rollback", "--stage", "dev"]).await.exit(10).says(&["aws.wrong_account"]);
}

#[tokio::test]
async fn bytes_are_those_of_the_release_or_it_is_refused() {
    let cloud = TwoAccounts::new().await;
    let role = cloud.role_of_the_target();
    cloud.lets_read("small-dev").await;
    cloud.lets_read("small-dev-tfstate-111111111111").await;
    cloud.release("1.1.0").await;
    // As an older version has left it: the state says what the object would.
    let states = "small-dev-tfstate-111111111111";
    cloud.s3(DEV).delete_object().bucket(states).key(PROMOTION).send().await.unwrap();
    cloud.promote(&role, "1.1.0").await.exit(0);
    // Other bytes over a zip are another version of it, and not what was released.
    cloud.release("1.2.0").await;
    let zip = cloud.zip(DEV, "1.2.0").await;
    cloud.overwrites("hello/1.2.0.zip").await;
    cloud.promote(&role, "1.2.0").await.exit(0);
    assert_eq!(cloud.zip(PRD, "1.2.0").await, zip);
    // And what is deleted for good cannot be promoted.
    cloud.deletes("hello/1.1.0.zip").await;
    cloud.promote(&role, "1.1.0").await.exit(10).says(&["promote.gone", "does not exist or cannot be read"]);
    assert_eq!(cloud.program.run(&["history", "--stage", "prd"]).await.code, Some(10), "without credentials");
    assert_eq!(role.run(&["history", "--stage", "prd"]).await.exit(0).stdout.lines().count(), 3);
}

/// Whoever may write into the bucket of `dev` cannot make other code go live in `prd`: not by a record, and not over
/// bytes that are there.
#[tokio::test]
async fn a_forged_record_is_refused() {
    let cloud = TwoAccounts::new().await;
    let role = cloud.role_of_the_target();
    cloud.lets_read("small-dev").await;
    cloud.lets_read("small-dev-tfstate-111111111111").await;
    cloud.release("1.0.0").await;
    let honest = cloud.record(DEV, 1).await;
    let built = honest["release"]["artifacts"]["hello"]["sha256"].as_str().unwrap().to_owned();

    // A zip beside the released one, and a record that names it.
    let (forged, sha256) = cloud.forges(honest).await;
    let refused = cloud.promote(&role, "1.0.0").await.exit(10);
    refused.says(&["promote.disagreement", &built, &sha256, "--expect-sha256"]);
    let states = cloud.keys(PRD, "small-prd-tfstate-222222222222").await;
    assert_eq!(states, [""; 0], "Terraform was not begun");
    let expect = async |sha256: &str| {
        let args = ["promote", "--version", "1.0.0", "--from", "dev", "--to", "prd", "--output", "json"];
        role.run(&[&args[..], &["--expect-sha256", sha256]].concat()).await
    };
    expect(&"0".repeat(64)).await.exit(10).says(&["promote.unexpected", &sha256]);
    expect("users=").await.exit(2).says(&["promote.expectation"]);

    // Other bytes under the key of the target stay.
    let squatted = s3::primitives::ByteStream::from_static(b"squatted");
    cloud
        .s3(PRD)
        .put_object()
        .bucket("small-prd")
        .key("hello/1.0.0.zip")
        .body(squatted)
        .send()
        .await
        .unwrap();
    expect(&built).await.exit(10).says(&["artifact.other_bytes"]);
    assert_eq!(cloud.zip(PRD, "1.0.0").await, b"squatted");
    cloud.s3(PRD).delete_object().bucket("small-prd").key("hello/1.0.0.zip").send().await.unwrap();

    // The approved bytes go live, whatever else the ledger says, and everything shows what they are.
    let shown = format!("hello: sha256 {built} (record 1 of dev)");
    let promoted = expect(&format!("hello={built}")).await.exit(0).says(&[&shown]);
    assert_eq!(promoted.json()["artifacts"], json!({ "hello": built }));
    assert_ne!(cloud.zip(PRD, "1.0.0").await, forged);
}

/// Bucket names are global. Whoever has taken the name of the state bucket gets no state, and is not believed.
#[tokio::test]
async fn the_bucket_of_somebody_else_is_not_used() {
    let cloud = TwoAccounts::new().await;
    let squatted = "small-dev-tfstate-111111111111";
    // Emptied and deleted by its owner, and taken by another account, which lets everybody do everything.
    cloud.s3(DEV).delete_bucket().bucket(squatted).send().await.unwrap();
    let region = s3::types::BucketLocationConstraint::from(PRD.region);
    let region = s3::types::CreateBucketConfiguration::builder().location_constraint(region).build();
    let create = cloud.s3(PRD).create_bucket().bucket(squatted).create_bucket_configuration(region);
    create.send().await.unwrap();
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:*",
        "Resource": [format!("arn:aws:s3:::{squatted}"), format!("arn:aws:s3:::{squatted}/*")],
    }] });
    cloud.s3(PRD).put_bucket_policy().bucket(squatted).policy(policy.to_string()).send().await.unwrap();
    cloud.settings("profile");
    cloud.project.build("1.0.0");
    for command in [
        &["bootstrap"][..],
        &["release", "--version", "1.0.0"],
        &["plan"],
        &["terraform", "base", "--", "version"],
        &["status"],
        &["destroy", "--yes"],
    ] {
        let (name, rest) = command.split_first().unwrap();
        let refused = cloud.profiles.run(&[&[*name, "--stage", "dev"], rest].concat()).await.exit(10);
        refused.says(&["must belong to account 111111111111"]);
    }
    assert_eq!(cloud.keys(PRD, squatted).await, [""; 0]);
}

/// One cloud with both accounts. deployctl knows it by its endpoint only, and who it is from the stage's profile.
struct TwoAccounts {
    project: MinimalProject,
    /// deployctl without credentials.
    program: Program,
    /// deployctl with a profile for each stage.
    profiles: Program,
    endpoint: String,
}

impl TwoAccounts {
    async fn new() -> Self {
        let project = MinimalProject::new();
        project.run(&["local", "up"]).await.exit(0);
        let endpoint = project.stage_file().endpoint();
        let secret = sdk::secret(&endpoint);
        let profiles: String = [DEV, PRD]
            .map(|Stage { name, account, .. }| {
                format!("[{name}]\naws_access_key_id = {account}\naws_secret_access_key = {secret}\n\n")
            })
            .concat();
        let profiles = project.write("profiles", profiles);
        // The region of a stage is that of deployctl.toml, whatever the environment says.
        let program =
            project.program.clone().with("AWS_ENDPOINT_URL", &endpoint).with("AWS_REGION", "ap-south-1");
        let profiles = program.clone().with("AWS_SHARED_CREDENTIALS_FILE", profiles);
        let cloud = Self { project, program, profiles, endpoint };
        cloud.settings("profile");
        let mut sites = Vec::new();
        for stage in [DEV, PRD] {
            let config = cloud.config(stage);
            fixtures::create_bucket(&cloud.s3(stage), &format!("small-{}", stage.name)).await;
            fixtures::create_functions(&lambda::Client::new(&config), ["hello".to_owned()]).await;
            let api = fixtures::create_api(&gateway::Client::new(&config), &["v1"]).await;
            let Self { endpoint, .. } = &cloud;
            sites.push(format!("{} = [\"{api}\", \"{endpoint}/_aws/execute-api/{api}/v1\"]", stage.name));
        }
        let bucket = "variable \"stage\" {\n type = string\n}\n\noutput \"artifact_bucket\" {\n value = \"small-${var.stage}\"\n}\n";
        cloud.project.layer("base", bucket);
        cloud.project.layer(
            "app",
            &format!(
                "variable \"stage\" {{\n type = string\n}}\n\nlocals {{\n sites = {{\n {}\n }}\n}}\n\n\
                 output \"deployctl\" {{\n value = {{\n artifact_bucket = \"small-${{var.stage}}\"\n \
                 rest_api_id = local.sites[var.stage][0]\n stage_name = \"v1\"\n \
                 invoke_url = local.sites[var.stage][1]\n \
                 functions = {{ hello = {{ name = \"hello\", artifact = \"hello\" }} }}\n }}\n}}\n",
                sites.join("\n ")
            ),
        );
        for Stage { name, .. } in [DEV, PRD] {
            cloud.profiles.run(&["bootstrap", "--stage", name]).await.exit(0);
        }
        cloud
    }

    fn config(&self, stage: Stage) -> aws_types::SdkConfig {
        let config = sdk::config(&self.endpoint, stage.account).into_builder();
        config.region(s3::config::Region::new(stage.region)).build()
    }

    /// Writes `deployctl.toml`, with a profile for each stage or without.
    fn settings(&self, profile: &str) {
        let stages = [DEV, PRD].map(|Stage { name, account, region }| {
            let profile =
                if profile.is_empty() { String::new() } else { format!("{profile} = \"{name}\"\n") };
            format!(
                "[stages.{name}]\naccount = \"{account}\"\nregion = \"{region}\"\npacing = false\n{profile}\n"
            )
        });
        let stages = format!("{}\n[probe]\ntimeout_seconds = 20\n", stages.concat());
        self.project.settings("[stages.dev]\naccount = \"111111111111\"\nregion = \"us-east-1\"\n", &stages);
    }

    async fn release(&self, version: &str) {
        self.project.build(version);
        self.settings("profile");
        self.profiles.run(&["release", "--version", version, "--stage", "dev"]).await.exit(0);
        self.settings("");
    }

    /// deployctl with the credentials of `prd`, for both stages.
    fn role_of_the_target(&self) -> Program {
        let program = self.program.clone().with("AWS_ACCESS_KEY_ID", PRD.account);
        program.with("AWS_SECRET_ACCESS_KEY", sdk::secret(&self.endpoint))
    }

    async fn promote(&self, program: &Program, version: &str) -> CommandOutput {
        let args = ["promote", "--version", version, "--from", "dev", "--to", "prd", "--output", "json"];
        program.run(&args).await
    }

    fn s3(&self, stage: Stage) -> s3::Client {
        s3::Client::new(&self.config(stage))
    }

    /// Lets the account of `prd` read a bucket of `dev`.
    async fn lets_read(&self, bucket: &str) {
        self.lets(&["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"], bucket, "*").await;
    }

    /// Lets the account of `prd` do something to objects in a bucket of `dev`, and to the bucket.
    async fn lets(&self, actions: &[&str], bucket: &str, objects: &str) {
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{}:root", PRD.account) },
            "Action": actions,
            "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/{objects}")],
        }] });
        self.s3(DEV).put_bucket_policy().bucket(bucket).policy(policy.to_string()).send().await.unwrap();
    }

    /// Overwrites an object of `dev`, as somebody who may do anything.
    async fn overwrites(&self, key: &str) {
        let other = s3::primitives::ByteStream::from_static(b"other bytes");
        self.s3(DEV).put_object().bucket("small-dev").key(key).body(other).send().await.unwrap();
    }

    /// Puts other bytes into the bucket of `dev`, and a record that they are the release of `honest`: the bytes and
    /// their sha256.
    async fn forges(&self, honest: Value) -> (Vec<u8>, String) {
        let forged = crate::support::lambda_zip::lambda_zip(b"forged");
        let key = "hello/forged.zip";
        let put = self.s3(DEV).put_object().bucket("small-dev").key(key).body(forged.clone().into());
        let sha256 = crate::support::digest::sha256_hex(&forged);
        put.send().await.unwrap();
        let mut record = honest;
        record["number"] = json!(2);
        record["release"]["artifacts"]["hello"] =
            json!({ "key": key, "s3_version": null, "sha256": sha256, "size": forged.len() });
        let put = self.s3(DEV).put_object().bucket("small-dev").key("deployctl/dev/ledger/00000002.json");
        put.body(record.to_string().into_bytes().into()).send().await.unwrap();
        (forged, sha256)
    }

    /// Deletes an object of `dev` with all its versions.
    async fn deletes(&self, key: &str) {
        let s3 = self.s3(DEV);
        let found = s3.list_object_versions().bucket("small-dev").prefix(key).send().await.unwrap();
        for version in found.versions() {
            let delete = s3.delete_object().bucket("small-dev").key(key);
            delete.version_id(version.version_id().unwrap()).send().await.unwrap();
        }
    }

    async fn keys(&self, stage: Stage, bucket: &str) -> Vec<String> {
        let found = self.s3(stage).list_objects_v2().bucket(bucket).send().await.unwrap();
        found.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    async fn record(&self, stage: Stage, number: usize) -> Value {
        let key = format!("deployctl/{}/ledger/{number:08}.json", stage.name);
        serde_json::from_slice(&self.bytes(stage, &key).await).unwrap()
    }

    async fn zip(&self, stage: Stage, version: &str) -> Vec<u8> {
        self.bytes(stage, &format!("hello/{version}.zip")).await
    }

    async fn bytes(&self, stage: Stage, key: &str) -> Vec<u8> {
        let bucket = format!("small-{}", stage.name);
        let object = self.s3(stage).get_object().bucket(bucket).key(key).send().await.unwrap();
        object.body.collect().await.unwrap().to_vec()
    }
}
