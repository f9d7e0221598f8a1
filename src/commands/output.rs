//! `deployctl output`: the outputs of all layers as one JSON, read from their states without Terraform.

use std::fmt::Write as _;

use futures::future::try_join_all;
use serde_json::{Map, Value};

use super::Context;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::terraform::{Output, Outputs};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub layer: Option<&'a str>,
    pub name: Option<&'a str>,
    pub show_sensitive: bool,
}

/// Runs it.
pub(super) async fn run(context: &Context, request: Request<'_>) -> Result<()> {
    let session = context.session().await?;
    let names = layers(&session, request.layer)?;
    let session = &session;
    let reads = names.iter().map(async |name| Ok::<_, Error>((name, session.outputs(name).await?)));
    let found = try_join_all(reads).await?;

    if let Some(wanted) = request.name {
        let mut matches =
            found.iter().filter_map(|(layer, outputs)| Some((layer, outputs.as_ref()?.get(wanted)?)));
        let (layer, output) = matches.next().ok_or_else(|| unknown(wanted, &names))?;
        if let Some((other, _)) = matches.next() {
            let message = format!("layers {layer} and {other} both have an output {wanted:?}");
            return Err(Error::usage("output.ambiguous", message).hint("name one of them with --layer"));
        }
        let value = shown(context, request, output);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        context.report.value(&value, &format!("{text}\n"));
        return Ok(());
    }

    let mut document = Map::new();
    let mut text = String::new();
    for (layer, outputs) in &found {
        let mut values = Map::new();
        for (name, output) in outputs.iter().flat_map(Outputs::iter) {
            let value = shown(context, request, output);
            let _ = writeln!(text, "{layer}.{name} = {value}");
            values.insert(name.to_owned(), value);
        }
        document.insert((*layer).clone(), Value::Object(values));
    }
    let document = match request.layer {
        Some(layer) => document.remove(layer).unwrap_or_default(),
        None => Value::Object(document),
    };
    context.report.show(&document, &text);
    Ok(())
}

/// An output's value as it is shown. A secret is hidden from the log of a CI job, though it is printed.
fn shown(context: &Context, request: Request<'_>, output: &Output) -> Value {
    if !request.show_sensitive {
        return output.shown();
    }
    if output.sensitive {
        context.report.mask(output.value.as_str().unwrap_or(&output.value.to_string()));
    }
    output.value.clone()
}

/// The layers asked for.
fn layers(session: &Session, only: Option<&str>) -> Result<Vec<String>> {
    match only {
        None => Ok(session.settings.layers.iter().map(|layer| layer.name.clone()).collect()),
        Some(name) => session.settings.layer(name).map(|layer| vec![layer.name.clone()]),
    }
}

fn unknown(wanted: &str, layers: &[String]) -> Error {
    Error::usage("output.unknown", format!("no output {wanted:?} in: {}", layers.join(", ")))
        .hint("`deployctl output` lists all; a layer has outputs once it was applied")
}
