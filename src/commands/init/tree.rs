//! The modules of a layer as they are called: the layer itself, and everything below it.

use std::path::PathBuf;

use hcl_edit::expr::Expression;
use hcl_edit::template::Element;

use super::survey::{Installed, Survey};
use crate::terraform::source::{Found, Module, Repeat, Step, literal, steps};

/// A called module. The first one of a tree is the layer.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) module: &'a Module,
    /// The scope that calls it, and the call.
    pub(crate) call: Option<(usize, Found<'a>)>,
}

#[derive(Debug)]
pub(crate) struct Tree<'a> {
    pub(crate) scopes: Vec<Scope<'a>>,
    /// Calls of modules that are not on this machine: address and source.
    pub(crate) absent: Vec<(String, String)>,
}

/// More levels than this are a module that calls itself.
const MAX_DEPTH: usize = 12;

impl<'a> Tree<'a> {
    pub(crate) fn of(survey: &'a Survey, layer: &'a Module, installed: &Installed) -> Self {
        let mut tree = Self { scopes: vec![Scope { module: layer, call: None }], absent: Vec::new() };
        let mut next = 0;
        while let Some(scope) = tree.scopes.get(next) {
            let module = scope.module;
            let path = tree.path(next);
            for call in module.calls() {
                let names = path.iter().filter_map(|scope| tree.call(*scope)).map(|call| call.name);
                let key: Vec<&str> = names.chain([call.name]).collect();
                let dir = installed.source(module, &call, &key.join("."));
                match dir.and_then(|dir| survey.module(&dir)) {
                    Some(called) if path.len() < MAX_DEPTH => {
                        tree.scopes.push(Scope { module: called, call: Some((next, call)) });
                    }
                    _ => tree.absent.push((tree.address(next, &call), source(&call))),
                }
            }
            next += 1;
        }
        tree
    }

    fn call(&self, scope: usize) -> Option<&Found<'a>> {
        self.scopes.get(scope)?.call.as_ref().map(|(_, call)| call)
    }

    pub(crate) fn module(&self, scope: usize) -> &'a Module {
        self.scopes[scope].module
    }

    pub(crate) fn parent(&self, scope: usize) -> Option<(usize, &Found<'a>)> {
        self.scopes.get(scope)?.call.as_ref().map(|(parent, call)| (*parent, call))
    }

    /// The scopes from below the layer down to `scope`.
    pub(crate) fn path(&self, scope: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut at = scope;
        while let Some((parent, _)) = self.parent(at) {
            path.push(at);
            at = parent;
        }
        path.reverse();
        path
    }

    pub(crate) fn child(&self, scope: usize, name: &str) -> Option<usize> {
        self.scopes.iter().position(|candidate| {
            candidate.call.as_ref().is_some_and(|(parent, call)| *parent == scope && call.name == name)
        })
    }

    /// The full address of a block, without indices.
    pub(crate) fn address(&self, scope: usize, found: &Found<'_>) -> String {
        let calls = self.path(scope).into_iter().filter_map(|scope| self.call(scope)).map(Found::address);
        calls.chain([found.address()]).collect::<Vec<_>>().join(".")
    }

    pub(crate) fn resources(&self, kind: &'a str) -> impl Iterator<Item = (usize, Found<'a>)> {
        let scopes = self.scopes.iter().enumerate();
        scopes.flat_map(move |(at, scope)| scope.module.resources(kind).map(move |found| (at, found)))
    }

    /// Whether the module was downloaded by `terraform init`, so that a patch cannot change it.
    pub(crate) fn is_installed(&self, scope: usize) -> bool {
        self.module(scope).dir.components().any(|part| part.as_os_str() == ".terraform")
    }

    /// Whether some call on the way to `scope` is repeated.
    pub(crate) fn is_repeated(&self, scope: usize) -> bool {
        let calls = self.path(scope).into_iter().filter_map(|scope| self.call(scope));
        calls.map(Found::repeat).any(|repeat| repeat != Repeat::Once)
    }

    /// The value of an expression, if the source alone decides it.
    pub(crate) fn value(&self, scope: usize, expression: &Expression) -> Option<String> {
        self.value_within(scope, expression, 0)
    }

    fn value_within(&self, scope: usize, expression: &Expression, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH {
            return None;
        }
        match expression {
            Expression::Number(number) => Some(number.value().to_string()),
            Expression::Bool(value) => Some(value.value().to_string()),
            Expression::Parenthesis(inner) => self.value_within(scope, inner.inner(), depth + 1),
            Expression::StringTemplate(template) => template
                .iter()
                .map(|element| match element {
                    Element::Literal(text) => Some(text.as_str().to_owned()),
                    Element::Interpolation(inner) => self.value_within(scope, &inner.expr, depth + 1),
                    Element::Directive(_) => None,
                })
                .collect(),
            _ => literal(expression)
                .map(ToOwned::to_owned)
                .or_else(|| self.referenced(scope, &steps(expression)?, depth + 1)),
        }
    }

    fn referenced(&self, scope: usize, steps: &[Step<'_>], depth: usize) -> Option<String> {
        let module = self.module(scope);
        let folder = |dir: &PathBuf| Some(dir.to_string_lossy().into_owned());
        match steps {
            [Step::Attribute("path"), Step::Attribute("module")] => folder(&module.dir),
            [Step::Attribute("path"), Step::Attribute("root" | "cwd")] => folder(&self.module(0).dir),
            [Step::Attribute("var"), Step::Attribute(name)] => {
                if let Some((parent, call)) = self.parent(scope)
                    && let Some(given) = call.attribute(name)
                {
                    return self.value_within(parent, given, depth);
                }
                let mut declared = module.blocks("variable");
                let (_, block) =
                    declared.find(|(_, block)| block.labels.first().is_some_and(|l| l.as_str() == *name))?;
                self.value_within(scope, &block.body.get_attribute("default")?.value, depth)
            }
            [Step::Attribute("local"), Step::Attribute(name)] => {
                self.value_within(scope, module.local(name)?.1, depth)
            }
            _ => None,
        }
    }
}

/// The text of a call's `source`.
fn source(call: &Found<'_>) -> String {
    let source = call.attribute("source");
    source.map_or("no source", |value| literal(value).unwrap_or_else(|| call.file.text_of(value))).to_owned()
}
