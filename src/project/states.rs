//! Where the Terraform states of a stage are: in S3 under deployctl's keys, or where the layers' own backends are.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::aws::s3::Bucket;
use crate::engine::ports::Store as _;
use crate::project::session::Session;
use crate::project::settings::{DEFAULT_WORKSPACE, Settings, Stage, StateBackend};
use crate::terraform::backend::ConfiguredBackend;
use crate::terraform::{Backend, Layer};

/// A state in S3 that the stage's credentials can read.
#[derive(Debug)]
pub(crate) struct StateObject {
    /// The name of its layer.
    pub(crate) layer: String,
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
}

/// The buckets of Terraform states that belong to the expected account: S3 has answered a read that names it.
#[derive(Debug, Default)]
pub(crate) struct ProvenBuckets(Mutex<BTreeSet<String>>);

impl ProvenBuckets {
    pub(super) fn add(&self, bucket: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket.to_owned());
    }

    pub(super) fn contains(&self, bucket: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(bucket)
    }
}

/// A place in S3, as a backend names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct S3Place {
    bucket: String,
    key: String,
    /// `None`: the stage's region.
    region: Option<String>,
}

impl Settings {
    /// The settings of `terraform init`.
    pub(super) fn backend(&self) -> Backend {
        let Stage { state_bucket, region, backend, .. } = &self.stage;
        match backend {
            StateBackend::Deployctl => Backend {
                settings: [
                    ("bucket", state_bucket.as_str()),
                    ("region", region.as_str()),
                    ("encrypt", "true"),
                    ("use_lockfile", "true"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
                key: Some(self.state_key("{layer}")),
                ..Backend::default()
            },
            StateBackend::Own { config } => {
                let absolute = |value: &String| match value.contains('=') {
                    true => value.clone(),
                    false => self.root.join(value).to_string_lossy().into_owned(),
                };
                Backend { config: config.iter().map(absolute).collect(), ..Backend::default() }
            }
        }
    }

    /// The S3 key of a layer's state among deployctl's keys.
    pub(crate) fn state_key(&self, layer: &str) -> String {
        format!("{}/{layer}.tfstate", self.stage.state_prefix(&self.project))
    }

    /// The place of a layer's state in S3. `None` if only Terraform can read it: the backend is another one, or has
    /// credentials or an endpoint of its own, or its settings are no literals.
    fn s3_place(&self, layer: &Layer) -> Option<S3Place> {
        let Stage { workspace, state_bucket, profile, .. } = &self.stage;
        if self.stage.backend == StateBackend::Deployctl {
            let key = self.state_key(&layer.name);
            return Some(S3Place { bucket: state_bucket.clone(), key, region: None });
        }
        let configured = ConfiguredBackend::read(&layer.dir, &self.backend().for_layer(&layer.name))?;
        s3_place_of(&configured, workspace, profile.as_deref())
    }
}

impl Session {
    /// The state of `layer`; `None` if only Terraform can read it.
    pub(crate) fn state_object(&self, layer: &Layer) -> Option<StateObject> {
        let S3Place { bucket, key, region } = self.settings.s3_place(layer)?;
        let Stage { state_bucket_account: owner, region: own, .. } = &self.settings.stage;
        let region = region.as_ref().unwrap_or(own);
        let bucket = match region == own {
            true => self.aws.bucket_of(owner, &bucket),
            false => self.aws.bucket_in(region, owner, &bucket),
        };
        Some(StateObject { layer: layer.name.clone(), bucket, key })
    }

    /// Whether only Terraform can read the state of some layer.
    pub(crate) fn needs_terraform_to_read(&self) -> bool {
        self.settings.layers.iter().any(|layer| self.state_object(layer).is_none())
    }

    /// The states that can be read without Terraform, one for each bucket.
    pub(crate) fn state_objects(&self) -> Vec<StateObject> {
        let mut names = BTreeSet::new();
        let objects = self.settings.layers.iter().filter_map(|layer| self.state_object(layer));
        objects.filter(|object| names.insert(object.bucket.name().to_owned())).collect()
    }
}

/// Settings of the S3 backend that do not change what a read needs.
const HARMLESS: [&str; 19] = [
    "acl",
    "allowed_account_ids",
    "bucket",
    "dynamodb_table",
    "encrypt",
    "force_path_style",
    "forbidden_account_ids",
    "key",
    "kms_key_id",
    "max_retries",
    "region",
    "skip_credentials_validation",
    "skip_metadata_api_check",
    "skip_region_validation",
    "skip_requesting_account_id",
    "skip_s3_checksum",
    "use_lockfile",
    "use_path_style",
    "workspace_key_prefix",
];

fn s3_place_of(configured: &ConfiguredBackend, workspace: &str, profile: Option<&str>) -> Option<S3Place> {
    let is_harmless = |name: &str| {
        HARMLESS.contains(&name)
            || (name == "profile" && profile.is_some() && configured.get("profile") == profile)
    };
    if configured.kind != "s3" || !configured.settings.keys().all(|name| is_harmless(name)) {
        return None;
    }
    // A setting that is no literal is unknown, and one that is absent has its default.
    let optional = |name: &str| match configured.settings.get(name) {
        Some(value) => value.clone().map(Some),
        None => Some(None),
    };
    let (bucket, key) = (configured.get("bucket")?.to_owned(), configured.get("key")?);
    let prefix = optional("workspace_key_prefix")?;
    let key = match workspace {
        DEFAULT_WORKSPACE => key.to_owned(),
        workspace => format!("{}/{workspace}/{key}", prefix.as_deref().unwrap_or("env:")),
    };
    // Terraform shortens such a key.
    let is_plain = !key.split('/').any(|part| matches!(part, "" | "." | ".."));
    is_plain.then_some(S3Place { bucket, key, region: optional("region")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kind: &str, settings: &[(&str, Option<&str>)], workspace: &str) -> Option<S3Place> {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        s3_place_of(&ConfiguredBackend { kind: kind.to_owned(), settings }, workspace, Some("dev"))
    }

    const NAMED: [(&str, Option<&str>); 3] =
        [("bucket", Some("b")), ("key", Some("users/app.tfstate")), ("region", Some("eu-west-1"))];

    fn key(more: &[(&str, Option<&str>)], workspace: &str) -> Option<String> {
        place("s3", &[&NAMED, more].concat(), workspace).map(|place| place.key)
    }

    #[test]
    fn a_state_in_s3_is_found_where_terraform_puts_it() {
        let found = place("s3", &NAMED, "default").unwrap();
        assert_eq!((found.bucket.as_str(), found.region.as_deref()), ("b", Some("eu-west-1")));
        assert_eq!(found.key, "users/app.tfstate");
        assert_eq!(key(&[], "dev").as_deref(), Some("env:/dev/users/app.tfstate"));
        let prefix = ("workspace_key_prefix", Some("ws"));
        assert_eq!(key(&[prefix], "dev").as_deref(), Some("ws/dev/users/app.tfstate"));
        assert_eq!(
            key(&[("dynamodb_table", Some("locks")), ("profile", Some("dev"))], "default"),
            key(&[], "default")
        );
    }

    #[test]
    fn terraform_reads_what_other_credentials_or_endpoints_need() {
        for setting in [
            ("profile", Some("ops")),
            ("role_arn", Some("arn:aws:iam::1:role/state")),
            ("assume_role", None),
            ("endpoints", None),
            ("workspace_key_prefix", None),
            ("region", None),
            ("sse_customer_key", Some("k")),
        ] {
            assert_eq!(key(&[setting], "dev"), None, "{setting:?}");
        }
        assert_eq!(place("gcs", &NAMED, "default"), None);
        assert_eq!(place("s3", &NAMED[..1], "default"), None, "no key");
        assert_eq!(key(&[("key", Some("a//b"))], "default"), None);
    }
}
