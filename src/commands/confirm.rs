//! Asks for confirmation before something that cannot be undone.

use super::context::Context;
use crate::delivery::approval::{Destruction, unconfirmed};
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
    match answer(context, question).await? {
        Some(answer) if answer == stage.as_str() => Ok(()),
        Some(_) => {
            Err(Error::usage(id, "refused: this is not the name of the stage").hint("nothing was changed"))
        }
        None => Err(Error::usage(id, "refused: stdin is not a terminal; confirm with --yes")
            .hint(format!("nothing was changed; {hint}"))),
    }
}

/// Asks before a release destroys or replaces resources.
///
/// # Errors
/// `terraform.unconfirmed` with exit code 20 if the name of the stage is not typed, or if stdin is not a
/// terminal. `interrupted` on Ctrl-C.
pub(super) async fn destructions(
    context: &Context,
    stage: &StageName,
    listed: Vec<Destruction>,
) -> Result<()> {
    let mut list = "Terraform would destroy or replace, before the switch:".to_owned();
    for one in &listed {
        list.push_str("\n  ");
        list.push_str(&one.describe());
    }
    context.events.note(list);
    let question = format!("do this now? Type the stage's name ({stage}): ");
    let problem = match answer(context, &question).await? {
        Some(answer) if answer == stage.as_str() => return Ok(()),
        Some(_) => "this is not the name of the stage",
        None => "stdin is not a terminal",
    };
    Err(unconfirmed(problem, &listed).hint(
        "nothing was changed; to allow this without a terminal, pass `--allow-destroy ADDRESS` for each, or \
         have the digest of `deployctl plan` approved and pass it to `deployctl release --approved-plan`",
    ))
}

/// The answer to a question; `None` if stdin is not a terminal.
async fn answer(context: &Context, question: &str) -> Result<Option<String>> {
    tokio::select! {
        answer = context.report.ask(question) => Ok(answer),
        () = context.cancel.cancelled() => {
            Err(Error::new(Kind::Interrupted, ErrorId::Interrupted, "interrupted").hint("nothing was changed"))
        }
    }
}
