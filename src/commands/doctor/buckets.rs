//! Checks the state bucket and the artifact bucket.

use super::unread::unread;
use crate::documents::doctor::Finding;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::Store as _;
use crate::project::session::Session;
use crate::project::settings::{ArtifactBucket, StateBackend};
use crate::release::model::AccountId;

const STATE: &str = "bucket-state";

/// The buckets of the Terraform states.
pub(crate) async fn states(session: &Session) -> Vec<Finding> {
    let stage = &session.settings.stage;
    if stage.backend == StateBackend::Deployctl {
        return state(session, &stage.state_bucket).await;
    }
    let mut findings = Vec::new();
    for object in session.state_objects() {
        findings.extend(state(session, object.bucket.name()).await);
    }
    for layer in &session.settings.layers {
        if session.state_object(layer).is_none() {
            let message = format!(
                "the state of layer {:?} is in a backend that only Terraform reads: its owner was not checked",
                layer.name
            );
            findings.push(Finding::unchecked(STATE, message));
        }
    }
    findings
}

async fn state(session: &Session, name: &str) -> Vec<Finding> {
    const CHECK: &str = STATE;
    let stage = &session.settings.stage;
    match session.aws.bucket_facts(&stage.state_bucket_account, name).await {
        Ok(facts) => {
            let mut findings = Vec::new();
            let bootstrap = match stage.backend {
                StateBackend::Deployctl => format!("deployctl bootstrap --stage {}", stage.name),
                StateBackend::Own { .. } => "change it where the bucket is made".to_owned(),
            };
            if !facts.versioned {
                let message =
                    format!("{name} is not versioned: a damaged Terraform state could not be restored");
                findings.push(Finding::warning(CHECK, message, bootstrap.as_str()));
            }
            if !facts.encrypted {
                let message =
                    format!("{name} has no default encryption, and Terraform states contain secrets");
                findings.push(Finding::warning(CHECK, message, bootstrap.as_str()));
            }
            if !facts.private {
                let message =
                    format!("{name} does not block public access, and Terraform states contain secrets");
                findings.push(Finding::problem(CHECK, message, bootstrap.as_str()));
            }
            if findings.is_empty() {
                findings.push(Finding::ok(CHECK, format!("{name}: versioned, encrypted, private")));
            }
            findings
        }
        Err(failure) if failure.meaning == Meaning::NotFound && session.local.is_some() => {
            vec![Finding::ok(CHECK, format!("the first release creates {name}"))]
        }
        Err(failure) if failure.meaning == Meaning::NotFound => {
            let remedy = match stage.backend {
                StateBackend::Deployctl => format!("deployctl bootstrap --stage {}", stage.name),
                StateBackend::Own { .. } => "create it, or correct the backend block".to_owned(),
            };
            vec![Finding::problem(
                CHECK,
                format!("bucket {name} for the Terraform state does not exist"),
                remedy,
            )]
        }
        Err(failure) => vec![unread_bucket(CHECK, &failure, &stage.state_bucket_account)],
    }
}

/// S3 answers in the same way if another account owns the bucket and if the caller lacks the permission.
fn unread_bucket(check: &'static str, failure: &Failure, owner: &AccountId) -> Finding {
    match failure.meaning {
        Meaning::Denied => Finding::unchecked(check, failure.to_string()).remedy(format!(
            "allow the caller {}; the bucket must belong to account {owner}",
            failure.operation
        )),
        _ => unread(check, failure),
    }
}

/// The bucket of the zips and the ledger.
pub(crate) async fn artifacts(session: &Session, name: &str) -> Vec<Finding> {
    const CHECK: &str = "bucket-artifacts";
    let owner = &session.settings.stage.artifact_bucket_account;
    let facts = match session.aws.bucket_facts(owner, name).await {
        Ok(facts) => facts,
        Err(failure) if failure.meaning == Meaning::NotFound => {
            let (whose, remedy) = match session.settings.bucket {
                ArtifactBucket::Named(_) => ("deployctl.toml", "create it, or correct `artifact_bucket`"),
                ArtifactBucket::Output(_) => ("the Terraform output", "apply the layer that creates it"),
            };
            return vec![Finding::problem(CHECK, format!("bucket {name} of {whose} does not exist"), remedy)];
        }
        Err(failure) => return vec![unread_bucket(CHECK, &failure, owner)],
    };
    let mut findings = Vec::new();
    let region = &session.settings.stage.region;
    if let Some(other) = facts.region.as_ref().filter(|other| *other != region) {
        let message = format!(
            "{name} is in {other}, but the functions are in {region}: Lambda reads code only from its own \
             region"
        );
        findings.push(Finding::problem(CHECK, message, "create the bucket in the stage's region"));
    }
    if !facts.versioned {
        let message = format!(
            "{name} is not versioned: an overwritten artifact or ledger record could not be restored"
        );
        let remedy = "aws_s3_bucket_versioning with status = \"Enabled\" in the layer that creates it";
        findings.push(Finding::warning(CHECK, message, remedy));
    }
    if !facts.encrypted {
        let remedy = "aws_s3_bucket_server_side_encryption_configuration in the layer that creates it";
        findings.push(Finding::warning(CHECK, format!("{name} has no default encryption"), remedy));
    }
    if !facts.private {
        let remedy = "aws_s3_bucket_public_access_block with all four settings, in the layer that creates it";
        findings.push(Finding::problem(
            CHECK,
            format!("{name} does not block public access, and it contains the code that runs"),
            remedy,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{name}: in {region}, versioned, encrypted, private")));
    }
    findings
}
