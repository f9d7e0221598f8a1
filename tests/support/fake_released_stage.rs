//! A stage for releases without Terraform resources and without Lambdas that run: the functions and the API are created
//! directly, and the layers only have outputs that name them. It takes seconds where the example project takes minutes.

use aws_sdk_apigateway as gateway;
use aws_sdk_lambda as lambda;
use aws_sdk_s3 as s3;

use super::minimal_project::MinimalProject;
use super::{fixtures, sdk};

/// A project whose functions and API are created without Terraform.
#[derive(Debug)]
pub(crate) struct FakeReleasedStage {
    /// The project.
    pub(crate) project: MinimalProject,
    /// A client of Lambda.
    pub(crate) lambda: lambda::Client,
    /// The id of the API.
    pub(crate) api: String,
    /// The id of its root resource.
    pub(crate) root: String,
}

impl FakeReleasedStage {
    /// The project with a local stage of its own.
    pub(crate) async fn new() -> Self {
        let project = MinimalProject::new();
        project.settings("[artifacts.hello]", "[probe]\ntimeout_seconds = 20\n\n[artifacts.hello]");
        project.run(&["local", "up"]).await.exit(0);
        let config = sdk::config(&project.stage_file().endpoint(), "000000000000");
        let s3 = s3::Client::from_conf(s3::config::Builder::from(&config).force_path_style(true).build());
        fixtures::create_bucket(&s3, "small-artifacts").await;
        let gateway = gateway::Client::new(&config);
        let api = fixtures::create_api(&gateway, &["v1"]).await;
        let root =
            gateway.get_resources().rest_api_id(&api).send().await.unwrap().items()[0].id.clone().unwrap();
        Self { project, lambda: lambda::Client::new(&config), api, root }
    }

    /// Creates the functions that are missing, so that there are `count`, and declares them.
    pub(crate) async fn create_functions(&self, count: usize) {
        fixtures::create_functions(&self.lambda, (0..count).map(|number| format!("small-{number}"))).await;
        self.declare_functions(count, "");
    }

    /// Writes the layer `app`: `terraform`, and the contract with `count` functions.
    pub(crate) fn declare_functions(&self, count: usize, terraform: &str) {
        let functions: Vec<String> = (0..count)
            .map(|number| format!("f{number} = {{ name = \"small-{number}\", artifact = \"hello\" }}"))
            .collect();
        self.project.layer(
            "app",
            &format!(
                "{terraform}output \"deployctl\" {{\n value = {{\n artifact_bucket = \"small-artifacts\"\n \
                 rest_api_id = \"{}\"\n stage_name = \"v1\"\n invoke_url = \"unused\"\n functions = {{\n {}\n \
                 }}\n }}\n}}\n",
                self.api,
                functions.join("\n ")
            ),
        );
    }
}
