//! The problems of `deployctl.toml`: their position, and the rule that is broken.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The path of keys, such as `stages`, `dev`, `acount`; an item of a list is `checks[1]`.
    pub(super) path: Vec<String>,
    pub(super) line: Option<usize>,
    pub(super) kind: ProblemKind,
    /// Whether the rest of the file can be checked without it.
    pub(super) removable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProblemKind {
    #[error("unknown key; {0}")]
    UnknownKey(Suggestion),
    #[error("is missing")]
    Missing,
    #[error("this table is missing")]
    MissingTable,
    #[error("expected {expected}, found {found}")]
    WrongType { expected: String, found: String },
    #[error("a local stage has no account")]
    LocalAccount,
    #[error("only a local stage has a port")]
    PortOfAwsStage,
    #[error("account: is missing; deployctl refuses any other account")]
    AccountMissing,
    #[error("is only used with backend = \"own\"")]
    NeedsOwnBackend,
    #[error("is not used with backend = \"own\": the backend block or backend_config name the bucket")]
    StateBucketOfOwnBackend,
    #[error("must not be empty")]
    Empty,
    #[error("region: is missing")]
    RegionMissing,
    #[error("{0:?} is not the name of a region, such as \"eu-central-1\"")]
    Region(String),
    #[error("{0}")]
    Account(String),
    #[error("use 1 to 20 lower-case letters, digits and '-'")]
    ProjectName,
    #[error("{0}; write it like \">= 0.2, < 0.4\"")]
    RequiredVersion(String),
    #[error("there is no layer {0:?}, which [terraform] names")]
    UnknownLayer(String),
    #[error("there is no layer {0:?}; {1}")]
    UnknownDependency(String, Suggestion),
    #[error("there is no stage {0:?}; {1}")]
    UnknownStage(String, Suggestion),
    #[error("{0}")]
    Stage(String),
    #[error("must be at least 1")]
    Parallelism,
    #[error("{0}")]
    DeliverySteps(&'static str),
    #[error("{0}")]
    DeliverySetting(&'static str),
    #[error("{0}")]
    Lifetime(String),
    #[error("must begin with '/'")]
    ProbePath,
    #[error("must contain {{version}}, or one release would overwrite another")]
    KeyWithoutVersion,
    #[error("must not begin with deployctl/, the prefix of the ledger")]
    KeyInLedger,
    #[error("{0}")]
    Name(String),
    #[error("there is no function {0:?} in [contract.functions]; {1}")]
    UnknownFunction(String, Suggestion),
    #[error("there is no artifact {0:?} in [artifacts]")]
    UnknownArtifact(String),
    #[error("give one of package, path and image")]
    PackageAndPath,
    #[error("key is missing; it must contain {{version}}")]
    KeyMissing,
    #[error("a container image has no key and no workspace: it is not in the bucket, and not built here")]
    KeyOfImage,
    #[error("only a package has a workspace")]
    WorkspaceOfPath,
    #[error("{0:?} does not name an image by its digest: REPOSITORY@sha256:DIGEST")]
    ImageWithoutDigest(String),
    #[error("headers, body, status and expect_headers belong to a request, but this check is an invocation")]
    RequestKeysInInvocation,
    #[error("payload belongs to an invocation, but this check is a request: use body")]
    PayloadInRequest,
    #[error("give either `invoke` (a function's key) or `request` (such as \"GET /users\")")]
    NoCheck,
    #[error("give either payload or payload_file")]
    TwoPayloads,
    #[error("failed to read {path}: {reason}")]
    PayloadUnreadable { path: String, reason: String },
    #[error("{path} is not JSON: {reason}")]
    PayloadNotJson { path: String, reason: String },
    #[error("request {0:?} must be a method and a path, such as \"GET /users\"")]
    Request(String),
    #[error("{0:?} and its value are not a valid HTTP header")]
    Header(String),
    #[error("{0} is not an HTTP status")]
    Status(u16),
    #[error("must be an https URL without credentials; http only to localhost")]
    NotifyUrl,
    #[error("{0:?} is not the name of an environment variable")]
    SecretVariable(String),
}

/// A replacement for an unknown key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Suggestion {
    #[error("did you mean {0:?}?")]
    Name(String),
    #[error("it belongs to [{0}]")]
    Table(String),
    #[error("known: {0}")]
    Known(String),
}

impl Problem {
    /// A problem at `path`; its line is set later.
    pub(super) fn new(path: &[&str], kind: ProblemKind) -> Self {
        let path = path.iter().map(|step| (*step).to_owned()).collect();
        Self { path, line: None, kind, removable: false }
    }

    /// Whether this problem is the cause of `other`, in the same table.
    pub(super) fn explains(&self, other: &Self) -> bool {
        self.path.split_last().is_some_and(|(_, table)| *table == *other.path)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.kind)
    }
}
