//! What AWS does and the local stage must do, asked of any endpoint over HTTP. Written against AWS's documented
//! behaviour, not against our code; the error of each says which step went otherwise.

pub(crate) mod attacks;
pub(crate) mod canaries;
pub(crate) mod logs;
pub(crate) mod refusals;
pub(crate) mod states;

use std::fmt::Display;

use crate::support::http;
use crate::support::lambda_zip::lambda_zip;
use crate::support::sdk;
use aws_sdk_apigateway as gateway;
use aws_sdk_apigateway::types::{IntegrationType, Op, PatchOperation};
use aws_sdk_lambda as lambda;
use aws_sdk_lambda::client::Waiters as _;

const REGION: &str = "us-east-1";
const STAGE: &str = "v1";

type Outcome = Result<(), String>;

fn text(error: impl std::error::Error) -> String {
    gateway::error::DisplayErrorContext(error).to_string()
}

/// One REST API of an endpoint, and its callers' view of it.
struct Api {
    control: gateway::Client,
    http: reqwest::Client,
    endpoint: String,
    id: String,
    root: String,
}

impl Api {
    async fn create(endpoint: &str, name: &str) -> Result<Self, String> {
        let config = gateway::Config::builder()
            .behavior_version(gateway::config::BehaviorVersion::latest())
            .region(gateway::config::Region::new(REGION))
            .credentials_provider(gateway::config::Credentials::new(
                "000000000000",
                sdk::secret(endpoint),
                None,
                None,
                "test",
            ))
            .endpoint_url(endpoint)
            .http_client(sdk::http_client())
            .build();
        let control = gateway::Client::from_conf(config);
        let id = control.create_rest_api().name(name).send().await.map_err(text)?.id.unwrap_or_default();
        let all = control.get_resources().rest_api_id(&id).send().await.map_err(text)?;
        let root = all.items().first().and_then(|root| root.id.clone()).unwrap_or_default();
        let http = http::client();
        Ok(Self { control, http, endpoint: endpoint.to_owned(), id, root })
    }

    /// `GET path` as a caller sees it: status and body.
    async fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("{}/restapis/{}/{STAGE}/_user_request_{path}", self.endpoint, self.id);
        let response = self.http.get(url).send().await.map_err(text)?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(text)?;
        Ok(if status == 200 { format!("200 {}", body.trim()) } else { status.to_string() })
    }

    async fn expect(&self, step: impl Display, path: &str, wanted: &str) -> Outcome {
        let got = self.get(path).await?;
        if got == wanted { Ok(()) } else { Err(format!("{step}: expected {wanted}, got {got}")) }
    }

    async fn resource(&self, part: &str) -> Result<String, String> {
        let made = self.control.create_resource().rest_api_id(&self.id).parent_id(&self.root).path_part(part);
        let id = made.send().await.map_err(text)?.id.unwrap_or_default();
        let method = self.control.put_method().rest_api_id(&self.id).resource_id(&id).http_method("GET");
        method.authorization_type("NONE").send().await.map_err(text)?;
        Ok(id)
    }

    /// A route whose integration is a constant.
    async fn mock(&self, resource: &str, answer: &str) -> Outcome {
        let at = (self.id.as_str(), resource);
        let integration =
            self.control.put_integration().rest_api_id(at.0).resource_id(at.1).http_method("GET");
        let integration = integration.r#type(IntegrationType::Mock);
        integration
            .request_templates("application/json", r#"{"statusCode": 200}"#)
            .send()
            .await
            .map_err(text)?;
        let response =
            self.control.put_method_response().rest_api_id(at.0).resource_id(at.1).http_method("GET");
        // It is there already when the answer is changed.
        response.status_code("200").send().await.ok();
        self.answer(resource, answer).await
    }

    /// A route that calls the version of a function that the stage variable `f` names.
    async fn function(&self, resource: &str, name: &str) -> Outcome {
        let uri = format!(
            "arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/arn:aws:lambda:{REGION}:000000000000:\
             function:{name}:${{stageVariables.f}}/invocations"
        );
        let put = self.control.put_integration().rest_api_id(&self.id).resource_id(resource);
        let put = put.http_method("GET").r#type(IntegrationType::AwsProxy).integration_http_method("POST");
        put.uri(uri).send().await.map(drop).map_err(text)
    }

    async fn answer(&self, resource: &str, answer: &str) -> Outcome {
        let put = self.control.put_integration_response().rest_api_id(&self.id).resource_id(resource);
        let put = put.http_method("GET").status_code("200").response_templates("application/json", answer);
        put.send().await.map(drop).map_err(text)
    }

    /// A snapshot that no stage serves yet.
    async fn deploy(&self) -> Result<String, String> {
        let made = self.control.create_deployment().rest_api_id(&self.id).send().await;
        Ok(made.map_err(text)?.id.unwrap_or_default())
    }

    async fn stage(&self, deployment: &str, variables: &[(&str, &str)]) -> Outcome {
        let mut create = self.control.create_stage().rest_api_id(&self.id).stage_name(STAGE);
        for (name, value) in variables {
            create = create.variables(*name, *value);
        }
        create.deployment_id(deployment).send().await.map(drop).map_err(text)
    }

    async fn switch(&self, operations: &[(&str, &str)]) -> Outcome {
        let mut update = self.control.update_stage().rest_api_id(&self.id).stage_name(STAGE);
        for (path, value) in operations {
            let replace = PatchOperation::builder().op(Op::Replace).path(*path).value(*value);
            update = update.patch_operations(replace.build());
        }
        update.send().await.map(drop).map_err(text)
    }
}

fn refused(step: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Ok(()) => Err(format!("{step}: expected a refusal, but it was done")),
        Err(error) if error.contains("BadRequest") => Ok(()),
        Err(error) => Err(format!("{step}: {error}")),
    }
}

/// A stage serves the snapshot of its deployment, whatever becomes of the API; only `UpdateStage` moves it.
pub(crate) async fn deployments_are_snapshots(endpoint: &str) -> Outcome {
    let api = Api::create(endpoint, "snapshots").await?;
    let a = api.resource("a").await?;
    api.mock(&a, "A").await?;
    let first = api.deploy().await?;
    api.stage(&first, &[]).await?;
    api.expect("deployed", "/a", "200 A").await?;

    api.answer(&a, "B").await?;
    api.expect("changed, not deployed", "/a", "200 A").await?;
    let b = api.resource("b").await?;
    api.mock(&b, "new").await?;
    api.expect("route added, not deployed", "/b", "403").await?;

    let second = api.deploy().await?;
    api.expect("deployed, but not on the stage", "/a", "200 A").await?;
    api.expect("deployed, but not on the stage", "/b", "403").await?;
    api.switch(&[("/deploymentId", &second)]).await?;
    api.expect("switched", "/a", "200 B").await?;
    api.expect("switched", "/b", "200 new").await?;

    api.switch(&[("/deploymentId", &first)]).await?;
    api.expect("switched back", "/a", "200 A").await?;
    api.expect("switched back", "/b", "403").await?;
    let delete = api.control.delete_resource().rest_api_id(&api.id).resource_id(&a).send().await;
    delete.map_err(text)?;
    api.expect("route deleted, not deployed", "/a", "200 A").await?;

    refused("switch to an unknown deployment", api.switch(&[("/deploymentId", "nosuch")]).await)?;
    let delete = api.control.delete_deployment().rest_api_id(&api.id).deployment_id(&first).send().await;
    refused("delete the active deployment", delete.map(drop).map_err(text))?;
    api.expect("after the refusals", "/a", "200 A").await?;
    api.control.delete_rest_api().rest_api_id(&api.id).send().await.map(drop).map_err(text)
}

/// A stage variable chooses the version of a function, and one call changes deployment and variables together.
pub(crate) async fn variables_choose_versions(endpoint: &str) -> Outcome {
    let functions = Functions::new(endpoint);
    let one = functions.create("one").await?;
    let two = functions.update("two").await?;
    if (one.as_str(), two.as_str()) != ("1", "2") {
        return Err(format!("versions: expected 1 and 2, got {one} and {two}"));
    }

    let api = Api::create(endpoint, "variables").await?;
    let route = api.resource("f").await?;
    api.function(&route, &functions.name).await?;
    let first = api.deploy().await?;
    api.stage(&first, &[("f", "1"), ("release", "1.0.0")]).await?;
    api.expect("the first release", "/f", "200 one 1").await?;

    let added = api.resource("added").await?;
    api.mock(&added, "added").await?;
    let second = api.deploy().await?;
    api.switch(&[("/deploymentId", &second), ("/variables/f", "2")]).await?;
    api.expect("the second release", "/f", "200 two 2").await?;
    api.expect("the second release", "/added", "200 added").await?;

    let half = api.switch(&[("/variables/f", "1"), ("/deploymentId", "nosuch")]).await;
    refused("half a switch", half)?;
    api.expect("after half a switch", "/f", "200 two 2").await?;

    api.switch(&[("/deploymentId", &first), ("/variables/f", "1")]).await?;
    api.expect("back", "/f", "200 one 1").await?;
    api.expect("back", "/added", "403").await?;

    let update = api.control.update_stage().rest_api_id(&api.id).stage_name(STAGE);
    let removal = PatchOperation::builder().op(Op::Remove).path("/variables/f").build();
    update.patch_operations(removal).send().await.map_err(text)?;
    // Not `$LATEST`: that would be code that nobody has released.
    api.expect("an absent variable", "/f", "500").await?;
    api.control.delete_rest_api().rest_api_id(&api.id).send().await.map_err(text)?;
    functions.client.delete_function().function_name(&functions.name).send().await.map(drop).map_err(text)
}

/// Has a Lambda start, answer and stay.
pub(crate) async fn a_lambda_at_work(endpoint: &str) -> Outcome {
    let functions = Functions { name: "at-work".to_owned(), ..Functions::new(endpoint) };
    functions.create("working").await?;
    the_lambda_still_works(endpoint).await
}

/// Has the Lambda of [`a_lambda_at_work`] answer again.
pub(crate) async fn the_lambda_still_works(endpoint: &str) -> Outcome {
    let functions = Functions { name: "at-work".to_owned(), ..Functions::new(endpoint) };
    let answer = functions.client.invoke().function_name(&functions.name).send().await.map_err(text)?;
    let payload = answer.payload.map(lambda::primitives::Blob::into_inner).unwrap_or_default();
    let payload = String::from_utf8_lossy(&payload).into_owned();
    if payload.contains("working") {
        Ok(())
    } else {
        Err(format!("expected a working Lambda, got {payload}"))
    }
}

/// A function that answers with a word and its own version.
struct Functions {
    client: lambda::Client,
    name: String,
}

impl Functions {
    fn new(endpoint: &str) -> Self {
        let config = lambda::Config::builder()
            .behavior_version(lambda::config::BehaviorVersion::latest())
            .region(lambda::config::Region::new(REGION))
            .credentials_provider(lambda::config::Credentials::new(
                "000000000000",
                sdk::secret(endpoint),
                None,
                None,
                "test",
            ))
            .endpoint_url(endpoint)
            .http_client(sdk::http_client())
            .build();
        Self { client: lambda::Client::from_conf(config), name: "deployctl-semantics".to_owned() }
    }

    async fn create(&self, word: &str) -> Result<String, String> {
        let code = lambda::types::FunctionCode::builder().zip_file(bootstrap(word).into()).build();
        let create = self.client.create_function().function_name(&self.name).code(code).publish(true);
        let create = create.runtime(lambda::types::Runtime::Providedal2023).handler("bootstrap");
        let made = create.role("arn:aws:iam::000000000000:role/any").send().await.map_err(text)?;
        self.settle(made.version.unwrap_or_default()).await
    }

    async fn update(&self, word: &str) -> Result<String, String> {
        let update = self.client.update_function_code().function_name(&self.name).publish(true);
        let made = update.zip_file(bootstrap(word).into()).send().await.map_err(text)?;
        self.settle(made.version.unwrap_or_default()).await
    }

    /// Waits until a version, and `$LATEST` with it, can be used.
    async fn settle(&self, version: String) -> Result<String, String> {
        let limit = std::time::Duration::from_secs(30);
        let wait = self.client.wait_until_function_active_v2().function_name(&self.name).qualifier(&version);
        wait.wait(limit).await.map_err(text)?;
        let wait = self.client.wait_until_function_updated_v2().function_name(&self.name);
        wait.wait(limit).await.map_err(text)?;
        Ok(version)
    }
}

/// A zip with a `bootstrap` that speaks Lambda's runtime interface.
fn bootstrap(word: &str) -> Vec<u8> {
    // The interpreter itself, not a version manager's wrapper around it, which would leave a process in between.
    let python = std::process::Command::new("python3")
        .args(["-I", "-c", "import sys; print(sys.executable)"])
        .output();
    let python = String::from_utf8(python.unwrap().stdout).unwrap();
    let script = format!(
        r##"#!{}
import http.client, json, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
path = "/2018-06-01/runtime/invocation/"
while True:
    api.request("GET", path + "next")
    event = api.getresponse()
    event.read()
    answer = {{"statusCode": 200, "body": "{word} " + os.environ["AWS_LAMBDA_FUNCTION_VERSION"]}}
    api.request("POST", path + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", json.dumps(answer))
    api.getresponse().read()
"##,
        python.trim()
    );
    lambda_zip(script.as_bytes())
}
