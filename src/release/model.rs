//! The names and ids of a release as types. Parsing checks the form, so no other module has to.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that violates its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub(crate) struct Malformed {
    what: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $pattern:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub(crate) struct $name(String);

        impl $name {
            /// The name as text.
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Malformed { what: $what, text: text.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn within(text: &str, max: usize, extra: &str) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

name!(
    /// A release's version. It becomes part of S3 keys, of a stage variable and of a response header, which
    /// is why its alphabet is small.
    Version,
    "version",
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    "use 1 to 64 letters, digits, '.', '-' and '_', beginning with a letter or digit, without '..'",
    |text| {
        within(text, 64, ".-_")
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !text.contains("..")
    }
);
name!(
    /// A target in `deployctl.toml`, such as `local` or `prd`. Part of names of buckets and of functions.
    StageName,
    "stage",
    "^[a-z][a-z0-9-]{0,31}$",
    "use 1 to 32 lower-case letters, digits and '-', beginning with a letter",
    |text| {
        within(text, 32, "-")
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.contains(|c: char| c.is_ascii_uppercase())
    }
);
name!(
    /// A preview, such as `pr-123`. Part of the name of its API Gateway stage and of its version.
    PreviewName,
    "preview",
    "^[a-z0-9][a-z0-9-]{0,31}$",
    "use 1 to 32 lower-case letters, digits and '-', beginning with a letter or digit",
    |text| {
        within(text, 32, "-")
            && !text.starts_with('-')
            && !text.contains(|c: char| c.is_ascii_uppercase())
    }
);
name!(
    /// The key of a function in the Terraform contract: the name of its stage variable.
    FunctionKey,
    "function key",
    "^[A-Za-z0-9_]{1,64}$",
    "a stage variable's name has 1 to 64 letters, digits and '_', and 'release' is taken",
    |text| within(text, 64, "_") && text != RELEASE_VARIABLE
);
name!(
    /// A Lambda function's name.
    FunctionName,
    "function name",
    "^[A-Za-z0-9_-]{1,64}$",
    "Lambda allows 1 to 64 letters, digits, '-' and '_'",
    |text| within(text, 64, "-_")
);
name!(
    /// An alias of a function.
    AliasName,
    "alias",
    "^(?![0-9]+$)[A-Za-z0-9_-]{1,128}$",
    "Lambda allows 1 to 128 letters, digits, '-' and '_', and not only digits",
    |text| within(text, 128, "-_") && !text.bytes().all(|byte| byte.is_ascii_digit())
);
name!(
    /// What an alias points to: a published version, or `$LATEST`.
    Qualifier,
    "qualifier",
    "^(\\$LATEST|[0-9]{1,20})$",
    "an alias points to a number or to $LATEST",
    |text| text == LATEST || text.parse::<FunctionVersion>().is_ok()
);
name!(
    /// A published version of a function, as Lambda numbers it.
    FunctionVersion,
    "function version",
    "^[0-9]{1,20}$",
    "a published version is a number",
    |text| !text.is_empty() && text.len() <= 20 && text.chars().all(|c| c.is_ascii_digit())
);
name!(
    /// An API Gateway deployment: an immutable snapshot of the API.
    DeploymentId,
    "deployment id",
    "^[A-Za-z0-9-]{1,64}$",
    "API Gateway uses 1 to 64 letters, digits and '-'",
    |text| within(text, 64, "-")
);
name!(AccountId, "account", "^[0-9]{12}$", "an AWS account id has 12 digits", |text| text.len() == 12
    && text.chars().all(|c| c.is_ascii_digit()));

/// The version of a release that has no version yet: `release_version` in Terraform before the first release, and
/// the next release in a plan.
pub(crate) const UNRELEASED: &str = "unreleased";

/// The version of what `deployctl dev` serves, which is no release.
pub(crate) const DEV: &str = "deployctl-dev";

/// The code and configuration of a function that are not published: what runs when a call names no version.
pub(crate) const LATEST: &str = "$LATEST";

/// The stage variable that names the release a stage serves.
pub(crate) const RELEASE_VARIABLE: &str = "release";

/// Why API Gateway does not take a stage variable of the project.
pub(crate) fn variable_problem(name: &str, value: &str) -> Option<&'static str> {
    if !within(name, 64, "_") {
        Some("the name of a stage variable has 1 to 64 letters, digits and '_'")
    } else if name == RELEASE_VARIABLE {
        Some("deployctl sets this variable; choose another name")
    } else if !within(value, 512, "-._~:/?#&=,") {
        Some("the value of a stage variable has 1 to 512 letters, digits and '-._~:/?#&=,'")
    } else {
        None
    }
}

/// The most functions a stage can hold: API Gateway allows 100 stage variables, and one names the release.
/// A release has fewer, because one call must move them (`release::patch`).
pub(crate) const MAX_FUNCTIONS: usize = 99;

/// Everything that `UpdateStage` moves: which deployment a stage serves, and with which variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Pointer {
    /// The deployment whose snapshot is served.
    pub(crate) deployment_id: DeploymentId,
    /// The stage's variables: the release and a version for each function.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Pointer {
    /// The release in the stage variable, if it is set.
    pub(crate) fn release(&self) -> Option<Version> {
        self.variables.get(RELEASE_VARIABLE)?.parse().ok()
    }

    /// This pointer without the variables that neither of the others has: those that others set.
    pub(crate) fn limited_to(&self, one: &Self, other: &Self) -> Self {
        let known = |name: &String| one.variables.contains_key(name) || other.variables.contains_key(name);
        let variables = self.variables.iter().filter(|(name, _)| known(name));
        Self {
            deployment_id: self.deployment_id.clone(),
            variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    /// Whether a stage that points here serves what `target` states. It may have further variables.
    pub(crate) fn serves(&self, target: &Self) -> bool {
        self.deployment_id == target.deployment_id
            && target.variables.iter().all(|(name, value)| self.variables.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_a_path_a_space_or_a_plus_are_refused() {
        for bad in ["", "a/b", "..", "1..2", "1 2", "1+2", "-1", ".1", "ü", &"9".repeat(65), "1\n"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
        for good in ["1", "0.1.0", "2026-11-22_1", "v1.2.3-rc.1", &"9".repeat(64)] {
            assert!(good.parse::<Version>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn the_release_variable_cannot_be_a_function() {
        assert!("release".parse::<FunctionKey>().is_err());
        assert!("users_get".parse::<FunctionKey>().is_ok());
        assert!("users-get".parse::<FunctionKey>().is_err());
    }

    #[test]
    fn the_error_for_an_invalid_name_contains_the_rule() {
        let error = "a/b".parse::<Version>().unwrap_err().to_string();
        assert!(error.starts_with(r#"version "a/b" is not valid: use 1 to 64 letters"#), "{error}");
    }

    #[test]
    fn reading_a_malformed_name_from_json_fails() {
        assert!(serde_json::from_str::<Version>(r#""../x""#).is_err());
    }
}
