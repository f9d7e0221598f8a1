//! `deployctl output`: the outputs of all layers, read from their states without Terraform.

use std::fmt::Write as _;

use futures::future::try_join_all;
use serde_json::{Map, Value};

use super::completion;
use super::context::Context;
use crate::error::{Error, ErrorId, Result};
use crate::project::session::Session;
use crate::terraform::{Output, Outputs};

/// Print the outputs of all Terraform layers; --output json prints one JSON document
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  deployctl output --output json\n  deployctl output --layer base artifact_bucket"
)]
pub(crate) struct Args {
    /// Only the outputs of this layer
    #[arg(long, value_name = "LAYER", add = completion::layers())]
    pub(super) layer: Option<String>,
    /// Also print sensitive values; without it, NAME must not be a sensitive output
    #[arg(long)]
    pub(super) show_sensitive: bool,
    /// Print only the value of this output
    pub(super) name: Option<String>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let session = context.session().await?;
    let names = layers(&session, args.layer.as_deref())?;
    let session = &session;
    let reads = names.iter().map(async |name| Ok::<_, Error>((name, session.outputs(name).await?)));
    let found = try_join_all(reads).await?;

    if let Some(wanted) = args.name.as_deref() {
        let mut matches =
            found.iter().filter_map(|(layer, outputs)| Some((layer, outputs.as_ref()?.get(wanted)?)));
        let (layer, output) = matches.next().ok_or_else(|| unknown(wanted, &names))?;
        if let Some((other, _)) = matches.next() {
            let message = format!("layers {layer} and {other} both have an output {wanted:?}");
            return Err(Error::usage(ErrorId::OutputAmbiguous, message).hint("name one of them with --layer"));
        }
        if output.sensitive && !args.show_sensitive {
            return Err(sensitive(wanted, layer));
        }
        let value = shown(context, args, output);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return context.report.value(&value, &format!("{text}\n"));
    }

    let mut document = Map::new();
    let mut text = String::new();
    for (layer, outputs) in &found {
        let mut values = Map::new();
        for (name, output) in outputs.iter().flat_map(Outputs::iter) {
            let value = shown(context, args, output);
            let _ = writeln!(text, "{layer}.{name} = {value}");
            values.insert(name.to_owned(), value);
        }
        document.insert((*layer).clone(), Value::Object(values));
    }
    let document = match args.layer.as_deref() {
        Some(layer) => document.remove(layer).unwrap_or_default(),
        None => Value::Object(document),
    };
    context.report.show(&document, &text);
    Ok(())
}

/// The printed value. A sensitive value that is printed is masked in the log of a CI job.
fn shown(context: &Context, args: &Args, output: &Output) -> Value {
    if !args.show_sensitive {
        return output.shown();
    }
    if output.sensitive {
        mask(context, &output.value);
    }
    output.value.clone()
}

/// Masks a value in the log of a CI job, in each form in which it may be printed.
pub(super) fn mask(context: &Context, value: &Value) {
    for secret in secrets(value) {
        context.report.mask(&secret);
    }
}

/// The texts that show a value or a part of it. Short parts are left out: masking every `eu` would hide the
/// log.
fn secrets(value: &Value) -> Vec<String> {
    let whole = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut texts = vec![whole];
    let mut parts = vec![value];
    while let Some(part) = parts.pop() {
        match part {
            Value::Array(items) => parts.extend(items),
            Value::Object(items) => parts.extend(items.values()),
            Value::String(text) if text.len() >= SHORTEST_SECRET => {
                let encoded = part.to_string();
                texts.push(encoded.trim_matches('"').to_owned());
                texts.push(text.clone());
            }
            _ => {}
        }
    }
    texts.sort();
    texts.dedup();
    texts
}

const SHORTEST_SECRET: usize = 4;

fn layers(session: &Session, only: Option<&str>) -> Result<Vec<String>> {
    match only {
        None => Ok(session.settings.layers.iter().map(|layer| layer.name.clone()).collect()),
        Some(name) => session.settings.layer(name).map(|layer| vec![layer.name.clone()]),
    }
}

fn sensitive(wanted: &str, layer: &str) -> Error {
    Error::usage(
        ErrorId::OutputSensitive,
        format!("refused: output {wanted:?} of layer {layer} is sensitive"),
    )
    .hint("nothing was printed; `--show-sensitive` prints it, and masks it in the log of a GitHub job")
}

fn unknown(wanted: &str, layers: &[String]) -> Error {
    Error::usage(ErrorId::OutputUnknown, format!("no output {wanted:?} in: {}", layers.join(", ")))
        .hint("`deployctl output` lists all; a layer has outputs after its first apply")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_masked() {
        assert_eq!(secrets(&Value::from("ab")), ["ab"]);
        assert_eq!(secrets(&Value::from("a\"bcd")), ["a\"bcd", "a\\\"bcd"]);
        let value = serde_json::json!({ "password": "hunter2", "ports": [1, "eu"] });
        assert_eq!(secrets(&value), ["hunter2", r#"{"password":"hunter2","ports":[1,"eu"]}"#]);
    }
}
