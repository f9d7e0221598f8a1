//! `deployctl preview`: code that is not released, at a URL of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::context::{Context, LeaseArgs};
use crate::delivery::preview::preview_up;
use crate::documents::{
    Body as _, ListedPreview, PreviewDownBody, PreviewListBody, PreviewUpBody, Upped, Whole,
};
use crate::engine::preview::{Wanted, close, previews};
use crate::error::{Error, ErrorId, Result};
use crate::platform::variables;
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::project::settings::{Overrides, PreviewSettings, lifetime};
use crate::release::diff::Diff;
use crate::release::model::PreviewName;
use crate::release::preview::{Preview, stage_name};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Build the project and show it at a URL of its own; the stage serves what it did before
    ///
    /// The preview is a further stage of the same API, with the same data. A second `up` changes it. Terraform does
    /// not run: routes that are not in the API yet are not in the preview.
    #[command(after_help = "Example:\n  deployctl preview up --name pr-123 --stage dev")]
    Up(UpArgs),
    /// Close a preview; one that does not exist is no error
    #[command(after_help = "Example:\n  deployctl preview down --name pr-123 --stage dev")]
    Down(DownArgs),
    /// List the previews of the stage
    #[command(after_help = "Example:\n  deployctl preview list --stage dev --output json")]
    List,
    /// Close the previews that have expired
    #[command(after_help = "Example:\n  deployctl preview prune --stage dev")]
    Prune,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// The name of the preview, such as pr-123
    #[arg(long, value_name = "NAME")]
    pub(super) name: PreviewName,
    /// How long it stays, such as 12h or 7d; by default as deployctl.toml says
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(super) expires: Option<std::time::Duration>,
    /// Show the zips that `deployctl build` wrote to this folder; nothing is compiled
    #[arg(long, env = variables::ARTIFACTS, value_name = "DIR")]
    pub(super) artifacts: Option<PathBuf>,
    /// Write the URL and the differences to this file as Markdown, for a comment of a pull request
    #[arg(long, value_name = "FILE")]
    pub(super) comment: Option<PathBuf>,
    #[command(flatten)]
    pub(super) lease: LeaseArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    /// The name of the preview
    #[arg(long, value_name = "NAME")]
    pub(super) name: PreviewName,
}

impl UpArgs {
    /// Applies the arguments that override deployctl.toml.
    pub(super) fn overrides(&self, overrides: &mut Overrides) {
        overrides.artifacts = self.artifacts.as_ref().and_then(|folder| std::path::absolute(folder).ok());
        overrides.wait = self.lease.wait;
    }
}

impl Verb {
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Up(_) => "preview up",
            Self::Down(_) => "preview down",
            Self::List => "preview list",
            Self::Prune => "preview prune",
        }
    }
}

pub(super) async fn run(context: &Context, verb: &Verb) -> Result<()> {
    if let Verb::List = verb {
        return context.until_interrupted(list(context)).await;
    }
    let (session, contract) = context.session_of_released().await?;
    match verb {
        Verb::Up(args) => up(context, (&session, &contract), args).await,
        Verb::Down(args) => {
            let closed = close_some(&session, &contract, |preview| preview.name == args.name).await?;
            shown_as_closed(context, &session, closed, verb)
        }
        Verb::Prune | Verb::List => {
            let closed = close_expired(&session, &contract, None).await?;
            shown_as_closed(context, &session, closed, verb)
        }
    }
}

async fn up(context: &Context, (session, contract): (&Session, &Contract), args: &UpArgs) -> Result<()> {
    let stage = session.settings.stage.name.to_string();
    let Some(PreviewSettings { lifetime, max }) = session.settings.stage.previews else {
        let message = format!("stage {stage} allows no previews");
        return Err(Error::usage(ErrorId::PreviewNotEnabled, message).hint(format!(
            "nothing was changed; a table [stages.{stage}.previews] in deployctl.toml allows them"
        )));
    };
    let lifetime = SignedDuration::try_from(args.expires.unwrap_or(lifetime));
    let lifetime = lifetime.map_err(|error| Error::bug(error.to_string()))?;
    let expires = Timestamp::now().checked_add(lifetime).map_err(|error| Error::bug(error.to_string()))?;
    close_expired(session, contract, Some(&args.name)).await?;
    let api = contract.rest_api_id.as_str();
    let wanted = Wanted { name: &args.name, expires, git: None, max, api };
    let (up, url) = Box::pin(preview_up(session, contract, wanted)).await?;
    let [before, after] = &up.definitions;
    let diff = Diff::of(&up.live, &up.record, [before.as_ref(), after.as_ref()]);
    let body = PreviewUpBody {
        outcome: if up.created { Upped::Created } else { Upped::Updated },
        stage,
        name: args.name.to_string(),
        url,
        version: up.record.release.version.clone(),
        expires,
        published: up.published.iter().map(ToString::to_string).collect(),
        diff,
    };
    if let Some(file) = &args.comment {
        write_comment(file, &comment(&body))?;
    }
    let text = text(&body);
    context.report.show(&body.document(), &text);
    Ok(())
}

/// Closes the previews that have expired, but for the one that is about to be changed.
async fn close_expired(
    session: &Session,
    contract: &Contract,
    but: Option<&PreviewName>,
) -> Result<Vec<String>> {
    let now = Timestamp::now();
    let is_expired = |preview: &Preview| preview.expires <= now && Some(&preview.name) != but;
    close_some(session, contract, is_expired).await
}

async fn close_some(
    session: &Session,
    contract: &Contract,
    chosen: impl Fn(&Preview) -> bool,
) -> Result<Vec<String>> {
    let port = session.aws_stage(contract)?;
    let mut found = previews(&port, &session.settings.stage.name).await?;
    found.retain(chosen);
    if !found.is_empty() {
        let stage_context = session.stage_context()?;
        session.events.step("close previews", close(&stage_context, &port, &found)).await?;
    }
    Ok(found.into_iter().map(|preview| preview.name.to_string()).collect())
}

fn shown_as_closed(context: &Context, session: &Session, closed: Vec<String>, verb: &Verb) -> Result<()> {
    let stage = session.settings.stage.name.to_string();
    let text = match closed.as_slice() {
        [] => format!("{stage}: no preview to close\n"),
        closed => format!("{stage}: closed {}\n", closed.join(", ")),
    };
    let document = Whole { command: verb.command(), ..PreviewDownBody { stage, closed }.whole() };
    context.report.show(&document, &text);
    Ok(())
}

async fn list(context: &Context) -> Result<()> {
    let session = context.read_session().await?;
    let contract = session.contract().await?;
    let stage = &session.settings.stage.name;
    let mut found = previews(&session.aws_stage(&contract)?, stage).await?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let now = Timestamp::now();
    let listed = |preview: Preview| ListedPreview {
        url: session.execute_url(&contract.rest_api_id, &stage_name(&preview.name)),
        expired: preview.expires <= now,
        preview,
    };
    let previews: Vec<_> = found.into_iter().map(listed).collect();
    let mut text = String::new();
    for ListedPreview { url, preview, expired } in &previews {
        let verb = if *expired { "expired" } else { "expires" };
        let commit = preview.commit.as_deref().unwrap_or("-");
        let commit = commit.get(..12).unwrap_or(commit);
        let _ = writeln!(text, "{:<20} {commit:<12} {verb} {:.0}  {url}", preview.name, preview.expires);
    }
    if previews.is_empty() {
        let _ = writeln!(text, "{stage}: no previews");
    }
    context.report.show(&PreviewListBody { stage: stage.to_string(), previews }.document(), &text);
    Ok(())
}

/// The differences, without the lines that name both sides.
fn differences(diff: &Diff) -> String {
    let text = diff.to_string();
    text.lines().filter(|line| !line.starts_with("- ") && !line.starts_with("+ ")).fold(
        String::new(),
        |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        },
    )
}

fn text(body: &PreviewUpBody) -> String {
    let PreviewUpBody { stage, name, url, version, expires, .. } = body;
    let live = &body.diff.from.version;
    let differences = differences(&body.diff).replace('\n', "\n  ");
    format!(
        "{url}\n  preview    {name} of {stage}, {version}, until {expires:.0}\n  {stage} serves {live}; the preview \
         differs:\n  {}\n",
        differences.trim_end()
    )
}

fn comment(body: &PreviewUpBody) -> String {
    let PreviewUpBody { stage, name, url, version, expires, .. } = body;
    let live = &body.diff.from.version;
    // The texts of an API may have fences of their own.
    let differences = differences(&body.diff).replace('`', "'");
    format!(
        "### Preview `{name}` of `{stage}`\n\n<{url}>\n\nVersion `{version}`, until {expires:.0}. It shares the \
         data of `{stage}`, which serves `{live}`. Differences:\n\n```text\n{differences}```\n"
    )
}

fn write_comment(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|source| {
        Error::preflight(ErrorId::PreviewComment, format!("failed to write {}", file.display()))
            .because(source)
            .hint("the preview is up, and its stage is unchanged; `deployctl preview list` has the URL")
    })
}
