//! `deployctl diff`: compares two releases in the ledger.

use futures::try_join;

use super::context::{Context, version};
use crate::documents::{Body as _, DiffBody};
use crate::engine::ledger::Ledger;
use crate::engine::ports::Store;
use crate::error::{Error, ErrorId, Result};
use crate::release::diff::Diff;
use crate::release::record::Record;

/// Compare two releases: functions, code, API and configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  deployctl diff 1.4.1 1.4.2 --stage prd")]
pub(crate) struct Args {
    /// The first version
    #[arg(value_name = "A")]
    pub(super) from: String,
    /// The second version
    #[arg(value_name = "B")]
    pub(super) to: String,
    /// Exit with 3 if the releases run something different
    #[arg(long)]
    pub(super) exit_code: bool,
}

/// Returns whether the releases differ.
pub(super) async fn run(context: &Context, args: &Args) -> Result<bool> {
    context.until_interrupted(compare(context, &args.from, &args.to)).await
}

async fn compare(context: &Context, from: &str, to: &str) -> Result<bool> {
    let session = context.read_session().await?;
    let stage = &session.settings.stage.name;
    let ledger = Ledger::new(session.aws.bucket(&session.contract().await?.artifact_bucket), stage.clone());
    let (from, to) = try_join!(find(&ledger, from), find(&ledger, to))?;
    let fingerprint = |record: &Record| record.release.api.fingerprint;
    let (old, new) = (fingerprint(&from), fingerprint(&to));
    let definitions = try_join!(ledger.definition(&old), ledger.definition(&new))?;
    let diff = Diff::of(&from, &to, [definitions.0.as_ref(), definitions.1.as_ref()]);
    let (text, differs) = (diff.to_string(), diff.differs);
    context.report.show(&DiffBody { stage: stage.to_string(), diff }.document(), &text);
    Ok(differs)
}

async fn find<S: Store>(ledger: &Ledger<S>, text: &str) -> Result<Record> {
    let version = version(text)?;
    ledger.find(&version).await?.ok_or_else(|| {
        Error::usage(ErrorId::DiffUnknownVersion, format!("the ledger has no release {version}"))
            .hint("`deployctl history` lists the releases")
    })
}
