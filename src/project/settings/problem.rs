//! What can be wrong with `deployctl.toml`, typed: where it is, and which rule it breaks.

use std::fmt;

/// Something that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The keys that lead to it, such as `stages`, `dev`, `acount`; an item of a list is `checks[1]`.
    pub(super) path: Vec<String>,
    pub(super) line: Option<usize>,
    pub(super) kind: ProblemKind,
    /// Whether the rest of the file can be checked without it.
    pub(super) removable: bool,
}

/// The rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProblemKind {
    #[error("unknown key; {0}")]
    UnknownKey(Suggestion),
    #[error("is missing")]
    Missing,
    #[error("there is no such table, and it is needed")]
    MissingTable,
    #[error("expected {expected}, found {found}")]
    WrongType { expected: String, found: String },
    #[error("a local stage has no account")]
    LocalAccount,
    #[error("a local stage needs no profile")]
    LocalProfile,
    #[error("only a local stage has a port")]
    PortOfAwsStage,
    #[error("account: name it, since deployctl refuses to write to one that is not named")]
    AccountMissing,
    #[error("region: is missing")]
    RegionMissing,
    #[error("{0}")]
    Account(String),
    #[error("use 1 to 20 lower-case letters, digits and '-'")]
    ProjectName,
    #[error("there is no layer {0:?}, which [terraform] names")]
    UnknownLayer(String),
    #[error("at least 1")]
    Parallelism,
    #[error("must begin with '/'")]
    ProbePath,
    #[error("must contain {{version}}, or one release would overwrite another")]
    KeyWithoutVersion,
    #[error("deployctl/ is where the ledger lies")]
    KeyInLedger,
    #[error("give either package or path")]
    PackageAndPath,
    #[error("headers, body, status and expect_headers belong to a request, and this one invokes")]
    RequestKeysInInvocation,
    #[error("payload belongs to an invocation, and this is a request: give it a body")]
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
    #[error("{0:?} and its value are no HTTP header")]
    Header(String),
    #[error("status {0} does not exist")]
    Status(u16),
}

/// What an unknown key was probably meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Suggestion {
    #[error("did you mean {0:?}?")]
    Name(String),
    #[error("it belongs to [{0}]")]
    Table(String),
    #[error("known are: {0}")]
    Known(String),
}

impl Problem {
    /// A problem of what `path` leads to; its line is found later.
    pub(super) fn new(path: &[&str], kind: ProblemKind) -> Self {
        let path = path.iter().map(|step| (*step).to_owned()).collect();
        Self { path, line: None, kind, removable: false }
    }

    /// Whether this is why something is missing in the same table.
    pub(super) fn explains(&self, other: &Self) -> bool {
        self.path.split_last().is_some_and(|(_, table)| *table == *other.path)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.join("."), self.kind)
    }
}
