//! The version on the command line, and `auto`: the version of the source in git.

use jiff::Timestamp;

use super::context::{Context, version};
use crate::error::{Error, ErrorId, Result};
use crate::platform::process::Command;
use crate::platform::variables;
use crate::release::model::Version;

/// The word that stands for the version of the source.
pub(super) const AUTO: &str = "auto";

/// A version that the command needs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct RequiredVersion {
    /// The version: 1 to 64 letters, digits, '.', '-' and '_'; or `auto`: the git tag of the commit, or its
    /// date and hash
    #[arg(value_name = "VERSION", add = super::completion::versions())]
    positional: Option<String>,
    /// The same as VERSION
    #[arg(long = "version", env = variables::VERSION, value_name = "V", add = super::completion::versions())]
    flag: Option<String>,
}

impl RequiredVersion {
    pub(super) fn exactly(text: &str) -> Self {
        Self { positional: None, flag: Some(text.to_owned()) }
    }

    pub(super) async fn resolve(&self, context: &Context) -> Result<Version> {
        let from_env = std::env::var(variables::VERSION).ok();
        let text = match (self.positional.as_deref(), self.flag.as_deref()) {
            // An argument takes precedence over the environment.
            (Some(text), flag) if flag.is_none() || flag == from_env.as_deref() || flag == Some(text) => text,
            (Some(one), Some(two)) => {
                let message = format!("two versions are given: {one:?} and {two:?}");
                return Err(Error::usage(ErrorId::VersionInvalid, message)
                    .hint("nothing was changed; name one version, with or without --version"));
            }
            (None, Some(text)) => text,
            (_, None) => return Err(Error::bug("a command that needs a version has none")),
        };
        resolve(context, text).await
    }
}

/// The version `text`, or that of the source for `auto`.
pub(super) async fn resolve(context: &Context, text: &str) -> Result<Version> {
    if text == AUTO { of_source(context).await } else { version(text) }
}

/// The newest tag of the commit that can be a version, or else the commit's date and hash.
async fn of_source(context: &Context) -> Result<Version> {
    let root = context.settings()?.root;
    let git = async |args: &[&str]| {
        let command = Command::new("git", "read the source's commit").args(args.iter().copied()).dir(&root);
        command.output(&context.cancel).await.map_err(|failure| {
            Error::usage(
                ErrorId::VersionAuto,
                "failed to read the commit of the source, for the version `auto`",
            )
            .because(failure)
            .hint("nothing was changed; commit the source with git, or name the version")
        })
    };
    let commit = git(&["log", "-1", "--format=%ct %H"]).await?;
    let changed = git(&["status", "--porcelain"]).await?;
    if let Some(first) = changed.lines().next() {
        let file = first.get(3..).unwrap_or(first);
        let message = format!("refused: the source differs from its commit, for example in {file}");
        return Err(Error::usage(ErrorId::VersionAuto, message)
            .hint("nothing was changed; commit or stash them, or name the version: `auto` is the version of a commit"));
    }
    let tags = git(&["tag", "--points-at", "HEAD", "--sort=-version:refname"]).await?;
    if let Some(version) = tags.lines().find_map(|tag| tag.parse().ok()) {
        return Ok(version);
    }
    let (seconds, hash) = commit.trim().split_once(' ').unwrap_or_default();
    version(&of_commit(seconds.parse().unwrap_or_default(), hash))
}

/// Sorts by time, and names the commit.
fn of_commit(seconds: i64, hash: &str) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or_default();
    format!("{}-{}", at.strftime("%Y%m%d.%H%M%S"), hash.get(..12).unwrap_or(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_without_a_tag_is_named_by_date_and_hash() {
        let name = of_commit(1_764_086_400, "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(name, "20251125.160000-0123456789ab");
        version(&name).unwrap();
    }
}
