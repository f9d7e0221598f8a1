//! `deployctl bootstrap`: creates the bucket of the Terraform state, which must exist before Terraform can run.

use super::context::Context;
use crate::documents::{Body as _, BootstrapBody};
use crate::error::{Error, ErrorId, Result};
use crate::project::settings::StateBackend;

pub(super) async fn run(context: &Context) -> Result<()> {
    if let StateBackend::Own { .. } = context.settings()?.stage.backend {
        let message = "refused: with backend = \"own\", the project makes the place of its Terraform states";
        return Err(Error::usage(ErrorId::StateNotMade, message).hint("nothing was changed"));
    }
    let session = context.session().await?;
    let stage = &session.settings.stage;
    let ensured = session.state_bucket().ensure_state_bucket(&stage.region, &stage.account).await;
    let made = ensured.map_err(|failure| {
        let otherwise = format!(
            "bucket names are global, and this bucket must belong to account {}: choose another name with \
             `state_bucket` in deployctl.toml, or name its owner with `state_bucket_account`",
            stage.state_bucket_account
        );
        let hint = failure.hint("what is live is unchanged", &otherwise);
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
