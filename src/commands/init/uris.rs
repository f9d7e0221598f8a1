//! Changes the URIs of integrations and authorizers to take the function's version from a stage variable.

use hcl_edit::expr::Expression;

use super::contract::ROLE;
use super::edits::Edits;
use super::functions::{Function, output_of};
use crate::documents::init::Advice;
use crate::terraform::source::{Found, Module, Step, literal, references, steps, traversal_steps};

/// The target of a URI.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A function of the layer: its key, and the expression without an alias or a version.
    Function {
        key: String,
        expression: String,
    },
    /// The URI already contains a stage variable.
    Done,
    Other,
    /// The source does not show it.
    Unknown,
}

/// Adds stage variables to the URIs of all integrations and authorizers of a layer.
pub(crate) fn rewrite(
    layer: &Module,
    functions: &[Function<'_>],
    edits: &mut Edits,
    advice: &mut Vec<Advice>,
) {
    let kinds = [
        ("aws_api_gateway_integration", "uri", "credentials"),
        ("aws_api_gateway_authorizer", "authorizer_uri", "authorizer_credentials"),
    ];
    for (kind, uri, credentials) in kinds {
        for found in layer.resources(kind) {
            let Some(attribute) = found.block.body.get_attribute(uri) else { continue };
            let target = target(layer, functions, &found, &attribute.value);
            let done = target == Target::Done;
            match target {
                Target::Other => continue,
                Target::Unknown => advice.push(unknown(&found, uri, credentials)),
                Target::Done => {}
                Target::Function { key, expression } => {
                    edits.value(found.file, &attribute.value, with_variable(&expression, &key));
                }
            }
            match found.attribute(credentials) {
                None => edits.below(found.file, attribute, credentials, ROLE),
                // An earlier patch added the role.
                Some(_) if done => {}
                Some(role) => advice.push(Advice::new(format!(
                    "{} calls its function with {}: that role must be allowed lambda:InvokeFunction on \
                     every version (`…:function:NAME:*`)",
                    found.address(),
                    found.file.text_of(role)
                ))),
            }
        }
    }
}

/// The URI with the stage variable `key` as version.
fn with_variable(expression: &str, key: &str) -> String {
    format!("replace({expression}, \"/invocations\", \":$${{stageVariables.{key}}}/invocations\")")
}

fn unknown(found: &Found<'_>, uri: &str, credentials: &str) -> Advice {
    Advice::new(format!(
        "{}: the source does not show which function {} calls; use the function's stage variable as its \
         version",
        found.address(),
        found.attribute(uri).map_or(uri, |value| found.file.text_of(value))
    ))
    .write(format!(
        "{uri} = replace(aws_lambda_function.NAME.invoke_arn, \"/invocations\", \
         \":$${{stageVariables.KEY}}/invocations\")\n{credentials} = {ROLE}"
    ))
}

fn target(layer: &Module, functions: &[Function<'_>], owner: &Found<'_>, value: &Expression) -> Target {
    let text = owner.file.text_of(value);
    let in_a_local = steps(value).is_some_and(|found| match found.as_slice() {
        [Step::Attribute("local"), Step::Attribute(name), ..] => {
            layer.local(name).is_some_and(|(file, value)| file.text_of(value).contains("stageVariables"))
        }
        _ => false,
    });
    if in_a_local || text.contains("stageVariables") {
        return Target::Done;
    }
    let kind = owner.attribute("type").and_then(literal).unwrap_or("AWS_PROXY");
    if matches!(kind, "MOCK" | "HTTP" | "HTTP_PROXY") {
        return Target::Other;
    }
    let found = references(value).iter().find_map(|reference| {
        let steps = traversal_steps(reference)?;
        resolve(layer, functions, owner, &steps)
    });
    match found {
        Some(Ref { function, index, alias: false, attribute }) => {
            let expression = match attribute.as_str() {
                "qualified_invoke_arn" => text.replace(".qualified_invoke_arn", ".invoke_arn"),
                _ => text.to_owned(),
            };
            Target::Function { key: function.key(index.as_deref()), expression }
        }
        // The version is appended to the function's own ARN. The alias stays, unused.
        Some(Ref { function, index, alias: true, .. }) => {
            let index_text = index.as_ref().map(|index| format!("[{index}]")).unwrap_or_default();
            let expression = format!("{}{index_text}.invoke_arn", function.address());
            Target::Function { key: function.key(index.as_deref()), expression }
        }
        // Another AWS service, such as SQS.
        None if kind == "AWS" && text.contains(":path/") && !text.contains("lambda:path") => Target::Other,
        None => Target::Unknown,
    }
}

/// A reference to a function.
struct Ref<'f, 'a> {
    function: &'f Function<'a>,
    index: Option<String>,
    alias: bool,
    attribute: String,
}

/// The function that a reference leads to.
fn resolve<'f, 'a>(
    layer: &Module,
    functions: &'f [Function<'a>],
    owner: &Found<'_>,
    found: &[Step<'_>],
) -> Option<Ref<'f, 'a>> {
    let index_of = |steps: &[Step<'_>]| match steps.first() {
        Some(Step::Index(index)) => Some(owner.file.text_of(index).to_owned()),
        _ => None,
    };
    match found {
        [
            Step::Attribute("aws_lambda_function"),
            Step::Attribute(name),
            rest @ ..,
            Step::Attribute(attribute),
        ] => {
            let function = functions.iter().find(|f| f.call.is_none() && f.block.name == *name)?;
            Some(Ref { function, index: index_of(rest), alias: false, attribute: (*attribute).to_owned() })
        }
        [Step::Attribute("aws_lambda_alias"), Step::Attribute(name), rest @ .., Step::Attribute(_)] => {
            let alias = layer.resources("aws_lambda_alias").find(|alias| alias.name == *name)?;
            let of = steps(alias.attribute("function_name")?)?;
            let target = resolve(layer, functions, &alias, &of)?;
            Some(Ref { index: index_of(rest).or(target.index), alias: true, ..target })
        }
        [Step::Attribute("module"), Step::Attribute(name), rest @ .., Step::Attribute(output)] => {
            let function =
                functions.iter().find(|f| f.call.as_ref().is_some_and(|call| call.name == *name))?;
            let attribute = output_of(function, output)?;
            // A qualified ARN already contains a version.
            (!attribute.starts_with("qualified")).then(|| Ref {
                function,
                index: index_of(rest),
                alias: false,
                attribute,
            })
        }
        // `for_each = aws_lambda_function.this`
        [Step::Attribute("each"), Step::Attribute("value"), Step::Attribute(attribute)] => {
            let mut of = steps(owner.attribute("for_each")?)?;
            of.push(Step::Attribute(attribute));
            let target = resolve(layer, functions, owner, &of)?;
            Some(Ref { index: Some("each.key".to_owned()), ..target })
        }
        [Step::Attribute("local"), Step::Attribute(name), rest @ ..] => {
            local(layer, functions, owner, layer.local(name)?.1, index_of(rest))
        }
        _ => None,
    }
}

/// The function behind a local: a reference, or `{ for key, function in all : key => function.invoke_arn }`.
fn local<'f, 'a>(
    layer: &Module,
    functions: &'f [Function<'a>],
    owner: &Found<'_>,
    value: &Expression,
    index: Option<String>,
) -> Option<Ref<'f, 'a>> {
    if let Expression::ForExpr(each) = value {
        let mut of = steps(&each.intro.collection_expr)?;
        let reference = references(&each.value_expr);
        let attribute = reference.iter().find_map(|found| match traversal_steps(found)?.as_slice() {
            [Step::Attribute(var), Step::Attribute(attribute)] if *var == each.intro.value_var.as_str() => {
                Some((*attribute).to_owned())
            }
            _ => None,
        })?;
        of.push(Step::Attribute(&attribute));
        let target = resolve(layer, functions, owner, &of)?;
        return Some(Ref { index, ..target });
    }
    let found = steps(value)?;
    // The spans of a local's value belong to another file, so an index cannot be read.
    let is_plain = found.iter().all(|step| matches!(step, Step::Attribute(_)));
    let is_local = matches!(found.first(), Some(Step::Attribute("local")));
    if is_plain && !is_local { resolve(layer, functions, owner, &found) } else { None }
}

/// The advice for an API with an OpenAPI document as its body.
pub(crate) fn in_a_document(api: &Found<'_>, functions: &[Function<'_>]) -> Advice {
    let body = api.attribute("body").map_or("body", |body| api.file.text_of(body));
    let source = body.lines().next().unwrap_or(body);
    let mut lines = vec![
        "# in each x-amazon-apigateway-integration (and x-amazon-apigateway-authorizer: \
         authorizerUri,"
            .to_owned(),
        "# authorizerCredentials); in a file for templatefile() the variable is written with two dollar \
         signs; PARTITION is aws, aws-cn or aws-us-gov"
            .to_owned(),
    ];
    lines.extend(functions.iter().take(5).map(|function| {
        let key = function.key(Some("KEY"));
        let key = if key.contains("${") { "KEY".to_owned() } else { key };
        format!("uri: \"arn:PARTITION:apigateway:REGION:lambda:path/2015-03-31/functions/FUNCTION_ARN:$${{stageVariables.{key}}}/invocations\"  # {}", function.address())
    }));
    lines.push(format!("credentials: <{}>", ROLE));
    Advice::new(format!(
        "{} has an OpenAPI document as its body ({source}), which the patch does not change. Each URI must \
         use the function's stage variable as its version, otherwise a release does not switch it",
        api.address()
    ))
    .write(lines.join("\n"))
}
