//! `deployctl output`: the outputs of all layers, read from their states without Terraform.

use std::fmt::Write as _;

use futures::future::try_join_all;
use serde_json::{Map, Value};

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
    #[arg(long, value_name = "LAYER")]
    pub(super) layer: Option<String>,
    /// Also print sensitive values
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
        let value = shown(context, args, output);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        context.report.value(&value, &format!("{text}\n"));
        return Ok(());
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
        context.report.mask(output.value.as_str().unwrap_or(&output.value.to_string()));
    }
    output.value.clone()
}

fn layers(session: &Session, only: Option<&str>) -> Result<Vec<String>> {
    match only {
        None => Ok(session.settings.layers.iter().map(|layer| layer.name.clone()).collect()),
        Some(name) => session.settings.layer(name).map(|layer| vec![layer.name.clone()]),
    }
}

fn unknown(wanted: &str, layers: &[String]) -> Error {
    Error::usage(ErrorId::OutputUnknown, format!("no output {wanted:?} in: {}", layers.join(", ")))
        .hint("`deployctl output` lists all; a layer has outputs after its first apply")
}
