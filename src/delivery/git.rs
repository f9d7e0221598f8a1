//! The git commit that a release is built from, and the files that have changed since another one.

use std::collections::BTreeSet;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorId, Result};
use crate::platform::process::Command;
use crate::project::session::Session;
use crate::release::record::Git;

fn git(dir: &Path, purpose: &'static str, args: &[&str]) -> Command {
    Command::new("git", purpose).args(args.iter().copied()).dir(dir)
}

/// The commit of the project's work tree, and whether it is dirty; `None` outside a git repository.
pub(crate) async fn head(session: &Session) -> Option<Git> {
    let git = |args: &[&str]| git(&session.settings.root, "read the source's commit", args);
    let commit = git(&["rev-parse", "HEAD"]).output(&session.cancel).await.ok()?;
    let changes = git(&["status", "--porcelain"]).output(&session.cancel).await.ok()?;
    Some(Git { commit: commit.trim().to_owned(), dirty: !changes.is_empty() })
}

/// The folder `dir` as a path from the root of its repository, and the files that have changed in HEAD since it
/// left `reference`, as paths from there.
///
/// # Errors
/// `fleet.git`.
pub(crate) async fn changed_since(
    dir: &Path,
    reference: &str,
    cancel: &CancellationToken,
) -> Result<(String, BTreeSet<String>)> {
    let run = async |args: &[&str]| {
        git(dir, "find what has changed", args).output(cancel).await.map_err(|failure| {
            let message = format!("failed to compare the source with {reference:?}");
            Error::usage(ErrorId::FleetGit, message).because(failure).hint(
                "nothing was changed; name a commit that is in this clone (with actions/checkout: \
                 `fetch-depth: 0`), or leave --changed-since out to plan all members",
            )
        })
    };
    let prefix = run(&["rev-parse", "--show-prefix"]).await?;
    let range = format!("{reference}...HEAD");
    // A file that was moved affects both of its places.
    let diff =
        ["diff", "--name-only", "--no-renames", "--no-relative", "-z", "--end-of-options", &range, "--"];
    let files = run(&diff).await?;
    let files = files.trim_end_matches('\n').split('\0').filter(|file| !file.is_empty());
    Ok((prefix.trim_end_matches('\n').to_owned(), files.map(str::to_owned).collect()))
}
