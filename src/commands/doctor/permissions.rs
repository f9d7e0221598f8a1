//! Checks the caller's permissions: simulated by IAM if the caller may do that, otherwise tried with writes
//! that cannot succeed.
//!
//! Only deployctl's own calls are checked. Terraform's calls depend on the layers; a plan shows them.

use super::unread::unread;
use crate::artifact::Origin;
use crate::aws::Identity;
use crate::documents::doctor::Finding;
use crate::engine::failure::Failure;
use crate::engine::ports::Store as _;
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::project::settings::StateBackend;

const CHECK: &str = "permissions";

/// Actions, and the ARN of their resource.
pub(crate) type PermissionCheck = (Vec<&'static str>, String);

#[derive(Debug, Clone)]
pub(crate) struct Resources {
    pub(crate) partition: &'static str,
    pub(crate) region: String,
    pub(crate) account: String,
    /// The buckets and keys of the Terraform states in S3.
    pub(crate) states: Vec<(String, String)>,
    /// Whether the states are locked by objects beside them.
    pub(crate) lock_objects: bool,
    /// The artifact bucket, once it exists, and keys of zips.
    pub(crate) artifacts: Option<(String, Vec<String>)>,
    pub(crate) functions: Vec<String>,
    /// Those with an alias that a release moves.
    pub(crate) aliased: Vec<String>,
    /// Those whose versions get provisioned concurrency.
    pub(crate) provisioned: Vec<String>,
    /// The ARNs of the repositories of container images.
    pub(crate) repositories: Vec<String>,
    /// The API and its stage, once they exist.
    pub(crate) api: Option<(String, String)>,
}

impl Resources {
    /// The calls of a release. `tests/fixtures/doctor-permissions.json` contains those of the minimal
    /// project, which `tests/release/pipeline` compares with the permissions of the deploy role.
    pub(crate) fn release(&self) -> Vec<PermissionCheck> {
        let bucket = |name: &str| format!("arn:{}:s3:::{name}", self.partition);
        let mut checks = Vec::new();
        for (name, key) in &self.states {
            let state = format!("{}/{key}", bucket(name));
            checks.push((vec!["s3:GetObject", "s3:PutObject"], state.clone()));
            if self.lock_objects {
                let lock = format!("{state}.tflock");
                checks.push((vec!["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], lock));
            }
            checks.push((vec!["s3:ListBucket"], bucket(name)));
        }
        if let Some((name, keys)) = &self.artifacts {
            checks.push((vec!["s3:ListBucket", "s3:GetBucketVersioning"], bucket(name)));
            for key in keys.iter().map(String::as_str).chain(["deployctl/doctor"]) {
                let object = format!("{}/{key}", bucket(name));
                checks.push((vec!["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"], object));
            }
        }
        for name in &self.functions {
            let actions =
                vec!["lambda:GetFunctionConfiguration", "lambda:UpdateFunctionCode", "lambda:PublishVersion"];
            checks.push((actions, self.function(name)));
            // A version is a resource of its own to those who invoke it.
            checks.push((vec!["lambda:InvokeFunction"], format!("{}:1", self.function(name))));
            // The error of a release that was switched back contains the end of a function's log.
            checks.push((vec!["logs:FilterLogEvents"], self.log_group(name)));
        }
        for name in &self.aliased {
            checks.push((vec!["lambda:GetAlias", "lambda:UpdateAlias"], self.function(name)));
        }
        for name in &self.provisioned {
            let actions = vec![
                "lambda:GetProvisionedConcurrencyConfig",
                "lambda:PutProvisionedConcurrencyConfig",
                "lambda:DeleteProvisionedConcurrencyConfig",
            ];
            checks.push((actions, format!("{}:1", self.function(name))));
        }
        for repository in &self.repositories {
            checks.push((vec!["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], repository.clone()));
        }
        if let Some((api, stage)) = &self.api {
            // lambda:ListFunctions has no resource.
            checks.push((vec!["lambda:ListFunctions"], "*".to_owned()));
            // What a canary is judged by.
            checks.push((vec!["cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"], "*".to_owned()));
            checks.push((vec!["apigateway:GET"], self.of_api(api, "resources")));
            checks.push((vec!["apigateway:POST"], self.of_api(api, "deployments")));
            checks.push((vec!["apigateway:PATCH"], self.of_api(api, &format!("stages/{stage}"))));
            let cache = format!("stages/{stage}/cache/authorizers");
            checks.push((vec!["apigateway:DELETE"], self.of_api(api, &cache)));
        }
        checks
    }

    /// The calls that only `prune` makes.
    pub(crate) fn prune(&self) -> Vec<PermissionCheck> {
        let mut checks = Vec::new();
        if let Some((name, keys)) = &self.artifacts {
            for key in keys {
                let object = format!("arn:{}:s3:::{name}/{key}", self.partition);
                checks.push((vec!["s3:DeleteObject", "s3:DeleteObjectVersion"], object));
            }
        }
        for name in &self.functions {
            let actions =
                vec!["lambda:ListVersionsByFunction", "lambda:ListAliases", "lambda:DeleteFunction"];
            checks.push((actions, self.function(name)));
        }
        if let Some((api, _)) = &self.api {
            checks.push((vec!["apigateway:DELETE"], self.of_api(api, "deployments/doctor")));
        }
        checks
    }

    fn function(&self, name: &str) -> String {
        format!("arn:{}:lambda:{}:{}:function:{name}", self.partition, self.region, self.account)
    }

    /// Lambda's default name. A function may log to another group, whose lines are then missing in an error.
    fn log_group(&self, name: &str) -> String {
        let Self { partition, region, account, .. } = self;
        format!("arn:{partition}:logs:{region}:{account}:log-group:/aws/lambda/{name}:*")
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
        return vec![Finding::ok(CHECK, "the local stage does not check permissions")];
    }
    if identity.arn.ends_with(":root") {
        let remedy = "use a role with only the permissions of a release";
        return vec![Finding::warning(CHECK, "the credentials belong to the account's root user", remedy)];
    }
    let resources = resources(session, contract, bucket);
    let principal = principal(session, &identity.arn).await;
    let (release, prune) = (resources.release(), resources.prune());
    match futures::join!(simulate(session, &principal, &release), simulate(session, &principal, &prune)) {
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
                    "IAM allows deployctl's calls of a release ({count} simulated); a plan shows whether \
                     Terraform's calls are allowed"
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
            let mut findings = try_writes(session, contract, bucket).await;
            findings.push(Finding::unchecked(
                CHECK,
                format!(
                    "permissions were not simulated ({failure}): only a release shows whether \
                         apigateway:POST and apigateway:PATCH are allowed"
                ),
            ));
            findings
        }
    }
}

/// The denied actions, their resource, and IAM's decision.
async fn simulate(
    session: &Session,
    principal: &str,
    checks: &[PermissionCheck],
) -> Result<Vec<(String, String, String)>, Failure> {
    let asked = checks.iter().map(|(actions, resource)| session.aws.simulate(principal, actions, resource));
    let answers = futures::future::try_join_all(asked).await?;
    let denied = answers.into_iter().zip(checks).filter(|(verdicts, _)| !verdicts.is_empty());
    let findings = denied.map(|(verdicts, (_, resource))| {
        let actions: Vec<&str> = verdicts.iter().map(|verdict| verdict.action.as_str()).collect();
        (actions.join(", "), resource.clone(), verdicts[0].decision.clone())
    });
    Ok(findings.collect())
}

fn resources(session: &Session, contract: Option<&Contract>, bucket: Option<&str>) -> Resources {
    let settings = &session.settings;
    let stage = &settings.stage;
    // China and GovCloud are separate partitions.
    let partition = match stage.region.split('-').next() {
        Some("cn") => "aws-cn",
        _ if stage.region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let zips = || settings.artifacts.iter().filter(|artifact| !artifact.is_image());
    let keys = || zips().map(|artifact| artifact.key.replace("{version}", "doctor")).collect();
    let repositories = settings.artifacts.iter().filter_map(|artifact| match &artifact.recipe.origin {
        Origin::Image(image) => repository(&image.uri, partition),
        _ => None,
    });
    let aliased = contract.iter().flat_map(|contract| contract.functions.values());
    let aliased = aliased.filter(|target| target.alias.is_some());
    let provisioned = contract.iter().flat_map(|contract| contract.functions.values());
    let provisioned = provisioned.filter(|target| target.provisioned.is_some());
    let functions = contract.iter().flat_map(|contract| contract.functions.values());
    Resources {
        partition,
        region: stage.region.clone(),
        account: stage.account.to_string(),
        states: states(session),
        lock_objects: stage.backend == StateBackend::Deployctl,
        artifacts: bucket.map(|name| (name.to_owned(), keys())),
        functions: functions.map(|target| target.name.to_string()).collect(),
        aliased: aliased.map(|target| target.name.to_string()).collect(),
        provisioned: provisioned.map(|target| target.name.to_string()).collect(),
        repositories: repositories.collect(),
        api: contract.map(|contract| (contract.rest_api_id.clone(), contract.stage_name.clone())),
    }
}

/// The buckets and keys of the states.
fn states(session: &Session) -> Vec<(String, String)> {
    let settings = &session.settings;
    match settings.stage.backend {
        StateBackend::Deployctl => vec![(settings.stage.state_bucket.clone(), settings.state_key("doctor"))],
        StateBackend::Own { .. } => {
            let objects = settings.layers.iter().filter_map(|layer| session.state_object(layer));
            objects.map(|object| (object.bucket.name().to_owned(), object.key)).collect()
        }
    }
}

/// The ARN of the repository in the URI of an image: `ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME@sha256:…`.
fn repository(uri: &str, partition: &str) -> Option<String> {
    let (host, image) = uri.split_once('/')?;
    let mut parts = host.split('.');
    let (account, region) = (parts.next()?, parts.nth(2)?);
    let name = image.split(['@', ':']).next()?;
    Some(format!("arn:{partition}:ecr:{region}:{account}:repository/{name}"))
}

/// IAM simulates a role, not an assumed-role session.
async fn principal(session: &Session, arn: &str) -> String {
    let Some((head, rest)) = arn.split_once(":assumed-role/") else { return arn.to_owned() };
    let name = rest.split('/').next().unwrap_or(rest);
    match session.aws.role_arn(name).await {
        Ok(arn) if !arn.is_empty() => arn,
        // Wrong for a role with a path, which is not part of the session's ARN.
        _ => format!("{}:role/{name}", head.replace(":sts:", ":iam:")),
    }
}

/// Tries writes with conditions that are never true. The other checks try the reads.
async fn try_writes(session: &Session, contract: Option<&Contract>, bucket: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stage = &session.settings.stage;
    // A store that ignores conditions would lose a state under a key of the project.
    let state = Some(stage.state_bucket.as_str()).filter(|_| stage.backend == StateBackend::Deployctl);
    for name in [state, bucket].into_iter().flatten() {
        let (owner, key) = if Some(name) == state {
            (&stage.state_bucket_account, session.settings.state_key("doctor"))
        } else {
            (&stage.artifact_bucket_account, "deployctl/doctor".to_owned())
        };
        findings.push(match session.aws.may_put(owner, name, &key).await {
            Ok(true) => {
                Finding::ok(CHECK, format!("s3:PutObject on {name}, tried with a write that cannot succeed"))
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
                format!("lambda:UpdateFunctionCode on {name}, tried with an update that cannot succeed"),
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
            states: vec![(format!("small-local-tfstate-{account}"), "small/local/doctor.tfstate".to_owned())],
            lock_objects: true,
            artifacts: Some((
                format!("small-local-artifacts-{account}"),
                vec!["hello/doctor.zip".to_owned()],
            )),
            functions: vec!["small-local-one".to_owned()],
            aliased: Vec::new(),
            provisioned: Vec::new(),
            repositories: Vec::new(),
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

    #[test]
    fn aliases_and_images_need_permissions_only_where_there_are_some() {
        let resources = Resources {
            partition: "aws",
            region: "eu-west-1".to_owned(),
            account: "111111111111".to_owned(),
            states: Vec::new(),
            lock_objects: false,
            artifacts: None,
            functions: Vec::new(),
            aliased: vec!["queue".to_owned()],
            provisioned: vec!["users-dev-get".into()],
            repositories: repository(
                "222222222222.dkr.ecr.eu-west-1.amazonaws.com/team/web@sha256:00",
                "aws",
            )
            .into_iter()
            .collect(),
            api: None,
        };
        let release = resources.release();
        let of = |action: &str| {
            let found = release.iter().find(|(actions, _)| actions.contains(&action));
            found.map(|(_, resource)| resource.as_str())
        };
        assert_eq!(of("lambda:UpdateAlias"), Some("arn:aws:lambda:eu-west-1:111111111111:function:queue"));
        let version = "arn:aws:lambda:eu-west-1:111111111111:function:users-dev-get:1";
        assert_eq!(of("lambda:PutProvisionedConcurrencyConfig"), Some(version));
        assert_eq!(of("ecr:BatchGetImage"), Some("arn:aws:ecr:eu-west-1:222222222222:repository/team/web"));
    }
}
