//! `deployctl.toml` as it is written. The comments here are the descriptions in its JSON Schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::checks::CheckFile;
use super::contract::ContractTable;
use super::delivery::DeliveryFile;
use super::notify::NotifyFile;
use super::prepare::PrepareFile;
use crate::artifact::Architecture;
use crate::release::model::{AccountId, StageName};

/// What deployctl releases, and where to. Paths are relative to the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// 1 to 20 of a-z, 0-9 and '-': part of the names of buckets and functions.
    #[schemars(regex(pattern = "^[a-z0-9-]{1,20}$"))]
    pub(super) project: String,
    /// The versions of deployctl that may use this file, such as ">= 0.2, < 0.4"; any by default.
    pub(super) required_version: Option<String>,
    /// The stage if none is named; `local` by default.
    #[schemars(with = "Option<StageName>")]
    pub(super) default_stage: Option<String>,
    /// Where the Terraform states are: `deployctl` for S3, under deployctl's keys, or `own` for where the layers' own
    /// `backend` blocks say.
    #[serde(default)]
    pub(super) backend: BackendSetting,
    /// The bucket of the zips and the ledger, where no layer has it as an output; may contain `{stage}`.
    pub(super) artifact_bucket: Option<String>,
    /// The targets, by name: 1 to 32 of a-z, 0-9 and '-', a letter first. A name that ends with '*' is a template for
    /// all stages whose names begin so and that have no table of their own.
    pub(super) stages: BTreeMap<String, StageFile>,
    /// Terraform's root modules, by name.
    pub(super) layers: BTreeMap<String, LayerFile>,
    /// The zips, by name; a function names its own in the contract.
    pub(super) artifacts: BTreeMap<String, ArtifactFile>,
    /// The contract, where it is not an output of Terraform.
    pub(super) contract: Option<ContractTable>,
    /// How a release is recognised from outside; `false` if the API cannot be reached from where releases run.
    #[serde(default)]
    pub(super) probe: ProbeSetting,
    /// Whether each new version that serves a GET is invoked before the switch, with an event of its route.
    #[serde(default = "yes")]
    pub(super) default_check: bool,
    /// What a new release must show, in this order.
    #[serde(default)]
    pub(super) checks: Vec<CheckFile>,
    /// How a new release gets the requests; a stage can have its own.
    #[serde(default)]
    pub(super) delivery: DeliveryFile,
    /// Functions that a release invokes once for its version and their code, before its checks, in this order.
    #[serde(default)]
    pub(super) prepare: Vec<PrepareFile>,
    /// Where the ledger records of the stages in AWS are sent.
    pub(super) notify: Option<NotifyFile>,
    /// How Terraform is run, and where the contract is.
    #[serde(default)]
    pub(super) terraform: TerraformFile,
}

fn yes() -> bool {
    true
}

/// Where the Terraform states are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BackendSetting {
    #[default]
    Deployctl,
    Own,
}

/// The probe, or whether there is one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ProbeSetting {
    Probe(ProbeFile),
    IsSent(bool),
}

impl Default for ProbeSetting {
    fn default() -> Self {
        Self::Probe(ProbeFile::default())
    }
}

/// A stage of the project.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StageFile {
    /// Whether it is the embedded AWS on this machine.
    #[serde(default)]
    pub(super) local: bool,
    /// The port of the embedded AWS; a free one by default.
    #[schemars(range(min = 1))]
    pub(super) port: Option<u16>,
    /// The AWS account; any other is refused. Required, but for a local stage.
    #[schemars(with = "Option<AccountId>")]
    pub(super) account: Option<String>,
    /// The region. Required, but for a local stage.
    pub(super) region: Option<String>,
    /// The profile of the AWS configuration with this stage's credentials; the caller's own by default. Of a local
    /// stage, which has no credentials: the cargo profile with which its Rust functions are built; `lambda-dev` by
    /// default.
    pub(super) profile: Option<String>,
    /// The bucket of the Terraform state; `<project>-<stage>-tfstate-<account>` by default.
    pub(super) state_bucket: Option<String>,
    /// With `backend = "own"`: what `terraform init` gets as `-backend-config`, in this order. A file, relative to the
    /// project, or `name=value`; may contain `{layer}`.
    #[serde(default)]
    pub(super) backend_config: Vec<String>,
    /// With `backend = "own"`: the Terraform workspace; `default` by default.
    pub(super) workspace: Option<String>,
    /// Allows previews of this stage: further stages of its API with code that is not released.
    pub(super) previews: Option<PreviewsFile>,
    /// The bucket of this stage's zips and ledger; the project's `artifact_bucket` by default.
    pub(super) artifact_bucket: Option<String>,
    /// The account that owns the bucket of the Terraform state; the stage's account by default.
    #[schemars(with = "Option<AccountId>")]
    pub(super) state_bucket_account: Option<String>,
    /// The account that owns the bucket of the zips and the ledger; the stage's account by default.
    #[schemars(with = "Option<AccountId>")]
    pub(super) artifact_bucket_account: Option<String>,
    /// Terraform variables of this stage; each layer takes those that it declares. `project` and `stage`
    /// replace the names that deployctl sets.
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Value>,
    /// Whether Lambda calls and API deployments are kept below the account's rates; true, but for a local stage.
    pub(super) pacing: Option<bool>,
    /// Whether releases are probed over HTTP: false if the stage's API cannot be reached from where they run. As
    /// `probe` says, by default.
    pub(super) probe: Option<bool>,
    /// How a new release gets this stage's requests; as the project's `delivery` says, by default.
    pub(super) delivery: Option<DeliveryFile>,
    /// Where the ledger records of this stage are sent; as `notify` says, by default, but for a local stage.
    pub(super) notify: Option<NotifyFile>,
}

/// A root module of Terraform.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerFile {
    /// Its folder; `terraform/<name>` by default. May contain `{stage}`.
    pub(super) path: Option<String>,
    /// Files with values of variables, for `-var-file`, in this order; relative to the project, may contain `{stage}`.
    #[serde(default)]
    pub(super) var_files: Vec<String>,
    /// The layers that are applied before it.
    #[serde(default)]
    pub(super) depends_on: Vec<String>,
}

/// A zip or a container image with the code of one or more functions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArtifactFile {
    /// The cargo package to build, with a binary of the same name; the artifact's name by default.
    pub(super) package: Option<String>,
    /// The folder of the package's cargo workspace; the project's by default.
    pub(super) workspace: Option<PathBuf>,
    /// Instead of a package: a finished zip for any runtime, or a `bootstrap`.
    pub(super) path: Option<PathBuf>,
    /// Instead of both: a container image in ECR, by its digest: `REPOSITORY@sha256:DIGEST`.
    pub(super) image: Option<String>,
    /// What it runs on.
    #[serde(default)]
    pub(super) architecture: Architecture,
    /// Its S3 key; must contain `{version}`, must not begin with `deployctl/`. Required, but for an image.
    pub(super) key: Option<String>,
}

/// What previews of a stage may be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PreviewsFile {
    /// How long a preview stays after its last `preview up`: a number and `m`, `h` or `d`, such as "12h".
    #[schemars(regex(pattern = "^[1-9][0-9]{0,3}[mhd]$"))]
    pub(super) expires: String,
    /// The most previews at a time. API Gateway allows 10 stages for each API, the others included.
    #[schemars(range(min = 1, max = 300))]
    pub(super) max: usize,
}

impl Default for PreviewsFile {
    fn default() -> Self {
        Self { expires: "7d".into(), max: 8 }
    }
}

/// How a release is recognised from outside.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbeFile {
    /// The path to GET below the stage's URL.
    pub(super) path: String,
    /// The response header that names the release which answered; without one, any answer below 500 counts.
    pub(super) release_header: Option<String>,
    /// How long the new release may take to answer, three times in a row.
    #[schemars(range(min = 1, max = 3600))]
    pub(super) timeout_seconds: u64,
}

impl Default for ProbeFile {
    fn default() -> Self {
        Self { path: "/".into(), release_header: None, timeout_seconds: 60 }
    }
}

/// How Terraform is run, and where the contract is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TerraformFile {
    /// The layer whose output names the artifact bucket; not used with `artifact_bucket`.
    pub(super) bucket_layer: String,
    /// The name of the output with the bucket.
    pub(super) bucket_output: String,
    /// The layer whose output is the contract.
    pub(super) contract_layer: String,
    /// The name of the output with the contract.
    pub(super) contract_output: String,
    /// Resource types that are not destroyed or replaced without --allow-destroy; by default those that hold data,
    /// or that callers know by name.
    pub(super) protected: Option<Vec<String>>,
    /// The most resources that one plan may destroy or replace; any number by default.
    #[schemars(range(max = 1_000_000))]
    pub(super) max_destroys: Option<usize>,
    /// Addresses of provider actions (`action` blocks) that a plan may invoke; none by default.
    pub(super) allow_actions: Vec<String>,
    /// Names of REST APIs and functions that may exist before a layer with an empty state creates its own; none by
    /// default.
    pub(super) allow_existing: Vec<String>,
    /// How many resources one Terraform process works on at once; Terraform's own default is 10.
    #[schemars(range(min = 1))]
    pub(super) parallelism: Option<u16>,
    /// How long to wait for a state that somebody else has locked.
    #[schemars(range(max = 86400))]
    pub(super) lock_timeout_seconds: u64,
}

impl Default for TerraformFile {
    fn default() -> Self {
        Self {
            bucket_layer: "base".into(),
            bucket_output: "artifact_bucket".into(),
            contract_layer: "app".into(),
            contract_output: "deployctl".into(),
            protected: None,
            max_destroys: None,
            allow_actions: Vec::new(),
            allow_existing: Vec::new(),
            parallelism: None,
            lock_timeout_seconds: 60,
        }
    }
}
