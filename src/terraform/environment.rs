//! The environment of Terraform: inherited, except for variables that would change its behaviour. Each of
//! those is set or removed here, with the reason.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde_json::Value;

/// Changes to the inherited environment: `Some` sets a variable, `None` removes it.
pub type Environment = BTreeMap<String, Option<OsString>>;

/// How much the heap of a Go program grows before its garbage is collected, in percent.
const GC: &str = "GOGC";

/// Instead of Go's 100: the plans of the example then take a fifth less time, and a fifth more memory.
const GC_PERCENT: &str = "300";

pub(super) struct Parts<'a> {
    /// The caller's variables, such as credentials and endpoints.
    pub given: &'a Environment,
    /// The values of Terraform variables.
    pub variables: &'a BTreeMap<String, Value>,
    /// The workspace, unless the command uses the selected one.
    pub workspace: Option<&'a str>,
    /// The layer's folder for providers, modules and the backend's settings.
    pub data_dir: &'a Path,
    /// deployctl's own CLI configuration, if there is one.
    pub cli_config: Option<&'a Path>,
    /// The file for Terraform's log.
    pub log_file: Option<&'a Path>,
}

pub(super) fn changes(parts: &Parts<'_>, inherited: &BTreeMap<OsString, OsString>) -> Environment {
    let Parts { given, variables, workspace, data_dir, cli_config, log_file } = parts;
    let mut changes = (*given).clone();
    let mut set = |name: &str, value: &OsStr| changes.insert(name.to_owned(), Some(value.to_owned()));
    // Terraform's own hints on what to type next do not apply.
    set("TF_IN_AUTOMATION", "1".as_ref());
    // Without a terminal, a question would wait forever.
    set("TF_INPUT", "0".as_ref());
    // Otherwise every process checks for a new version over the network.
    set("CHECKPOINT_DISABLE", "1".as_ref());
    // Each stage and layer has its own, so that switching between them needs no `init`.
    set("TF_DATA_DIR", data_dir.as_os_str());
    if let Some(workspace) = workspace {
        // A workspace that was selected by hand stays selected in a file of the data folder.
        set("TF_WORKSPACE", workspace.as_ref());
    }
    for (name, value) in *variables {
        // Every user of the machine can read arguments.
        set(&format!("TF_VAR_{name}"), variable(value).as_ref());
    }
    if let Some(file) = cli_config {
        set("TF_CLI_CONFIG_FILE", file.as_os_str());
    }
    if let Some(file) = log_file {
        let level = inherited.get(OsStr::new("TF_LOG")).map_or(OsStr::new("DEBUG"), OsString::as_os_str);
        set("TF_LOG", level);
        set("TF_LOG_PATH", file.as_os_str());
    }
    if !inherited.contains_key(OsStr::new(GC)) {
        changes.entry(GC.to_owned()).or_insert_with(|| Some(GC_PERCENT.into()));
    }
    let names = inherited.keys().filter_map(|name| name.to_str());
    let given_names: Vec<String> = given.keys().cloned().collect();
    for name in names.chain(given_names.iter().map(String::as_str)) {
        let is_removed = match name {
            // They add arguments, such as `-auto-approve`.
            "TF_CLI_ARGS" => true,
            _ if name.starts_with("TF_CLI_ARGS_") => true,
            // The stage decides which state is used.
            "TF_WORKSPACE" => workspace.is_none(),
            // They write the log, which contains secrets, to the output.
            "TF_LOG" | "TF_LOG_PATH" => log_file.is_none(),
            "TF_LOG_CORE" | "TF_LOG_PROVIDER" => log_file.is_none(),
            // With a missing file, every process prints a warning.
            "TF_CLI_CONFIG_FILE" => {
                cli_config.is_none() && inherited.get(OsStr::new(name)).is_none_or(is_missing)
            }
            _ => false,
        };
        if is_removed {
            changes.insert(name.to_owned(), None);
        }
    }
    changes
}

fn is_missing(file: &OsString) -> bool {
    !Path::new(file).exists()
}

/// A value for `TF_VAR_…`: a string unchanged, anything else as JSON, which is also an HCL expression.
pub(super) fn variable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(
        inherited: &[(&str, &str)],
        cli_config: Option<&Path>,
        log_file: Option<&Path>,
    ) -> Environment {
        let given = [("AWS_ENDPOINT_URL".to_owned(), Some("http://127.0.0.1:1".into()))].into();
        let variables = [
            ("release".to_owned(), Value::from("1.2.3")),
            ("sizes".to_owned(), serde_json::json!({ "a": [1, true] })),
        ]
        .into();
        let inherited = inherited.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let parts = Parts {
            given: &given,
            variables: &variables,
            workspace: None,
            data_dir: Path::new("/data/app"),
            cli_config,
            log_file,
        };
        changes(&parts, &inherited)
    }

    fn shown(environment: &Environment) -> Vec<String> {
        let text =
            |value: &Option<OsString>| value.as_ref().map_or("-".into(), |v| v.to_str().unwrap().to_owned());
        environment.iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
    }

    #[test]
    fn own_variables_are_set_and_all_others_are_kept() {
        assert_eq!(
            shown(&changed(&[("PATH", "/bin"), ("AWS_PROFILE", "dev")], None, None)),
            [
                "AWS_ENDPOINT_URL=http://127.0.0.1:1",
                "CHECKPOINT_DISABLE=1",
                "GOGC=300",
                "TF_DATA_DIR=/data/app",
                "TF_INPUT=0",
                "TF_IN_AUTOMATION=1",
                "TF_VAR_release=1.2.3",
                r#"TF_VAR_sizes={"a":[1,true]}"#,
            ]
        );
    }

    #[test]
    fn variables_that_change_the_behaviour_of_terraform_are_removed() {
        let inherited = [
            ("TF_CLI_ARGS", "-no-color"),
            ("TF_CLI_ARGS_apply", "-auto-approve"),
            ("TF_WORKSPACE", "other"),
            ("TF_LOG", "TRACE"),
            ("TF_LOG_PROVIDER", "TRACE"),
            ("TF_CLI_CONFIG_FILE", "/no/such/file"),
        ];
        let changed = changed(&inherited, None, None);
        for (name, _) in inherited {
            assert_eq!(changed.get(name), Some(&None), "{name}");
        }
    }

    #[test]
    fn the_garbage_collector_of_the_user_is_kept() {
        assert_eq!(changed(&[("GOGC", "50")], None, None).get("GOGC"), None);
    }

    #[test]
    fn the_log_goes_to_a_file() {
        let changed = changed(&[("TF_LOG", "TRACE"), ("TF_LOG_CORE", "INFO")], None, Some(Path::new("/log")));
        assert_eq!(changed["TF_LOG"].as_deref(), Some("TRACE".as_ref()));
        assert_eq!(changed["TF_LOG_PATH"].as_deref(), Some("/log".as_ref()));
        assert_eq!(changed.get("TF_LOG_CORE"), None);
    }

    #[test]
    fn an_existing_cli_configuration_is_kept_unless_deployctl_has_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let inherited = [("TF_CLI_CONFIG_FILE", file.path().to_str().unwrap())];
        assert_eq!(changed(&inherited, None, None).get("TF_CLI_CONFIG_FILE"), None);
        let own = changed(&inherited, Some(Path::new("/own")), None);
        assert_eq!(own["TF_CLI_CONFIG_FILE"].as_deref(), Some("/own".as_ref()));
    }
}
