//! The values of Terraform variables that a stage sets, and values in tfvars files that contradict them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, ErrorId, Result};
use crate::project::settings::{FILE, Settings, Stage, StateBackend};
use crate::release::model::Version;
use crate::terraform::Layer;
use crate::terraform::variables::{Assigned, are_equal, assigned, declared};

/// The variable with the version of a release.
const RELEASE_VERSION: &str = "release_version";

impl Settings {
    /// The values of Terraform variables, by name. A layer takes those that it declares.
    pub(crate) fn variables(&self, version: Option<&Version>) -> BTreeMap<String, Value> {
        let Stage { name, region, state_bucket, backend, variables: given, .. } = &self.stage;
        let mut variables: BTreeMap<String, Value> = BTreeMap::new();
        variables.insert("project".to_owned(), self.project.as_str().into());
        variables.insert("stage".to_owned(), name.as_str().into());
        variables.extend(given.clone());
        variables.insert("region".to_owned(), region.as_str().into());
        if *backend == StateBackend::Deployctl {
            variables.insert("state_bucket".to_owned(), state_bucket.as_str().into());
            variables.insert("state_prefix".to_owned(), self.stage.state_prefix(&self.project).into());
        }
        if let Some(version) = version {
            variables.insert(RELEASE_VERSION.to_owned(), version.as_str().into());
        }
        variables
    }

    /// The values in the files of `layer` that differ from what the stage sets: the file, and the other place.
    pub(crate) fn contradictions(&self, layer: &Layer) -> Vec<String> {
        let values = self.variables(None);
        let declared = declared(&layer.dir);
        let assigned = assigned(layer);
        let files = assigned.iter().filter(|(name, _)| declared.contains_key(*name));
        files
            .filter_map(|(name, found)| {
                let place = self.place(found);
                if name == RELEASE_VERSION {
                    return Some(format!("{place} sets {name}, which deployctl sets to the version"));
                }
                let (own, other) = (values.get(name)?, found.value.as_ref()?);
                (!are_equal(own, other)).then(|| {
                    // The values of a project's own variables may be secrets.
                    let is_own = self.stage.variables.contains_key(name) && name != "region";
                    match is_own {
                        true => format!(
                            "{place} sets {name}, and [stages.{}.variables] in {FILE} sets it to another value",
                            self.stage.name
                        ),
                        false => format!(
                            "{place} sets {name} = {other}, and stage {} of {FILE} sets it to {own}",
                            self.stage.name
                        ),
                    }
                })
            })
            .collect()
    }

    fn place(&self, found: &Assigned) -> String {
        let file = found.file.strip_prefix(&self.root).unwrap_or(&found.file).display();
        found.line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"))
    }

    /// Refuses values in the files of `layers` that differ from what the stage sets.
    ///
    /// # Errors
    /// `terraform.variable_conflict`, exit code 2, with both places of each.
    pub(crate) fn require_agreeing_variables<'a>(
        &self,
        layers: impl IntoIterator<Item = &'a Layer>,
    ) -> Result<()> {
        let mut found: Vec<String> =
            layers.into_iter().flat_map(|layer| self.contradictions(layer)).collect();
        found.dedup();
        if found.is_empty() {
            return Ok(());
        }
        let message = format!("refused: a file contradicts the stage:\n  - {}", found.join("\n  - "));
        Err(Error::usage(ErrorId::TerraformVariableConflict, message).hint(
            "nothing was changed; remove the value from one of the two; a file for each stage is named by \
             var_files = [\"{stage}.tfvars\"] of the layer",
        ))
    }
}
