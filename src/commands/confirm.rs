//! Asks for confirmation before something that cannot be undone.

use super::context::Context;
use crate::error::{Error, ErrorId, Kind, Result};
use crate::release::model::StageName;

/// Asks for the name of the stage. Nothing is changed before it is typed.
///
/// # Errors
/// `id` with exit code 2 when something else is typed, or stdin is not a terminal: then with `hint`. `interrupted` on Ctrl-C.
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
        Some(_) => Err(Error::usage(id, "not confirmed").hint("nothing was changed")),
        None => Err(Error::usage(id, "refused: stdin is not a terminal, so nothing can be confirmed")
            .hint(format!("nothing was changed; {hint}"))),
    }
}
