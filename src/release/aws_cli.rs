//! Commands of the AWS CLI that move a stage: for a person, when deployctl cannot do it.

use serde_json::{Value, json};

use super::patch::{MAX_OPERATIONS, Operation};
use super::record::ArtifactRecord;

/// An API Gateway stage, as the AWS CLI names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AwsCli<'a> {
    /// The id of the REST API.
    pub(crate) api: &'a str,
    /// The name of the API Gateway stage.
    pub(crate) stage: &'a str,
    /// `None`: the region of the caller.
    pub(crate) region: Option<&'a str>,
    /// The profile of the AWS configuration. `None`: the caller's own credentials.
    pub(crate) profile: Option<&'a str>,
}

impl AwsCli<'_> {
    /// The command that moves the stage; several where one call would be too large.
    pub(crate) fn update_stage(&self, operations: &[Operation<'_>]) -> Vec<String> {
        let calls = operations.chunks(MAX_OPERATIONS).map(|operations| {
            let operations: Value = operations.iter().map(patch_operation).collect();
            self.command("update-stage", &["--patch-operations", &operations.to_string()])
        });
        calls.collect()
    }

    pub(crate) fn flush_authorizers(&self) -> String {
        self.command("flush-stage-authorizers-cache", &[])
    }

    pub(crate) fn flush_responses(&self) -> String {
        self.command("flush-stage-cache", &[])
    }

    /// The command that prints what the stage serves.
    pub(crate) fn get_stage(&self) -> String {
        self.command("get-stage", &["--query", "[deploymentId, variables]"])
    }

    /// The command that points an alias of a function to a version only: without the empty weights, a second version
    /// would keep its share.
    pub(crate) fn update_alias(&self, function: &str, alias: &str, version: &str) -> String {
        let args = [
            "--function-name",
            function,
            "--name",
            alias,
            "--function-version",
            version,
            "--routing-config",
            "AdditionalVersionWeights={}",
            "--query",
            "RevisionId",
        ];
        self.words(&["lambda", "update-alias"], &args)
    }

    /// The command that sends a zip of the bucket, or an image, to a function's `$LATEST`.
    pub(crate) fn update_code(&self, function: &str, bucket: &str, code: &ArtifactRecord) -> String {
        let mut args = vec!["--function-name", function];
        if code.image {
            args.extend(["--image-uri", &code.key]);
        } else {
            args.extend(["--s3-bucket", bucket, "--s3-key", &code.key]);
            args.extend(code.s3_version.iter().flat_map(|version| ["--s3-object-version", version]));
        }
        args.extend(["--query", "CodeSha256"]);
        self.words(&["lambda", "update-function-code"], &args)
    }

    fn words(&self, command: &[&str], args: &[&str]) -> String {
        let mut words = vec!["aws"];
        words.extend(command);
        let options = [("--profile", self.profile), ("--region", self.region)];
        words.extend(options.iter().filter_map(|(name, value)| Some([*name, (*value)?])).flatten());
        words.extend(args);
        // Only a NUL cannot be quoted, and AWS allows none in these values.
        shlex::try_join(words).unwrap_or_default()
    }

    fn command(&self, operation: &str, args: &[&str]) -> String {
        let api = ["--rest-api-id", self.api, "--stage-name", self.stage];
        self.words(&["apigateway", operation], &[&api, args].concat())
    }
}

fn patch_operation(operation: &Operation<'_>) -> Value {
    let path = operation.path();
    match operation.value() {
        Some(value) => json!({ "op": "replace", "path": path, "value": value }),
        None => json!({ "op": "remove", "path": path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_line_that_a_shell_takes_apart_again() {
        let cli = AwsCli { api: "a1", stage: "v1", region: Some("eu-west-1"), profile: Some("my team") };
        let deployment = "d1".parse().unwrap();
        let operations = [
            Operation::Deployment(&deployment),
            Operation::Set("url", "https://example.com/?a=1,b&c='d'"),
            Operation::Remove("gone"),
        ];
        let commands = cli.update_stage(&operations);
        let [command] = commands.as_slice() else { panic!("{commands:?}") };
        let words = shlex::split(command).unwrap();
        let (patch, before) = words.split_last().unwrap();
        assert_eq!(
            before.join("|"),
            "aws|apigateway|update-stage|--profile|my team|--region|eu-west-1|--rest-api-id|a1|--stage-name|v1|\
             --patch-operations"
        );
        assert_eq!(
            serde_json::from_str::<Value>(patch).unwrap(),
            json!([
                { "op": "replace", "path": "/deploymentId", "value": "d1" },
                { "op": "replace", "path": "/variables/url", "value": "https://example.com/?a=1,b&c='d'" },
                { "op": "remove", "path": "/variables/gone" },
            ])
        );
        let cli = AwsCli { region: None, profile: None, ..cli };
        assert_eq!(
            cli.flush_authorizers(),
            "aws apigateway flush-stage-authorizers-cache --rest-api-id a1 --stage-name v1"
        );
        assert_eq!(
            cli.update_alias("users", "live", "7"),
            "aws lambda update-alias --function-name users --name live --function-version 7 --routing-config \
             'AdditionalVersionWeights={}' --query RevisionId"
        );
    }

    #[test]
    fn more_than_80_operations_are_several_commands() {
        let cli = AwsCli { api: "a1", stage: "v1", region: None, profile: None };
        let names: Vec<String> = (0..81).map(|number| format!("f{number}")).collect();
        let operations: Vec<_> = names.iter().map(|name| Operation::Set(name, "1")).collect();
        assert_eq!(cli.update_stage(&operations[..80]).len(), 1);
        assert_eq!(cli.update_stage(&operations).len(), 2);
    }
}
