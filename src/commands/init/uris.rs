//! Changes the URIs of integrations and authorizers to take the function's version from a stage variable.

use std::collections::BTreeSet;

use hcl_edit::expr::Expression;

use super::contract::ROLE;
use super::edits::Edits;
use super::functions::{Function, outputs};
use super::tree::Tree;
use crate::documents::init::{Advice, CallFound};
use crate::terraform::source::{
    Found, Module, Repeat, SourceFile, Step, literal, references, steps, traversal_steps,
};

/// The expression that a change is written to: the URI, or what a caller passes for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) scope: usize,
    pub(crate) file: &'a SourceFile,
    pub(crate) value: &'a Expression,
}

/// The target of a URI.
enum Target<'f, 'a> {
    Function(Ref<'f, 'a>),
    /// The URI already contains a stage variable.
    Done,
    Other,
    /// The source does not show it.
    Unknown,
}

/// A reference to a function.
#[derive(Clone)]
pub(crate) struct Ref<'f, 'a> {
    pub(crate) function: &'f Function<'a>,
    index: Option<String>,
    alias: bool,
    pub(crate) attribute: String,
    pub(crate) site: Site<'a>,
}

impl Ref<'_, '_> {
    /// The stage variable, as the content of a template at the site.
    pub(crate) fn key(&self, tree: &Tree<'_>) -> String {
        self.function.key_in(tree.path(self.site.scope).len(), self.index.as_deref())
    }
}

/// Finds the functions behind expressions.
#[derive(Clone, Copy)]
pub(crate) struct Resolver<'f, 'a> {
    pub(crate) tree: &'f Tree<'a>,
    pub(crate) functions: &'f [Function<'a>],
}

/// What the changes of URIs are collected in.
pub(crate) struct Output<'w> {
    pub(crate) edits: &'w mut Edits,
    pub(crate) advice: &'w mut Vec<Advice>,
    /// The scopes that need `var.deployctl`.
    pub(crate) needs: &'w mut BTreeSet<usize>,
    pub(crate) found: &'w mut Vec<CallFound>,
}

/// The resources that call functions: type, attribute of the URI, attribute of the role.
const KINDS: [(&str, &str, &str); 2] = [
    ("aws_api_gateway_integration", "uri", "credentials"),
    ("aws_api_gateway_authorizer", "authorizer_uri", "authorizer_credentials"),
];

/// Adds stage variables to the URIs of all integrations and authorizers of a layer.
pub(crate) fn rewrite(resolver: Resolver<'_, '_>, output: &mut Output<'_>) {
    for (kind, uri, credentials) in KINDS {
        for (scope, found) in resolver.tree.resources(kind) {
            rewrite_one(resolver, (scope, &found), (uri, credentials), output);
        }
    }
}

fn rewrite_one<'a>(
    resolver: Resolver<'_, 'a>,
    (scope, found): (usize, &Found<'a>),
    (uri, credentials): (&str, &str),
    output: &mut Output<'_>,
) {
    let tree = resolver.tree;
    let address = tree.address(scope, found);
    let attribute = found.block.body.get_attribute(uri);
    let target = attribute.map_or(Target::Other, |uri| resolver.target(scope, found, &uri.value));
    let calls = match &target {
        Target::Function(of) => of.function.address(),
        _ => attribute.map_or_else(String::new, |uri| found.file.text_of(&uri.value).to_owned()),
    };
    output.found.push(CallFound { address: address.clone(), calls });
    let (Some(attribute), false) = (attribute, matches!(target, Target::Other)) else { return };
    if tree.is_installed(scope) {
        output.advice.push(Advice::new(format!(
            "{address} is in a module that `terraform init` has downloaded, which the patch cannot change: its \
             {uri} has to take the function's version from a stage variable"
        )));
        return;
    }
    let done = matches!(target, Target::Done);
    match &target {
        Target::Unknown => {
            output.advice.push(unknown(&address, found, uri, credentials));
            return;
        }
        Target::Function(of) => {
            change(tree, of, output);
            if let Some(alias) = of.function.alias.filter(|_| of.alias) {
                warn_of_alias(tree, of.function, &alias, output.advice);
            }
        }
        Target::Done | Target::Other => {}
    }
    match found.attribute(credentials) {
        None if scope == 0 => output.edits.below(found.file, attribute, credentials, ROLE),
        None => {
            output.edits.below(found.file, attribute, credentials, "try(var.deployctl.role, null)");
            output.needs.insert(scope);
        }
        // An earlier patch added the role.
        Some(_) if done => {}
        Some(role) => output.advice.push(Advice::new(format!(
            "{address} calls its function with {}: that role must be allowed lambda:InvokeFunction on every \
             version (`…:function:NAME:*`)",
            found.file.text_of(role)
        ))),
    }
}

/// Writes the stage variable into the site of a reference.
pub(crate) fn change(tree: &Tree<'_>, of: &Ref<'_, '_>, output: &mut Output<'_>) {
    let site = of.site;
    let (text, key) = (site.file.text_of(site.value), of.key(tree));
    let changed = changed(of, text, &key);
    if site.scope == 0 {
        output.edits.value(site.file, site.value, changed);
    } else {
        // Other callers of the module get what they got before.
        let conditional = format!("var.deployctl == null ? {text} : {changed}");
        output.edits.value(site.file, site.value, conditional);
        output.needs.insert(site.scope);
    }
}

/// The expression with the stage variable `key` as version.
fn changed(of: &Ref<'_, '_>, text: &str, key: &str) -> String {
    let is_streamed =
        of.attribute == "response_streaming_invoke_arn" || text.contains("response-streaming-invocations");
    let end = if is_streamed { "/response-streaming-invocations" } else { "/invocations" };
    let variable = format!(":$${{stageVariables.{key}}}");
    let is_uri = text.contains(":path/") || of.attribute.ends_with("invoke_arn");
    if of.alias {
        if of.site.scope == of.function.scope && !text.contains(":path/") {
            // The version is appended to the function's own ARN. The alias stays, for other callers.
            let index = of.index.as_ref().map(|index| format!("[{index}]")).unwrap_or_default();
            let own = format!("{}{index}.{}", of.function.block.address(), of.attribute);
            return format!("replace({own}, \"{end}\", \"{variable}{end}\")");
        }
        return format!("replace({text}, \"/:[^:/]+\\\\{end}$/\", \"{variable}{end}\")");
    }
    let text = text.replace(".qualified_invoke_arn", ".invoke_arn");
    if is_uri {
        format!("replace({text}, \"{end}\", \"{variable}{end}\")")
    } else {
        format!("\"${{{text}}}{variable}\"")
    }
}

fn unknown(address: &str, found: &Found<'_>, uri: &str, credentials: &str) -> Advice {
    Advice::new(format!(
        "{address}: the source does not show which function {} calls; use the function's stage variable as its \
         version",
        found.attribute(uri).map_or(uri, |value| found.file.text_of(value))
    ))
    .write(format!(
        "{uri} = replace(aws_lambda_function.NAME.invoke_arn, \"/invocations\", \
         \":$${{stageVariables.KEY}}/invocations\")\n{credentials} = {ROLE}"
    ))
}

/// The API no longer calls the alias: says what this means for what hangs on it.
fn warn_of_alias(tree: &Tree<'_>, function: &Function<'_>, alias: &Found<'_>, advice: &mut Vec<Advice>) {
    let module = tree.module(function.scope);
    let of_alias = |found: &Found<'_>| {
        found.attribute("qualifier").is_some_and(|value| found.file.text_of(value).contains(&alias.address()))
    };
    if let Some(paid) = module.resources("aws_lambda_provisioned_concurrency_config").find(of_alias) {
        let what = format!(
            "{}: the API calls the version of the release, and no longer the alias, so the provisioned \
             concurrency of {} (which is paid for) serves no request of the API; remove it, or keep it for other \
             callers of the alias",
            tree.address(function.scope, &paid),
            tree.address(function.scope, alias)
        );
        if !advice.iter().any(|known| known.what == what) {
            advice.push(Advice::new(what));
        }
    }
}

impl<'f, 'a> Resolver<'f, 'a> {
    fn target(self, scope: usize, owner: &Found<'a>, value: &'a Expression) -> Target<'f, 'a> {
        if self.is_done(scope, owner.file, value) {
            return Target::Done;
        }
        let text = owner.file.text_of(value);
        let kind = owner.attribute("type").and_then(literal).unwrap_or("AWS_PROXY");
        if matches!(kind, "MOCK" | "HTTP" | "HTTP_PROXY") {
            return Target::Other;
        }
        match self.find(Site { scope, file: owner.file, value }, owner) {
            Some(found) if self.is_complete(&found) => Target::Function(found),
            // Another AWS service, such as SQS.
            None if kind == "AWS" && text.contains(":path/") && !text.contains("lambda:path") => {
                Target::Other
            }
            _ => Target::Unknown,
        }
    }

    /// The function that an expression names.
    pub(crate) fn find(self, site: Site<'a>, owner: &Found<'a>) -> Option<Ref<'f, 'a>> {
        let found = references(site.value);
        found.iter().find_map(|reference| {
            self.resolve(site.scope, site.file, owner, &traversal_steps(reference)?, site)
        })
    }

    /// Whether the key of the function can be written at the site.
    pub(crate) fn is_complete(self, found: &Ref<'_, '_>) -> bool {
        let depth = self.tree.path(found.site.scope).len();
        let is_for_each = found.function.repeat() == Repeat::ForEach;
        found.index.is_some() || !is_for_each || !found.function.is_repeated_from(depth)
    }

    fn is_done(self, scope: usize, file: &SourceFile, value: &Expression) -> bool {
        if file.text_of(value).contains("stageVariables") {
            return true;
        }
        references(value).iter().any(|reference| match traversal_steps(reference).as_deref() {
            Some([Step::Attribute("local"), Step::Attribute(name), ..]) => {
                let local = self.tree.module(scope).local(name);
                local.is_some_and(|(file, value)| file.text_of(value).contains("stageVariables"))
            }
            Some([Step::Attribute("var"), Step::Attribute(name)]) => {
                self.tree.parent(scope).is_some_and(|(parent, call)| {
                    call.attribute(name).is_some_and(|given| self.is_done(parent, call.file, given))
                })
            }
            _ => false,
        })
    }

    /// The function that a reference in `file` leads to.
    fn resolve(
        self,
        scope: usize,
        file: &'a SourceFile,
        owner: &Found<'a>,
        found: &[Step<'_>],
        site: Site<'a>,
    ) -> Option<Ref<'f, 'a>> {
        let module: &'a Module = self.tree.module(scope);
        let index_of = |steps: &[Step<'_>]| match steps.first() {
            Some(Step::Index(index)) => Some(file.text_of(index).to_owned()),
            _ => None,
        };
        match found {
            [
                Step::Attribute("aws_lambda_function"),
                Step::Attribute(name),
                rest @ ..,
                Step::Attribute(attribute),
            ] => {
                let function = self.functions.iter().find(|f| f.scope == scope && f.block.name == *name)?;
                let (index, attribute) = (index_of(rest), (*attribute).to_owned());
                Some(Ref { function, index, alias: false, attribute, site })
            }
            [
                Step::Attribute("aws_lambda_alias"),
                Step::Attribute(name),
                rest @ ..,
                Step::Attribute(attribute),
            ] => {
                let alias = module.resources("aws_lambda_alias").find(|alias| alias.name == *name)?;
                let of = steps(alias.attribute("function_name")?)?;
                let target = self.resolve(scope, alias.file, &alias, &of, site)?;
                let (index, attribute) = (index_of(rest).or(target.index), (*attribute).to_owned());
                Some(Ref { index, alias: true, attribute, ..target })
            }
            [Step::Attribute("module"), Step::Attribute(name), rest @ .., Step::Attribute(output)] => {
                self.of_output(scope, (name, output), index_of(rest), site)
            }
            // `for_each = aws_lambda_function.this`
            [Step::Attribute("each"), Step::Attribute("value"), Step::Attribute(attribute)] => {
                let mut of = steps(owner.attribute("for_each")?)?;
                of.push(Step::Attribute(attribute));
                let target = self.resolve(scope, file, owner, &of, site)?;
                Some(Ref { index: Some("each.key".to_owned()), ..target })
            }
            [Step::Attribute("var"), Step::Attribute(name)] => {
                let (parent, call) = self.tree.parent(scope)?;
                if !is_only_in_uris(module, name) {
                    return None;
                }
                let value = call.attribute(name)?;
                self.find(Site { scope: parent, file: call.file, value }, call)
            }
            [Step::Attribute("local"), Step::Attribute(name), rest @ ..] => {
                self.of_local(scope, owner, module.local(name)?, index_of(rest), site)
            }
            _ => None,
        }
    }

    /// The function behind an output of a called module.
    fn of_output(
        self,
        scope: usize,
        (call, output): (&str, &str),
        index: Option<String>,
        site: Site<'a>,
    ) -> Option<Ref<'f, 'a>> {
        let child = self.tree.child(scope, call)?;
        let module: &'a Module = self.tree.module(child);
        let declared = module
            .blocks("output")
            .find(|(_, block)| block.labels.first().is_some_and(|label| label.as_str() == output));
        let (file, block) = declared?;
        let value = &block.body.get_attribute("value")?.value;
        let owner = Found { file, block, kind: "output", name: "" };
        let found = references(value);
        let target = found
            .iter()
            .find_map(|reference| self.resolve(child, file, &owner, &traversal_steps(reference)?, site))?;
        // A qualified ARN already contains a version.
        if target.attribute.starts_with("qualified") || !std::ptr::eq(target.site.value, site.value) {
            return None;
        }
        let is_literal = |index: &String| index.starts_with('"') || index.chars().all(|c| c.is_ascii_digit());
        let inner = target.index.clone().filter(is_literal);
        Some(Ref { index: index.or(inner), ..target })
    }

    /// The function behind a local: a reference, or `{ for key, function in all : key => function.invoke_arn }`.
    fn of_local(
        self,
        scope: usize,
        owner: &Found<'a>,
        (file, value): (&'a SourceFile, &'a Expression),
        index: Option<String>,
        site: Site<'a>,
    ) -> Option<Ref<'f, 'a>> {
        if let Expression::ForExpr(each) = value {
            let mut of = steps(&each.intro.collection_expr)?;
            let reference = references(&each.value_expr);
            let attribute = reference.iter().find_map(|found| match traversal_steps(found)?.as_slice() {
                [Step::Attribute(var), Step::Attribute(attribute)]
                    if *var == each.intro.value_var.as_str() =>
                {
                    Some((*attribute).to_owned())
                }
                _ => None,
            })?;
            of.push(Step::Attribute(&attribute));
            let target = self.resolve(scope, file, owner, &of, site)?;
            return Some(Ref { index, ..target });
        }
        let found = steps(value)?;
        let is_plain = found.iter().all(|step| matches!(step, Step::Attribute(_)));
        let is_local = matches!(found.first(), Some(Step::Attribute("local")));
        if is_plain && !is_local { self.resolve(scope, file, owner, &found, site) } else { None }
    }
}

/// Whether a module uses a variable only in URIs, or passes it on.
fn is_only_in_uris(module: &Module, name: &str) -> bool {
    let uses = |text: &str| {
        text.match_indices(&format!("var.{name}"))
            .filter(|(at, found)| {
                let after = text[at + found.len()..].chars().next();
                !after.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-')
            })
            .count()
    };
    let all: usize = module.files.iter().map(|file| uses(&file.text)).sum();
    let in_uris = KINDS.iter().flat_map(|(kind, uri, _)| {
        module.resources(kind).filter_map(|found| Some(found.file.text_of(found.attribute(uri)?)))
    });
    let in_apis = module.resources("aws_api_gateway_rest_api");
    let in_bodies = in_apis.filter_map(|found| Some(found.file.text_of(found.attribute("body")?)));
    let in_calls = module.calls().flat_map(|call| {
        call.block.body.attributes().map(move |attribute| call.file.text_of(&attribute.value))
    });
    all == in_uris.chain(in_bodies).chain(in_calls).map(uses).sum::<usize>()
}

/// The names of the outputs of a module.
pub(crate) fn has_output(module: &Module, name: &str) -> bool {
    outputs(module).any(|(known, _)| known == name)
}
