//! `deployctl promote`: releases on one stage the zips of another stage's release, without a build.

use futures::FutureExt as _;

use super::completion;
use super::confirm;
use super::context::{CanaryArgs, Context, LeaseArgs};
use super::release::document;
use super::version::RequiredVersion;
use crate::artifact::digest::{NotSha256, Sha256};
use crate::delivery::approval::Consent;
use crate::delivery::pipeline::{ReleaseOptions, known_bucket, run_release};
use crate::delivery::promotion::Promotion;
use crate::delivery::source::Source;
use crate::documents::result::Document;
use crate::error::{Error, ErrorId, Result};
use crate::project::session::{Access, Session};
use crate::project::settings::Overrides;
use crate::release::once::Repeat;
use crate::release::promotable::ExpectedHashes;

/// Release on another stage the same zips, compared by hash, without a build
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl promote 1.4.2 --from dev --to prd")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) version: RequiredVersion,
    /// The source stage
    #[arg(long, value_name = "STAGE", add = completion::stages())]
    pub(super) from: String,
    /// The target stage
    #[arg(long, value_name = "STAGE", conflicts_with = "stage", add = completion::stages())]
    pub(super) to: String,
    /// The sha256 that a zip must have, in hex, by the name of its artifact; without a name if there is one artifact
    /// (may be given several times)
    #[arg(long, value_name = "[NAME=]HEX")]
    pub(super) expect_sha256: Vec<String>,
    /// Allow Terraform to destroy or replace this protected resource (may be given several times)
    #[arg(long, value_name = "ADDRESS")]
    pub(super) allow_destroy: Vec<String>,
    /// Deploy also if exactly this release is live: version, bytes, configuration and API
    #[arg(long)]
    pub(super) force: bool,
    /// Send new code also to functions that the live deployment calls without a version: callers get it before
    /// the switch
    #[arg(long)]
    pub(super) not_atomic: bool,
    /// What to do about functions of `[[prepare]]`: `again` and `skip` are for a run whose end is not known
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, hide_default_value = true)]
    pub(super) prepare: Repeat,
    #[command(flatten)]
    pub(super) canary: CanaryArgs,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

impl Args {
    /// Applies the arguments that override deployctl.toml.
    pub(super) fn overrides(&self, overrides: &mut Overrides) {
        overrides.allow_destroy.clone_from(&self.allow_destroy);
        overrides.stage = Some(self.to.clone());
        overrides.wait = self.lease.wait;
        overrides.canary = self.canary.replacement();
    }
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Document> {
    let from = args.from.as_str();
    let version = args.version.resolve(context).await?;
    let source = context.settings_of(from)?;
    let target = context.settings()?;
    let artifacts: Vec<&str> = target.artifacts.iter().map(|it| it.recipe.name.as_str()).collect();
    let expected = args.expect_sha256.iter().map(|text| expected_hash(text, &artifacts));
    let expected = expected.collect::<Result<ExpectedHashes>>()?;
    if source.stage.name == target.stage.name {
        return Err(Error::usage(
            ErrorId::PromoteSameStage,
            format!("refused to promote stage {from} to itself"),
        )
        .hint("nothing was changed; `deployctl rollback --to <V>` brings an earlier release back"));
    }
    let session = context.session_of(target).await?;
    // The source stage is only read, so the caller may belong to another account.
    let source =
        Session::connect(source, Access::Change, context.events.clone(), context.cancel.clone()).await?;
    let find = Promotion::find(&source, &session, &version, &expected);
    let source = Source::Promote(Box::new(context.until_interrupted(find).await?));
    let ask = |listed| confirm::destructions(context, &session.settings.stage.name, listed).boxed_local();
    let consent = Consent { approved: None, ask: &ask };
    let known = known_bucket(&session).await?;
    let options = ReleaseOptions { force: args.force, not_atomic: args.not_atomic, repeat: args.prepare };
    let delivered = Box::pin(run_release(&session, known, &version, &source, &consent, options)).await?;
    document("promote", &session, delivered, args.canary.detach).await
}

/// An artifact and its sha256, from `NAME=HEX`, or from `HEX` for the only artifact.
fn expected_hash(text: &str, artifacts: &[&str]) -> Result<(String, Sha256)> {
    let refused = |reason: String| {
        Error::usage(ErrorId::PromoteExpectation, format!("refused: --expect-sha256 {text:?}: {reason}"))
            .hint("nothing was changed; the summary of a release has the sha256 of each of its zips")
    };
    let (name, hex) = match (text.split_once('='), artifacts) {
        (Some((name, hex)), _) => (name, hex),
        (_, [name]) => (*name, text),
        _ => return Err(refused(format!("name the artifact, one of {}", artifacts.join(", ")))),
    };
    if !artifacts.contains(&name) {
        return Err(refused(format!("there is no artifact {name:?}, but {}", artifacts.join(", "))));
    }
    let sha256 = hex.parse().map_err(|problem: NotSha256| refused(problem.to_string()))?;
    Ok((name.to_owned(), sha256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_expected_of_an_artifact() {
        let sha256 = Sha256::of(b"zip");
        let (hex, named) = (sha256.hex(), format!("users={sha256}"));
        let expected = ("users".to_owned(), sha256);
        assert_eq!(expected_hash(&named, &["users", "authorizer"]).unwrap(), expected);
        assert_eq!(expected_hash(&named, &["users"]).unwrap(), expected);
        assert_eq!(expected_hash(&hex, &["users"]).unwrap(), expected);
        for (text, artifacts, reason) in [
            (hex.as_str(), &["users", "authorizer"][..], "name the artifact"),
            ("user=00", &["users"], "no artifact \"user\""),
            ("users=00", &["users"], "not a SHA-256"),
            ("", &["users"], "not a SHA-256"),
        ] {
            let error = expected_hash(text, artifacts).unwrap_err();
            assert!(error.message.contains(reason), "{text}: {}", error.message);
        }
    }
}
