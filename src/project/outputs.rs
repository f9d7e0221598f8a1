//! Reads the artifact bucket and the contract from Terraform's outputs in the state in S3: one request
//! instead of a Terraform process, which only reads what S3 does not have.

use serde_json::Value;

use futures::try_join;

use crate::aws::s3::Bucket;
use crate::aws::unreachable;
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ledger::Ledger;
use crate::engine::observe::unreadable;
use crate::engine::ports::{Store as _, Stored};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::contract::{Contract, string_output};
use crate::project::driver::init_if_needed;
use crate::project::session::{Access, Session, unless_interrupted};
use crate::project::settings::{ArtifactBucket, ContractTable, FILE, OutputName, Stage, StateBackend};
use crate::project::states::StateObject;
use crate::release::model::Version;
use crate::release::partition;
use crate::terraform::{Layer, Outputs, outputs};

impl Session {
    /// A layer's outputs, read from its state: one request instead of a Terraform process. `None` before the
    /// first apply. A local stage creates a missing state bucket. Outside S3, Terraform reads them.
    ///
    /// # Errors
    /// `state.missing` without a state bucket, `state.unreadable`.
    pub(crate) async fn outputs(&self, layer: &str) -> Result<Option<Outputs>> {
        let layer = self.settings.layer(layer)?;
        let Some(object) = self.state_object(layer) else {
            return self.terraform_outputs(layer).await.map(Some);
        };
        let stored = unless_interrupted(&self.cancel, self.state(&object)).await?;
        let Some(stored) = stored else { return Ok(None) };
        match outputs::from_state(&stored.body) {
            Ok(outputs) => Ok(Some(outputs)),
            // Encrypted by OpenTofu, or of a later version: Terraform itself can read it.
            Err(_) => self.terraform_outputs(layer).await.map(Some),
        }
    }

    /// A layer's outputs, read by Terraform; none before the first apply.
    async fn terraform_outputs(&self, layer: &Layer) -> Result<Outputs> {
        let driver = self.driver().await?;
        let _turn = self.terraform_reads.lock().await;
        init_if_needed(&self.events, &driver, layer).await?;
        Ok(driver.outputs(layer).await?)
    }

    /// Proves that the buckets of the Terraform states belong to the expected account. Terraform does not check
    /// it, and would write secrets into the bucket of whoever has taken its name. Costs a call only for a bucket
    /// of which the command has read no state yet.
    ///
    /// # Errors
    /// As [`Session::outputs`].
    pub(crate) async fn require_own_state_buckets(&self) -> Result<()> {
        for object in self.state_objects() {
            if !self.proven_buckets.contains(object.bucket.name()) {
                unless_interrupted(&self.cancel, self.state(&object)).await?;
            }
        }
        Ok(())
    }

    /// A state; `None` before the first apply. S3 answers only if the bucket belongs to the expected account.
    pub(crate) async fn state(&self, object: &StateObject) -> Result<Option<Stored>> {
        let state = self.read_state(object).await?;
        self.note_state(&object.layer, state.as_ref());
        self.proven_buckets.add(object.bucket.name());
        Ok(state)
    }

    async fn read_state(&self, object: &StateObject) -> Result<Option<Stored>> {
        let StateObject { bucket, key, .. } = object;
        match bucket.read(key).await {
            Err(failure) if is_no_bucket(&failure) && self.local.is_some() => {
                if self.access == Access::Read {
                    return Ok(None);
                }
                let stage = &self.settings.stage;
                let created = bucket.ensure_state_bucket(&stage.region, &stage.account).await;
                created.map_err(|failure| unreadable("the bucket of the Terraform state", failure))?;
                Ok(None)
            }
            read => read.map_err(|failure| self.no_state(bucket.name(), failure)),
        }
    }

    fn no_state(&self, state_bucket: &str, failure: Failure) -> Error {
        if is_no_bucket(&failure) {
            let name = &self.settings.stage.name;
            let next = match self.settings.stage.backend {
                StateBackend::Deployctl => format!("create it with `deployctl bootstrap --stage {name}`"),
                StateBackend::Own { .. } => format!(
                    "create the bucket, or correct the backend block or `backend_config` of stage {name}"
                ),
            };
            return Error::preflight(
                ErrorId::StateMissing,
                format!("stage {name} has no bucket for the Terraform state ({state_bucket})"),
            )
            .because(failure)
            .hint(format!("nothing was changed; {next}"));
        }
        if failure.meaning == Meaning::Unreachable {
            return unreachable(failure);
        }
        let Stage { state_bucket_account, .. } = &self.settings.stage;
        let otherwise = format!(
            "the bucket {state_bucket} must belong to account {state_bucket_account} (`state_bucket_account` in \
             deployctl.toml names another owner), and the caller needs s3:GetObject and s3:ListBucket on it"
        );
        let hint = failure.hint("nothing was changed", &otherwise);
        Error::preflight(ErrorId::StateUnreadable, "failed to read the Terraform state")
            .because(failure)
            .hint(hint)
    }

    /// The artifact bucket; `None` before its layer is applied.
    pub(crate) async fn artifact_bucket(&self) -> Result<Option<Bucket>> {
        let output = match &self.settings.bucket {
            ArtifactBucket::Named(name) => return Ok(Some(self.aws.bucket(name))),
            ArtifactBucket::Output(output) => output,
        };
        let Some(outputs) = self.outputs(&output.layer).await? else { return Ok(None) };
        if outputs.is_empty() {
            // The layer was destroyed, or its first apply failed.
            return Ok(None);
        }
        let name =
            string_output(output, outputs.get(&output.output).map(|found| &found.value), &names(&outputs))?;
        Ok(Some(self.aws.bucket(&name)))
    }

    /// The contract of the stage. If only Terraform can read the outputs, the one in the live record.
    ///
    /// # Errors
    /// `stage.empty` before the first release, and as [`Session::outputs`] and [`Contract::read`].
    pub(crate) async fn contract(&self) -> Result<Contract> {
        if let Some(contract) = self.recorded_contract().await? {
            return Ok(contract);
        }
        self.applied_contract().await?.ok_or_else(|| crate::engine::observe::empty(&self.settings.stage.name))
    }

    /// The contract of a stage that a command changes. Its bucket must be the one that a release uses:
    /// otherwise two commands would take their leases in two places.
    ///
    /// # Errors
    /// `contract.invalid` for two buckets, and as [`Session::contract`].
    pub(crate) async fn contract_to_change(&self) -> Result<Contract> {
        if let Some(contract) = self.recorded_contract().await? {
            return Ok(contract);
        }
        let contract = self.applied_contract_to_change().await?;
        contract.ok_or_else(|| crate::engine::observe::empty(&self.settings.stage.name))
    }

    /// As [`Session::contract_to_change`]; `None` before its layer is applied.
    pub(crate) async fn applied_contract_to_change(&self) -> Result<Option<Contract>> {
        let (contract, bucket) = futures::join!(self.applied_contract(), self.artifact_bucket());
        let contract = contract?;
        // A rollback must not depend on the output that only a release needs.
        if let (Some(contract), Ok(Some(bucket))) = (&contract, bucket) {
            self.require_one_bucket(contract, bucket.name())?;
        }
        Ok(contract)
    }

    /// Checks that the contract names `bucket`, the artifact bucket of a release.
    ///
    /// # Errors
    /// `contract.invalid` with both names.
    pub(crate) fn require_one_bucket(&self, contract: &Contract, bucket: &str) -> Result<()> {
        if contract.artifact_bucket == bucket {
            return Ok(());
        }
        let of_contract = &self.settings.contract;
        let of_bucket = match &self.settings.bucket {
            ArtifactBucket::Named(_) => format!("artifact_bucket in {FILE}"),
            ArtifactBucket::Output(output) => {
                format!("output {:?} of layer {:?}", output.output, output.layer)
            }
        };
        let message = format!(
            "refused: output {:?} of layer {:?} names the artifact bucket {}, but {of_bucket} names {bucket}",
            of_contract.output, of_contract.layer, contract.artifact_bucket,
        );
        Err(Error::new(Kind::Terraform, ErrorId::ContractInvalid, message).hint(
            "what is live is unchanged; let both name the bucket with the ledger of this stage \
             (`deployctl/<stage>/`)",
        ))
    }

    /// The contract; `None` before its layer is applied, and for a state of before deployctl, which has none.
    pub(crate) async fn applied_contract(&self) -> Result<Option<Contract>> {
        match self.contract_output().await {
            Err(error) if error.id == ErrorId::ContractMissing => Ok(None),
            contract => contract,
        }
    }

    /// The contract right after its layer was applied: it must be there.
    ///
    /// # Errors
    /// `contract.missing`, and as [`Session::contract`].
    pub(crate) async fn contract_of_release(&self) -> Result<Contract> {
        match self.contract_output().await? {
            Some(contract) => Ok(contract),
            None => Contract::read(&self.settings.contract, None, &[]),
        }
    }

    /// The contract of the live record, if outputs would need a Terraform process.
    async fn recorded_contract(&self) -> Result<Option<Contract>> {
        let ArtifactBucket::Named(bucket) = &self.settings.bucket else { return Ok(None) };
        let layer = self.settings.layer(&self.settings.contract.layer)?;
        if self.state_object(layer).is_some() {
            return Ok(None);
        }
        let ledger = Ledger::new(self.aws.bucket(bucket), self.settings.stage.name.clone());
        let head = unless_interrupted(&self.cancel, ledger.head()).await?;
        Ok(head.current.map(|record| {
            let url = self.execute_url(&record.release.api.id, &record.release.api.stage);
            Contract::of_release(&record.release, bucket, url)
        }))
    }

    async fn contract_output(&self) -> Result<Option<Contract>> {
        let output: &OutputName = &self.settings.contract;
        if let Some(table) = &self.settings.contract_table {
            return self.contract_of_table(table, &output.layer).await;
        }
        let outputs = self.outputs(&output.layer).await?.filter(|outputs| !outputs.is_empty());
        let Some(outputs) = outputs else { return Ok(None) };
        let found = outputs.get(&output.output).map(|found| self.with_bucket(&found.value));
        Contract::read(output, found.as_ref(), &names(&outputs)).map(Some)
    }

    /// A contract without a bucket has the one that deployctl.toml names.
    fn with_bucket(&self, contract: &Value) -> Value {
        let mut contract = contract.clone();
        if let (ArtifactBucket::Named(name), Some(fields)) = (&self.settings.bucket, contract.as_object_mut())
        {
            fields.entry("artifact_bucket").or_insert_with(|| name.as_str().into());
        }
        contract
    }

    /// The contract of the table in `deployctl.toml`; `None` before its layers are applied.
    async fn contract_of_table(&self, table: &ContractTable, layer: &str) -> Result<Option<Contract>> {
        let outputs = async {
            if table.needs_outputs() { self.outputs(layer).await } else { Ok(Some(Outputs::default())) }
        };
        let (outputs, bucket) = try_join!(outputs, self.artifact_bucket())?;
        let is_applied = |outputs: &Outputs| !outputs.is_empty() || !table.needs_outputs();
        let (Some(outputs), Some(bucket)) = (outputs.filter(is_applied), bucket) else { return Ok(None) };
        let values = outputs.iter().map(|(name, output)| (name, &output.value)).collect();
        let region = &self.settings.stage.region;
        let url = |id: &str, stage: &str| partition::execute_url(region, id, stage);
        Contract::from_table(table, layer, &values, bucket.name(), url).map(Some)
    }

    /// The live version; `None` before the first release.
    pub(crate) async fn live_version(&self) -> Result<Option<Version>> {
        let contract = match self.applied_contract().await {
            // The command may be there to repair it.
            Err(error) if error.id.is_contract() => {
                self.events.warn(format!("the live version is not known: {}", error.message));
                None
            }
            contract => contract?,
        };
        let Some(contract) = contract else { return Ok(None) };
        let aws_stage = self.aws_stage(&contract)?;
        Ok(unless_interrupted(&self.cancel, crate::engine::observe::stage(&aws_stage))
            .await?
            .pointer
            .release())
    }
}

fn is_no_bucket(failure: &Failure) -> bool {
    failure.code.as_deref() == Some("NoSuchBucket")
}

fn names(outputs: &Outputs) -> Vec<String> {
    outputs.iter().map(|(name, _)| name.to_owned()).collect()
}
