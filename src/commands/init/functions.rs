//! Finds the functions of the layer that is released, and their keys: the names of the stage variables.

use hcl_edit::expr::{Expression, ObjectKey};

use super::survey::Survey;
use crate::terraform::source::{Found, Module, Repeat, Step, literal, references, traversal_steps};

/// A function, or all instances of `for_each` or `count`.
#[derive(Debug, Clone)]
pub(crate) struct Function<'a> {
    pub(crate) block: Found<'a>,
    /// The module of the block.
    pub(crate) module: &'a Module,
    /// The call of that module, if it is not the layer itself.
    pub(crate) call: Option<Found<'a>>,
    /// Its key, or the prefix of its keys.
    pub(crate) group: String,
    /// Whether the group is part of the key, because several groups could have the same keys.
    pub(crate) prefixed: bool,
    /// Whether every key of `for_each` is a valid name of a stage variable.
    pub(crate) plain_keys: bool,
    pub(crate) artifact: String,
}

impl<'a> Function<'a> {
    pub(crate) fn repeat(&self) -> Repeat {
        self.call.as_ref().map_or_else(|| self.block.repeat(), Found::repeat)
    }

    /// Its address in the layer.
    pub(crate) fn address(&self) -> String {
        self.call.as_ref().unwrap_or(&self.block).address()
    }

    /// The stage variable of the instance `index`, as the content of a template.
    pub(crate) fn key(&self, index: Option<&str>) -> String {
        let index = match (self.repeat(), index) {
            (Repeat::Once, _) => return self.group.clone(),
            (_, None) => "0".to_owned(),
            (_, Some(index)) => match index.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(text) if !text.contains("${") => key_of(text),
                _ if index.chars().all(|c| c.is_ascii_digit()) => index.to_owned(),
                _ => format!("${{{}}}", self.sanitized(index)),
            },
        };
        if self.prefixed { format!("{}_{index}", self.group) } else { index }
    }

    /// An expression for a valid name of a stage variable.
    fn sanitized(&self, index: &str) -> String {
        if self.plain_keys {
            index.to_owned()
        } else {
            format!("replace({index}, \"/[^0-9A-Za-z_]/\", \"_\")")
        }
    }
}

/// All functions of a layer and of the local modules that it calls. The second value contains those that
/// cannot be released, and why.
pub(crate) fn find<'a>(
    survey: &'a Survey,
    layer: &'a Module,
) -> (Vec<Function<'a>>, Vec<(String, &'static str)>) {
    let mut functions = Vec::new();
    let mut refused = Vec::new();
    let mut add = |block: Found<'a>, module: &'a Module, call: Option<Found<'a>>, has_others: bool| {
        let outer = call.as_ref().unwrap_or(&block);
        let address = outer.address();
        if is_image(&block) {
            refused.push((address, "it is a container image, but deployctl releases zips"));
            return;
        }
        if has_others {
            refused.push((address, "its module has several functions"));
            return;
        }
        if call.is_some() && block.repeat() != Repeat::Once {
            refused.push((address, "its module creates several functions with `for_each` or `count`"));
            return;
        }
        let (group, repeat) = (key_of(outer.name), outer.repeat());
        let plain_keys = match outer.attribute("for_each") {
            Some(keys) => are_plain(layer, keys, 0),
            None => true,
        };
        let prefixed = repeat == Repeat::Count;
        functions.push(Function {
            block,
            module,
            call,
            group,
            prefixed,
            plain_keys,
            artifact: String::new(),
        });
    };
    for block in layer.resources("aws_lambda_function") {
        add(block, layer, None, false);
    }
    for call in layer.calls() {
        let Some(module) = layer.local_source(&call).and_then(|dir| survey.module(&dir)) else { continue };
        let mut blocks = module.resources("aws_lambda_function");
        if let Some(block) = blocks.next() {
            add(block, module, Some(call), blocks.next().is_some());
        }
    }
    if functions.len() > 1 {
        for function in functions.iter_mut().filter(|function| function.repeat() == Repeat::ForEach) {
            function.prefixed = true;
        }
    }
    (functions, refused)
}

/// The attribute of the function that an output of its module returns.
pub(crate) fn output_of(function: &Function<'_>, output: &str) -> Option<String> {
    let value = outputs(function.module).find(|(name, _)| *name == output)?.1;
    attribute_in(function, value)
}

/// The output of a function's module that returns `attribute`.
pub(crate) fn output_with<'a>(function: &Function<'a>, attribute: &str) -> Option<&'a str> {
    let mut all = outputs(function.module);
    all.find(|(_, value)| attribute_in(function, value).as_deref() == Some(attribute)).map(|(name, _)| name)
}

fn outputs(module: &Module) -> impl Iterator<Item = (&str, &Expression)> {
    module.blocks("output").filter_map(|(_, block)| {
        Some((block.labels.first()?.as_str(), &block.body.get_attribute("value")?.value))
    })
}

/// The attribute in `aws_lambda_function.<this>.<attribute>`, also inside a template.
fn attribute_in(function: &Function<'_>, value: &Expression) -> Option<String> {
    references(value).iter().find_map(|found| match traversal_steps(found)?.as_slice() {
        [Step::Attribute("aws_lambda_function"), Step::Attribute(name), .., Step::Attribute(attribute)]
            if *name == function.block.name =>
        {
            Some((*attribute).to_owned())
        }
        _ => None,
    })
}

fn is_image(block: &Found<'_>) -> bool {
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
