//! The guard between plan and apply: what a plan may not do without being asked.
//!
//! *Ownership*: Terraform owns what exists, deployctl owns what runs. A plan that would move a stage or
//! replace a function's code would undo a release silently, so it is refused with the line that cures it.
//! *Protection*: what holds data or an address that others know is not destroyed unless its address is
//! allowed. All objections are found at once.

use std::fmt;

use super::plan::{Action, Plan, ResourceChange};
use crate::error::{Error, ErrorId, Kind};

/// The attributes that deployctl owns, by resource type.
pub(crate) const OWNED: &[(&str, &[&str])] = &[
    ("aws_api_gateway_stage", &["deployment_id", "variables", "canary_settings"]),
    (
        "aws_lambda_function",
        &["filename", "source_code_hash", "s3_bucket", "s3_key", "s3_object_version", "image_uri"],
    ),
];

/// Resource types that hold data, or an address that others know; and functions and stages, which serve until the
/// switch and are needed for a rollback, while Terraform destroys them before it.
const PROTECTED: &[&str] = &[
    "aws_api_gateway_domain_name",
    "aws_api_gateway_rest_api",
    "aws_api_gateway_stage",
    "aws_dynamodb_table",
    "aws_elasticache_cluster",
    "aws_elasticache_replication_group",
    "aws_elasticache_serverless_cache",
    "aws_lambda_function",
    "aws_route53_zone",
    "aws_s3_bucket",
];

/// What Terraform may not do without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSettings {
    /// Resource types that are not destroyed or replaced.
    pub protected: Vec<String>,
    /// How many resources a plan may destroy or replace; `None`: any number.
    pub max_destroys: Option<usize>,
    /// Addresses that may be destroyed all the same.
    pub allow_destroy: Vec<String>,
}

impl GuardSettings {
    /// Settings with the default protected types where none are given.
    pub fn new(
        protected: Option<Vec<String>>,
        max_destroys: Option<usize>,
        allow_destroy: Vec<String>,
    ) -> Self {
        let default = || PROTECTED.iter().map(|&name| name.to_owned()).collect();
        Self { protected: protected.unwrap_or_else(default), max_destroys, allow_destroy }
    }

    /// Whether the destruction of `address` was asked for. Allowing a resource allows all its instances.
    fn allows(&self, address: &str) -> bool {
        self.allow_destroy.iter().any(|allowed| {
            address
                .strip_prefix(allowed.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        })
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self::new(None, None, Vec::new())
    }
}

/// One thing that a plan may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Terraform would change what deployctl owns.
    Owned {
        /// The address of the resource.
        address: String,
        /// The attributes that would change.
        attributes: Vec<String>,
        /// All attributes of this type that deployctl owns.
        ignore: Vec<&'static str>,
    },
    /// Something protected would be destroyed or replaced.
    Protected {
        /// The address of the resource.
        address: String,
        /// Whether it is destroyed or replaced.
        action: Action,
        /// The attributes that force a replacement.
        because: Vec<String>,
    },
    /// More would be destroyed than is allowed.
    TooManyDestroys {
        /// How many resources would be destroyed.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
}

/// A plan that is refused, with every reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardRefusal {
    /// What it may not do.
    pub objections: Vec<Objection>,
}

/// Refuses a plan that does what it may not.
pub fn check(plan: &Plan, settings: &GuardSettings) -> Result<(), GuardRefusal> {
    let mut objections: Vec<Objection> = plan.changes.iter().filter_map(owned).collect();
    let destroyed = || plan.changes.iter().filter(|c| c.action.destroys() && !settings.allows(&c.address));
    objections.extend(destroyed().filter(|c| settings.protected.contains(&c.resource_type)).map(|change| {
        Objection::Protected {
            address: change.address.clone(),
            action: change.action,
            because: change.replace_paths.clone(),
        }
    }));
    let count = destroyed().count();
    objections.extend(
        settings.max_destroys.filter(|max| count > *max).map(|max| Objection::TooManyDestroys { count, max }),
    );
    if objections.is_empty() { Ok(()) } else { Err(GuardRefusal { objections }) }
}

/// An update of what deployctl owns. Making and destroying the whole resource is Terraform's business.
fn owned(change: &ResourceChange) -> Option<Objection> {
    let (_, ignore) = OWNED.iter().find(|(resource_type, _)| *resource_type == change.resource_type)?;
    let touched = |name: &&&str| change.attributes.contains_key(**name);
    let attributes: Vec<String> = ignore.iter().filter(touched).map(|&name| name.to_owned()).collect();
    if change.action != Action::Update || attributes.is_empty() {
        return None;
    }
    Some(Objection::Owned { address: change.address.clone(), attributes, ignore: ignore.to_vec() })
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
                    ": if that is wanted, pass --allow-destroy {}",
                    crate::platform::process::quoted(address)
                )
            }
            Self::TooManyDestroys { count, max } => {
                write!(f, "{count} resources would be destroyed or replaced, {max} at most are allowed")
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
        .hint("the lines above say what to change, or what to allow")
        .because(refusal)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::terraform::plan::ValueChange;

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
        Plan { changes, drift: Vec::new(), outputs: BTreeMap::new() }
    }

    fn refusal(changes: Vec<ResourceChange>, settings: &GuardSettings) -> String {
        check(&plan(changes), settings).map_or_else(|refusal| refusal.to_string(), |()| String::new())
    }

    #[test]
    fn moving_a_stage_is_refused_with_the_line_that_cures_it() {
        let moved =
            change("aws_api_gateway_stage.live", Action::Update, &["deployment_id", "tags", "variables"]);
        assert_eq!(
            refusal(vec![moved], &GuardSettings::default()),
            "aws_api_gateway_stage.live would change deployment_id, variables, which a release sets: add to the \
             resource `lifecycle { ignore_changes = [deployment_id, variables, canary_settings] }`"
        );
    }

    #[test]
    fn changing_code_is_refused_and_other_changes_are_not() {
        let settings = GuardSettings::default();
        for attribute in OWNED[1].1 {
            let code = change("module.a.aws_lambda_function.f", Action::Update, &[attribute]);
            assert!(refusal(vec![code], &settings).contains(attribute));
        }
        let fine = vec![
            change("aws_lambda_function.f", Action::Update, &["memory_size"]),
            change("aws_lambda_function.g", Action::Create, &["s3_key"]),
            change("aws_api_gateway_stage.live", Action::Create, &["deployment_id"]),
        ];
        assert_eq!(refusal(fine, &settings), "");
        let gone = change("aws_lambda_function.h", Action::Delete, &["s3_key"]);
        assert!(refusal(vec![gone], &settings).contains("--allow-destroy"), "the live release calls it");
    }

    #[test]
    fn what_is_protected_is_destroyed_only_by_its_address() {
        let mut bucket = change("aws_s3_bucket.data[\"eu\"]", Action::Replace, &["bucket"]);
        bucket.replace_paths = vec!["bucket".into()];
        assert_eq!(
            refusal(vec![bucket.clone()], &GuardSettings::default()),
            "aws_s3_bucket.data[\"eu\"] would be replaced because of bucket: if that is wanted, pass \
             --allow-destroy 'aws_s3_bucket.data[\"eu\"]'"
        );
        let allow = |address: &str| GuardSettings::new(None, None, vec![address.into()]);
        assert_eq!(refusal(vec![bucket.clone()], &allow("aws_s3_bucket.data")), "");
        assert_eq!(refusal(vec![bucket.clone()], &allow("aws_s3_bucket.data[\"eu\"]")), "");
        assert_ne!(refusal(vec![bucket], &allow("aws_s3_bucket.dat")), "");
    }

    #[test]
    fn an_action_that_is_not_known_counts_as_a_destruction() {
        let strange = change("aws_s3_bucket.data", Action::Unknown, &[]);
        assert_ne!(refusal(vec![strange], &GuardSettings::default()), "");
    }

    #[test]
    fn too_many_destroys_are_refused_but_those_allowed_do_not_count() {
        let gone = |name: &str| change(&format!("aws_iam_role.{name}"), Action::Delete, &[]);
        let settings = GuardSettings::new(None, Some(1), Vec::new());
        assert_eq!(refusal(vec![gone("a")], &settings), "");
        assert_eq!(
            refusal(vec![gone("a"), gone("b")], &settings),
            "2 resources would be destroyed or replaced, 1 at most are allowed"
        );
        let settings = GuardSettings::new(None, Some(1), vec!["aws_iam_role.b".into()]);
        assert_eq!(refusal(vec![gone("a"), gone("b")], &settings), "");
    }

    #[test]
    fn all_objections_come_at_once() {
        let changes = vec![
            change("aws_api_gateway_stage.live", Action::Update, &["canary_settings"]),
            change("aws_s3_bucket.data", Action::Delete, &[]),
        ];
        let settings = GuardSettings::new(None, Some(0), Vec::new());
        assert_eq!(check(&plan(changes), &settings).unwrap_err().objections.len(), 3);
    }
}
