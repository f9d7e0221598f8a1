//! Finds the functions of a layer and of the modules that it calls, and their keys: the names of the stage
//! variables.

use hcl_edit::expr::{Expression, ObjectKey};

use super::tree::Tree;
use crate::terraform::source::{Found, Module, Repeat, Step, literal, references, traversal_steps};

/// A function, or all instances of `for_each` or `count`.
#[derive(Debug, Clone)]
pub(crate) struct Function<'a> {
    pub(crate) block: Found<'a>,
    /// The module of the block.
    pub(crate) module: &'a Module,
    /// The scope of that module.
    pub(crate) scope: usize,
    /// The call of that module, if it is not the layer itself.
    pub(crate) call: Option<Found<'a>>,
    /// The calls on the way from the layer, and the block itself.
    elements: Vec<Element<'a>>,
    pub(crate) artifact: String,
    /// The aliases of the function: resource and scope.
    pub(crate) alias: Option<Found<'a>>,
}

/// What a key consists of: a call, or the function's block.
#[derive(Debug, Clone)]
struct Element<'a> {
    found: Found<'a>,
    /// Whether the name is part of the key, because others could have the same keys.
    is_named: bool,
    /// Whether every key of `for_each` is a valid name of a stage variable.
    plain_keys: bool,
}

impl Element<'_> {
    fn is_empty(&self) -> bool {
        !self.is_named && self.found.repeat() == Repeat::Once
    }

    /// The part of the key, as the content of a template.
    fn text(&self, index: Option<&str>) -> String {
        let name = key_of(self.found.name);
        let index = match (self.found.repeat(), index) {
            (Repeat::Once, _) => return if self.is_named { name } else { String::new() },
            (_, None) => "0".to_owned(),
            (_, Some(index)) => match index.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(text) if !text.contains("${") => key_of(text),
                _ if index.chars().all(|c| c.is_ascii_digit()) => index.to_owned(),
                _ if self.plain_keys => format!("${{{index}}}"),
                _ => format!("${{replace({index}, \"/[^0-9A-Za-z_]/\", \"_\")}}"),
            },
        };
        if self.is_named { format!("{name}_{index}") } else { index }
    }
}

impl<'a> Function<'a> {
    /// How often it is repeated as the layer sees it.
    pub(crate) fn repeat(&self) -> Repeat {
        let all = self.elements.iter().map(|element| element.found.repeat());
        all.clone().find(|repeat| *repeat != Repeat::Once).unwrap_or(Repeat::Once)
    }

    /// Its full address, without indices.
    pub(crate) fn address(&self) -> String {
        self.elements.iter().map(|element| element.found.address()).collect::<Vec<_>>().join(".")
    }

    /// What the layer names: the function, or the call that leads to it.
    pub(crate) fn outer(&self) -> &Found<'a> {
        self.elements.first().map_or(&self.block, |element| &element.found)
    }

    /// The function's name, as an identifier.
    pub(crate) fn short_name(&self) -> String {
        let named = self.elements.iter().filter(|element| element.is_named);
        let names: Vec<String> = named.map(|element| key_of(element.found.name)).collect();
        if names.is_empty() { key_of(self.outer().name) } else { names.join("_") }
    }

    /// The number of modules between the layer and the function.
    pub(crate) fn depth(&self) -> usize {
        self.elements.len().saturating_sub(1)
    }

    /// The stage variable, as the layer writes it.
    pub(crate) fn key(&self, index: Option<&str>) -> String {
        self.key_in(0, index)
    }

    /// The stage variable as the content of a template, in the scope `depth` levels below the layer. `index`
    /// is the index of the first repeated element from there on.
    pub(crate) fn key_in(&self, depth: usize, index: Option<&str>) -> String {
        let (above, below) = self.elements.split_at(depth.min(self.elements.len()));
        let parts = below.iter().filter(|element| !element.is_empty()).map(|element| element.text(index));
        let key = parts.collect::<Vec<_>>().join("_");
        if above.iter().all(Element::is_empty) { key } else { format!("${{var.deployctl.key}}{key}") }
    }

    /// The value of `key` that the call at `depth` passes on: the beginning of the key of every function below it.
    pub(crate) fn prefix(&self, depth: usize) -> String {
        let (through, below) = self.elements.split_at((depth + 1).min(self.elements.len()));
        let index = match through.last().map(|element| element.found.repeat()) {
            Some(Repeat::ForEach) => Some("each.key"),
            Some(Repeat::Count) => Some("${count.index}"),
            _ => None,
        };
        let own = through.last().filter(|element| !element.is_empty()).map(|element| match index {
            Some("${count.index}") => format!("{}_${{count.index}}", key_of(element.found.name)),
            index => element.text(index),
        });
        let above = through.split_last().is_some_and(|(_, above)| !above.iter().all(Element::is_empty));
        let start = if above { "${var.deployctl.key}" } else { "" };
        let own = own.unwrap_or_default();
        let ends = below.iter().all(Element::is_empty) || own.is_empty();
        format!("{start}{own}{}", if ends { "" } else { "_" })
    }

    /// Whether an element from `depth` on is repeated.
    pub(crate) fn is_repeated_from(&self, depth: usize) -> bool {
        self.elements.iter().skip(depth).any(|element| element.found.repeat() != Repeat::Once)
    }

    /// The name of the output with the function's name, in the scope `depth` levels below the layer.
    pub(crate) fn output_name(&self, depth: usize) -> String {
        let below = self.elements.iter().skip(depth).filter(|element| element.is_named);
        let names = below.map(|element| format!("_{}", key_of(element.found.name)));
        format!("{NAME_OUTPUT}{}", names.collect::<String>())
    }

    /// The calls on the way from the layer.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Found<'a>> {
        self.elements.iter().take(self.depth()).map(|element| &element.found)
    }
}

/// Added to a module without an output for the function's name.
const NAME_OUTPUT: &str = "deployctl_function_name";

/// All functions of a tree. The second value contains those that a patch cannot release: address and reason.
pub(crate) fn find<'a>(tree: &Tree<'a>) -> (Vec<Function<'a>>, Vec<(String, &'static str)>) {
    let mut functions = Vec::new();
    let mut refused = Vec::new();
    for (scope, block) in tree.resources("aws_lambda_function") {
        let address = tree.address(scope, &block);
        let path = tree.path(scope);
        let calls = path.iter().filter_map(|scope| Some(*tree.parent(*scope)?.1));
        let found: Vec<Found<'a>> = calls.chain([block]).collect();
        if tree.is_installed(scope) {
            refused.push((
                address,
                "its module is downloaded by `terraform init`, so the patch cannot add `ignore_changes`; name it \
                 in [contract] of deployctl.toml, or copy the module into the project",
            ));
            continue;
        }
        if found.iter().filter(|found| found.repeat() != Repeat::Once).count() > 1 {
            refused.push((address, "it is repeated by `for_each` or `count` on several levels"));
            continue;
        }
        let mut elements = Vec::new();
        for (depth, found) in found.iter().enumerate() {
            let scope = depth.checked_sub(1).and_then(|at| path.get(at)).copied().unwrap_or(0);
            let plain_keys =
                found.attribute("for_each").is_none_or(|keys| are_plain(tree.module(scope), keys, 0));
            let is_named = found.repeat() == Repeat::Count || sources(tree, scope) > 1;
            elements.push(Element { found: *found, is_named, plain_keys });
        }
        if elements.iter().all(Element::is_empty) {
            let has_name =
                |found: &Found<'_>| !matches!(found.name, "this" | "main" | "default" | "function");
            let named = elements.iter().rposition(|element| has_name(&element.found)).unwrap_or(0);
            if let Some(element) = elements.get_mut(named) {
                element.is_named = true;
            }
        }
        functions.push(Function {
            block,
            module: tree.module(scope),
            scope,
            call: tree.parent(scope).map(|(_, call)| *call),
            elements,
            artifact: String::new(),
            alias: alias(tree.module(scope), &block),
        });
    }
    (functions, refused)
}

/// How many functions and calls that lead to functions a scope has.
fn sources(tree: &Tree<'_>, scope: usize) -> usize {
    let own = tree.module(scope).resources("aws_lambda_function").count();
    let leads = |child: usize| {
        tree.resources("aws_lambda_function").any(|(at, _)| at == child || tree.path(at).contains(&child))
    };
    let children = (0..tree.scopes.len()).filter(|at| tree.parent(*at).is_some_and(|(up, _)| up == scope));
    own + children.filter(|child| leads(*child)).count()
}

/// The alias of a function, if it has exactly one.
fn alias<'a>(module: &'a Module, function: &Found<'_>) -> Option<Found<'a>> {
    let mut aliases = module.resources("aws_lambda_alias").filter(|alias| {
        let value = alias.attribute("function_name");
        value.is_some_and(|value| attribute_of(function.name, value).is_some())
    });
    aliases.next().filter(|_| aliases.next().is_none())
}

/// The output of a function's module that returns its name.
pub(crate) fn name_output<'a>(function: &Function<'a>) -> Option<&'a str> {
    let is_name =
        |value: &Expression| attribute_of(function.block.name, value).as_deref() == Some("function_name");
    let mut outputs = outputs(function.module).filter(|_| function.block.repeat() == Repeat::Once);
    outputs.find(|(_, value)| is_name(value)).map(|(name, _)| name)
}

/// The outputs of a module, with their values.
pub(crate) fn outputs(module: &Module) -> impl Iterator<Item = (&str, &Expression)> {
    module.blocks("output").filter_map(|(_, block)| {
        Some((block.labels.first()?.as_str(), &block.body.get_attribute("value")?.value))
    })
}

/// The attribute in `aws_lambda_function.NAME.ATTRIBUTE`, also inside a template.
fn attribute_of(function: &str, value: &Expression) -> Option<String> {
    references(value).iter().find_map(|found| match traversal_steps(found)?.as_slice() {
        [Step::Attribute("aws_lambda_function"), Step::Attribute(name), .., Step::Attribute(attribute)]
            if *name == function =>
        {
            Some((*attribute).to_owned())
        }
        _ => None,
    })
}

pub(crate) fn is_image(block: &Found<'_>) -> bool {
    let package_type = block.attribute("package_type").and_then(literal);
    block.attribute("image_uri").is_some() || package_type == Some("Image")
}

/// `text` as a valid name of a stage variable.
pub(crate) fn key_of(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// Whether all keys of a `for_each` are literals and valid names of stage variables.
fn are_plain(module: &Module, keys: &Expression, depth: usize) -> bool {
    let is_plain = |text: &str| key_of(text) == text;
    match keys {
        Expression::Array(array) => array.iter().all(|element| literal(element).is_some_and(is_plain)),
        Expression::FuncCall(call) => {
            matches!(call.name.name.as_str(), "toset" | "tomap" | "merge" | "concat")
                && call.args.iter().all(|inner| are_plain(module, inner, depth))
        }
        Expression::Object(object) => object.iter().all(|(key, _)| match key {
            ObjectKey::Ident(key) => is_plain(key.as_str()),
            ObjectKey::Expression(Expression::Variable(key)) => is_plain(key.as_str()),
            ObjectKey::Expression(key) => literal(key).is_some_and(is_plain),
        }),
        Expression::Parenthesis(inner) => are_plain(module, inner.inner(), depth),
        Expression::ForExpr(each) => {
            let same_key = match (&each.key_expr, &each.intro.key_var) {
                (Some(Expression::Variable(key)), Some(var)) => key.as_str() == var.as_str(),
                _ => false,
            };
            same_key && are_plain(module, &each.intro.collection_expr, depth)
        }
        Expression::Traversal(traversal) if depth < 4 => match traversal_steps(traversal).as_deref() {
            Some([Step::Attribute("local"), Step::Attribute(name)]) => {
                module.local(name).is_some_and(|(_, value)| are_plain(module, value, depth + 1))
            }
            _ => false,
        },
        _ => false,
    }
}
