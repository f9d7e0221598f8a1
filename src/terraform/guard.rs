//! The guard between plan and apply: refuses plans with changes that are not allowed.
//!
//! *Ownership*: releases set the deployment of a stage and the code of a function. A plan that changes them
//! would undo a release, so it is refused with the `ignore_changes` to add. *Protection*: a resource that
//! holds data, or an address that clients use, is destroyed only if `allow_destroy` lists it. All objections
//! are reported at once.

use std::fmt;

use super::plan::{Action, OWNED, OWNED_ALIAS, Plan, ResourceChange};
use crate::error::{Error, ErrorId, Kind};

/// Arguments of version 6 of the provider. Version 5 accepts no `ignore_changes` that names the second one,
/// and warns of the first, so they are named only to those who set them.
const SINCE_PROVIDER_6: &[&str] = &["code_sha256", "source_kms_key_arn"];

/// Resource types that hold data or an address that clients use; and functions and stages: Terraform would
/// destroy them before the switch, while they serve requests, and a rollback needs them.
const PROTECTED: &[&str] = &[
    "aws_api_gateway_domain_name",
    "aws_api_gateway_rest_api",
    "aws_api_gateway_stage",
    "aws_cognito_identity_pool",
    "aws_cognito_user_pool",
    "aws_db_instance",
    "aws_docdb_cluster",
    "aws_docdb_cluster_instance",
    "aws_dynamodb_global_table",
    "aws_dynamodb_table",
    "aws_efs_file_system",
    "aws_elasticache_cluster",
    "aws_elasticache_replication_group",
    "aws_elasticache_serverless_cache",
    "aws_elasticsearch_domain",
    "aws_keyspaces_table",
    "aws_kinesis_stream",
    "aws_kms_external_key",
    "aws_kms_key",
    "aws_kms_replica_external_key",
    "aws_kms_replica_key",
    "aws_lambda_function",
    "aws_memorydb_cluster",
    "aws_neptune_cluster",
    "aws_neptune_cluster_instance",
    "aws_opensearch_domain",
    "aws_opensearchserverless_collection",
    "aws_rds_cluster",
    "aws_rds_cluster_instance",
    "aws_rds_global_cluster",
    "aws_route53_zone",
    "aws_s3_bucket",
    "aws_s3_directory_bucket",
    "aws_secretsmanager_secret",
    "aws_sqs_queue",
];

/// Resource types that hold no data, and that requests to the live release do not need: a stage serves the
/// snapshot of its API. A permission is among them because a release replaces the permissions of its routes.
const EXPENDABLE: &[&str] = &[
    "aws_api_gateway_authorizer",
    "aws_api_gateway_deployment",
    "aws_api_gateway_documentation_part",
    "aws_api_gateway_documentation_version",
    "aws_api_gateway_gateway_response",
    "aws_api_gateway_integration",
    "aws_api_gateway_integration_response",
    "aws_api_gateway_method",
    "aws_api_gateway_method_response",
    "aws_api_gateway_model",
    "aws_api_gateway_request_validator",
    "aws_api_gateway_resource",
    "aws_lambda_permission",
    "null_resource",
    "terraform_data",
];

/// Which changes are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSettings {
    /// Resource types that are not destroyed or replaced.
    pub protected: Vec<String>,
    /// How many resources a plan may destroy or replace. `None`: any number.
    pub max_destroys: Option<usize>,
    /// Addresses that may be destroyed; without an index, all instances.
    pub allow_destroy: Vec<String>,
    /// Addresses of actions that may be invoked; without an index, all instances.
    pub allow_actions: Vec<String>,
    /// Whether releases move aliases of functions.
    pub owns_aliases: bool,
}

impl GuardSettings {
    /// `protected`: `None` for the default types, those with data or with an address that clients use.
    pub fn new(
        protected: Option<Vec<String>>,
        max_destroys: Option<usize>,
        allow_destroy: Vec<String>,
    ) -> Self {
        let default = || PROTECTED.iter().map(|&name| name.to_owned()).collect();
        let protected = protected.unwrap_or_else(default);
        Self { protected, max_destroys, allow_destroy, allow_actions: Vec::new(), owns_aliases: false }
    }
}

/// Whether `addresses` contain `address`, or the resource or action of which it is an instance.
fn contains(addresses: &[String], address: &str) -> bool {
    addresses.iter().any(|allowed| {
        address.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    })
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self::new(None, None, Vec::new())
    }
}

/// A change that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Terraform would change attributes that releases set.
    Owned {
        /// The address of the resource.
        address: String,
        /// The attributes that would change.
        attributes: Vec<String>,
        /// All attributes of this type that releases set, as far as the provider has them.
        ignore: Vec<&'static str>,
    },
    /// A protected resource would be destroyed or replaced.
    Protected {
        /// The address of the resource.
        address: String,
        /// Whether it is destroyed or replaced.
        action: Action,
        /// The attributes that force a replacement.
        because: Vec<String>,
    },
    /// An action would be invoked that is not allowed.
    Invokes {
        /// The address of the action.
        address: String,
    },
    /// More resources would be destroyed than allowed.
    TooManyDestroys {
        /// How many resources would be destroyed.
        count: usize,
        /// The number that is allowed.
        max: usize,
    },
}

/// A refused plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardRefusal {
    /// All reasons for the refusal.
    pub objections: Vec<Objection>,
}

/// Refuses a plan with objections.
pub fn check(plan: &Plan, settings: &GuardSettings) -> Result<(), GuardRefusal> {
    let owned = |change| owned(change, settings);
    let mut objections: Vec<Objection> = plan.changes.iter().filter_map(owned).collect();
    let destroyed = || {
        plan.changes.iter().filter(|c| c.action.destroys() && !contains(&settings.allow_destroy, &c.address))
    };
    objections.extend(destroyed().filter(|c| settings.protected.contains(&c.resource_type)).map(|change| {
        Objection::Protected {
            address: change.address.clone(),
            action: change.action,
            because: change.replace_paths.clone(),
        }
    }));
    let invoked = plan.invocations.iter().map(|invocation| invocation.address.clone());
    let refused = invoked.filter(|address| !contains(&settings.allow_actions, address));
    objections.extend(refused.map(|address| Objection::Invokes { address }));
    let count = destroyed().count();
    objections.extend(
        settings.max_destroys.filter(|max| count > *max).map(|max| Objection::TooManyDestroys { count, max }),
    );
    if objections.is_empty() { Ok(()) } else { Err(GuardRefusal { objections }) }
}

/// The destructions and replacements that somebody must agree to: neither protected, nor allowed, nor of a type
/// that can be created again without a loss.
pub fn to_confirm<'a>(
    plan: &'a Plan,
    settings: &'a GuardSettings,
) -> impl Iterator<Item = &'a ResourceChange> {
    plan.changes.iter().filter(|change| {
        change.action.destroys()
            && !contains(&settings.allow_destroy, &change.address)
            && !settings.protected.contains(&change.resource_type)
            && !EXPENDABLE.contains(&change.resource_type.as_str())
    })
}

/// An update of attributes that releases set. Terraform creates and destroys the resource as a whole.
fn owned(change: &ResourceChange, settings: &GuardSettings) -> Option<Objection> {
    let aliases = settings.owns_aliases.then_some(&OWNED_ALIAS);
    let mut owned = OWNED.iter().chain(aliases);
    let (_, ignore) = owned.find(|(resource_type, _)| *resource_type == change.resource_type)?;
    let is_changed = |name: &&&str| change.attributes.contains_key(**name);
    let attributes: Vec<String> = ignore.iter().filter(is_changed).map(|&name| name.to_owned()).collect();
    if change.action != Action::Update || attributes.is_empty() {
        return None;
    }
    let ignore = ignore.iter().filter(|name| !SINCE_PROVIDER_6.contains(name) || is_changed(name));
    Some(Objection::Owned { address: change.address.clone(), attributes, ignore: ignore.copied().collect() })
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned { address, attributes, ignore } => write!(
                f,
                "{address} would change {}, which a release sets: add to the resource \
                 `lifecycle {{ ignore_changes = [{}] }}`",
                attributes.join(", "),
                ignore.join(", ")
            ),
            Self::Protected { address, action, because } => {
                let what = if *action == Action::Replace { "replaced" } else { "destroyed" };
                write!(f, "{address} would be {what}")?;
                if !because.is_empty() {
                    write!(f, " because of {}", because.join(", "))?;
                }
                write!(
                    f,
                    ": to allow this, pass --allow-destroy {}",
                    crate::platform::process::quoted(address)
                )
            }
            Self::Invokes { address } => write!(
                f,
                "{address} would be invoked before the switch, while the old release serves: if that is \
                 wanted, add to deployctl.toml, under [terraform], `allow_actions = [{}]`",
                serde_json::Value::from(address.as_str())
            ),
            Self::TooManyDestroys { count, max } => {
                write!(f, "{count} resources would be destroyed or replaced, but at most {max} are allowed")
            }
        }
    }
}

impl fmt::Display for GuardRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.objections.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for GuardRefusal {}

impl From<GuardRefusal> for Error {
    fn from(refusal: GuardRefusal) -> Self {
        Self::new(
            Kind::Terraform,
            ErrorId::TerraformGuard,
            "refused: this plan would change what deployctl manages, and was not applied",
        )
        .hint("nothing was applied; the lines above name what to change or to allow")
        .because(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::plan::{Invocation, ValueChange};

    fn change(address: &str, action: Action, attributes: &[&str]) -> ResourceChange {
        let value = || ValueChange { before: Some("a".into()), after: Some("b".into()) };
        ResourceChange {
            address: address.into(),
            resource_type: address.rsplit('.').nth(1).unwrap().into(),
            action,
            reason: None,
            replace_paths: Vec::new(),
            previous_address: None,
            import: false,
            attributes: attributes.iter().map(|&name| (name.to_owned(), value())).collect(),
        }
    }

    fn plan(changes: Vec<ResourceChange>) -> Plan {
        Plan { changes, ..Plan::default() }
    }

    fn refusal(changes: Vec<ResourceChange>, settings: &GuardSettings) -> String {
        check(&plan(changes), settings).map_or_else(|refusal| refusal.to_string(), |()| String::new())
    }

    #[test]
    fn a_changed_deployment_is_refused_with_the_ignore_changes_to_add() {
        let moved =
            change("aws_api_gateway_stage.live", Action::Update, &["deployment_id", "tags", "variables"]);
        assert_eq!(
            refusal(vec![moved], &GuardSettings::default()),
            "aws_api_gateway_stage.live would change deployment_id, variables, which a release sets: add to the \
             resource `lifecycle { ignore_changes = [deployment_id, variables, canary_settings] }`"
        );
    }

    #[test]
    fn a_moved_alias_is_refused_only_where_releases_move_aliases() {
        let moved = || vec![change("aws_lambda_alias.live", Action::Update, &["function_version"])];
        assert_eq!(refusal(moved(), &GuardSettings::default()), "");
        let owning = GuardSettings { owns_aliases: true, ..GuardSettings::default() };
        assert!(
            refusal(moved(), &owning)
                .ends_with("`lifecycle { ignore_changes = [function_version, routing_config] }`")
        );
        let described = change("aws_lambda_alias.live", Action::Update, &["description"]);
        assert_eq!(refusal(vec![described], &owning), "");
    }

    #[test]
    fn changing_code_is_refused_and_other_changes_are_not() {
        let settings = GuardSettings::default();
        for attribute in OWNED[1].1 {
            let code = change("module.a.aws_lambda_function.f", Action::Update, &[attribute]);
            assert!(refusal(vec![code], &settings).contains(attribute));
        }
        let ignored = |attribute: &str| {
            let code = change("aws_lambda_function.f", Action::Update, &[attribute]);
            refusal(vec![code], &settings).split_once("ignore_changes = ").unwrap().1.to_owned()
        };
        let always =
            "filename, source_code_hash, s3_bucket, s3_key, s3_object_version, image_uri, architectures";
        assert_eq!(ignored("architectures"), format!("[{always}] }}`"), "version 5 does not have the others");
        assert_eq!(ignored("source_kms_key_arn"), format!("[{always}, source_kms_key_arn] }}`"));
        let fine = vec![
            change("aws_lambda_function.f", Action::Update, &["memory_size"]),
            change("aws_lambda_function.g", Action::Create, &["s3_key"]),
            change("aws_api_gateway_stage.live", Action::Create, &["deployment_id"]),
        ];
        assert_eq!(refusal(fine, &settings), "");
        let deleted = change("aws_lambda_function.h", Action::Delete, &["s3_key"]);
        assert!(refusal(vec![deleted], &settings).contains("--allow-destroy"), "the live release calls it");
    }

    #[test]
    fn a_protected_resource_is_destroyed_only_if_its_address_is_allowed() {
        let mut bucket = change("aws_s3_bucket.data[\"eu\"]", Action::Replace, &["bucket"]);
        bucket.replace_paths = vec!["bucket".into()];
        assert_eq!(
            refusal(vec![bucket.clone()], &GuardSettings::default()),
            "aws_s3_bucket.data[\"eu\"] would be replaced because of bucket: to allow this, pass \
             --allow-destroy 'aws_s3_bucket.data[\"eu\"]'"
        );
        let allow = |address: &str| GuardSettings::new(None, None, vec![address.into()]);
        assert_eq!(refusal(vec![bucket.clone()], &allow("aws_s3_bucket.data")), "");
        assert_eq!(refusal(vec![bucket.clone()], &allow("aws_s3_bucket.data[\"eu\"]")), "");
        assert_ne!(refusal(vec![bucket], &allow("aws_s3_bucket.dat")), "");
    }

    #[test]
    fn an_unknown_action_counts_as_a_destruction() {
        let strange = change("aws_s3_bucket.data", Action::Unknown, &[]);
        assert_ne!(refusal(vec![strange], &GuardSettings::default()), "");
    }

    #[test]
    fn resources_with_data_are_protected_and_others_are_confirmed() {
        let settings = GuardSettings::new(None, None, vec!["aws_iam_role.allowed".into()]);
        for name in ["aws_sqs_queue.q", "aws_db_instance.d", "aws_kms_key.k", "aws_cognito_user_pool.u"] {
            let deleted = change(name, Action::Delete, &[]);
            assert_ne!(refusal(vec![deleted.clone()], &settings), "", "{name}");
            assert_eq!(to_confirm(&plan(vec![deleted]), &settings).count(), 0, "{name}: refused anyway");
        }
        let changes = vec![
            change("aws_iam_role.r[0]", Action::Replace, &[]),
            change("aws_iam_role.allowed[0]", Action::Replace, &[]),
            change("aws_iam_role.updated", Action::Update, &[]),
            change("aws_api_gateway_method.m", Action::Delete, &[]),
            change("aws_lambda_permission.p", Action::Replace, &[]),
            change("module.a.terraform_data.t", Action::Replace, &[]),
            change("aws_wafv2_web_acl.w", Action::Delete, &[]),
            change("aws_wafv2_web_acl.strange", Action::Unknown, &[]),
        ];
        assert_eq!(refusal(changes.clone(), &settings), "");
        let plan = plan(changes);
        let confirmed: Vec<&str> = to_confirm(&plan, &settings).map(|c| c.address.as_str()).collect();
        assert_eq!(confirmed, ["aws_iam_role.r[0]", "aws_wafv2_web_acl.w", "aws_wafv2_web_acl.strange"]);
    }

    #[test]
    fn too_many_destroys_are_refused_but_those_allowed_do_not_count() {
        let deleted = |name: &str| change(&format!("aws_iam_role.{name}"), Action::Delete, &[]);
        let settings = GuardSettings::new(None, Some(1), Vec::new());
        assert_eq!(refusal(vec![deleted("a")], &settings), "");
        assert_eq!(
            refusal(vec![deleted("a"), deleted("b")], &settings),
            "2 resources would be destroyed or replaced, but at most 1 are allowed"
        );
        let settings = GuardSettings::new(None, Some(1), vec!["aws_iam_role.b".into()]);
        assert_eq!(refusal(vec![deleted("a"), deleted("b")], &settings), "");
    }

    #[test]
    fn an_action_is_invoked_only_if_its_address_is_allowed() {
        let invocation =
            Invocation { address: "action.aws_lambda_invoke.warm[0]".into(), resource: None, event: None };
        let plan = Plan { invocations: vec![invocation], ..Plan::default() };
        let mut settings = GuardSettings::default();
        let refusal = check(&plan, &settings).unwrap_err().to_string();
        assert!(refusal.contains(r#"allow_actions = ["action.aws_lambda_invoke.warm[0]"]"#), "{refusal}");
        settings.allow_actions = vec!["action.aws_lambda_invoke.warm".into()];
        assert_eq!(check(&plan, &settings), Ok(()));
    }

    #[test]
    fn all_objections_are_reported_at_once() {
        let changes = vec![
            change("aws_api_gateway_stage.live", Action::Update, &["canary_settings"]),
            change("aws_s3_bucket.data", Action::Delete, &[]),
        ];
        let settings = GuardSettings::new(None, Some(0), Vec::new());
        assert_eq!(check(&plan(changes), &settings).unwrap_err().objections.len(), 3);
    }
}
