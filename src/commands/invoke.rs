//! `deployctl invoke`: invokes one function directly.

use std::io::Read as _;

use serde_json::Value;

use super::completion;
use super::context::{Context, version};
use crate::documents::{Body as _, InvokeBody};
use crate::engine::ledger::Ledger;
use crate::engine::observe as stage;
use crate::error::{EXIT_ANSWER, Error, ErrorId, Kind, Result};
use crate::project::contract::Contract;
use crate::project::session::Session;
use crate::release::model::{FunctionKey, FunctionName, FunctionVersion, Version};
use crate::release::record::Release;

/// Invoke a function and print its result: the live version, or that of a release in the ledger
///
/// Exit code 3 if the function itself answers with an error; its result is printed too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl invoke users_get --payload '{\"httpMethod\":\"GET\",\"path\":\"/demo/users\"}'\n  deployctl invoke users_get --payload @event.json --release 1.4.1\n  echo '{}' | deployctl invoke users_get --payload - --log-tail"
)]
pub(crate) struct Args {
    /// The function's key or full name
    #[arg(add = completion::functions())]
    pub(super) function: String,
    /// The payload: JSON, @FILE, or - for standard input
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    pub(super) payload: String,
    /// Invoke the version of this release in the ledger; by default the live version
    #[arg(long, value_name = "V", add = completion::versions())]
    pub(super) release: Option<String>,
    /// Also print the last 4 KB of its log, on stderr
    #[arg(long)]
    pub(super) log_tail: bool,
}

/// Returns the exit code, which shows whether the function itself answered with an error.
pub(super) async fn run(context: &Context, args: &Args) -> Result<u8> {
    let payload = payload(&args.payload)?;
    let asked = args.release.as_deref().map(version).transpose()?;
    let (session, contract) = context.session_of_released().await?;
    let (key, name, number, release) = target(&session, &contract, &args.function, asked).await?;
    let call = session.aws.invoke(&name, &number, &payload, args.log_tail);
    let answer = tokio::select! {
        answer = call => answer.map_err(|failure| {
            let hint = failure.hint(
                "what is live is unchanged",
                "the caller needs lambda:InvokeFunction on the version",
            );
            Error::preflight(
                ErrorId::InvokeFailed,
                format!("failed to invoke {name} version {number}, or to read its answer"),
            )
                .because(failure)
                .hint(hint)
        })?,
        () = session.cancel.cancelled() => {
            return Err(Error::new(
                Kind::Interrupted,
                ErrorId::Interrupted,
                "interrupted; the function may still be running",
            ));
        }
    };
    if let Some(tail) = &answer.log_tail {
        for line in tail.lines() {
            session.events.note(format!("{key}: {line}"));
        }
    }
    let failed = answer.function_error.is_some();
    if let Some(error) = &answer.function_error {
        session.events.warn(format!("the function answered with an error: {error}"));
    }
    let text = match &answer.result {
        Value::String(text) => format!("{text}\n"),
        other => format!("{other:#}\n"),
    };
    let document = InvokeBody {
        stage: session.settings.stage.name.to_string(),
        function: key.to_string(),
        name: name.to_string(),
        version: number.to_string(),
        release: release.map(|release| release.to_string()),
        function_error: answer.function_error,
        result: answer.result,
        log_tail: answer.log_tail,
    };
    context.report.show(&document.document(), &text);
    Ok(if failed { EXIT_ANSWER } else { 0 })
}

type Target = (FunctionKey, FunctionName, FunctionVersion, Option<Version>);

/// The function version: from the stage's variables, or from a release in the ledger.
async fn target(
    session: &Session,
    contract: &Contract,
    wanted: &str,
    asked: Option<Version>,
) -> Result<Target> {
    if let Some(version) = asked {
        let release = released(session, contract, &version).await?;
        let functions = release.functions.iter().map(|(key, function)| (key, &function.name));
        let (key, name) = named(wanted, functions)?;
        let number = release.functions.get(&key).map(|function| function.version.clone());
        let number = number.ok_or_else(|| Error::bug("a function of the release is not in it"))?;
        return Ok((key, name, number, Some(version)));
    }
    let functions = contract.functions.iter().map(|(key, target)| (key, &target.name));
    let (key, name) = named(wanted, functions)?;
    let live = stage::stage(&session.aws_stage(contract)?).await?.pointer;
    let number = live.variables.get(key.as_str()).and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| stage::empty(&session.settings.stage.name))?;
    Ok((key, name, number, live.release()))
}

/// The newest release of `version` in the ledger, whatever its outcome.
///
/// # Errors
/// `release.unknown`, and as [`Ledger::find`].
pub(super) async fn released(session: &Session, contract: &Contract, version: &Version) -> Result<Release> {
    let stage = &session.settings.stage.name;
    let ledger = Ledger::new(session.aws.bucket(&contract.artifact_bucket), stage.clone());
    let record = ledger.find(version).await?.ok_or_else(|| {
        Error::usage(ErrorId::ReleaseUnknown, format!("the ledger of stage {stage} has no release {version}"))
            .hint(format!("`deployctl history --stage {stage}` lists its releases"))
    })?;
    Ok(record.release)
}

/// The function with the key or name `wanted`.
///
/// # Errors
/// `function.unknown`, with the known functions.
pub(super) fn named<'a>(
    wanted: &str,
    functions: impl Iterator<Item = (&'a FunctionKey, &'a FunctionName)> + Clone,
) -> Result<(FunctionKey, FunctionName)> {
    let mut known = functions.clone();
    if let Some((key, name)) = known.find(|(key, name)| key.as_str() == wanted || name.as_str() == wanted) {
        return Ok((key.clone(), name.clone()));
    }
    let keys: Vec<&str> = functions.map(|(key, _)| key.as_str()).collect();
    let suggestion = crate::project::settings::nearest(wanted, keys.iter().copied())
        .map_or_else(String::new, |best| format!("; did you mean {best:?}?"));
    Err(Error::usage(ErrorId::FunctionUnknown, format!("there is no function {wanted:?}{suggestion}"))
        .hint(format!("there are: {}", keys.join(", "))))
}

/// The payload: JSON, a file that holds it, or standard input.
fn payload(given: &str) -> Result<Value> {
    let invalid = |what: String| Error::usage(ErrorId::PayloadInvalid, what);
    let hint = "give JSON, @FILE, or - for standard input";
    let text = match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| invalid(format!("failed to read {file}")).because(error).hint(hint))?,
        None if given == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| {
                invalid("failed to read standard input".to_owned()).because(error).hint(hint)
            })?;
            text
        }
        None => given.to_owned(),
    };
    serde_json::from_str(&text)
        .map_err(|error| invalid("the payload is not JSON".to_owned()).because(error).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_from_wherever_it_comes() {
        assert_eq!(payload("{\"a\":1}").unwrap()["a"], 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[2]").unwrap();
        assert_eq!(payload(&format!("@{}", file.path().display())).unwrap()[0], 2);
        for bad in ["{", "@/nonexistent", ""] {
            assert_eq!(payload(bad).unwrap_err().id, ErrorId::PayloadInvalid, "{bad}");
        }
    }

    #[test]
    fn a_function_is_known_by_key_and_by_name() {
        let functions = [("users_get", "users-dev-get"), ("users_post", "users-dev-post")]
            .map(|(key, name)| (key.parse::<FunctionKey>().unwrap(), name.parse::<FunctionName>().unwrap()));
        let known = || functions.iter().map(|(key, name)| (key, name));
        assert_eq!(named("users_get", known()).unwrap(), named("users-dev-get", known()).unwrap());
        let error = named("user_get", known()).unwrap_err();
        assert!(error.message.ends_with("did you mean \"users_get\"?"), "{error}");
    }
}
