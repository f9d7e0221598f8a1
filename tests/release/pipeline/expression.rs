//! The expressions of workflows, as far as ours go: paths, literals, `!`, `==`, `!=`, `&&`, `||`, and the status functions.

use serde_json::Value;

/// What an expression sees.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The contexts: `github`, `inputs`, `vars`, `needs`, `steps`, `runner`, `matrix`, `jobs`.
    pub(crate) contexts: Value,
    /// Whether nothing has failed so far.
    pub(crate) success: bool,
}

impl Scope {
    /// Replaces every `${{ … }}` of a text.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, inner)) = rest.split_once("${{") {
            let (expression, after) = inner.split_once("}}").expect("an end of the expression");
            filled.push_str(before);
            filled.push_str(&shown(&self.value(expression)));
            rest = after;
        }
        filled + rest
    }

    /// Whether an `if` lets its step or job run. Without a function of status, all before it must have succeeded.
    pub(crate) fn allows(&self, condition: &Value) -> bool {
        let text = match condition {
            Value::Null => return self.success,
            Value::String(text) => text.trim().trim_start_matches("${{").trim_end_matches("}}").to_owned(),
            other => other.to_string(),
        };
        let asks = ["always()", "failure()", "cancelled()", "success()"].iter().any(|f| text.contains(f));
        (asks || self.success) && truthy(&self.value(&text))
    }

    /// The value of an expression.
    pub(crate) fn value(&self, text: &str) -> Value {
        let tokens = tokens(text);
        let mut parser = Parser { scope: self, tokens: &tokens, at: 0 };
        let value = parser.or();
        assert_eq!(parser.at, tokens.len(), "this is not understood: {text}");
        value
    }
}

/// As GitHub writes a value into a text.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && *value != "" && *value != 0
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = if let Some(text) = rest.strip_prefix('\'') {
            text.find('\'').expect("an end of the text") + 2
        } else if ["||", "&&", "==", "!="].iter().any(|operator| rest.starts_with(operator)) {
            2
        } else if rest.starts_with(['!', '(', ')']) {
            1
        } else {
            rest.find(|c: char| !c.is_alphanumeric() && !"._-".contains(c)).unwrap_or(rest.len())
        };
        assert!(length > 0, "this is not understood: {rest}");
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser<'a> {
    scope: &'a Scope,
    tokens: &'a [String],
    at: usize,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let there = self.tokens.get(self.at).is_some_and(|next| next == token);
        self.at += usize::from(there);
        there
    }

    fn or(&mut self) -> Value {
        let mut value = self.and();
        while self.eat("||") {
            let other = self.and();
            value = if truthy(&value) { value } else { other };
        }
        value
    }

    fn and(&mut self) -> Value {
        let mut value = self.equal();
        while self.eat("&&") {
            let other = self.equal();
            value = if truthy(&value) { other } else { value };
        }
        value
    }

    fn equal(&mut self) -> Value {
        let value = self.unary();
        if self.eat("==") {
            return Value::from(shown(&value) == shown(&self.unary()));
        }
        if self.eat("!=") {
            return Value::from(shown(&value) != shown(&self.unary()));
        }
        value
    }

    fn unary(&mut self) -> Value {
        if self.eat("!") {
            return Value::from(!truthy(&self.unary()));
        }
        if self.eat("(") {
            let value = self.or();
            assert!(self.eat(")"), "a bracket is not closed");
            return value;
        }
        let token = self.tokens.get(self.at).expect("a value").clone();
        self.at += 1;
        if let Some(text) = token.strip_prefix('\'') {
            return Value::from(text.trim_end_matches('\''));
        }
        if self.eat("(") {
            assert!(self.eat(")"), "{token} has arguments");
            return Value::from(match token.as_str() {
                "always" => true,
                "success" => self.scope.success,
                "failure" => !self.scope.success,
                "cancelled" => false,
                _ => panic!("the function {token} is not known"),
            });
        }
        match token.as_str() {
            "true" => return Value::from(true),
            "false" => return Value::from(false),
            _ => {}
        }
        let mut value = &self.scope.contexts;
        for (depth, part) in token.split('.').enumerate() {
            assert!(depth > 0 || value.get(part).is_some(), "the context {part} is not known");
            value = value.get(part).unwrap_or(&Value::Null);
        }
        value.clone()
    }
}

#[test]
fn expressions_have_the_values_that_github_gives_them() {
    let contexts = serde_json::json!({ "inputs": { "a": "x", "none": "" }, "vars": {}, "steps": { "s": { "outputs": { "o": "1" } } } });
    let scope = Scope { contexts, success: true };
    for (text, value) in [
        ("${{ inputs.a }}-${{ steps.s.outputs.o }}", "x-1"),
        ("${{ inputs.none || vars.b || 'c' }}", "c"),
        ("${{ inputs.a == 'x' && 'yes' }}", "yes"),
        ("${{ !inputs.a }}", "false"),
        ("${{ (vars.b != '') || success() }}", "true"),
    ] {
        assert_eq!(scope.fill(text), value, "{text}");
    }
    let failed = Scope { success: false, ..scope };
    assert!(!failed.allows(&Value::Null) && !failed.allows(&Value::from("inputs.a == 'x'")));
    assert!(failed.allows(&Value::from("always() && inputs.a == 'x'")));
}
