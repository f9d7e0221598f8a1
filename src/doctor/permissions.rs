//! What the caller may do: simulated by IAM where it may be asked, else tried by writes that cannot succeed.
//!
//! Only deployctl's own calls are meant. Terraform's depend on what the layers make, and show in a plan.

use super::Finding;
use super::cloud::unread;
use crate::aws::Identity;
use crate::contract::Contract;
use crate::session::Session;

const CHECK: &str = "permissions";

/// What deployctl does with objects of either bucket.
const OBJECTS: [&str; 3] = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];
/// What it does with a bucket.
const BUCKET: [&str; 1] = ["s3:ListBucket"];
/// What it does with each function.
const FUNCTION: [&str; 4] = [
    "lambda:GetFunctionConfiguration",
    "lambda:UpdateFunctionCode",
    "lambda:PublishVersion",
    "lambda:InvokeFunction",
];
/// What it does with the API: reading, deployments, the switch, flushing caches.
const API: [&str; 4] = ["apigateway:GET", "apigateway:POST", "apigateway:PATCH", "apigateway:DELETE"];

/// Checks them.
pub async fn check(
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
    let questions = questions(session, contract, bucket);
    let principal = principal(session, &identity.arn).await;
    let asked =
        questions.iter().map(|(actions, resource)| session.aws.simulate(&principal, actions, resource));
    match futures::future::try_join_all(asked).await {
        Ok(answers) => {
            let mut findings = Vec::new();
            for (verdicts, (_, resource)) in answers.iter().zip(&questions) {
                if verdicts.is_empty() {
                    continue;
                }
                let actions: Vec<&str> = verdicts.iter().map(|verdict| verdict.action.as_str()).collect();
                let message = format!(
                    "{principal} may not {} on {resource} ({})",
                    actions.join(", "),
                    verdicts[0].decision
                );
                findings.push(Finding::problem(
                    CHECK,
                    message,
                    format!("allow {} on {resource}", actions.join(", ")),
                ));
            }
            if findings.is_empty() {
                let count: usize = questions.iter().map(|(actions, _)| actions.len()).sum();
                findings.push(Finding::ok(
                    CHECK,
                    format!(
                        "IAM allows deployctl's own calls ({count} simulated); Terraform's show in a plan"
                    ),
                ));
            }
            findings
        }
        Err(failure) => {
            let mut findings = by_trying(session, contract, bucket).await;
            findings.push(Finding::unchecked(
                CHECK,
                format!("IAM was not asked ({failure}); apigateway:POST and apigateway:PATCH show in a release only"),
            ));
            findings
        }
    }
}

/// Actions, and the resource that they are about.
fn questions(
    session: &Session,
    contract: Option<&Contract>,
    bucket: Option<&str>,
) -> Vec<(Vec<&'static str>, String)> {
    let stage = &session.settings.stage;
    // China and GovCloud have names of their own.
    let partition = match stage.region.split('-').next() {
        Some("cn") => "aws-cn",
        _ if stage.region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let mut questions = Vec::new();
    for name in [Some(stage.state_bucket.as_str()), bucket].into_iter().flatten() {
        questions.push((OBJECTS.to_vec(), format!("arn:{partition}:s3:::{name}/*")));
        questions.push((BUCKET.to_vec(), format!("arn:{partition}:s3:::{name}")));
    }
    if let Some(contract) = contract {
        for target in contract.functions.values() {
            let arn =
                format!("arn:{partition}:lambda:{}:{}:function:{}", stage.region, stage.account, target.name);
            questions.push((FUNCTION.to_vec(), arn));
        }
        let arn =
            format!("arn:{partition}:apigateway:{}::/restapis/{}/*", stage.region, contract.rest_api_id);
        questions.push((API.to_vec(), arn));
    }
    questions
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
