//! Where states are stored: the settings that `terraform init` gets, and the backend that they configure
//! together with a layer's `backend` block.

use std::collections::BTreeMap;
use std::path::Path;

use hcl_edit::expr::Expression;
use hcl_edit::structure::Body;

use super::failure::{Failure, Reason};
use super::layers::Layer;
use super::source::{Module, literal};

/// Settings of the `backend` block that differ from stage to stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Settings of all layers, such as bucket and region. Secrets belong in the environment.
    pub settings: BTreeMap<String, String>,
    /// The `key` of a layer's state; `{layer}` stands for the layer's name.
    pub key: Option<String>,
    /// Further settings, as Terraform's `-backend-config` takes them: `name=value`, or a file, absolute or relative to
    /// the layer's folder. `{layer}` stands for the layer's name. Later settings replace earlier ones.
    pub config: Vec<String>,
}

impl Backend {
    /// The values of `-backend-config` for one layer.
    pub fn for_layer(&self, layer: &str) -> Vec<String> {
        let settings = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let named = |text: &String| text.replace("{layer}", layer);
        let key = self.key.iter().map(|key| format!("key={}", named(key)));
        settings.chain(key).chain(self.config.iter().map(named)).collect()
    }

    /// Refuses secrets: Terraform takes them as arguments and writes them to a file in `TF_DATA_DIR`.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let in_config = self.config.iter().filter_map(|config| Some(config.split_once('=')?.0));
        let secret = |name: &&str| ["access_key", "secret_key", "token", "password"].contains(name);
        match self.settings.keys().map(String::as_str).chain(in_config).find(secret) {
            Some(name) => Err(Failure::new(Reason::SecretInBackend(name.to_owned()))),
            None => Ok(()),
        }
    }
}

/// Settings of the S3 backend that a stage may not have what for, with the texts of their failures.
const FRAGILE: [(&str, &[&str]); 5] = [
    ("dynamodb_table", &["DynamoDB"]),
    ("profile", &["shared config profile", "failed to get shared config"]),
    ("role_arn", &["assume IAM Role", "AssumeRole"]),
    ("assume_role", &["assume IAM Role", "AssumeRole"]),
    ("kms_key_id", &["KMS", "kms:"]),
];

/// What to do about a setting that does not work.
pub(super) fn advice(name: &str) -> &'static str {
    match name {
        "dynamodb_table" => {
            "create the table in the stage's account and region, or remove `dynamodb_table` from the backend block: \
             deployctl's own backend locks in S3, and so does `use_lockfile = true`"
        }
        "profile" => {
            "remove `profile` from the backend block and name it as `profile` of the stage in deployctl.toml, or add \
             it to the AWS configuration of this machine"
        }
        "kms_key_id" => "allow the caller to use the key, or remove `kms_key_id` from the backend block",
        _ => "allow the caller to assume the role, or remove it from the backend block",
    }
}

impl Backend {
    /// Names the setting of the `backend` block that a failure comes from, if it does.
    pub(super) fn explain(&self, mut failure: Failure, layer: &Layer) -> Failure {
        let may_be_setting = matches!(
            *failure.reason,
            Reason::BackendUnreachable | Reason::Authentication | Reason::Failed(_)
        );
        if !may_be_setting {
            return failure;
        }
        let texts = failure.diagnostics.iter().map(|found| format!("{} {}", found.summary, found.detail));
        let text: String = texts.chain([failure.to_string()]).collect();
        let mut fragile =
            FRAGILE.iter().filter(|(_, marks)| marks.iter().any(|mark| text.contains(mark))).peekable();
        if fragile.peek().is_none() {
            return failure;
        }
        let Some(configured) = ConfiguredBackend::read(&layer.dir, &self.for_layer(&layer.name)) else {
            return failure;
        };
        let found = fragile.find_map(|(name, _)| Some((*name, configured.settings.get(*name)?.clone())));
        if let Some((name, value)) = found {
            *failure.reason = Reason::BackendSetting { name, value };
        }
        failure
    }
}

/// The backend of a layer, as far as its source says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfiguredBackend {
    /// Such as `s3`; `cloud` for a `cloud` block, and `local` without any block.
    pub(crate) kind: String,
    /// The settings. `None`: not a literal.
    pub(crate) settings: BTreeMap<String, Option<String>>,
}

impl ConfiguredBackend {
    /// The backend of the layer in `dir`, with the values of `-backend-config`. `None` if a file cannot be read or
    /// parsed.
    pub(crate) fn read(dir: &Path, config: &[String]) -> Option<Self> {
        let module = Module::read(dir);
        if module.unreadable.iter().any(|(path, _)| may_have_backend(path)) {
            return None;
        }
        let mut configured = Self::of_block(&module);
        for value in config {
            match value.split_once('=') {
                Some((name, value)) => {
                    configured.settings.insert(name.trim().to_owned(), Some(value.to_owned()));
                }
                None => {
                    let text = std::fs::read_to_string(dir.join(value)).ok()?;
                    configured.add(&hcl_edit::parser::parse_body(&text).ok()?);
                }
            }
        }
        Some(configured)
    }

    fn of_block(module: &Module) -> Self {
        let Some(block) = module.backend() else {
            return Self { kind: "local".to_owned(), ..Self::default() };
        };
        let kind = block.labels.first().map_or("cloud", |label| label.as_str()).to_owned();
        let mut configured = Self { kind, ..Self::default() };
        configured.add(&block.body);
        configured
    }

    fn add(&mut self, body: &Body) {
        for attribute in body.attributes() {
            self.settings.insert(attribute.key.as_str().to_owned(), text(&attribute.value));
        }
        self.settings.extend(body.blocks().map(|block| (block.ident.as_str().to_owned(), None)));
    }

    /// A setting that is a literal.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name)?.as_deref()
    }
}

fn text(value: &Expression) -> Option<String> {
    match value {
        Expression::Bool(value) => Some(value.to_string()),
        Expression::Number(value) => Some(value.to_string()),
        value => literal(value).map(str::to_owned),
    }
}

/// Whether a file that was not parsed may have a `backend` or `cloud` block.
fn may_have_backend(path: &Path) -> bool {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    text.is_ok_and(|text| text.contains("backend") || text.contains("cloud"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terraform::messages::Diagnostic;

    fn configured(files: &[(&str, &str)], config: &[&str]) -> Option<ConfiguredBackend> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config: Vec<String> = config.iter().map(|value| (*value).to_owned()).collect();
        ConfiguredBackend::read(dir.path(), &config)
    }

    #[test]
    fn later_settings_replace_earlier_ones() {
        let block = "terraform {\n  backend \"s3\" {\n    bucket = \"a\"\n    key = \"k\"\n    encrypt = true\n  \
                     assume_role = { role_arn = \"r\" }\n  }\n}\n";
        let files = [("main.tf", block), ("dev.hcl", "bucket = \"b\"\nregion = \"eu-west-1\"\n")];
        let found = configured(&files, &["dev.hcl", "key=users/dev.tfstate"]).unwrap();
        assert_eq!(found.kind, "s3");
        let get = |name: &str| found.get(name);
        assert_eq!((get("bucket"), get("key")), (Some("b"), Some("users/dev.tfstate")));
        assert_eq!((get("region"), get("encrypt")), (Some("eu-west-1"), Some("true")));
        assert_eq!(found.settings.get("assume_role"), Some(&None));
        assert_eq!(configured(&files, &["prd.hcl"]), None, "a file that does not exist");
    }

    #[test]
    fn a_block_is_taken_as_terraform_takes_it() {
        let kind = |files: &[(&str, &str)]| configured(files, &[]).map(|found| found.kind);
        assert_eq!(kind(&[("main.tf", "variable \"a\" {}\n")]).as_deref(), Some("local"));
        let s3 = ("main.tf", "terraform {\n  backend \"s3\" {}\n}\n");
        let http = ("override.tf", "terraform {\n  backend \"http\" {}\n}\n");
        assert_eq!(kind(&[s3, http]).as_deref(), Some("http"));
        assert_eq!(kind(&[("main.tf", "terraform {\n  cloud {}\n}\n")]).as_deref(), Some("cloud"));
        let gcs = r#"{"terraform":{"backend":{"gcs":{}}}}"#;
        assert_eq!(kind(&[("b.tf.json", gcs)]).as_deref(), Some("gcs"));
        assert_eq!(kind(&[s3, ("b.tf", "terraform {\n  backend \"gcs\" {\n")]), None, "not parsed");
        assert_eq!(kind(&[s3, ("v.tf.json", r#"{"variable":{}}"#)]).as_deref(), Some("s3"));
    }

    #[test]
    fn the_setting_that_fails_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let block = "terraform {\n  backend \"s3\" {\n    dynamodb_table = \"acme-locks\"\n    profile = \"acme\"\n  }\n}\n";
        std::fs::write(dir.path().join("main.tf"), block).unwrap();
        let layer = Layer {
            name: "app".into(),
            dir: dir.path().into(),
            var_files: Vec::new(),
            depends_on: Vec::new(),
        };
        let explained = |text: &str| {
            let failure = Failure::from_run(
                vec![Diagnostic { severity: "error".into(), detail: text.into(), ..Diagnostic::default() }],
                None,
            );
            Backend::default().explain(failure, &layer).to_string()
        };
        let locks =
            "operation error DynamoDB: PutItem, ResourceNotFoundException: Requested resource not found";
        assert!(explained(locks).contains("dynamodb_table = \"acme-locks\""));
        assert!(explained("failed to get shared config profile, acme").contains("profile = \"acme\""));
        assert!(!explained("operation error S3: Cannot assume IAM Role").contains("backend setting"));
    }

    #[test]
    fn secrets_are_no_arguments() {
        let refused =
            |config: &str| Backend { config: vec![config.to_owned()], ..Backend::default() }.check().is_err();
        assert!(refused("secret_key=x") && !refused("key=x") && !refused("dev.hcl"));
    }
}
