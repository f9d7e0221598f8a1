//! A plan that creates what exists: the state of its layer is then another one than the project's, or it was
//! lost. API Gateway would make a second API of the same name.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::Value;

use crate::engine::failure::{Failure, Meaning};
use crate::error::{Error, ErrorId, Kind, Result};
use crate::project::session::{Session, unless_interrupted};
use crate::terraform::plan::{Action, Plan};

/// More functions than this need not be found.
const MAX_FUNCTIONS: usize = 5;

/// What a plan creates from nothing, by name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Created {
    apis: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Created {
    /// The APIs and functions of a plan for an empty state, without those in `allowed`.
    fn by(plan: &Plan, allowed: &[String]) -> Self {
        let mut created = Self::default();
        for change in plan.changes.iter().filter(|_| plan.state_is_empty) {
            let (names, attribute) = match change.resource_type.as_str() {
                "aws_api_gateway_rest_api" => (&mut created.apis, "name"),
                "aws_lambda_function" => (&mut created.functions, "function_name"),
                _ => continue,
            };
            let planned = change.attributes.get(attribute).and_then(|value| value.after.as_ref());
            let is_new = change.action == Action::Create && !change.import;
            let name = planned.and_then(Value::as_str).filter(|name| {
                is_new && *name != crate::terraform::plan::UNKNOWN && !allowed.iter().any(|one| one == name)
            });
            names.extend(name.map(str::to_owned));
        }
        created
    }

    fn is_empty(&self) -> bool {
        self.apis.is_empty() && self.functions.is_empty()
    }
}

/// Refuses a plan for an empty state that would create an API or functions which exist.
///
/// # Errors
/// `terraform.state_empty`, exit code 20, with the names.
pub(super) async fn require_none(session: &Session, layer: &str, plan: &Plan) -> Result<()> {
    let allowed = &session.settings.allow_existing;
    let created = Created::by(plan, allowed);
    if created.is_empty() {
        return Ok(());
    }
    let find = async { Ok(find(session, &created).await) };
    let existing = match unless_interrupted(&session.cancel, find).await? {
        Ok(existing) => existing,
        Err(failure) => {
            session.events.warn(format!(
                "whether the resources of layer {layer} exist already was not checked: {failure}"
            ));
            return Ok(());
        }
    };
    if existing.is_empty() {
        return Ok(());
    }
    let stage = &session.settings.stage.name;
    let message = format!(
        "refused: the Terraform state of layer {layer} is empty, but what it would create exists: {}",
        existing.join(", ")
    );
    Err(Error::new(Kind::Terraform, ErrorId::TerraformStateEmpty, message).hint(format!(
        "what is live is unchanged; name the state of stage {stage} in deployctl.toml (`backend`, \
         `backend_config`, `workspace`), or import the resources; if they are another project's, add their names \
         to `allow_existing` of [terraform]"
    )))
}

async fn find(session: &Session, created: &Created) -> Result<Vec<String>, Failure> {
    let apis = async {
        match created.apis.is_empty() {
            true => Ok(Vec::new()),
            false => session.aws.apis_named(&created.apis).await,
        }
    };
    let functions = created.functions.iter().take(MAX_FUNCTIONS);
    let functions = functions.map(async |name| match session.aws.function_facts(name).await {
        Ok(_) => Ok(Some(format!("function {name}"))),
        Err(failure) if failure.meaning == Meaning::NotFound => Ok(None),
        Err(failure) => Err(failure),
    });
    let (apis, functions) = futures::join!(apis, join_all(functions));
    let mut existing: Vec<String> =
        apis?.into_iter().map(|(id, name)| format!("REST API {name} ({id})")).collect();
    for function in functions {
        existing.extend(function?);
    }
    Ok(existing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn created(changes: &[Value], allowed: &[&str]) -> (Vec<String>, Vec<String>) {
        let plan = json!({ "format_version": "1.2", "resource_changes": changes });
        let plan = Plan::parse(plan.to_string().as_bytes()).unwrap();
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let Created { apis, functions } = Created::by(&plan, &allowed);
        (apis.into_iter().collect(), functions.into_iter().collect())
    }

    fn change(kind: &str, action: &str, after: Value) -> Value {
        let before = if action == "create" { Value::Null } else { after.clone() };
        json!({ "address": format!("{kind}.this"), "type": kind, "mode": "managed",
                "change": { "actions": [action], "before": before, "after": after } })
    }

    #[test]
    fn only_a_plan_for_an_empty_state_creates_from_nothing() {
        let api = change("aws_api_gateway_rest_api", "create", json!({ "name": "users" }));
        let function = change("aws_lambda_function", "create", json!({ "function_name": "users-get" }));
        let (users, get) = (vec!["users".to_owned()], vec!["users-get".to_owned()]);
        assert_eq!(created(&[api.clone(), function.clone()], &[]), (users, get.clone()));
        assert_eq!(created(&[api.clone(), function], &["users"]), (Vec::new(), get));
        let kept = change("aws_iam_role", "no-op", json!({ "name": "role" }));
        assert_eq!(created(&[api.clone(), kept], &[]), (Vec::new(), Vec::new()));
        let mut imported = api;
        imported["change"]["importing"] = json!({ "id": "abc" });
        assert_eq!(created(&[imported], &[]), (Vec::new(), Vec::new()));
        let mut read = change("aws_region", "read", json!({}));
        read["mode"] = "data".into();
        let named = change("aws_api_gateway_rest_api", "create", json!({ "name": "users" }));
        assert_eq!(created(&[read, named], &[]).0, ["users"]);
    }
}
