//! What goes wrong, and how it is told.

use deployctl::terraform::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::project::{CONFIGURATION, Project, pretend};

#[tokio::test]
async fn a_plan_made_before_another_apply_is_stale() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    let first = project.planned().await;
    project.apply().await;
    let failure = project.driver.apply(&project.layer, first).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::StalePlan), "{failure:?}");
}

#[tokio::test]
async fn a_missing_variable_is_named() {
    let project = Project::ready(CONFIGURATION).await;
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(&*failure.reason, Reason::MissingVariables(names) if names == &["name"]), "{failure:?}");
    assert_eq!(failure.to_string(), "terraform app: no value for name");
    assert_eq!(project.plan_files(), 0);
}

#[tokio::test]
async fn an_invalid_configuration_is_reported_with_file_and_line() {
    let project = Project::ready("").await;
    std::fs::write(project.layer.dir.join("more.tf"), "\noutput \"x\" { value = nothing.here }\n").unwrap();
    let error = deployctl::error::Error::from(project.plan().await.unwrap_err());
    assert!(error.causes()[0].contains("more.tf:2)"), "{error:?}");
}

#[tokio::test]
async fn a_terraform_that_is_killed_is_a_failure_with_its_last_lines() {
    let project = Project::ready(CONFIGURATION).await;
    pretend(
        &project,
        r#"echo '{"type":"version","terraform":"1.11.4","ui":"1.2"}'; echo 'panic: oh no' >&2; kill -9 $$"#,
    );
    let failure = project.plan().await.unwrap_err();
    assert!(failure.to_string().contains("signal: 9"), "{failure}");
    assert!(failure.to_string().contains("panic: oh no"), "{failure}");
}

#[tokio::test]
async fn another_format_and_a_truncated_plan_are_refused() {
    let project = Project::ready(CONFIGURATION).await;
    pretend(&project, r#"echo '{"type":"version","terraform":"2.0.0","ui":"2.0"}'; exit 2"#);
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::Format { .. }), "{failure:?}");
    let whole = r#"for arg; do case "$arg" in -out=*) printf 'PK\005\006%018d' 0 >"${arg#-out=}"; exit 2;; esac; done"#;
    pretend(&project, &format!("{whole}\necho '{{\"format_version\":\"1.2\",\"resource_cha'"));
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::Format { .. }), "{failure:?}");
}

#[tokio::test]
async fn lines_that_are_not_json_or_not_utf_8_are_passed_on() {
    let project = Project::ready(CONFIGURATION).await;
    pretend(&project, r#"printf 'hello \377\n{"type":"log"'; head -c 1048576 /dev/zero | tr '\0' x; exit 0"#);
    // Without a summary, exit code 0 does not prove that there are no changes.
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::ExitCodeChanged { .. }), "{failure:?}");
    let heard = project.heard.lock().unwrap();
    assert!(heard.iter().any(|line| line.contains("hello \u{fffd}")));
    // The long line is passed on, and cut.
    assert!(heard.iter().any(|line| line.len() > 16_000 && line.len() < 20_000));
}

#[tokio::test]
async fn a_plan_that_did_not_fit_on_the_disk_is_refused() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    let file = project.driver.terraform.program.clone();
    let script = std::fs::read_to_string(&file).unwrap();
    // No file may grow beyond half a kilobyte: Terraform does not notice, and says that all went well.
    pretend(&project, &format!("ulimit -f 1\n{script}"));
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::PlanNotWritten), "{failure:?}");
}

/// Damages of files that Terraform writes in place: as a script that runs in the layer.
const DAMAGES: [&str; 4] = [
    ": > \"$TF_DATA_DIR/terraform.tfstate\"",
    "printf '{\"version\": 3, \"ser' > \"$TF_DATA_DIR/terraform.tfstate\"",
    "mkdir -p \"$TF_DATA_DIR/modules\"; printf '{\"Mod' > \"$TF_DATA_DIR/modules/modules.json\"",
    ": > \"$TF_DATA_DIR/terraform.tfstate\"; mkdir -p \"$TF_DATA_DIR/modules\"; : > \"$TF_DATA_DIR/modules/modules.json\"",
];

const WITH_BACKEND_AND_MODULE: &str =
    "terraform {\n  backend \"local\" {}\n}\n\nmodule \"m\" {\n  source = \"./m\"\n}\n";

#[tokio::test]
async fn an_init_that_was_killed_or_ran_on_a_full_disk_is_repeated() {
    let project = Project::new(WITH_BACKEND_AND_MODULE).await;
    std::fs::create_dir(project.layer.dir.join("m")).unwrap();
    std::fs::write(project.layer.dir.join("m/main.tf"), "output \"one\" {\n  value = 1\n}\n").unwrap();
    let terraform = std::fs::read_to_string(&project.driver.terraform.program).unwrap();
    for damage in DAMAGES {
        // Killed in the middle of the first one.
        std::fs::remove_dir_all(project.driver.data_dir(&project.layer)).ok();
        pretend(&project, &format!("{damage}; kill -9 $$"));
        project.driver.init_if_needed(&project.layer).await.unwrap_err();
        std::fs::write(&project.driver.terraform.program, &terraform).unwrap();
        assert!(project.driver.init_if_needed(&project.layer).await.unwrap(), "{damage}");
        project.plan().await.unwrap();

        // Damaged after a complete one.
        let data_dir = project.driver.data_dir(&project.layer);
        let damaged =
            std::process::Command::new("sh").args(["-c", damage]).env("TF_DATA_DIR", &data_dir).status();
        assert!(damaged.unwrap().success());
        assert!(project.driver.init_if_needed(&project.layer).await.unwrap(), "{damage}");
        project.plan().await.unwrap();
        assert!(!project.driver.init_if_needed(&project.layer).await.unwrap(), "{damage}");
    }
}

#[tokio::test]
async fn resources_that_need_each_other_are_a_cycle() {
    let mut project = Project::ready(CONFIGURATION).await;
    project.set("name", "x");
    let circle = "resource \"terraform_data\" \"head\" {\n  input = terraform_data.tail.output\n}\n\
                  resource \"terraform_data\" \"tail\" {\n  input = terraform_data.head.output\n}\n";
    std::fs::write(project.layer.dir.join("more.tf"), circle).unwrap();
    let failure = project.plan().await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::ResourceCycle), "{failure:?}");
}

#[tokio::test]
async fn a_terraform_that_the_layer_does_not_want_is_a_version_constraint() {
    let project = Project::new("terraform {\n  required_version = \">= 99\"\n}\n").await;
    let failure = project.driver.init_if_needed(&project.layer).await.unwrap_err();
    assert!(matches!(*failure.reason, Reason::VersionConstraint), "{failure:?}");
}

/// A server that gives every request one answer, until it is dropped.
struct Server {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn answering(status: &str, code: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let body =
            format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>");
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut request = [0; 8192];
                let _asked = client.read(&mut request).await;
                let _told = client.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_missing_state_and_an_unreachable_backend_differ() {
    // Credentials are checked with STS, the state is read from S3.
    let cases = [
        ("Authentication", "sts", "403 Forbidden", "ExpiredToken"),
        ("Authentication", "sts", "403 Forbidden", "InvalidClientTokenId"),
        ("Authentication", "s3", "403 Forbidden", "AccessDenied"),
        ("Throttled", "s3", "503 Slow Down", "SlowDown"),
        ("BackendUnreachable", "s3", "404 Not Found", "NoSuchBucket"),
        ("BackendUnreachable", "s3", "nobody listens", ""),
    ];
    for (reason, service, status, code) in cases {
        let server = Server::answering(status, code).await;
        if code.is_empty() {
            server.task.abort();
        }
        let mut project = Project::new(&format!(
            "terraform {{\n  backend \"s3\" {{\n    bucket = \"states\"\n    key = \"app\"\n    region = \"us-east-1\"\n    \
             max_retries = 1\n    use_path_style = true\n    skip_credentials_validation = {}\n    \
             skip_requesting_account_id = true\n    skip_metadata_api_check = true\n    \
             endpoints = {{ {service} = \"http://127.0.0.1:{}\" }}\n  }}\n}}\n",
            service != "sts",
            server.port
        ))
        .await;
        for (name, value) in [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")] {
            project.driver.env.insert(name.into(), Some(value.into()));
        }
        let failure = project.driver.init_if_needed(&project.layer).await.unwrap_err();
        assert!(format!("{:?}", failure.reason).starts_with(reason), "{status} {code}: {failure:?}");
        // Told once, by the failure: while it may still come right, it is no error. (Prose passes as it comes.)
        if !project.driver.terraform.has(deployctl::terraform::commands::INIT_JSON) {
            continue;
        }
        assert!(
            !project.heard.lock().unwrap().iter().any(|line| line.contains("rror")),
            "{:?}",
            project.heard
        );
    }
}
