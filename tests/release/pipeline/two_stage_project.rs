//! A project whose API and functions somebody has made without Terraform, on two local stages: cheap to release. The
//! second one is a stage of a template.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_lambda::client::Waiters as _;
use aws_sdk_s3 as s3;

use crate::support::minimal_project::MinimalProject;
use crate::support::stage_file::StageFile;
use crate::support::{fixtures, sdk};

/// The stages.
pub(crate) const STAGES: [&str; 2] = ["local", "next"];

/// The project, and where its stages are.
#[derive(Debug)]
pub(crate) struct TwoStageProject {
    /// The project.
    pub(crate) project: MinimalProject,
    /// Where deployctl finds the local stage.
    pub(crate) stage_file: StageFile,
    /// AWS's own clients.
    pub(crate) s3: s3::Client,
    lambda: lambda::Client,
}

impl TwoStageProject {
    /// Starts the local stage and makes what the contract tells of.
    pub(crate) async fn new() -> Self {
        let project = MinimalProject::new();
        project.settings(
            "[stages.dev]\naccount = \"111111111111\"\nregion = \"us-east-1\"\n",
            "[stages.\"ne*\"]\nlocal = true\n\n[stages.local.previews]\n",
        );
        project.run(&["local", "up"]).await.exit(0);
        let stage_file = project.stage_file();
        let config = sdk::config(&stage_file.endpoint(), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        for stage in STAGES {
            fixtures::create_bucket(&s3, &bucket(stage)).await;
        }
        let api = fixtures::create_api(&gateway::Client::new(&config), &STAGES).await;
        let lambda = lambda::Client::new(&config);
        fixtures::create_functions(&lambda, STAGES.map(|stage| format!("small-{stage}-hello"))).await;
        project.layer("base", &format!("{STAGE}output \"artifact_bucket\" {{\n value = \"{BUCKET}\"\n}}\n"));
        project.layer("app", &contract(&api));
        // With the rights of a person, once; the local stage would otherwise do so by itself in the first release.
        for stage in STAGES {
            project.run(&["bootstrap", "--stage", stage]).await.exit(0);
        }
        Self { project, stage_file, s3, lambda }
    }

    /// Another configuration of the function, as Terraform would give it.
    pub(crate) async fn configure(&self) {
        let update = self.lambda.update_function_configuration().function_name("small-local-hello");
        update.description("another").send().await.unwrap();
        // As Terraform waits.
        let wait = self.lambda.wait_until_function_updated_v2().function_name("small-local-hello");
        wait.wait(std::time::Duration::from_secs(30)).await.unwrap();
    }
}

const STAGE: &str = "variable \"stage\" {\n type = string\n}\n\n";
const BUCKET: &str = "small-${var.stage}-artifacts-000000000000";

/// The bucket of a stage's zips.
pub(crate) fn bucket(stage: &str) -> String {
    BUCKET.replace("${var.stage}", stage)
}

fn contract(api: &str) -> String {
    format!(
        "{STAGE}output \"deployctl\" {{\n value = {{\n artifact_bucket = \"{BUCKET}\"\n \
         rest_api_id = \"{api}\"\n stage_name = var.stage\n invoke_url = \"unused\"\n functions = {{\n \
         hello = {{ name = \"small-${{var.stage}}-hello\", artifact = \"hello\" }}\n }}\n }}\n}}\n"
    )
}
