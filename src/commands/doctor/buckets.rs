//! Checks the state bucket and the artifact bucket.

use super::unread::unread;
use crate::documents::doctor::Finding;
use crate::engine::failure::{Failure, Meaning};
use crate::project::session::Session;
use crate::release::model::AccountId;

/// The bucket of the Terraform states.
pub(crate) async fn state(session: &Session) -> Vec<Finding> {
    const CHECK: &str = "bucket-state";
    let stage = &session.settings.stage;
    let name = &stage.state_bucket;
    match session.aws.bucket_facts(&stage.state_bucket_account, name).await {
        Ok(facts) => {
            let mut findings = Vec::new();
            let bootstrap = format!("deployctl bootstrap --stage {}", stage.name);
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
            let remedy = format!("deployctl bootstrap --stage {}", stage.name);
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
            let message = format!("bucket {name} of the Terraform output does not exist");
            return vec![Finding::problem(CHECK, message, "apply the layer that creates it")];
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
