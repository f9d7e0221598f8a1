//! The git commit that a release is built from.

use crate::platform::process::Command;
use crate::project::session::Session;
use crate::release::record::Git;

/// The commit of the project's work tree, and whether it is dirty; `None` outside a git repository.
pub(crate) async fn head(session: &Session) -> Option<Git> {
    let git = |args: &[&str]| {
        Command::new("git", "read the source's commit").args(args.iter().copied()).dir(&session.settings.root)
    };
    let commit = git(&["rev-parse", "HEAD"]).output(&session.cancel).await.ok()?;
    let changes = git(&["status", "--porcelain"]).output(&session.cancel).await.ok()?;
    Some(Git { commit: commit.trim().to_owned(), dirty: !changes.is_empty() })
}
