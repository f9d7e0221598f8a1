//! The list of checks. Each has the sentence that it tests.

macro_rules! checks {
    ($($variant:ident = $id:literal: $assumption:literal),+ $(,)?) => {
        /// A check, in the order in which they are made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Check {
            $($variant),+
        }

        impl Check {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable id, which docs/aws-facts.md refers to.
            pub(crate) const fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id),+
                }
            }

            /// What deployctl assumes.
            pub(crate) const fn assumption(self) -> &'static str {
                match self {
                    $(Self::$variant => $assumption),+
                }
            }
        }
    };
}

checks! {
    CodeSha256 = "code-sha256":
        "CodeSha256 is the base64 of the zip's SHA-256.",
    VersionPending = "version-pending":
        "UpdateFunctionCode with Publish answers while the version is Pending, and the version becomes Active within 300 s.",
    InvokePending = "invoke-pending":
        "An invocation of a Pending version is refused.",
    VersionInactive = "version-inactive":
        "The first invocation of an Inactive version is refused and makes it Active.",
    PublishUnchanged = "publish-unchanged":
        "PublishVersion returns the last version if nothing has changed since.",
    UpdateCodeUnchanged = "update-code-unchanged":
        "UpdateFunctionCode with Publish and the same zip returns the last version.",
    PublishConfiguration = "publish-configuration":
        "A change of configuration alone makes PublishVersion create a version with the same CodeSha256.",
    DeleteAliased = "delete-aliased-version":
        "A version that an alias points to cannot be deleted: 409.",
    DeleteVersion = "delete-version":
        "DeleteFunction with a version as qualifier deletes only that version.",
    RevisionMismatch = "revision-mismatch":
        "UpdateFunctionCode with Publish and a stale RevisionId is refused: 412.",
    PublishOtherCode = "publish-other-code":
        "PublishVersion with the CodeSha256 of other code is refused: 400.",
    DryRun = "update-code-dry-run":
        "UpdateFunctionCode with DryRun changes nothing.",
    UpdateInProgress = "update-in-progress":
        "A change of a function during another one is refused: 409, with a text that the retry table knows.",
    StageVariableVersion = "stage-variable-version":
        "A stage variable can be the version of a function in an integration's URI.",
    StageVariableAbsent = "stage-variable-absent":
        "An absent stage variable in such a URI gives 500, never $LATEST.",
    ApiChange = "api-change-not-visible":
        "A changed integration does not change what a stage serves.",
    Deployment = "deployment-not-visible":
        "CreateDeployment without a stage name does not change what a stage serves.",
    SwitchDelay = "switch-delay":
        "At most 60 s after UpdateStage has answered, no request gets the old deployment.",
    SwitchAtomic = "switch-atomic":
        "No request gets the new deployment with the old stage variables, or the reverse.",
    SwitchThreeAnswers = "switch-three-answers":
        "After three new answers in a row, a connection gets no old one.",
    DeploymentInUse = "deployment-in-use":
        "A deployment that a stage points to cannot be deleted: 400.",
    CanaryAdd = "canary-add":
        "UpdateStage refuses `add` below /canarySettings: 400.",
    CanaryReplace = "canary-replace":
        "UpdateStage creates a canary by `replace` of its deployment, its percentage and its variable overrides.",
    CanaryShare = "canary-share":
        "A canary of 50 % gives a share of the requests the canary's deployment and overrides, never one of the two.",
    CanaryRemove = "canary-remove":
        "`remove` of /canarySettings ends the canary and leaves deployment and variables.",
    FlushStageCache = "flush-stage-cache":
        "FlushStageCache of a stage without a cache succeeds.",
    FlushAuthorizersCache = "flush-authorizers-cache":
        "FlushStageAuthorizersCache of a stage without an authorizer succeeds.",
    UpdateStageInvalid = "update-stage-invalid":
        "If UpdateStage refuses one operation, none takes effect.",
    VariableCharacters = "variable-characters":
        "A stage variable takes a name of 64 characters, and a value with every character of a version.",
    UpdateStage60 = "update-stage-60":
        "UpdateStage takes 60 operations.",
    UpdateStage80 = "update-stage-80":
        "UpdateStage takes 80 operations.",
    UpdateStage81 = "update-stage-81":
        "UpdateStage refuses 81 operations.",
    UpdateStage101 = "update-stage-101":
        "UpdateStage refuses 101 operations.",
    StageVariables101 = "stage-variables-101":
        "A stage has at most 100 variables.",
    PutIfNoneMatch = "put-if-none-match":
        "PutObject with `If-None-Match: *` creates an object, and is refused if it exists: 412.",
    PutIfMatch = "put-if-match":
        "PutObject with If-Match replaces the object with this ETag, and is refused for another one (412) or none (404).",
    CopyIfNoneMatch = "copy-if-none-match":
        "CopyObject with `If-None-Match: *` is refused if the target exists: 412.",
    ObjectChecksum = "object-checksum":
        "The SHA-256 checksum of an object written with one PutObject is that of its bytes.",
    ReadAfterWrite = "read-after-write":
        "A read after a write returns the new object.",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn page(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_facts_name_exactly_these_checks() {
        let ids: BTreeSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(ids.len(), Check::ALL.len(), "an id is used twice");
        let facts = page("aws-facts.md");
        let named: BTreeSet<&str> =
            facts.split("check `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
        assert_eq!(
            named, ids,
            "the checks that docs/aws-facts.md names (left), and those that exist (right)"
        );
    }

    #[test]
    fn the_how_to_lists_each_check_with_its_assumption() {
        let page = page("how-to/check-aws.md");
        let (_, table) = page.split_once("| check | assumption |\n|---|---|\n").unwrap();
        let rows = Check::ALL.iter().map(|check| format!("| `{}` | {} |\n", check.id(), check.assumption()));
        assert_eq!(table, rows.collect::<String>());
    }
}
