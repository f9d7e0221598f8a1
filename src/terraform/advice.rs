//! Turns a failure into an error: message, exit code, and what to do next.

use std::fmt;

use super::failure::{Failure, LockInfo, Reason};
use super::messages::Diagnostic;
use crate::error::{Error, ErrorId, Kind};

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = &self.layer {
            write!(f, "terraform {layer}: ")?;
        }
        match &*self.reason {
            Reason::NotFound(program) => write!(f, "{} was not found", program.display()),
            Reason::NotTerraform(program) => {
                write!(f, "{} is neither Terraform nor OpenTofu", program.display())
            }
            Reason::TooOld { found, .. } => write!(f, "version {found} is too old"),
            Reason::OptionTooNew { option, found, .. } => {
                write!(f, "version {found} does not support {option}")
            }
            Reason::BadFolder(dir) => write!(f, "{} has no .tf or .tofu files", dir.display()),
            Reason::UnknownLayer(name) => write!(f, "there is no layer {name:?}"),
            Reason::BadLayerName(name) => write!(f, "{name:?} is not a valid layer name"),
            Reason::LayerCycle(names) => {
                write!(f, "the layers {} form a dependency cycle", names.join(", "))
            }
            Reason::SecretInBackend(name) => {
                write!(
                    f,
                    "refused: the backend setting {name} is a secret, and would be visible to every user"
                )
            }
            Reason::StateLocked(LockInfo { who, created, operation, .. }) => {
                write!(f, "the state is locked by {who} since {created} ({operation})")
            }
            Reason::StalePlan => f.write_str("the state has changed since the plan"),
            Reason::MissingVariables(names) => write!(f, "no value for {}", names.join(", ")),
            Reason::NotInitialised => f.write_str("the layer is not initialised"),
            Reason::BackendChanged => f.write_str("the backend configuration has changed"),
            Reason::NotInstallable => f.write_str("failed to install a provider or a module"),
            Reason::RegistryUnreachable { refused } => {
                f.write_str("failed to reach the provider registry")?;
                if refused.is_empty() {
                    return Ok(());
                }
                let refused: Vec<String> = refused.iter().map(|path| path.display().to_string()).collect();
                write!(
                    f,
                    "; not used, because .terraform.lock.hcl does not name the hashes of its packages: {}",
                    refused.join(", ")
                )
            }
            Reason::LockFileOutdated => {
                f.write_str(".terraform.lock.hcl lacks a provider, or its checksums for this platform")
            }
            Reason::BackendUnreachable => f.write_str("failed to access the Terraform state"),
            Reason::BackendSetting { name, value } => f.write_str(&backend_setting(name, value.as_deref())),
            Reason::Authentication => f.write_str(&self.rejected()),
            Reason::Throttled => f.write_str("AWS throttled the calls, or a quota is exhausted"),
            Reason::VersionConstraint => f.write_str("a version constraint is not met"),
            Reason::ResourceCycle => f.write_str("the resources form a dependency cycle"),
            Reason::DiskFull => f.write_str("the disk is full"),
            Reason::PlanNotWritten => f.write_str("the plan file is incomplete: the disk may be full"),
            Reason::ExitCodeChanged { program, messages } => {
                write!(f, "{} ended with exit code 0, but its messages {messages}", program.display())
            }
            Reason::StateNotSaved(file) => {
                write!(f, "failed to save the state; Terraform wrote it to {}", file.display())
            }
            Reason::NotDestroyed(count) => {
                write!(f, "the destroy reported success, but {count} resources are still in the state")
            }
            Reason::Format { what, problem } => write!(f, "failed to read {what}: {problem}"),
            Reason::Interrupted { killed: false } => f.write_str("interrupted"),
            Reason::Interrupted { killed: true } => {
                f.write_str("interrupted, and killed because it did not stop in time")
            }
            Reason::Io { purpose, source } => write!(f, "failed to {purpose}: {source}"),
            Reason::Failed(process) => match (self.diagnostics.first(), process) {
                (Some(first), _) => f.write_str(&first.summary),
                (None, Some(process)) => write!(f, "{process}"),
                (None, None) => f.write_str("failed without an error message"),
            },
        }
    }
}

fn backend_setting(name: &str, value: Option<&str>) -> String {
    let value = value.map(|value| format!(" = {value:?}")).unwrap_or_default();
    format!("the backend setting {name}{value} does not work for this stage")
}

impl Failure {
    /// Which credentials AWS does not accept.
    fn rejected(&self) -> String {
        let of_profile = self.profile.as_ref().map(|profile| format!(" of profile {profile:?}"));
        let of_profile = of_profile.unwrap_or_default();
        format!("AWS does not accept the credentials{of_profile}, or they lack a permission")
    }

    fn kind(&self) -> Kind {
        match *self.reason {
            Reason::Interrupted { .. } => Kind::Interrupted,
            Reason::UnknownLayer(_) | Reason::BadLayerName(_) | Reason::LayerCycle(_) => Kind::Usage,
            Reason::NotFound(_)
            | Reason::NotTerraform(_)
            | Reason::TooOld { .. }
            | Reason::OptionTooNew { .. }
            | Reason::BadFolder(_)
            | Reason::SecretInBackend(_) => Kind::Preflight,
            _ => Kind::Terraform,
        }
    }

    const fn id(reason: &Reason) -> ErrorId {
        match reason {
            Reason::NotFound(_) => ErrorId::TerraformNotFound,
            Reason::NotTerraform(_) => ErrorId::TerraformNotTerraform,
            Reason::TooOld { .. } => ErrorId::TerraformTooOld,
            Reason::OptionTooNew { .. } => ErrorId::TerraformOptionTooNew,
            Reason::BadFolder(_) => ErrorId::TerraformBadFolder,
            Reason::UnknownLayer(_) => ErrorId::TerraformUnknownLayer,
            Reason::BadLayerName(_) => ErrorId::TerraformBadLayerName,
            Reason::LayerCycle(_) => ErrorId::TerraformLayerCycle,
            Reason::SecretInBackend(_) => ErrorId::TerraformSecretInBackend,
            Reason::StateLocked(_) => ErrorId::TerraformStateLocked,
            Reason::StalePlan => ErrorId::TerraformStalePlan,
            Reason::MissingVariables(_) => ErrorId::TerraformMissingVariable,
            Reason::NotInitialised => ErrorId::TerraformNotInitialised,
            Reason::BackendChanged => ErrorId::TerraformBackendChanged,
            Reason::NotInstallable => ErrorId::TerraformNotInstallable,
            Reason::RegistryUnreachable { .. } => ErrorId::TerraformRegistryUnreachable,
            Reason::LockFileOutdated => ErrorId::TerraformLockFileOutdated,
            Reason::BackendSetting { .. } => ErrorId::TerraformBackendSetting,
            Reason::BackendUnreachable => ErrorId::TerraformBackendUnreachable,
            Reason::Authentication => ErrorId::TerraformAuthentication,
            Reason::Throttled => ErrorId::TerraformThrottled,
            Reason::VersionConstraint => ErrorId::TerraformVersionConstraint,
            Reason::ResourceCycle => ErrorId::TerraformResourceCycle,
            Reason::DiskFull => ErrorId::TerraformDiskFull,
            Reason::PlanNotWritten => ErrorId::TerraformPlanNotWritten,
            Reason::ExitCodeChanged { .. } => ErrorId::TerraformExitCodeChanged,
            Reason::StateNotSaved(_) => ErrorId::TerraformStateNotSaved,
            Reason::NotDestroyed(_) => ErrorId::TerraformNotDestroyed,
            Reason::Format { .. } => ErrorId::TerraformFormat,
            Reason::Interrupted { .. } => ErrorId::Interrupted,
            Reason::Io { .. } => ErrorId::TerraformIo,
            Reason::Failed(_) => ErrorId::TerraformFailed,
        }
    }

    /// The hint for a refusal of AWS.
    fn aws_hint(&self) -> &'static str {
        if self.mentions("ExpiredToken") {
            "the credentials have expired: log in again, and run the command again"
        } else if self.mentions("RequestTimeTooSkewed") {
            "the clock of this machine is wrong: set it, and run the command again"
        } else if self.mentions("Maximum number of deployments") {
            "the API has as many deployments as API Gateway allows: delete old ones with \
             `deployctl prune --keep 5`, and run the command again"
        } else if self.mentions("CodeStorageExceeded") {
            "Lambda's code storage in this region is full: delete old versions with \
             `deployctl prune --keep 5`, and run the command again"
        } else if matches!(*self.reason, Reason::Authentication) {
            "check the credentials and their permissions"
        } else {
            "run the command again later, or request a higher quota"
        }
    }

    fn hint(&self) -> Option<String> {
        let layer = self.layer.as_deref().unwrap_or("<layer>");
        let stage = self.stage.as_deref().unwrap_or("<stage>");
        let by_hand = |args: &str| format!("deployctl terraform {layer} --stage {stage} -- {args}");
        match &*self.reason {
            Reason::StateNotSaved(file) => {
                let push = by_hand("state push errored.tfstate");
                Some(format!(
                    "renew the credentials, run {push}, and delete {}; until then, no other Terraform command \
                     runs in this layer",
                    file.display()
                ))
            }
            Reason::TooOld { minimum, .. } => Some(format!("install version {minimum} or later")),
            Reason::OptionTooNew { since, .. } => Some(format!("use {since} or later, or leave it out")),
            Reason::StateLocked(lock) => {
                let unlock = by_hand(&format!("force-unlock {}", lock.id));
                Some(format!("wait until that command has ended; if it was killed: {unlock}"))
            }
            Reason::MissingVariables(names) => {
                let first = names.first().map_or("<name>", String::as_str);
                Some(format!(
                    "set {} in deployctl.toml, or TF_VAR_{first} in the environment",
                    names.join(", ")
                ))
            }
            Reason::BackendChanged => {
                let (migrate, reconfigure) = (by_hand("init -migrate-state"), by_hand("init -reconfigure"));
                Some(format!(
                    "to move the state: {migrate}; to use the state at the new location: {reconfigure}"
                ))
            }
            Reason::RegistryUnreachable { refused } if !refused.is_empty() => {
                let mirror = refused.first().map(|path| path.display().to_string()).unwrap_or_default();
                Some(format!(
                    "check network and proxy; if you trust the mirror: DEPLOYCTL_PROVIDER_MIRROR={mirror} uses it"
                ))
            }
            Reason::LockFileOutdated => {
                let lock = by_hand("providers lock -platform=linux_amd64");
                Some(format!("{lock}, and commit .terraform.lock.hcl"))
            }
            Reason::Interrupted { killed: true } => {
                let unlock = by_hand("force-unlock <id>");
                Some(format!(
                    "what is live is unchanged; the state may still be locked: the next run reports the id of the lock, \
                     and {unlock} removes it"
                ))
            }
            Reason::Failed(_) => Some(self.unrecognised(&by_hand)),
            Reason::Io { .. } => None,
            _ => self.fixed_hint().map(str::to_owned),
        }
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        Some(match &*self.reason {
            Reason::NotFound(_) => "install Terraform or OpenTofu, or set DEPLOYCTL_TERRAFORM to its path",
            Reason::NotTerraform(_) => "set DEPLOYCTL_TERRAFORM to a terraform or tofu program",
            Reason::BadFolder(_) => "correct the layer's path in deployctl.toml",
            Reason::UnknownLayer(_) => "correct depends_on in deployctl.toml, or the layer's name",
            Reason::BadLayerName(_) => "use letters, digits, '-' and '_'; each name must be unique",
            Reason::LayerCycle(_) => "remove one depends_on of the cycle from deployctl.toml",
            Reason::SecretInBackend(_) => {
                "pass credentials in the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, …)"
            }
            Reason::StalePlan => "run the command again; it creates a new plan",
            Reason::NotInitialised => "run the command again; it runs init first",
            Reason::NotInstallable => {
                "check the sources and versions in required_providers and module blocks"
            }
            Reason::RegistryUnreachable { .. } => {
                "check network and proxy, or set DEPLOYCTL_PROVIDER_MIRROR to a folder \
                 filled by `terraform providers mirror`"
            }
            Reason::BackendUnreachable => {
                "check the bucket's name, region and credentials; `deployctl bootstrap` creates the bucket"
            }
            Reason::BackendSetting { name, .. } => super::backend::advice(name),
            Reason::Authentication | Reason::Throttled => self.aws_hint(),
            Reason::VersionConstraint => {
                "install a version that meets the constraint, or change the constraint"
            }
            Reason::ResourceCycle => "remove a reference between the resources named above",
            Reason::DiskFull | Reason::PlanNotWritten => "free disk space, and run the command again",
            Reason::ExitCodeChanged { .. } => {
                "a wrapper around Terraform changes its exit code: set DEPLOYCTL_TERRAFORM to the real program; \
                 with hashicorp/setup-terraform, set `terraform_wrapper: false`"
            }
            Reason::NotDestroyed(_) => "these resources may still be live; run the command again",
            Reason::Format { .. } => "this version of Terraform may be too new for this version of deployctl",
            Reason::Interrupted { killed: false } => {
                "what is live is unchanged; completed changes are in the Terraform state, and the next run continues \
                 from there"
            }
            _ => return None,
        })
    }

    /// The diagnostics, each once. The summary of the first is the message of a failure that is not recognised.
    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        for (place, diagnostic) in self.diagnostics.iter().enumerate() {
            if self.diagnostics[..place].contains(diagnostic) {
                continue;
            }
            let is_message = place == 0 && matches!(*self.reason, Reason::Failed(_));
            let dir = self.dir.as_deref();
            let cause = if is_message { diagnostic.rest(dir) } else { diagnostic.whole(dir) };
            if !cause.is_empty() {
                causes.push(cause);
            }
        }
        causes
    }

    /// Whether an error of Terraform contains `text`.
    fn mentions(&self, text: &str) -> bool {
        self.diagnostics.iter().any(|error| error.summary.contains(text) || error.detail.contains(text))
    }

    fn unrecognised(&self, by_hand: &dyn Fn(&str) -> String) -> String {
        let done = "no traffic was moved; completed changes are in the Terraform state";
        let Some(address) = self.exists_already() else {
            return format!("{done}; fix the cause, and run the command again");
        };
        let import = by_hand(&format!("import '{address}' <id>"));
        format!(
            "{done}; {address} exists, but not in the state: import it with {import}, or delete it; then run the \
             command again"
        )
    }

    /// The resource that could not be created because it exists: created elsewhere, or by a call whose
    /// response was lost.
    fn exists_already(&self) -> Option<&str> {
        let reports_existing = |diagnostic: &&Diagnostic| {
            let Diagnostic { summary, detail, .. } = diagnostic;
            [summary, detail]
                .iter()
                .any(|text| ["AlreadyExists", "already exists"].iter().any(|words| text.contains(words)))
        };
        self.diagnostics.iter().find(reports_existing)?.address.as_deref()
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let mut error = Self::new(failure.kind(), Failure::id(&failure.reason), failure.to_string());
        error.hint = failure.hint();
        let causes = failure.causes();
        if causes.is_empty() { error } else { error.because(causes.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::messages::Message;

    fn recorded(name: &str) -> Failure {
        let path = format!("{}/tests/fixtures/terraform/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let errors = text.lines().filter_map(|line| Message::parse(line)?.error().cloned());
        Failure::from_run(errors.collect(), None).at("app", "dev")
    }

    #[test]
    fn an_error_is_told_once_and_rejected_credentials_by_name() {
        let diagnostic = |summary: &str, detail: &str| Diagnostic {
            severity: "error".to_owned(),
            summary: summary.to_owned(),
            detail: detail.to_owned(),
            ..Diagnostic::default()
        };
        let same = diagnostic("Unsupported argument", "not expected here");
        let failure =
            Failure::from_run(vec![same.clone(), same, diagnostic("Other", "")], None).at("app", "dev");
        let error = Error::from(failure);
        assert_eq!(error.message, "terraform app: Unsupported argument");
        assert_eq!(error.causes(), ["not expected here\nOther"]);
        let mut failure = Failure::new(Reason::Authentication);
        failure.profile = Some("production".into());
        assert!(failure.to_string().contains("the credentials of profile \"production\","), "{failure}");
    }

    #[test]
    fn a_locked_state_names_its_holder_and_how_to_unlock_it() {
        let failure = recorded("locked");
        let Reason::StateLocked(lock) = &*failure.reason else { panic!("{failure:?}") };
        assert_eq!((lock.who.as_str(), lock.operation.as_str()), ("root@vm", "apply"));
        let error = Error::from(failure);
        assert_eq!((error.id, error.kind.exit_code()), (ErrorId::TerraformStateLocked, 20));
        let unlock =
            "deployctl terraform app --stage dev -- force-unlock c2236b1e-bd85-ed27-ae6f-9573b33618e5";
        assert!(error.hint.unwrap().ends_with(unlock));
    }

    #[test]
    fn recorded_failures_are_recognised() {
        assert!(
            matches!(&*recorded("missing").reason, Reason::MissingVariables(names) if names == &["name"])
        );
        assert!(matches!(*recorded("stale").reason, Reason::StalePlan));
        assert!(matches!(*recorded("no-registry").reason, Reason::RegistryUnreachable { .. }));
        assert!(matches!(*recorded("not-initialised").reason, Reason::NotInitialised));
        assert!(matches!(*recorded("sigint").reason, Reason::Failed(_)));
    }

    /// The text of an error, its id, and what the hint contains.
    #[test]
    fn an_error_of_aws_or_of_the_lock_file_has_a_hint_that_fits() {
        let table = [
            (
                "Error while installing hashicorp/aws v5.100.0: the local package for \
                 registry.terraform.io/hashicorp/aws 5.100.0 doesn't match any of the checksums previously \
                 recorded in the dependency lock file",
                ErrorId::TerraformLockFileOutdated,
                "deployctl terraform app --stage dev -- providers lock -platform=linux_amd64",
            ),
            (
                "api error ExpiredToken: The provided token has expired.",
                ErrorId::TerraformAuthentication,
                "log in again",
            ),
            ("api error AccessDenied: not authorized", ErrorId::TerraformAuthentication, "permissions"),
            (
                "LimitExceededException: Maximum number of deployments per REST API has been reached",
                ErrorId::TerraformThrottled,
                "deployctl prune",
            ),
            (
                "CodeStorageExceededException: Code storage limit exceeded.",
                ErrorId::TerraformThrottled,
                "deployctl prune",
            ),
        ];
        for (detail, id, hint) in table {
            let is_init = id == ErrorId::TerraformLockFileOutdated;
            let summary = if is_init { "Failed to install provider" } else { "creating a resource" };
            let line = serde_json::json!({
                "@level": "error", "@message": "", "type": "diagnostic",
                "diagnostic": { "severity": "error", "summary": summary, "detail": detail },
            });
            let found = Message::parse(&line.to_string()).unwrap().error().cloned();
            let error = Error::from(Failure::from_run(found.into_iter().collect(), None).at("app", "dev"));
            assert_eq!(error.id, id, "{detail}");
            assert!(error.hint.as_ref().unwrap().contains(hint), "{error:?}");
        }
    }

    #[test]
    fn an_existing_resource_can_be_imported() {
        let line = r#"{"@level":"error","@message":"","type":"diagnostic","diagnostic":{"severity":"error","summary":"creating CloudWatch Logs Log Group (/aws/lambda/f): ResourceAlreadyExistsException: The specified log group already exists","detail":"","address":"aws_cloudwatch_log_group.function[\"f\"]"}}"#;
        let found = Message::parse(line).unwrap().error().cloned();
        let error = Error::from(Failure::from_run(found.into_iter().collect(), None).at("app", "dev"));
        assert_eq!(error.id, ErrorId::TerraformFailed);
        let import = r#"deployctl terraform app --stage dev -- import 'aws_cloudwatch_log_group.function["f"]' <id>, or delete it"#;
        assert!(error.hint.as_ref().unwrap().contains(import), "{error:?}");
    }

    #[test]
    fn an_unrecognised_error_keeps_its_diagnostics() {
        let error = Error::from(recorded("sigint"));
        assert_eq!(error.to_string(), "terraform app: local-exec provisioner error");
        assert!(error.causes()[0].contains("(main.tf:2) in terraform_data.slow: Error running command"));
    }
}
