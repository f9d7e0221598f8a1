//! What the Terraform layers would be applied from now, and the states that they have: `release --code-only`
//! compares both with the last apply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use futures::future::try_join_all;
use serde::Deserialize;

use crate::engine::ports::Stored;
use crate::error::{Error, ErrorId, Result};
use crate::project::session::{Session, unless_interrupted};
use crate::project::states::StateObject;
use crate::release::record::AppliedLayer;
use crate::terraform::inputs::Inputs;

impl Session {
    /// The layers as they are now. The states are those that were read last.
    ///
    /// # Errors
    /// `terraform.io` for a file that cannot be read.
    pub(crate) fn layers_now(&self) -> Result<BTreeMap<String, AppliedLayer>> {
        let variables = self.settings.variables(None);
        let states = self.state_serials.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = self.settings.layers.iter().map(|layer| {
            let inputs = Inputs::read(layer, &variables, std::env::vars_os()).map_err(|error| {
                Error::preflight(ErrorId::TerraformIo, format!("failed to read layer {:?}", layer.name))
                    .because(error)
                    .hint("what is live is unchanged; make the files of the layer readable")
            })?;
            let Inputs { files, variables, lock_file } = inputs;
            let state = states.get(&layer.name).cloned();
            Ok((layer.name.clone(), AppliedLayer { files, variables, lock_file, state }))
        });
        layers.collect()
    }

    /// The layers after a release: as they were `before` it, because a file that was edited meanwhile was perhaps not
    /// applied, with what Terraform has written since: the states, and the lock file, which the first `init` writes. A
    /// layer whose lock file cannot be read is left out, and code alone cannot be released then.
    pub(crate) fn layers_applied(
        &self,
        before: &BTreeMap<String, AppliedLayer>,
    ) -> BTreeMap<String, AppliedLayer> {
        let states = self.state_serials.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = self.settings.layers.iter().filter_map(|layer| {
            let before = before.get(&layer.name)?.clone();
            let lock_file = Inputs::lock_file(layer).ok()?;
            let state = states.get(&layer.name).cloned();
            Some((layer.name.clone(), AppliedLayer { lock_file, state, ..before }))
        });
        layers.collect()
    }

    /// Reads the states of the layers but for `known`, which another call reads, for [`Session::layers_now`].
    /// A state that only Terraform can read is not compared.
    ///
    /// # Errors
    /// As [`Session::state`].
    pub(crate) async fn read_other_states<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let known: BTreeSet<&str> = known.into_iter().collect();
        let layers = &self.settings.layers;
        let others = layers.iter().filter(|layer| !known.contains(layer.name.as_str()));
        let others: Vec<StateObject> = others.filter_map(|layer| self.state_object(layer)).collect();
        let reads = try_join_all(others.iter().map(|object| self.state(object)));
        unless_interrupted(&self.cancel, reads).await.map(drop)
    }

    /// Remembers the serial of a state that was read.
    pub(super) fn note_state(&self, layer: &str, state: Option<&Stored>) {
        let mut serials = self.state_serials.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            Some(stored) => drop(serials.insert(layer.to_owned(), serial(stored))),
            None => drop(serials.remove(layer)),
        }
    }
}

/// What differs in each write of a state: its lineage and serial, or its ETag if OpenTofu has encrypted them.
fn serial(stored: &Stored) -> String {
    #[derive(Deserialize)]
    struct State {
        lineage: String,
        serial: u64,
    }
    match serde_json::from_slice(&stored.body) {
        Ok(State { lineage, serial }) => format!("{lineage}/{serial}"),
        Err(_) => stored.etag.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_of_a_state_has_its_own_serial() {
        let of =
            |body: &str| serial(&Stored { body: body.as_bytes().to_vec(), etag: "\"e\"".into(), age: None });
        let one = of(r#"{"version": 4, "serial": 7, "lineage": "a", "outputs": {}}"#);
        assert_eq!(one, "a/7");
        assert_eq!(of(r#"{"encrypted_data": "x"}"#), "\"e\"");
    }
}
