//! The environment variables of deployctl. `docs/configuration.md` describes them. Those of CI systems are
//! read in `output`, and those of AWS by its SDK.

pub(crate) const STAGE: &str = "DEPLOYCTL_STAGE";
pub(crate) const CONFIG: &str = "DEPLOYCTL_CONFIG";
pub(crate) const OUTPUT: &str = "DEPLOYCTL_OUTPUT";
pub(crate) const PROGRESS: &str = "DEPLOYCTL_PROGRESS";
pub(crate) const LOG_FORMAT: &str = "DEPLOYCTL_LOG_FORMAT";
pub(crate) const VERSION: &str = "DEPLOYCTL_VERSION";
/// The digest of the plan that was approved.
pub(crate) const APPROVED_PLAN: &str = "DEPLOYCTL_APPROVED_PLAN";
pub(crate) const ARTIFACTS: &str = "DEPLOYCTL_ARTIFACTS";
/// The Terraform program: a path or a name on PATH.
pub(crate) const TERRAFORM: &str = "DEPLOYCTL_TERRAFORM";
/// The file for Terraform's own log.
pub(crate) const TERRAFORM_LOG: &str = "DEPLOYCTL_TERRAFORM_LOG";
/// The folder to install providers from.
pub(crate) const PROVIDER_MIRROR: &str = "DEPLOYCTL_PROVIDER_MIRROR";
/// Folders, separated by `:`, whose `deployctl.toml` is used although another user owns it.
pub(crate) const TRUSTED_DIRS: &str = "DEPLOYCTL_TRUSTED_DIRS";
/// The `Authorization` header of the probe: in the environment, because it is a secret.
pub(crate) const PROBE_AUTHORIZATION: &str = "DEPLOYCTL_PROBE_AUTHORIZATION";
/// The folder for tools that are installed once per machine.
pub(crate) const CACHE_DIR: &str = "DEPLOYCTL_CACHE_DIR";
/// The seconds that one attempt of an AWS call may take.
pub(crate) const CALL_TIMEOUT: &str = "DEPLOYCTL_CALL_TIMEOUT";
