//! Changes the OpenAPI document of an API: the URIs and the roles of its integrations and authorizers.
//!
//! A document in a file is changed line by line, so that its layout stays.

use std::path::PathBuf;

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, FuncCall, ObjectKey};
use hcl_edit::template::Element;

use super::contract::ROLE;
use super::functions::Function;
use super::tree::Tree;
use super::uris::{self, Output, Ref, Resolver, Site};
use crate::documents::init::{Advice, CallFound};
use crate::terraform::source::{Found, SourceFile, Step, steps};

/// The variable of a template with the role, and the text in a file that is no template.
const ROLE_VARIABLE: &str = "deployctl_role";
const ROLE_TEXT: &str = "DEPLOYCTL_ROLE";

/// Where the body of an API comes from.
enum Body<'a> {
    /// `templatefile(PATH, VARIABLES)`
    Template { path: PathBuf, variables: &'a Expression },
    /// `file(PATH)`, and the call.
    File { path: PathBuf, call: &'a Expression },
    /// Written into the Terraform source.
    Inline(&'a Expression),
}

pub(crate) fn rewrite<'a>(resolver: Resolver<'_, 'a>, api: &(usize, Found<'a>), output: &mut Output<'_>) {
    let (scope, found) = api;
    let Some((file, value)) = body_expression(resolver.tree, *scope, found) else { return };
    let address = resolver.tree.address(*scope, found);
    let mut bodies = Vec::new();
    collect(resolver.tree, *scope, value, &mut bodies);
    let mut document = Rewriter { resolver, scope: *scope, api: found, file, address, left: 0, output };
    if *scope > 0 || bodies.is_empty() {
        document.left += usize::from(!document.file.text_of(value).contains("stageVariables"));
    }
    for body in bodies.iter().filter(|_| *scope == 0) {
        document.rewrite(body);
    }
    if document.left > 0 {
        output.advice.push(by_hand(found, file.text_of(value), resolver.functions));
    }
}

/// The paths of the documents of all APIs, and their texts.
pub(crate) fn texts(tree: &Tree<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    for (scope, api) in tree.resources("aws_api_gateway_rest_api") {
        let Some((file, value)) = body_expression(tree, scope, &api) else { continue };
        let mut bodies = Vec::new();
        collect(tree, scope, value, &mut bodies);
        for body in bodies {
            match body {
                Body::Template { path, .. } | Body::File { path, .. } => {
                    texts.extend(std::fs::read_to_string(path));
                }
                Body::Inline(value) => texts.push(file.text_of(value).to_owned()),
            }
        }
    }
    texts
}

/// The value of `body`, also through a local.
fn body_expression<'a>(
    tree: &Tree<'a>,
    scope: usize,
    api: &Found<'a>,
) -> Option<(&'a SourceFile, &'a Expression)> {
    let body = api.attribute("body")?;
    match steps(body).as_deref() {
        Some([Step::Attribute("local"), Step::Attribute(name)]) => tree.module(scope).local(name),
        _ => Some((api.file, body)),
    }
}

/// Finds documents in an expression.
fn collect<'a>(tree: &Tree<'_>, scope: usize, value: &'a Expression, bodies: &mut Vec<Body<'a>>) {
    match value {
        Expression::FuncCall(call) => match (call.name.name.as_str(), path(tree, scope, call)) {
            ("templatefile", Some(path)) => {
                let variables = call.args.iter().nth(1);
                bodies.extend(variables.map(|variables| Body::Template { path, variables }));
            }
            ("file", Some(path)) => bodies.push(Body::File { path, call: value }),
            _ => call.args.iter().for_each(|argument| collect(tree, scope, argument, bodies)),
        },
        Expression::Parenthesis(inner) => collect(tree, scope, inner.inner(), bodies),
        Expression::Object(_) | Expression::HeredocTemplate(_) | Expression::StringTemplate(_) => {
            bodies.push(Body::Inline(value));
        }
        _ => {}
    }
}

fn path(tree: &Tree<'_>, scope: usize, call: &FuncCall) -> Option<PathBuf> {
    let path = tree.value(scope, call.args.iter().next()?)?;
    let path = tree.module(0).dir.join(path);
    path.canonicalize().ok().filter(|path| path.is_file())
}

struct Rewriter<'w, 'o, 'f, 'a> {
    resolver: Resolver<'f, 'a>,
    scope: usize,
    api: &'w Found<'a>,
    file: &'a SourceFile,
    address: String,
    /// How many URIs are left to the user.
    left: usize,
    output: &'w mut Output<'o>,
}

impl<'f, 'a> Rewriter<'_, '_, 'f, 'a> {
    fn rewrite(&mut self, body: &Body<'a>) {
        match body {
            Body::Template { path, variables } => {
                if self.document(path, Some(variables)) {
                    self.pass_role(variables);
                }
            }
            Body::File { path, call } => {
                if self.document(path, None) {
                    let text = self.file.text_of(call);
                    let value = format!("replace({text}, \"{ROLE_TEXT}\", {ROLE})");
                    self.output.edits.value(self.file, call, value);
                }
            }
            Body::Inline(value) => self.inline(value),
        }
    }

    /// Changes a document in a file. Returns whether it takes the role from its reader.
    fn document(&mut self, path: &PathBuf, variables: Option<&'a Expression>) -> bool {
        let Ok(text) = std::fs::read_to_string(path) else { return false };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut takes_role = false;
        let lines: Vec<(usize, &str)> = offsets(&text);
        for (at, (start, line)) in lines.iter().enumerate() {
            let Some(uri) = Uri::of(line) else { continue };
            let is_other =
                uri.value.starts_with("http") || sibling(&lines, at, "type").is_some_and(is_no_lambda);
            if line.contains("stageVariables") || is_other {
                continue;
            }
            let found = self.of_line(uri.value, variables);
            let key = found.as_ref().map(|found| found.key(self.resolver.tree));
            let (Some(found), Some(key)) = (found, key.filter(|key| !key.contains("${"))) else {
                let is_call = uri.value.contains("lambda:path") || uri.value.contains("${");
                self.left += usize::from(is_call);
                continue;
            };
            let calls = found.function().address();
            self.output
                .found
                .push(CallFound { address: format!("{} ({name}:{})", self.address, at + 1), calls });
            let new = found.changed(uri.value, &key, variables.is_some());
            let value_at = start + uri.at;
            self.output.edits.replace_in(path, &text, value_at..value_at + uri.value.len(), new);
            if let Some(role) = sibling(&lines, at, uri.role) {
                self.output.advice.push(Advice::new(format!(
                    "{name}:{} calls its function with {role}: that role must be allowed lambda:InvokeFunction on \
                     every version (`…:function:NAME:*`)",
                    at + 1
                )));
                continue;
            }
            takes_role = true;
            let role =
                if variables.is_some() { format!("${{{ROLE_VARIABLE}}}") } else { ROLE_TEXT.to_owned() };
            self.output.edits.replace_in(path, &text, *start..*start, uri.role_line(&role));
        }
        takes_role
    }

    /// The function that the URI of a document names.
    fn of_line(&self, value: &str, variables: Option<&'a Expression>) -> Option<InDocument<'f, 'a>> {
        if let (Some(Expression::Object(object)), Some((_, rest))) = (variables, value.split_once("${")) {
            // Of several variables, such as the region, one names the function.
            let names = std::iter::once(rest).chain(rest.split("${").skip(1));
            return names.filter_map(|rest| rest.split_once('}')).find_map(|(name, _)| {
                let (_, given) = object.iter().find(|(key, _)| key_text(key) == Some(name.trim()))?;
                let site = Site { scope: self.scope, file: self.file, value: given.expr() };
                let found = self.resolver.find(site, self.api)?;
                self.resolver.is_complete(&found).then(|| InDocument::Variable(name.to_owned(), found))
            });
        }
        let name = value.split_once(":function:")?.1.split([':', '/', '"', '\'']).next()?;
        let named = self.resolver.functions.iter().find(|function| {
            let value = function.block.attribute("function_name");
            value.and_then(|value| self.resolver.tree.value(function.scope, value)).as_deref() == Some(name)
        });
        named.map(InDocument::Literal)
    }

    /// Adds the role to the variables of a template.
    fn pass_role(&mut self, variables: &'a Expression) {
        let text = self.file.text_of(variables);
        if text.contains(ROLE_VARIABLE) {
            return;
        }
        let entry = format!("{ROLE_VARIABLE} = {ROLE}");
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map(str::trim_end);
        let (Some(inner), Some(span)) = (inner, variables.span()) else {
            self.output.edits.value(self.file, variables, format!("merge({text}, {{ {entry} }})"));
            return;
        };
        let end = span.start + text.find(inner).unwrap_or(1) + inner.len();
        let new = match (inner.trim().is_empty(), text.contains('\n')) {
            (true, _) => format!(" {entry} "),
            (false, true) => {
                let line = inner.rfind('\n').map_or(inner, |at| &inner[at + 1..]);
                let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
                format!("\n{indent}{entry}")
            }
            (false, false) => format!("{} {entry}", if inner.ends_with(',') { "" } else { "," }),
        };
        self.output.edits.replace(self.file, end..end, new);
    }

    /// Changes a document in the Terraform source.
    fn inline(&mut self, value: &'a Expression) {
        match value {
            Expression::Object(object) => {
                for (key, entry) in object {
                    let role = match key_text(key) {
                        Some("uri") => "credentials",
                        Some("authorizerUri") => "authorizerCredentials",
                        _ => {
                            self.inline(entry.expr());
                            continue;
                        }
                    };
                    let has_role = object.iter().any(|(key, _)| key_text(key) == Some(role));
                    if self.interpolation(entry.expr()) && !has_role {
                        let start = key_span(key).unwrap_or_default().start;
                        self.output.edits.replace(self.file, start..start, format!("{role} = {ROLE}\n"));
                    }
                }
            }
            Expression::Array(items) => items.iter().for_each(|item| self.inline(item)),
            Expression::FuncCall(call) => call.args.iter().for_each(|argument| self.inline(argument)),
            Expression::Parenthesis(inner) => self.inline(inner.inner()),
            Expression::HeredocTemplate(template) => self.template(template.template.iter()),
            Expression::StringTemplate(template) => self.template(template.iter()),
            _ => {}
        }
    }

    fn template(&mut self, elements: impl Iterator<Item = &'a Element>) {
        for element in elements {
            let Element::Interpolation(inner) = element else { continue };
            let Some(span) = inner.expr.span() else { continue };
            let lines = offsets(&self.file.text);
            let at = lines.iter().rposition(|(start, _)| *start <= span.start).unwrap_or_default();
            let Some((start, line)) = lines.get(at) else { continue };
            let Some(uri) = Uri::of(line) else { continue };
            if self.interpolation(&inner.expr) && sibling(&lines, at, uri.role).is_none() {
                let line = uri.role_line(&format!("${{{ROLE}}}"));
                self.output.edits.replace(self.file, *start..*start, line);
            }
        }
    }

    /// Changes an expression that names a function. Returns whether it did.
    fn interpolation(&mut self, value: &'a Expression) -> bool {
        if self.file.text_of(value).contains("stageVariables") {
            return false;
        }
        let site = Site { scope: self.scope, file: self.file, value };
        let found = self.resolver.find(site, self.api).filter(|found| self.resolver.is_complete(found));
        let Some(found) = found else {
            self.left += usize::from(!matches!(value, Expression::String(_)));
            return false;
        };
        let calls = found.function.address();
        self.output.found.push(CallFound { address: self.address.clone(), calls });
        uris::change(self.resolver.tree, &found, self.output);
        true
    }
}

/// How a document names a function.
enum InDocument<'f, 'a> {
    /// By a variable of the template.
    Variable(String, Ref<'f, 'a>),
    /// By its literal name.
    Literal(&'f Function<'a>),
}

impl<'f, 'a> InDocument<'f, 'a> {
    fn function(&self) -> &'f Function<'a> {
        match self {
            Self::Variable(_, found) => found.function,
            Self::Literal(function) => function,
        }
    }

    fn key(&self, tree: &Tree<'_>) -> String {
        match self {
            Self::Variable(_, found) => found.key(tree),
            Self::Literal(function) => function.key(None),
        }
    }

    /// The URI with the stage variable.
    fn changed(&self, value: &str, key: &str, is_template: bool) -> String {
        let dollar = if is_template { "$$" } else { "$" };
        let variable = format!(":{dollar}{{stageVariables.{key}}}");
        match self {
            Self::Variable(name, found) if found.attribute.ends_with("invoke_arn") => {
                let end = match found.attribute.as_str() {
                    "response_streaming_invoke_arn" => "/response-streaming-invocations",
                    _ => "/invocations",
                };
                let new = format!("${{replace({name}, \"{end}\", \"{variable}{end}\")}}");
                value.replacen(&format!("${{{name}}}"), &new, 1)
            }
            _ => match ["/invocations", "/response-streaming-invocations"]
                .iter()
                .find_map(|end| value.find(end))
            {
                Some(at) => {
                    let before = value[..at].trim_end_matches(":$LATEST");
                    format!("{before}{variable}{}", &value[at..])
                }
                None => format!("{value}{variable}"),
            },
        }
    }
}

/// The URI of an integration or authorizer on a line of its own.
struct Uri<'t> {
    indent: &'t str,
    /// Where the value begins in the line.
    at: usize,
    /// Without quotes.
    value: &'t str,
    role: &'static str,
    is_json: bool,
}

impl<'t> Uri<'t> {
    fn of(line: &'t str) -> Option<Self> {
        let start = line.len() - line.trim_start().len();
        let (key, _) = line.split_once(':')?;
        let role = match key.trim().trim_matches(['"', '\'']) {
            "uri" => "credentials",
            "authorizerUri" => "authorizerCredentials",
            _ => return None,
        };
        let rest = line.get(key.len() + 1..)?.trim_end().trim_end_matches(',').trim_end();
        let blank = rest.len() - rest.trim_start().len();
        let value = rest.trim_start();
        let unquoted = value.trim_start_matches(['"', '\'']);
        let quote = value.len() - unquoted.len();
        let value = unquoted.trim_end_matches(['"', '\'']);
        let is_scalar =
            !value.is_empty() && !matches!(value, ">" | "|" | ">-" | "|-") && !value.starts_with("Fn::");
        is_scalar.then_some(Self {
            indent: &line[..start],
            at: key.len() + 1 + blank + quote,
            value,
            role,
            is_json: key.trim().starts_with('"'),
        })
    }

    /// A line before this one that gives the call the role.
    fn role_line(&self, role: &str) -> String {
        let Self { indent, role: key, is_json, .. } = self;
        match is_json {
            true => format!("{indent}\"{key}\": \"{role}\",\n"),
            false => format!("{indent}{key}: \"{role}\"\n"),
        }
    }
}

/// The lines of a text, with their positions.
fn offsets(text: &str) -> Vec<(usize, &str)> {
    let mut at = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let start = at;
        at += line.len();
        (start, line.trim_end_matches(['\n', '\r']))
    });
    lines.collect()
}

/// The value of another key of the mapping that the line `at` belongs to.
fn sibling<'t>(lines: &[(usize, &'t str)], at: usize, name: &str) -> Option<&'t str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let (_, own) = lines.get(at)?;
    let width = indent(own);
    let is_inside = |(_, line): &&(usize, &str)| line.trim().is_empty() || indent(line) >= width;
    let above = lines[..at].iter().rev().take_while(is_inside);
    let below = lines[at + 1..].iter().take_while(is_inside);
    above.chain(below).filter(|(_, line)| indent(line) == width).find_map(|(_, line)| {
        let (key, value) = line.split_once(':')?;
        let is_named = key.trim().trim_matches(['"', '\'']).eq_ignore_ascii_case(name);
        is_named.then(|| value.trim().trim_end_matches(',').trim_matches(['"', '\'']))
    })
}

fn is_no_lambda(kind: &str) -> bool {
    matches!(kind.to_ascii_lowercase().as_str(), "mock" | "http" | "http_proxy")
}

fn key_text(key: &ObjectKey) -> Option<&str> {
    match key {
        ObjectKey::Ident(name) => Some(name.as_str()),
        ObjectKey::Expression(Expression::String(name)) => Some(name.as_str()),
        ObjectKey::Expression(Expression::Variable(name)) => Some(name.as_str()),
        ObjectKey::Expression(_) => None,
    }
}

fn key_span(key: &ObjectKey) -> Option<std::ops::Range<usize>> {
    match key {
        ObjectKey::Ident(name) => name.span(),
        ObjectKey::Expression(key) => key.span(),
    }
}

/// What is left to do in a document.
fn by_hand(api: &Found<'_>, body: &str, functions: &[Function<'_>]) -> Advice {
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
    lines.push(format!("credentials: <{ROLE}>"));
    Advice::new(format!(
        "{} has an OpenAPI document as its body ({source}) with calls that the patch does not change. Each URI must \
         use the function's stage variable as its version, otherwise a release does not switch it",
        api.address()
    ))
    .write(lines.join("\n"))
}
