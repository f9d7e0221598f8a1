//! What the caller may do: simulated by IAM where it may be asked, else tried by writes that cannot succeed.
//!
//! Only deployctl's own calls are meant. Terraform's depend on what the layers make, and show in a plan.

use super::unread::unread;
use crate::aws::Identity;
use crate::documents::doctor::Finding;
use crate::engine::failure::Failure;
use crate::project::contract::Contract;
use crate::project::session::Session;

const CHECK: &str = "permissions";

/// What deployctl would do, and to what: actions, and the resource that they are about.
pub(crate) type PermissionCheck = (Vec<&'static str>, String);

/// The resources of a stage, by their names.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    pub(crate) partition: &'static str,
    pub(crate) region: String,
    pub(crate) account: String,
    /// The bucket of the states.
    pub(crate) state_bucket: String,
    /// Where the states lie in it.
    pub(crate) state_prefix: String,
    /// The bucket of the zips, once it is there, and the keys of zips in it.
    pub(crate) artifacts: Option<(String, Vec<String>)>,
    pub(crate) functions: Vec<String>,
    /// The API and its stage, once they are there.
    pub(crate) api: Option<(String, String)>,
}

impl Resources {
    /// What a release does. `tests/fixtures/doctor-permissions.json` has it for the
    /// minimal project; `tests/release/pipeline` compares that with the rights of the deploy role.
    pub(crate) fn release(&self) -> Vec<PermissionCheck> {
        let Self { state_bucket, state_prefix, .. } = self;
        let bucket = |name: &str| format!("arn:{}:s3:::{name}", self.partition);
        let state = format!("{}/{state_prefix}/doctor.tfstate", bucket(state_bucket));
        let mut questions = vec![
            (vec!["s3:GetObject", "s3:PutObject"], state.clone()),
            (vec!["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], format!("{state}.tflock")),
            (vec!["s3:ListBucket"], bucket(state_bucket)),
        ];
        if let Some((name, keys)) = &self.artifacts {
            questions.push((vec!["s3:ListBucket", "s3:GetBucketVersioning"], bucket(name)));
            for key in keys.iter().map(String::as_str).chain(["deployctl/doctor"]) {
                let object = format!("{}/{key}", bucket(name));
                questions.push((vec!["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"], object));
            }
        }
        for name in &self.functions {
            let actions = vec![
                "lambda:GetFunctionConfiguration",
                "lambda:UpdateFunctionCode",
                "lambda:PublishVersion",
                "lambda:InvokeFunction",
            ];
            questions.push((actions, self.function(name)));
        }
        if let Some((api, stage)) = &self.api {
            // Lambda lists all functions or none.
            questions.push((vec!["lambda:ListFunctions"], "*".to_owned()));
            questions.push((vec!["apigateway:GET"], self.of_api(api, "resources")));
            questions.push((vec!["apigateway:POST"], self.of_api(api, "deployments")));
            questions.push((vec!["apigateway:PATCH"], self.of_api(api, &format!("stages/{stage}"))));
            let cache = format!("stages/{stage}/cache/authorizers");
            questions.push((vec!["apigateway:DELETE"], self.of_api(api, &cache)));
        }
        questions
    }

    /// What `prune` does beside that. Releases do not need it.
    pub(crate) fn prune(&self) -> Vec<PermissionCheck> {
        let mut questions = Vec::new();
        if let Some((name, keys)) = &self.artifacts {
            for key in keys {
                let object = format!("arn:{}:s3:::{name}/{key}", self.partition);
                questions.push((vec!["s3:DeleteObject", "s3:DeleteObjectVersion"], object));
            }
        }
        for name in &self.functions {
            let actions =
                vec!["lambda:ListVersionsByFunction", "lambda:ListAliases", "lambda:DeleteFunction"];
            questions.push((actions, self.function(name)));
        }
        if let Some((api, _)) = &self.api {
            questions.push((vec!["apigateway:DELETE"], self.of_api(api, "deployments/doctor")));
        }
        questions
    }

    fn function(&self, name: &str) -> String {
        format!("arn:{}:lambda:{}:{}:function:{name}", self.partition, self.region, self.account)
    }

    fn of_api(&self, api: &str, rest: &str) -> String {
        format!("arn:{}:apigateway:{}::/restapis/{api}/{rest}", self.partition, self.region)
    }
}

pub(crate) async fn check(
    session: &Session,
    identity: &Identity,
    contract: Option<&Contract>,
    bucket: Option<&str>,
) -> Vec<Finding> {
    if session.local.is_some() {
        return vec![Finding::ok(CHECK, "the local stage allows everybody everything")];
    }
    if identity.arn.ends_with(":root") {
        let remedy = "use a role that may do what a release does, and no more";
        return vec![Finding::warning(CHECK, "the credentials are those of the account's root user", remedy)];
    }
    let resources = resources(session, contract, bucket);
    let principal = principal(session, &identity.arn).await;
    let (release, prune) = (resources.release(), resources.prune());
    match futures::join!(ask(session, &principal, &release), ask(session, &principal, &prune)) {
        (Ok(denied), pruning) => {
            let mut findings: Vec<Finding> = denied
                .iter()
                .map(|(actions, resource, decision)| {
                    let message = format!("{principal} may not {actions} on {resource} ({decision})");
                    Finding::problem(CHECK, message, format!("allow {actions} on {resource}"))
                })
                .collect();
            if findings.is_empty() {
                let count: usize = release.iter().map(|(actions, _)| actions.len()).sum();
                let message = format!(
                    "IAM allows a release's own calls ({count} simulated); Terraform's show in a plan"
                );
                findings.push(Finding::ok(CHECK, message));
            }
            if let Ok(denied) = pruning
                && let Some((actions, resource, _)) = denied.first()
            {
                let message =
                    format!("`prune` needs another role: {principal} may not {actions} on {resource}");
                findings.push(Finding::ok(CHECK, message));
            }
            findings
        }
        (Err(failure), _) => {
            let mut findings = by_trying(session, contract, bucket).await;
            findings.push(Finding::unchecked(
                CHECK,
                format!("IAM was not asked ({failure}); apigateway:POST and apigateway:PATCH show in a release only"),
            ));
            findings
        }
    }
}

/// What IAM does not allow: the actions, the resource, and IAM's word for it.
async fn ask(
    session: &Session,
    principal: &str,
    questions: &[PermissionCheck],
) -> Result<Vec<(String, String, String)>, Failure> {
    let asked =
        questions.iter().map(|(actions, resource)| session.aws.simulate(principal, actions, resource));
    let answers = futures::future::try_join_all(asked).await?;
    let denied = answers.into_iter().zip(questions).filter(|(verdicts, _)| !verdicts.is_empty());
    let findings = denied.map(|(verdicts, (_, resource))| {
        let actions: Vec<&str> = verdicts.iter().map(|verdict| verdict.action.as_str()).collect();
        (actions.join(", "), resource.clone(), verdicts[0].decision.clone())
    });
    Ok(findings.collect())
}

fn resources(session: &Session, contract: Option<&Contract>, bucket: Option<&str>) -> Resources {
    let settings = &session.settings;
    let stage = &settings.stage;
    // China and GovCloud have names of their own.
    let partition = match stage.region.split('-').next() {
        Some("cn") => "aws-cn",
        _ if stage.region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let keys =
        || settings.artifacts.iter().map(|artifact| artifact.key.replace("{version}", "doctor")).collect();
    let functions = contract.iter().flat_map(|contract| contract.functions.values());
    Resources {
        partition,
        region: stage.region.clone(),
        account: stage.account.to_string(),
        state_bucket: stage.state_bucket.clone(),
        state_prefix: stage.state_prefix(&settings.project),
        artifacts: bucket.map(|name| (name.to_owned(), keys())),
        functions: functions.map(|target| target.name.to_string()).collect(),
        api: contract.map(|contract| (contract.rest_api_id.clone(), contract.stage_name.clone())),
    }
}

/// IAM is asked about a role, not about the session that has taken it.
async fn principal(session: &Session, arn: &str) -> String {
    let Some((head, rest)) = arn.split_once(":assumed-role/") else { return arn.to_owned() };
    let name = rest.split('/').next().unwrap_or(rest);
    match session.aws.role_arn(name).await {
        Ok(arn) if !arn.is_empty() => arn,
        // Without its path, if it has one.
        _ => format!("{}:role/{name}", head.replace(":sts:", ":iam:")),
    }
}

/// Writes whose conditions cannot hold. The reads are made by the other checks.
async fn by_trying(session: &Session, contract: Option<&Contract>, bucket: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let state = session.settings.stage.state_bucket.as_str();
    for name in [Some(state), bucket].into_iter().flatten() {
        let key = if name == state { session.state_key("doctor") } else { "deployctl/doctor".to_owned() };
        findings.push(match session.aws.may_put(name, &key).await {
            Ok(true) => {
                Finding::ok(CHECK, format!("s3:PutObject on {name}, tried by a write that cannot succeed"))
            }
            Ok(false) => {
                Finding::problem(CHECK, format!("s3:PutObject on {name} is denied"), "allow it to the caller")
            }
            Err(failure) => unread(CHECK, &failure),
        });
    }
    if let (Some(contract), Some(bucket)) = (contract, bucket)
        && let Some(target) = contract.functions.values().next()
    {
        let name = target.name.to_string();
        findings.push(match session.aws.may_update_code(&name, bucket).await {
            Ok(true) => Finding::ok(
                CHECK,
                format!("lambda:UpdateFunctionCode on {name}, tried by an update that cannot succeed"),
            ),
            Ok(false) => Finding::problem(
                CHECK,
                format!("lambda:UpdateFunctionCode on {name} is denied"),
                "allow it to the caller",
            ),
            Err(failure) => unread(CHECK, &failure),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a release and a prune of the minimal project of the tests do. `UPDATE_DOCS=1` writes the file.
    #[test]
    fn the_permissions_are_those_that_are_compared_with_the_deploy_role() {
        let account = "000000000000";
        let resources = Resources {
            partition: "aws",
            region: "us-east-1".to_owned(),
            account: account.to_owned(),
            state_bucket: format!("small-local-tfstate-{account}"),
            state_prefix: "small/local".to_owned(),
            artifacts: Some((
                format!("small-local-artifacts-{account}"),
                vec!["hello/doctor.zip".to_owned()],
            )),
            functions: vec!["small-local-one".to_owned()],
            api: Some(("abc123".to_owned(), "local".to_owned())),
        };
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/doctor-permissions.json");
        let found = serde_json::json!({ "release": resources.release(), "prune": resources.prune() });
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, format!("{found:#}\n")).unwrap();
        }
        let committed: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(committed, found);
    }
}
