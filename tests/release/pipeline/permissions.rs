//! Every call that deployctl and Terraform make is allowed by the roles of `terraform/github`; and of what is allowed to
//! deployctl, nothing is allowed in vain.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::calls::{ACCOUNT, Need, REGION, needs, operation};
use super::policy::Policies;
use super::recorder::Recorder;
use super::repository;
use super::two_stage_project::TwoStageProject;
use crate::support::http::{self, header};
use crate::support::program::Program;
use crate::support::stage_file::StageFile;
use crate::support::{minimal_project, sigv4};

/// What the example's stage is called by its callers.
const DOMAIN: &str = "dev.example.com";

/// Allowed to deployctl, and asked for by nobody here, each with its reason.
const UNSEEN: [&str; 4] = [
    // By the checks before the switch, and for versions that Lambda made inactive; this project's API calls no function.
    "ReleaseFunctions lambda:InvokeFunction",
    // By a canary.
    "Monitor cloudwatch:DescribeAlarms",
    "Monitor cloudwatch:GetMetricData",
    // By a release whose function fails.
    "ReadLogs logs:FilterLogEvents",
];

/// What a first release of the example does with the rights of a person.
const OF_A_PERSON: [&str; 11] = [
    // Whether an API of that name exists, before Terraform creates it.
    "apigateway:GET",
    "iam:CreateRole",
    "iam:PutRolePolicy",
    "s3:CreateBucket",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
];

/// Named in the source, and not made by these commands: what they need is none of the deploy role's rights.
const UNRECORDED: [&str; 27] = [
    // `bootstrap` and `destroy` are for a person with rights of their own.
    "CreateBucket",
    "PutBucketEncryption",
    "PutBucketVersioning",
    "PutPublicAccessBlock",
    "HeadBucket",
    "ListObjectVersions",
    "DeleteObjects",
    // By `logs`, and by a release whose function fails.
    "FilterLogEvents",
    // By a canary.
    "DescribeAlarms",
    "GetMetricData",
    // So is `prune`: a release cannot delete what an older one needs.
    "ListVersionsByFunction",
    "ListAliases",
    // Only of functions whose alias a release moves, which this project does not have.
    "GetAlias",
    "UpdateAlias",
    "GetProvisionedConcurrencyConfig",
    // Only of functions with provisioned concurrency, which this project does not have either.
    "PutProvisionedConcurrencyConfig",
    "DeleteProvisionedConcurrencyConfig",
    "GetAccountSettings",
    "DeleteFunction",
    // `conformance` is for people, with the policy of its how-to: `tests/release/conformance.rs`. A release with an
    // empty state that creates an API takes a refusal for an answer.
    "GetRestApis",
    // `doctor` asks who runs it, and takes a refusal for an answer.
    "SimulatePrincipalPolicy",
    "GetRole",
    "GetAccount",
    "GetBucketEncryption",
    "GetPublicAccessBlock",
    // Looks for a deployment whose making got no answer: `tests/faults`. Allowed as any GET of the API.
    "GetDeployments",
    // See above.
    "Invoke",
];

#[tokio::test]
async fn deployctl_has_the_permissions_that_it_uses_and_no_others() {
    let site = TwoStageProject::new().await;
    let policies = rights(&json!({ "project": "small", "stage": "local" })).await;
    let from = json!([{ "stage": "local", "account_id": ACCOUNT }]);
    let next = rights(&json!({ "project": "small", "stage": "next", "promote_from": from })).await;
    let deploy = Policies::new(policies["deploy"].as_object().unwrap().values());
    // What only Terraform's own calls for resources need is no part of this: these layers have none.
    let alone = Policies::new([&policies["deploy"]["deployctl"]]);
    let plan = Policies::new([&policies["plan"]["deployctl"]]);
    let promote = Policies::new([&next["deploy"]["deployctl"]]);
    let preview = Policies::new([&policies["preview"]["deployctl"]]);

    let recorder = Recorder::start(site.stage_file.port()).await;
    site.stage_file.point_at(recorder.port);
    let mut made = BTreeSet::new();
    let mut told = BTreeMap::new();
    let mut recorded = Vec::new();
    for (command, roles) in [
        (vec!["release", "--version", "1.0.0"], vec![&alone, &deploy]),
        (vec!["release", "--version", "1.0.0"], vec![&alone]),
        (vec!["release", "--version", "1.1.0"], vec![&alone]),
        // The same bytes, and another configuration.
        (vec!["release", "--version", "1.1.1"], vec![&alone]),
        (vec!["redeploy"], vec![&alone]),
        (vec!["redeploy", "--if-stale"], vec![&alone]),
        (vec!["rollback"], vec![&alone]),
        (vec!["rollback", "--to", "1.1.0"], vec![&alone]),
        (vec!["status"], vec![&alone, &plan]),
        (vec!["history"], vec![&alone, &plan]),
        (vec!["output"], vec![&alone, &plan]),
        (vec!["plan"], vec![&plan]),
        (vec!["plan", "--version", "2.0.0"], vec![&plan]),
        (vec!["unlock", "--yes"], vec![&alone]),
        (vec!["promote", "--version", "1.1.0", "--from", "local", "--to", "next"], vec![&promote]),
        (vec!["preview", "up", "--name", "pr-1"], vec![&preview]),
        // The same bytes again, and once more when only $LATEST has them.
        (vec!["preview", "up", "--name", "pr-1", "--expires", "9h"], vec![&preview]),
        (vec!["preview", "list"], vec![&preview]),
        (vec!["preview", "down", "--name", "pr-1"], vec![&preview]),
        (vec!["preview", "up", "--name", "pr-1", "--expires", "8h"], vec![&preview]),
        (vec!["preview", "prune"], vec![&preview]),
    ] {
        match command[..] {
            ["release", "--version", "1.1.1"] => site.configure().await,
            ["release", "--version", version] => site.project.build(version),
            ["unlock", ..] => held(&site).await,
            ["preview", "up", "--name", _] => site.project.build("preview"),
            _ => {}
        }
        site.project.run(&command).await.exit(0);
        let requests = recorder.take();
        told.insert(command.join(" "), requests.len());
        for request in &requests {
            made.extend(operation(request));
            for need in needs(request) {
                for role in &roles {
                    assert!(role.allow(&need), "{command:?} may not {need:?}: {request:#?}");
                }
            }
        }
        recorded.extend(requests);
    }
    // Run by a person with rights of their own. The zips of this project hold no program.
    for (command, code) in [
        (&["doctor"][..], 10),
        (&["diff", "1.1.0", "1.1.1"], 0),
        (&["prune", "--keep", "1", "--yes"], 0),
        (&["logs", "--since", "1h"], 0),
        (&["invoke", "hello"], 3),
        (&["destroy", "--yes", "--stage", "next"], 0),
    ] {
        site.project.run(command).await.exit(code);
        recorded.extend(recorder.take());
    }
    site.stage_file.restore();
    owners_are_named(&recorded);
    let judged = super::model::allowed_operations(&recorded).await;
    for operation in ["apigateway:UpdateStage", "lambda:Invoke", "logs:FilterLogEvents", "s3:PutObject"] {
        assert!(judged.contains(operation), "{operation} is not in {judged:?}");
    }
    assert!(told.values().all(|count| *count > 3), "a command made no calls: {told:?}");

    nothing_is_allowed_in_vain([&alone, &plan, &promote, &preview]);
    everything_was_seen(&made);
}

fn nothing_is_allowed_in_vain([deploy, plan, promote, preview]: [&Policies; 4]) {
    let unused = deploy.unused();
    let expected: BTreeSet<String> = UNSEEN.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(unused, expected, "allowed, and not needed by any command");
    assert_eq!(plan.unused(), BTreeSet::new(), "allowed, and not needed by a plan");
    assert_eq!(preview.unused(), BTreeSet::new(), "allowed, and not needed by a preview");
    let bucket = "arn:aws:s3:::small-local-artifacts-000000000000";
    for key in ["deployctl/local/ledger/00000099.json", "hello/1.0.0.zip"] {
        assert!(!preview.allow(&Need::new("s3:PutObject", format!("{bucket}/{key}"))), "{key}");
    }
    let unused = promote.unused();
    let unused: Vec<&String> = unused.iter().filter(|text| text.contains("Promote")).collect();
    assert!(unused.is_empty(), "allowed, and not needed by a promotion: {unused:?}");
    let state = "arn:aws:s3:::small-local-tfstate-000000000000/small/local/app.tfstate";
    assert!(!promote.allow(&Need::new("s3:GetObject", state)), "the state of the source");
}

/// S3 refuses a request of ours to a bucket of somebody else. A new bucket has no owner yet.
fn owners_are_named(recorded: &[super::recorder::Request]) {
    let ours = recorded.iter().filter(|request| {
        let header = |name| header(&request.head, name).unwrap_or_default();
        header("user-agent").starts_with("aws-sdk-rust/")
            && header("authorization").contains("/s3/aws4_request")
    });
    let mut seen = 0;
    for request in ours {
        assert_eq!(header(&request.head, "x-amz-expected-bucket-owner"), Some(ACCOUNT), "{request:#?}");
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

/// `doctor` asks for what a release needs: for all that the deploy role is given, and for nothing that it is not.
#[tokio::test]
async fn doctor_asks_for_the_rights_of_the_deploy_role() {
    let policies = rights(&json!({ "project": "small", "stage": "local" })).await;
    let role = Policies::new([&policies["deploy"]["deployctl"]]);
    let checks: Value = serde_json::from_str(include_str!("../../fixtures/doctor-permissions.json")).unwrap();
    let needs = |kind: &str| {
        let checks: Vec<(Vec<String>, String)> = serde_json::from_value(checks[kind].clone()).unwrap();
        let needs = checks.into_iter().flat_map(|(actions, resource)| {
            actions.into_iter().map(move |action| Need::new(&action, resource.clone()))
        });
        needs.collect::<Vec<_>>()
    };
    for need in needs("release") {
        assert!(role.allow(&need), "the role may not {need:?}");
    }
    let asked: BTreeSet<String> = needs("release").into_iter().map(|need| need.action).collect();
    assert_eq!(asked, role.actions());
    // What deletes is not for a release.
    for need in needs("prune") {
        assert!(!role.allow(&need), "the role may {need:?}");
    }
    let pruning: BTreeSet<String> = needs("prune").into_iter().map(|need| need.action).collect();
    for call in ["ListVersionsByFunction", "ListAliases", "DeleteFunction"] {
        assert!(UNRECORDED.contains(&call) && pruning.contains(&format!("lambda:{call}")), "{call}");
    }
}

/// A call that a new command makes must not escape this test.
fn everything_was_seen(made: &BTreeSet<String>) {
    let mut named = BTreeSet::new();
    sources(&repository("src"), &mut |text| {
        for rest in text.split("Failure::new(").skip(1) {
            let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            named.extend(name.filter(|name| name.starts_with(char::is_uppercase)).map(str::to_owned));
        }
    });
    assert!(named.len() > 20, "{named:?}");
    let explained = |name: &String| UNRECORDED.contains(&name.as_str()) || name == "FlushStageCache";
    let missing: Vec<&String> =
        named.iter().filter(|name| !made.contains(*name) && !explained(name)).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} are in the source, and no command of this test has made them: {made:?}"
    );
}

fn sources(folder: &std::path::Path, see: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// A lease that somebody has, who is not there any more.
async fn held(site: &TwoStageProject) {
    let (bucket, key) = (super::two_stage_project::bucket("local"), "deployctl/local/lease.json");
    let lease = site.s3.get_object().bucket(&bucket).key(key).send().await.unwrap();
    let mut lease: Value = serde_json::from_slice(&lease.body.collect().await.unwrap().into_bytes()).unwrap();
    assert!(lease["holder"].is_null(), "{lease:#}");
    lease["holder"] = json!({
        "nonce": "gone", "who": { "arn": "arn:aws:iam::000000000000:user/ada", "run_url": null }, "command": "release 0.9.0",
        "process": { "machine": "gone", "host": "gone", "pid": 1 }, "since": "2026-01-01T00:00:00Z", "expires": "2026-01-01T00:10:00Z",
    });
    let body = aws_sdk_s3::primitives::ByteStream::from(lease.to_string().into_bytes());
    site.s3.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
}

/// What the module `permissions` gives a stage: it has no provider, so that it is applied in a moment.
async fn rights(variables: &Value) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let mut variables = variables.clone();
    variables["partition"] = "aws".into();
    variables["account_id"] = ACCOUNT.into();
    variables["region"] = REGION.into();
    variables["source"] = repository("terraform/github/permissions").to_str().unwrap().into();
    let main = json!({ "module": { "p": variables }, "output": { "deploy": { "value": "${module.p.deploy}" }, "plan": { "value": "${module.p.plan}" }, "preview": { "value": "${module.p.preview}" } } });
    std::fs::write(dir.path().join("main.tf.json"), main.to_string()).unwrap();
    let terraform = async |args: &[&str]| {
        let output = tokio::process::Command::new("terraform")
            .args(args)
            .current_dir(dir.path())
            .output()
            .await
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    terraform(&["init", "-input=false", "-no-color"]).await;
    terraform(&["apply", "-auto-approve", "-input=false", "-no-color"]).await;
    let outputs: Value = serde_json::from_slice(&terraform(&["output", "-json"]).await).unwrap();
    json!({ "deploy": outputs["deploy"]["value"], "plan": outputs["plan"]["value"], "preview": outputs["preview"]["value"] })
}

#[tokio::test]
async fn terraform_has_the_permissions_that_the_example_needs() {
    let dir = tempfile::tempdir().unwrap();
    let example = Example::new(dir.path());
    // With the longest names that the layers take, and all that they may have.
    let name = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    let secret = format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{}", "p".repeat(900));
    let key = format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/mrk-{}", "0".repeat(32));
    let longest = json!({ "project": "twenty-characters-ab", "stage": "sixteen-letter-s", "domain": { "name": name },
                          "redis_auth_secret_arn": secret, "redis_auth_kms_key_arn": key, "user_pool": true });
    let long = rights(&longest).await;
    for policy in long.as_object().unwrap().values().flat_map(|role| role.as_object().unwrap().values()) {
        assert!(policy.as_str().unwrap().len() <= 6144, "a managed policy may not be longer: {policy}");
    }
    example.program.run(&["local", "up"]).await.exit(0);
    // With the rights of a person, once; the local stage would otherwise do so by itself in the release.
    example.program.run(&["bootstrap"]).await.exit(0);
    let (zone, secret) = example.ask_for_more(dir.path()).await;
    let variables = json!({ "project": "users", "stage": "local", "redis_auth_secret_arn": secret, "user_pool": true,
                            "domain": { "name": DOMAIN, "zone_id": zone } });
    let policies = rights(&variables).await;
    let deploy = Policies::new(policies["deploy"].as_object().unwrap().values());
    let plan = Policies::new(policies["plan"].as_object().unwrap().values());
    let stage_file = StageFile::of(dir.path());
    let recorder = Recorder::start(stage_file.port()).await;
    stage_file.point_at(recorder.port);

    // A person makes the first release: the deploy role may not do what the release history and the permissions of
    // the roles depend on.
    example.program.run(&["release", "--version", "1.0.0"]).await.exit(0);
    let (mut made, refused) = judged(&recorder, &deploy);
    let of_a_person: BTreeSet<&str> = refused.iter().map(|need| need.action.as_str()).collect();
    assert_eq!(of_a_person, BTreeSet::from(OF_A_PERSON));
    // The role makes the others.
    example.program.run(&["release", "--version", "1.1.0"]).await.exit(0);
    made.extend(allowed(&recorder, &deploy, "release"));
    for service in [
        "ec2",
        "elasticache",
        "iam",
        "lambda",
        "logs",
        "s3",
        "apigateway",
        "acm",
        "route53",
        "secretsmanager",
        "cognito-idp",
    ] {
        assert!(
            made.iter().any(|action| action.starts_with(&format!("{service}:"))),
            "no {service}: {made:?}"
        );
    }
    example.program.run(&["plan"]).await.exit(0);
    allowed(&recorder, &plan, "plan");
    // Nothing may change with the rights to look.
    let writes = ["Put", "Create", "Delete", "Update", "POST", "PATCH"];
    let texts = policies["plan"].as_object().unwrap().values().map(|text| text.as_str().unwrap());
    let statements = texts.flat_map(|text| {
        serde_json::from_str::<Value>(text).unwrap()["Statement"].as_array().unwrap().clone()
    });
    for statement in statements {
        let actions = statement["Action"].to_string();
        assert!(!writes.iter().any(|write| actions.contains(&format!(":{write}"))), "{statement:#}");
    }
}

/// Fails unless the role may do all that has been asked for; tells the actions.
fn allowed(recorder: &Recorder, role: &Policies, command: &str) -> BTreeSet<String> {
    let (made, refused) = judged(recorder, role);
    assert!(refused.is_empty(), "{command} may not: {refused:#?}");
    made
}

/// The actions that have been asked for, and what of it the role may not do.
fn judged(recorder: &Recorder, role: &Policies) -> (BTreeSet<String>, BTreeSet<Need>) {
    let mut made = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for request in recorder.take() {
        for need in needs(&request) {
            if !role.allow(&need) {
                refused.insert(need.clone());
            }
            made.insert(need.action);
        }
    }
    (made, refused)
}

/// The example's layers, with functions that are as small as one can be. Its local stage ends with it.
struct Example {
    program: Program,
}

impl Example {
    fn new(dir: &std::path::Path) -> Self {
        let settings = "project = \"users\"\ndefault_check = false\n\n[stages.local]\nlocal = true\n\n[layers.base]\n\n[layers.app]\ndepends_on = [\"base\"]\n\n\
                        [layers.dns]\ndepends_on = [\"app\"]\n\n\
                        [artifacts.users]\npath = \"bootstrap\"\nkey = \"users/users-lambda-{version}.zip\"\n\n\
                        [artifacts.authorizer]\npath = \"bootstrap\"\nkey = \"authorizer/authorizer-lambda-{version}.zip\"\n";
        std::fs::write(dir.join("deployctl.toml"), settings).unwrap();
        std::fs::write(dir.join("bootstrap"), minimal_project::executable(std::env::consts::ARCH)).unwrap();
        for layer in ["base", "app", "dns"] {
            let to = dir.join("terraform").join(layer);
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(repository("terraform").join(layer)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        Self { program: Program::new(dir) }
    }

    /// A domain, a user pool and a token of Redis, with what somebody else has made for them: a zone and a secret.
    async fn ask_for_more(&self, dir: &std::path::Path) -> (String, String) {
        let stage = StageFile::of(dir);
        let port = stage.port();
        let ask = async |service: &str, path: &str, target: &str, body: &str| {
            let host = format!("127.0.0.1:{port}");
            let secret = stage.secret();
            let what = ("POST", host.as_str(), path, target);
            let at = sigv4::time(0);
            let headers = sigv4::headers((ACCOUNT, secret), service, &at, what, body.as_bytes());
            let http = http::client();
            let mut request = http
                .post(format!("http://{host}{path}"))
                .header("Content-Type", "application/x-amz-json-1.1");
            if !target.is_empty() {
                request = request.header("X-Amz-Target", target);
            }
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.body(body.to_owned()).send().await.unwrap().text().await.unwrap()
        };
        let zone = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>example.com</Name>\
                    <CallerReference>once</CallerReference></CreateHostedZoneRequest>";
        let zone = ask("route53", "/2013-04-01/hostedzone", "", zone).await;
        let zone = zone.split("<Id>/hostedzone/").nth(1).unwrap_or_else(|| panic!("no zone: {zone}"));
        let zone = zone.split('<').next().unwrap().to_owned();
        let secret = json!({ "Name": "users-redis", "SecretString": "0123456789abcdef" }).to_string();
        let secret = ask("secretsmanager", "/", "secretsmanager.CreateSecret", &secret).await;
        let secret = serde_json::from_str::<Value>(&secret).unwrap()["ARN"].as_str().unwrap().to_owned();
        let settings = std::fs::read_to_string(dir.join("deployctl.toml")).unwrap();
        let variables = format!(
            "local = true\n\n[stages.local.variables]\ndomain_name = \"{DOMAIN}\"\nzone_id = \"{zone}\"\n\
             redis_auth_secret_arn = \"{secret}\"\nauthorization = \"cognito\"\n"
        );
        std::fs::write(dir.join("deployctl.toml"), settings.replacen("local = true\n", &variables, 1))
            .unwrap();
        (zone, secret)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.program.command(&["local", "down", "--stage", "local"]).into_std().status().ok();
    }
}
