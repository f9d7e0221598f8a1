//! `deployctl bootstrap`: creates the bucket of the Terraform state, which must exist before Terraform can run.

use super::context::Context;
use crate::documents::{Body as _, BootstrapBody};
use crate::error::{Error, ErrorId, Result};

pub(super) async fn run(context: &Context) -> Result<()> {
    let session = context.session().await?;
    let stage = &session.settings.stage;
    let made = session.state_bucket().ensure_state_bucket(&stage.region).await.map_err(|failure| {
        let hint = failure.hint(
            "what is live is unchanged",
            "bucket names are global: choose another with `state_bucket` in deployctl.toml",
        );
        Error::preflight(ErrorId::StateNotMade, format!("failed to create the bucket {}", stage.state_bucket))
            .because(failure)
            .hint(hint)
    })?;
    let text = if made {
        "created the bucket of the Terraform state"
    } else {
        "the bucket of the Terraform state exists already"
    };
    context.report.show(
        &BootstrapBody { bucket: stage.state_bucket.clone(), made }.document(),
        &format!("{}: {text}: {}\n", stage.name, stage.state_bucket),
    );
    Ok(())
}
