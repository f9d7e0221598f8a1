//! The one error that commands return, and the table of exit codes.
//!
//! The modules below (Terraform, AWS, artifacts) have typed errors. They are converted into an [`Error`]
//! where their meaning for the user is known: who must act, what is live, and what to do next.

mod id;

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

pub use self::id::ErrorId;

/// The result of fallible functions above the modules with typed errors.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act, and therefore the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line or the configuration is invalid. Nothing was changed.
    Usage,
    /// Preflight or build failed. Nothing was changed.
    Preflight,
    /// Terraform failed: what is live is unchanged, but the infrastructure may be partly applied.
    Terraform,
    /// A step before the switch failed, or the release was switched back: the old release serves.
    OldReleaseServes,
    /// The switch failed and could not be undone: a person must act.
    Stuck,
    /// Another release holds the stage.
    Held,
    /// Interrupted by a signal. No mixture of releases is live.
    Interrupted,
    /// The command has succeeded, but its result could not be written to stdout.
    Unwritten,
    /// A bug in deployctl.
    Bug,
}

impl Kind {
    /// The documented exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Preflight => 10,
            Self::Terraform => 20,
            Self::OldReleaseServes => 30,
            Self::Stuck => 40,
            Self::Unwritten => 74,
            Self::Held => 75,
            Self::Interrupted => 130,
            Self::Bug => 1,
        }
    }
}

/// Exit code of `plan` and `status` with `--exit-code` when there are changes.
pub const EXIT_CHANGES: u8 = 3;

/// Exit code of `conformance` when AWS behaves differently.
pub const EXIT_DIFFERS: u8 = EXIT_CHANGES;

/// Exit code of `invoke` when the function itself answers with an error.
pub const EXIT_ANSWER: u8 = EXIT_CHANGES;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// An error for the user: what failed (`message`), why (`source`), what to do next (`hint`).
#[derive(Debug)]
pub struct Error {
    /// Who must act, and therefore the exit code.
    pub kind: Kind,
    /// Stable id for scripts and for `deployctl explain`, such as `lease.held`.
    pub id: ErrorId,
    /// What failed, in one sentence without a full stop.
    pub message: String,
    /// What is live, if that is not obvious, and what to do next.
    pub hint: Option<String>,
    /// The lines of the user's files that cause it, as far as they are known.
    pub places: Vec<Place>,
    source: Option<Source>,
}

/// An invalid line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as an absolute path.
    pub file: PathBuf,
    /// The line number, from one.
    pub line: usize,
    /// The problem.
    pub text: String,
}

impl Error {
    /// Creates an error without hint and source.
    pub fn new(kind: Kind, id: ErrorId, message: impl Into<String>) -> Self {
        Self { kind, id, message: message.into(), hint: None, places: Vec::new(), source: None }
    }

    /// Creates an error of kind [`Kind::Usage`].
    pub fn usage(id: ErrorId, message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, id, message)
    }

    /// Creates an error of kind [`Kind::Preflight`].
    pub fn preflight(id: ErrorId, message: impl Into<String>) -> Self {
        Self::new(Kind::Preflight, id, message)
    }

    /// Creates an error of kind [`Kind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, ErrorId::Bug, message)
            .hint("this is a bug in deployctl: please report it with this message")
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the source.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The chain of causes, outermost first, without this error's own message.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many libraries include their source in their own message: print each cause once.
            if causes.last().is_none_or(|last| !last.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_listed_once_and_in_order() {
        let inner = Error::preflight(ErrorId::AwsRead, "connection refused");
        let outer = Error::preflight(ErrorId::BucketUnversioned, "failed to read the bucket").because(inner);
        assert_eq!(outer.causes(), ["connection refused"]);
        assert_eq!(outer.to_string(), "failed to read the bucket");
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            Kind::Usage,
            Kind::Preflight,
            Kind::Terraform,
            Kind::OldReleaseServes,
            Kind::Stuck,
            Kind::Held,
            Kind::Interrupted,
            Kind::Unwritten,
            Kind::Bug,
        ]
        .map(Kind::exit_code);
        assert_eq!(codes, [2, 10, 20, 30, 40, 75, 130, 74, 1]);
    }
}
