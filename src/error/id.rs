//! Error ids: stable names for scripts, and the keys of `commands/explain/catalogue.toml`.

use std::fmt;

macro_rules! error_ids {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// The id of an error, such as `lease.held`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorId {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl ErrorId {
            /// All ids.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The id as it is printed.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

error_ids! {
    ApiEmpty = "api.empty",
    ApiMoving = "api.moving",
    ApiUnversioned = "api.unversioned",
    ApprovedPlanChanged = "approved_plan.changed",
    ApprovedPlanInvalid = "approved_plan.invalid",
    ArtifactArch = "artifact.arch",
    ArtifactBuild = "artifact.build",
    ArtifactGlibc = "artifact.glibc",
    ArtifactIo = "artifact.io",
    ArtifactManifest = "artifact.manifest",
    ArtifactNotElf = "artifact.not_elf",
    ArtifactOtherBytes = "artifact.other_bytes",
    ArtifactPath = "artifact.path",
    ArtifactProfile = "artifact.profile",
    ArtifactTarget = "artifact.target",
    ArtifactTooLarge = "artifact.too_large",
    ArtifactTools = "artifact.tools",
    ArtifactUpload = "artifact.upload",
    ArtifactZip = "artifact.zip",
    AwsCaBundle = "aws.ca_bundle",
    AwsCredentials = "aws.credentials",
    AwsRead = "aws.read",
    AwsUnreachable = "aws.unreachable",
    AwsWrongAccount = "aws.wrong_account",
    BucketUnversioned = "bucket.unversioned",
    Bug = "bug",
    BuildNotWritten = "build.not_written",
    CanaryAborted = "canary.aborted",
    CanaryInProgress = "canary.in_progress",
    CanaryNone = "canary.none",
    CheckFailed = "check.failed",
    ConfigInvalid = "config.invalid",
    ConfigMissing = "config.missing",
    ConfigRequiredVersion = "config.required_version",
    ConfigSyntax = "config.syntax",
    ConfigUnknownStage = "config.unknown_stage",
    ConfigUntrusted = "config.untrusted",
    ConformanceLeft = "conformance.left",
    ConformanceRole = "conformance.role",
    ConformanceSandbox = "conformance.sandbox",
    ConformanceUnconfirmed = "conformance.unconfirmed",
    AliasMissing = "alias.missing",
    ContractInvalid = "contract.invalid",
    ContractVariables = "contract.variables",
    ContractMissing = "contract.missing",
    DestroyReleases = "destroy.releases",
    DestroyUnconfirmed = "destroy.unconfirmed",
    DiffUnknownVersion = "diff.unknown_version",
    ExplainUnknown = "explain.unknown",
    FunctionMissing = "function.missing",
    FunctionUnknown = "function.unknown",
    InfrastructureChanged = "infrastructure.changed",
    InitNoTerraform = "init.no_terraform",
    InitHttpApi = "init.http_api",
    InitNotEmpty = "init.not_empty",
    InitWrite = "init.write",
    Interrupted = "interrupted",
    InvokeFailed = "invoke.failed",
    LayersUnknown = "layers.unknown",
    LeaseDamaged = "lease.damaged",
    LeaseHeld = "lease.held",
    LeaseLost = "lease.lost",
    LeaseNewer = "lease.newer",
    LeaseUnreadable = "lease.unreadable",
    LeaseUnwritten = "lease.unwritten",
    LedgerDamaged = "ledger.damaged",
    LedgerNewer = "ledger.newer",
    LedgerUnreadable = "ledger.unreadable",
    LedgerUnwritten = "ledger.unwritten",
    LocalDied = "local.died",
    LocalDown = "local.down",
    LocalIo = "local.io",
    LocalNotLocal = "local.not_local",
    LocalOtherPort = "local.other_port",
    LocalPort = "local.port",
    LocalProcess = "local.process",
    LocalRedis = "local.redis",
    LocalSilent = "local.silent",
    LocalUnsupported = "local.unsupported",
    LogsSince = "logs.since",
    LogsUnreadable = "logs.unreadable",
    ManNotWritten = "man.not_written",
    OutputAmbiguous = "output.ambiguous",
    OutputCommand = "output.command",
    OutputSensitive = "output.sensitive",
    OutputUnknown = "output.unknown",
    PayloadInvalid = "payload.invalid",
    PrepareFailed = "prepare.failed",
    PrepareUnfinished = "prepare.unfinished",
    PromoteDenied = "promote.denied",
    PromoteDisagreement = "promote.disagreement",
    PromoteExpectation = "promote.expectation",
    PromoteGone = "promote.gone",
    PromoteNoArtifact = "promote.no_artifact",
    PromoteOtherBytes = "promote.other_bytes",
    PromoteSameStage = "promote.same_stage",
    PromoteUnexpected = "promote.unexpected",
    PromoteUnknownVersion = "promote.unknown_version",
    PruneIncomplete = "prune.incomplete",
    PruneUnconfirmed = "prune.unconfirmed",
    ReleaseFails = "release.fails",
    ReleaseMovedElsewhere = "release.moved_elsewhere",
    RedeployManaged = "redeploy.managed",
    ReleaseNotSwitched = "release.not_switched",
    ReleaseNotAtomic = "release.not_atomic",
    ReleaseRefused = "release.refused",
    ReleaseSilent = "release.silent",
    ReleaseStuck = "release.stuck",
    ReleaseSwitchedBack = "release.switched_back",
    ReleaseTooLarge = "release.too_large",
    ReleaseUnknown = "release.unknown",
    ResultUnwritten = "result.unwritten",
    RollbackGone = "rollback.gone",
    RollbackInactive = "rollback.inactive",
    RollbackNoTarget = "rollback.no_target",
    RollbackUnknownVersion = "rollback.unknown_version",
    SchemaUnknown = "schema.unknown",
    StageEmpty = "stage.empty",
    StageMissing = "stage.missing",
    StateMissing = "state.missing",
    StateNotMade = "state.not_made",
    StateUnreadable = "state.unreadable",
    TerraformAuthentication = "terraform.authentication",
    TerraformBackendChanged = "terraform.backend_changed",
    TerraformBackendSetting = "terraform.backend_setting",
    TerraformBackendUnreachable = "terraform.backend_unreachable",
    TerraformBadFolder = "terraform.bad_folder",
    TerraformBadLayerName = "terraform.bad_layer_name",
    TerraformDiskFull = "terraform.disk_full",
    TerraformExitCodeChanged = "terraform.exit_code_changed",
    TerraformFailed = "terraform.failed",
    TerraformFormat = "terraform.format",
    TerraformGuard = "terraform.guard",
    TerraformIo = "terraform.io",
    TerraformLayerCycle = "terraform.layer_cycle",
    TerraformLockFileOutdated = "terraform.lock_file_outdated",
    TerraformMissingVariable = "terraform.missing_variable",
    TerraformNotFound = "terraform.not_found",
    TerraformNotInitialised = "terraform.not_initialised",
    TerraformNotDestroyed = "terraform.not_destroyed",
    TerraformNotInstallable = "terraform.not_installable",
    TerraformNotTerraform = "terraform.not_terraform",
    TerraformOptionTooNew = "terraform.option_too_new",
    TerraformPlanNotWritten = "terraform.plan_not_written",
    TerraformRegistryUnreachable = "terraform.registry_unreachable",
    TerraformResourceCycle = "terraform.resource_cycle",
    TerraformSecretInBackend = "terraform.secret_in_backend",
    TerraformStalePlan = "terraform.stale_plan",
    TerraformStateEmpty = "terraform.state_empty",
    TerraformStateLocked = "terraform.state_locked",
    TerraformStateNotSaved = "terraform.state_not_saved",
    TerraformThrottled = "terraform.throttled",
    TerraformTooOld = "terraform.too_old",
    TerraformUnconfirmed = "terraform.unconfirmed",
    TerraformUnknownLayer = "terraform.unknown_layer",
    TerraformVariableConflict = "terraform.variable_conflict",
    TerraformVersionConstraint = "terraform.version_constraint",
    ToolboxCache = "toolbox.cache",
    ToolboxInstall = "toolbox.install",
    ToolboxPython = "toolbox.python",
    ToolboxVenv = "toolbox.venv",
    UnlockUnconfirmed = "unlock.unconfirmed",
    Usage = "usage",
    VersionAuto = "version.auto",
    VersionInvalid = "version.invalid",
    WorkDirOpen = "work_dir.open",
}

impl ErrorId {
    /// Whether the contract or another Terraform output is missing or invalid.
    pub(crate) fn is_contract(self) -> bool {
        self.as_str().starts_with("contract.")
    }
}

impl fmt::Display for ErrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
