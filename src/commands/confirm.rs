//! Asks for confirmation before something that cannot be undone.

use super::context::Context;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::model::StageName;

/// Asks for the name of the stage, before anything is changed.
///
/// # Errors
/// `id` with exit code 2 if another text is typed, or, with `hint`, if stdin is not a terminal. `interrupted`
/// on Ctrl-C.
pub(super) async fn by_name(
    context: &Context,
    question: &str,
    stage: &StageName,
    id: ErrorId,
    hint: &str,
) -> Result<()> {
    let answer = tokio::select! {
        answer = context.report.ask(question) => answer,
        () = context.cancel.cancelled() => {
            return Err(Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted")
                .hint("nothing was changed"));
        }
    };
    match answer {
        Some(answer) if answer == stage.as_str() => Ok(()),
        Some(_) => {
            Err(Error::usage(id, "refused: this is not the name of the stage").hint("nothing was changed"))
        }
        None => Err(Error::usage(id, "refused: stdin is not a terminal; confirm with --yes")
            .hint(format!("nothing was changed; {hint}"))),
    }
}
