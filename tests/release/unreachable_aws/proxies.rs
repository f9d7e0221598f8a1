//! Proxies, their certificates, and the hosts that the partitions and the variables of AWS lead to.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::release::foreign_output;
use crate::support::minimal_project::MinimalProject;
use crate::support::program::Program;

/// A proxy that intercepts TLS. It ends with its handle.
struct Proxy {
    folder: PathBuf,
    url: String,
    _process: tokio::process::Child,
}

impl Proxy {
    async fn start(project: &MinimalProject) -> Self {
        let folder = project.path().join("proxy");
        std::fs::create_dir(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/release/unreachable_aws/proxy.py");
        let mut command = tokio::process::Command::new(script);
        let process = command.arg(&folder).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let start = Instant::now();
        let port = loop {
            if let Ok(port) = std::fs::read_to_string(folder.join("port")) {
                break port;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "the proxy does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Self { url: format!("http://127.0.0.1:{port}"), folder, _process: process }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The hosts that were asked for since the last time.
    fn hosts(&self) -> Vec<String> {
        let file = self.folder.join("hosts");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::remove_file(file).ok();
        text.lines().map(str::to_owned).collect()
    }
}

fn with_keys(project: &MinimalProject) -> Program {
    let program = project.program.clone().with("AWS_ACCESS_KEY_ID", "111111111111");
    program.with("AWS_SECRET_ACCESS_KEY", "x").with("DEPLOYCTL_STAGE", "dev")
}

#[tokio::test]
async fn a_proxy_with_its_own_certificate_leads_to_aws() {
    let project = MinimalProject::new();
    let proxy = Proxy::start(&project).await;
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let program = with_keys(&project).with(variable, &proxy.url);
        let trusting = program.clone().with("AWS_CA_BUNDLE", proxy.certificate());
        trusting.run(&["status"]).await.exit(10).says(&["error [stage.empty]"]);
        let hosts = proxy.hosts();
        assert!(hosts.contains(&"sts.us-east-1.amazonaws.com:443".to_owned()), "{variable}: {hosts:?}");
        assert!(hosts.iter().any(|host| host.contains(".s3.")), "{variable}: {hosts:?}");
    }
    let program = with_keys(&project).with("HTTPS_PROXY", &proxy.url);
    let refused = program.run(&["release", "--version", "1.0.0"]).await.exit(10);
    refused.says(&[
        "error [aws.unreachable]: cannot reach sts.us-east-1.amazonaws.com: invalid peer certificate",
    ]);
    for (name, text) in [("missing.pem", None), ("empty.pem", Some("")), ("text.pem", Some("no certificate"))]
    {
        let file = project.path().join(name);
        text.into_iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let refused = program.clone().with("AWS_CA_BUNDLE", &file).run(&["status"]).await.exit(10);
        refused.says(&["error [aws.ca_bundle]", name]);
    }
}

/// FIPS, dual-stack and the partitions: the hosts of STS.
#[tokio::test]
async fn the_region_and_the_variables_of_aws_select_the_host() {
    let project = MinimalProject::new();
    let proxy = Proxy::start(&project).await;
    for (region, variable, host) in [
        ("us-east-1", "AWS_USE_FIPS_ENDPOINT", "sts-fips.us-east-1.amazonaws.com"),
        ("us-east-1", "AWS_USE_DUALSTACK_ENDPOINT", "sts.us-east-1.api.aws"),
        ("cn-north-1", "ANY", "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "ANY", "sts.us-gov-west-1.amazonaws.com"),
    ] {
        project.settings("region = \"us-east-1\"", &format!("region = {region:?}"));
        let program = with_keys(&project).with("HTTPS_PROXY", &proxy.url).with(variable, "true");
        let start = Instant::now();
        let refused = program.run(&["release", "--version", "1.0.0"]).await.exit(10);
        refused.says(&["error [aws.unreachable]: cannot reach ", host]);
        assert!(start.elapsed() < Duration::from_secs(10), "{host}: {:?}", start.elapsed());
        assert!(proxy.hosts().contains(&format!("{host}:443")), "{host}");
    }
}

#[tokio::test]
async fn a_dead_proxy_does_not_carry_local_traffic_and_terraform_gets_the_same_variables() {
    let project = MinimalProject::new();
    let environment = project.path().join("environment.json");
    let program = foreign_output::program(&project, "flood 0 0 1").await;
    let program = program.with("FAKE_TERRAFORM_ENVIRONMENT", &environment);
    for variables in [&["HTTP_PROXY", "HTTPS_PROXY"][..], &["ALL_PROXY"], &["http_proxy", "all_proxy"]] {
        let dead = |program: Program, name: &&str| program.with(name, "http://127.0.0.1:9");
        let program = variables.iter().fold(program.clone(), dead).with("NO_PROXY", ".corp");
        program.run(&["plan"]).await.exit(0);
        let seen: Value = serde_json::from_slice(&std::fs::read(&environment).unwrap()).unwrap();
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            assert_eq!(seen[name], "http://127.0.0.1:9", "{variables:?}: {name}");
        }
        for name in ["NO_PROXY", "no_proxy"] {
            assert!(seen[name].as_str().unwrap().starts_with(".corp,127.0.0.1,localhost,"), "{seen:#}");
        }
    }
}

#[tokio::test]
async fn a_missing_profile_is_named_at_once() {
    let project = MinimalProject::new();
    let config = project.write("aws-config", "[profile other]\nregion = us-east-1\n");
    let program = project.program.clone().with("AWS_CONFIG_FILE", config).with("DEPLOYCTL_STAGE", "dev");
    let start = Instant::now();
    let refused = program.clone().with("AWS_PROFILE", "absent").run(&["status"]).await.exit(10);
    refused.says(&["error [aws.credentials]", "there is no profile \"absent\" in ", "correct AWS_PROFILE"]);
    project.settings("[stages.dev]", "[stages.dev]\nprofile = \"of the stage\"");
    let refused = program.with("AWS_ACCESS_KEY_ID", "x").run(&["status"]).await.exit(10);
    refused.says(&["there is no profile \"of the stage\" in ", "`profile` of the stage in deployctl.toml"]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// The request for the credentials fails: AWS did not refuse them.
#[tokio::test]
async fn credentials_from_a_host_that_cannot_be_reached() {
    let project = MinimalProject::new();
    let token = project.write("token", "x");
    let program = project.program.clone().with("DEPLOYCTL_STAGE", "dev");
    let program = program.with("AWS_ROLE_ARN", "arn:aws:iam::111111111111:role/x");
    let program =
        program.with("AWS_WEB_IDENTITY_TOKEN_FILE", token).with("HTTPS_PROXY", "http://127.0.0.1:9");
    let start = Instant::now();
    let refused = program.run(&["release", "--version", "1.0.0"]).await.exit(10);
    refused.says(&[
        "error [aws.unreachable]: cannot reach sts.us-east-1.amazonaws.com: ",
        "refused",
        "HTTPS_PROXY",
    ]);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
