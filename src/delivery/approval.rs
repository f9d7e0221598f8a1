//! The consent to a release: what somebody has approved, by the digest of a plan or on the terminal.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::LocalBoxFuture;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::build::Built;
use super::plan::ReleasePlan;
use crate::artifact::digest::Sha256;
use crate::engine::observe::Freshness;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::platform::hex;
use crate::release::definition::canonical_digest;
use crate::release::plan::{Target, Work};
use crate::terraform::plan::{Action, Plan};

/// A resource that a release would destroy or replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destruction {
    pub(crate) layer: String,
    pub(crate) address: String,
    pub(crate) action: Action,
}

impl Destruction {
    /// What happens, such as `replace aws_iam_role.api (layer app)`.
    pub(crate) fn describe(&self) -> String {
        let verb = match self.action {
            Action::Replace => "replace",
            Action::Unknown => "unknown action on",
            _ => "destroy",
        };
        format!("{verb} {} (layer {})", self.address, self.layer)
    }
}

/// Asks somebody, and fails without their consent.
pub(crate) type Ask<'a> = &'a dyn Fn(Vec<Destruction>) -> LocalBoxFuture<'a, Result<()>>;

/// How a release obtains consent.
pub(crate) struct Consent<'a> {
    /// The digest of the plan that was approved. It replaces the question.
    pub(crate) approved: Option<Sha256>,
    pub(crate) ask: Ask<'a>,
}

/// What was consented to.
#[derive(Debug, Default)]
pub(super) struct Consented {
    /// The destructions, by layer and address.
    destructions: BTreeSet<(String, String)>,
    /// The actions of each layer that was planned, if the whole plan was approved.
    actions: Option<BTreeMap<String, Value>>,
}

impl Consented {
    pub(super) fn to_destructions(listed: Vec<Destruction>) -> Self {
        let destructions = listed.into_iter().map(|one| (one.layer, one.address)).collect();
        Self { destructions, actions: None }
    }

    pub(super) fn to_plan(listed: Vec<Destruction>, actions: BTreeMap<String, Value>) -> Self {
        Self { actions: Some(actions), ..Self::to_destructions(listed) }
    }

    /// Refuses what a layer would do after its dependencies were applied, unless that was consented to.
    ///
    /// # Errors
    /// `terraform.unconfirmed` or `approved_plan.changed`, exit code 20: dependencies may be applied.
    pub(super) fn check(&self, layer: &str, actions: &Value, destroyed: &[Destruction]) -> Result<()> {
        if let Some(approved) = self.actions.as_ref().and_then(|approved| approved.get(layer))
            && approved != &not_yet()
            && approved != actions
        {
            let message =
                format!("refused: the plan of layer {layer} is no longer the one that was approved");
            let layers = "the layers that it depends on were applied";
            return Err(Error::new(Kind::Terraform, ErrorId::ApprovedPlanChanged, message).hint(format!(
                "what is live is unchanged; {layers}; plan again and have that plan approved"
            )));
        }
        let is_new =
            |one: &&Destruction| !self.destructions.contains(&(one.layer.clone(), one.address.clone()));
        let new: Vec<Destruction> = destroyed.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let live = "what is live is unchanged, and the layers that this one depends on were applied";
        Err(unconfirmed("the plan after the layers before it were applied destroys more", &new)
            .hint(format!("{live}; run the command again to see and confirm the new plan")))
    }
}

/// The error for destructions without consent.
pub(crate) fn unconfirmed(reason: &str, destructions: &[Destruction]) -> Error {
    let lines: Vec<String> = destructions.iter().map(Destruction::describe).collect();
    let message = format!("refused to destroy or replace resources: {reason}");
    Error::new(Kind::Terraform, ErrorId::TerraformUnconfirmed, message).because(lines.join("\n"))
}

/// What a layer would do, without what is only shown. Reads of data sources change nothing.
pub(super) fn actions(plan: &Plan) -> Value {
    let mut changes: Vec<_> = plan.changes.iter().filter(|change| change.action != Action::Read).collect();
    changes.sort_by(|a, b| a.address.cmp(&b.address));
    // A hash, because a copy of a large plan would fill the memory.
    let mut hash = Hashing(sha2::Sha256::new());
    let written = serde_json::to_writer(&mut hash, &(changes, &plan.outputs, &plan.invocations));
    // These types have string keys only, so they cannot fail to be JSON.
    debug_assert!(written.is_ok());
    json!(hex(hash.0.finalize()))
}

/// Writes into a hash.
struct Hashing(sha2::Sha256);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) fn no_changes() -> Value {
    json!("no changes")
}

/// A layer that cannot be planned before others are applied.
pub(super) fn not_yet() -> Value {
    json!("not yet")
}

/// The digest of what a release would do. It contains the bytes of the zips, but neither the version nor the
/// names that follow from it, so that a plan of a pull request can be approved.
pub(super) fn digest(
    actions: &BTreeMap<String, Value>,
    built: &Built,
    release: Option<&ReleasePlan>,
) -> Sha256 {
    let artifacts: BTreeMap<&str, Sha256> =
        built.artifacts.iter().map(|artifact| (artifact.name.as_str(), artifact.sha256)).collect();
    let release = release.map(|release| {
        let functions: BTreeMap<&str, Value> = release
            .plan
            .functions
            .iter()
            .map(|(key, step)| {
                let work = match &step.work {
                    Work::Update { code, .. } => {
                        let change = code.architecture.as_ref();
                        let architecture =
                            change.map(|change| (change.from.to_string(), change.to.to_string()));
                        json!({ "update": code.sha256, "architecture": architecture })
                    }
                    Work::Publish(_) => json!("publish"),
                    Work::Keep(version) => json!({ "keep": version }),
                };
                let Target { name, artifact, alias, latest, provisioned, warm } = &step.target;
                let mut planned = json!({ "name": name, "artifact": artifact, "work": work });
                if alias.is_some() || *latest {
                    planned["reach"] = json!([alias, latest]);
                }
                if provisioned.is_some() || warm.is_some() {
                    planned["warm"] = json!([provisioned, warm]);
                }
                (key.as_str(), planned)
            })
            .collect();
        let (state, lines) = match &release.freshness {
            Freshness::Fresh(_) => ("fresh", &[][..]),
            Freshness::Stale(_, changes) => ("stale", changes.as_slice()),
            Freshness::Unknown(reasons) => ("unknown", reasons.as_slice()),
        };
        let api = json!({ "definition": release.definition, "state": state, "lines": lines });
        json!({ "functions": functions, "variables": release.plan.variables, "api": api })
    });
    let all = json!({ "format": 1, "layers": actions, "artifacts": artifacts, "release": release });
    canonical_digest(&all)
}

/// The error if the release would do something else than what was approved.
pub(super) fn not_approved(approved: Sha256, planned: Sha256) -> Error {
    let message = "refused: this release would not do what was approved";
    Error::preflight(ErrorId::ApprovedPlanChanged, message)
        .because(format!("approved: {approved}, planned now: {planned}"))
        .hint("nothing was changed; `deployctl plan` shows what a release does now: have its digest approved")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(json: &[u8]) -> Value {
        actions(&Plan::parse(json).unwrap())
    }

    fn destroyed(address: &str) -> Destruction {
        Destruction { layer: "app".into(), address: address.into(), action: Action::Delete }
    }

    #[test]
    fn actions_do_not_depend_on_order_reads_or_drift() {
        let json: Value =
            serde_json::from_slice(include_bytes!("../../tests/fixtures/terraform/show-replan.json"))
                .unwrap();
        let expected = replay(json.to_string().as_bytes());
        let mut other = json.clone();
        let changes = other["resource_changes"].as_array_mut().unwrap();
        changes.reverse();
        let mut read = changes[0].clone();
        read["address"] = "data.a.b".into();
        read["change"]["actions"] = json!(["read"]);
        changes.push(read);
        other["resource_drift"] = json!([]);
        assert_eq!(replay(other.to_string().as_bytes()), expected);
        let mut changed = json;
        changed["resource_changes"][0]["change"]["after"]["input"] = "z".into();
        assert_ne!(replay(changed.to_string().as_bytes()), expected, "a planned value is part of it");
    }

    #[test]
    fn a_later_plan_may_not_destroy_more() {
        let consented = Consented::to_destructions(vec![destroyed("aws_iam_role.a")]);
        let check = |address: &str| consented.check("app", &json!("other"), &[destroyed(address)]);
        assert_eq!(check("aws_iam_role.a").map_err(|error| error.id), Ok(()));
        let error = check("aws_iam_role.b").unwrap_err();
        assert_eq!((error.id, error.kind), (ErrorId::TerraformUnconfirmed, Kind::Terraform));
        assert_eq!(error.causes(), ["destroy aws_iam_role.b (layer app)"]);
    }

    #[test]
    fn a_layer_must_do_what_was_approved_unless_it_could_not_be_planned() {
        let approved = [("app", json!("a")), ("logs", not_yet())];
        let approved = approved.map(|(name, actions)| (name.to_owned(), actions)).into();
        let consented = Consented::to_plan(Vec::new(), approved);
        let check = |layer: &str, actions: &str, destroyed: &[Destruction]| {
            consented.check(layer, &json!(actions), destroyed).map_err(|error| error.id)
        };
        assert_eq!(check("app", "a", &[]), Ok(()));
        assert_eq!(check("app", "b", &[]), Err(ErrorId::ApprovedPlanChanged));
        assert_eq!(check("logs", "b", &[]), Ok(()));
        assert_eq!(check("logs", "b", &[destroyed("aws_iam_role.a")]), Err(ErrorId::TerraformUnconfirmed));
    }
}
