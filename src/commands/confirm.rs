//! Asks before something is done that cannot be undone.

use super::Context;
use crate::error::{Error, Kind, Result};
use crate::release::model::StageName;

/// Asks for the name of the stage. Nothing is changed before it is typed.
///
/// # Errors
/// `id` with exit code 2 when something else is typed, or nobody is there: then with `hint`. `interrupted` on Ctrl-C.
pub(super) async fn by_name(
    context: &Context,
    question: &str,
    stage: &StageName,
    id: &'static str,
    hint: &str,
) -> Result<()> {
    let answer = tokio::select! {
        answer = context.report.ask(question) => answer,
        () = context.cancel.cancelled() => {
            return Err(Error::new(Kind::Interrupted, "interrupted", "interrupted")
                .hint("nothing was changed"));
        }
    };
    match answer {
        Some(answer) if answer == stage.as_str() => Ok(()),
        Some(_) => Err(Error::usage(id, "not confirmed").hint("nothing was changed")),
        None => {
            Err(Error::usage(id, "nobody is there to confirm").hint(format!("nothing was changed; {hint}")))
        }
    }
}
