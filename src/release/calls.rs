//! The calls of an API: what each one reaches, and what chooses the version of a function.
//!
//! A switch moves a call only if its URI takes the version from the stage variable of the called function. A
//! function can be declared to be called by an alias or without a version as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::definition::Definition;
use super::function_uri::{FunctionId, FunctionUri, Target, is_variable};
use super::model::{AccountId, AliasName, FunctionKey, FunctionName, LATEST};
use super::partition::partition;

/// The URI of a call after its partition, as Terraform writes it, where the function is not known.
const ANY_FUNCTION: &str = "apigateway:REGION:lambda:path/2015-03-31/functions/\
                            FUNCTION_ARN:$${stageVariables.KEY}/invocations";

/// The account and the region of a stage's functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) account: AccountId,
    pub(crate) region: String,
}

/// The calls of an API. A caller is a method, such as `GET /users`, or `authorizer NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// The calls that a switch moves, by caller.
    pub(crate) versioned: BTreeMap<String, FunctionKey>,
    pub(crate) unversioned: Vec<UnversionedCall>,
    /// The calls by a declared alias, or without a version where that is declared. A switch does not move them.
    pub(crate) declared: Vec<OtherCall>,
    pub(crate) others: Vec<OtherCall>,
    /// The functions that are called without a version.
    pub(crate) at_latest: BTreeSet<FunctionKey>,
}

/// A call whose version does not come from the stage variable of its function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct UnversionedCall {
    /// The method, such as `GET /users`, or the authorizer.
    pub(crate) caller: String,
    /// What is called, such as `$LATEST of users-get`.
    pub(crate) calls: String,
    /// The line to write in Terraform.
    pub(crate) write: String,
}

/// A call that does not belong to a release: MOCK, HTTP, an AWS service, or a function outside the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct OtherCall {
    /// The method, such as `OPTIONS /users`, or the authorizer.
    pub(crate) caller: String,
    /// What is called, such as `MOCK` or `function reports`.
    pub(crate) calls: String,
}

/// A function of the contract, and how it may be called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Callee<'a> {
    pub(crate) name: &'a FunctionName,
    pub(crate) alias: Option<&'a AliasName>,
    pub(crate) latest: bool,
}

impl fmt::Display for UnversionedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, calls, .. } = self;
        write!(f, "{caller} calls {calls}")
    }
}

impl Calls {
    /// Finds the calls of a definition, and compares them with the functions of the contract.
    pub(crate) fn of<'a, C: Into<Callee<'a>>>(
        definition: &Definition,
        location: &Location,
        functions: impl IntoIterator<Item = (&'a FunctionKey, C)>,
    ) -> Self {
        let functions = functions.into_iter().map(|(key, callee)| (key, callee.into())).collect();
        let contract = Contract { location, functions };
        let mut calls = Self::default();
        for (caller, part) in definition.parts() {
            let caller = caller.clone();
            calls.at_latest.extend(contract.at_latest(part));
            match contract.judge(part) {
                Some(Verdict::Versioned(key)) => {
                    calls.versioned.insert(caller, key);
                }
                Some(Verdict::Unversioned { what, write }) => {
                    calls.unversioned.push(UnversionedCall { caller, calls: what, write });
                }
                Some(Verdict::Declared(what)) => calls.declared.push(OtherCall { caller, calls: what }),
                Some(Verdict::Other(what)) => calls.others.push(OtherCall { caller, calls: what }),
                None => {}
            }
        }
        calls
    }

    /// A line for each thing that is called and does not belong to a release, with its callers.
    pub(crate) fn other_lines(&self) -> Vec<String> {
        // An API can have a MOCK for each of its paths.
        const SHOWN: usize = 5;
        let mut callers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for OtherCall { caller, calls } in &self.others {
            callers.entry(calls).or_default().push(caller);
        }
        let line = |(calls, callers): (&str, Vec<&str>)| {
            let shown = callers.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
            match callers.len().saturating_sub(SHOWN) {
                0 => format!("{calls}: {shown}"),
                more => format!("{calls}: {shown} and {more} more"),
            }
        };
        callers.into_iter().map(line).collect()
    }
}

enum Verdict {
    Versioned(FunctionKey),
    Unversioned { what: String, write: String },
    Declared(String),
    Other(String),
}

struct Contract<'a> {
    location: &'a Location,
    functions: BTreeMap<&'a FunctionKey, Callee<'a>>,
}

impl Contract<'_> {
    /// Judges a part of a definition; `None` if it calls nothing.
    fn judge(&self, part: &Value) -> Option<Verdict> {
        let text = |value: &Value, member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
        let Some(integration) = part.get("integration") else {
            // An authorizer with a user pool or with JWTs has no URI, and other parts have none either.
            return Some(self.judge_uri("authorizer_uri", &text(part, "uri")?));
        };
        let uri = text(integration, "uri");
        let verdict = match (text(integration, "type")?.as_str(), uri) {
            ("MOCK", _) => Verdict::Other("MOCK".to_owned()),
            ("HTTP" | "HTTP_PROXY", uri) => Verdict::Other(format!("HTTP {}", uri.unwrap_or_default())),
            (_, Some(uri)) => self.judge_uri("uri", &uri),
            (kind, None) => Verdict::Other(kind.to_owned()),
        };
        Some(verdict)
    }

    /// The functions that a part of a definition calls without a version.
    fn at_latest(&self, part: &Value) -> Vec<FunctionKey> {
        let uri = part.get("integration").map_or(&part["uri"], |integration| &integration["uri"]);
        let uri = decoded(uri.as_str().unwrap_or_default());
        let Target::Function(FunctionUri { function, .. }) = Target::of(&uri) else { return Vec::new() };
        if !matches!(function.qualifier, None | Some(LATEST)) || !self.is_here(&function) {
            return Vec::new();
        }
        let named = self.functions.iter().filter(|(_, callee)| callee.name.as_str() == function.name);
        named.map(|(key, _)| (*key).clone()).collect()
    }

    /// Judges a URI that is the argument `argument` in Terraform.
    fn judge_uri(&self, argument: &str, uri: &str) -> Verdict {
        let uri = decoded(uri);
        let write = |uri: String| format!("{argument} = {uri:?}");
        let call = match Target::of(&uri) {
            Target::Function(call) => call,
            Target::Service("lambda") | Target::Unknown if is_variable(&uri) => {
                return Verdict::Unversioned {
                    what: from_variable(&uri),
                    write: write(format!("arn:{}:{ANY_FUNCTION}", partition(&self.location.region))),
                };
            }
            Target::Service(service) => return Verdict::Other(format!("AWS service {service}")),
            Target::Unknown => return Verdict::Other(uri),
        };
        let FunctionUri { function, .. } = call;
        if is_variable(function.name) {
            let what = from_variable(&function.shown(false));
            return Verdict::Unversioned { what, write: write(call.with_function()) };
        }
        let is_here = self.is_here(&function);
        let is_named = |callee: &Callee<'_>| is_here && callee.name.as_str() == function.name;
        let named: Vec<_> = self.functions.iter().filter(|(_, callee)| is_named(callee)).collect();
        // One function can have several keys.
        let keys: Vec<&FunctionKey> = named.iter().map(|(key, _)| **key).collect();
        let Some(first) = keys.first() else {
            return Verdict::Other(format!("function {}", function.shown(!is_here)));
        };
        let variable = function.qualifier.and_then(stage_variable);
        if let Some(own) = keys.iter().find(|key| variable == Some(key.as_str())) {
            return Verdict::Versioned((*own).clone());
        }
        let meant = variable.and_then(|name| most_similar(name, &keys));
        let is_declared = |callee: &Callee<'_>| match function.qualifier {
            None | Some(LATEST) => callee.latest,
            Some(qualifier) => callee.alias.is_some_and(|alias| alias.as_str() == qualifier),
        };
        if named.iter().any(|(_, callee)| is_declared(callee)) {
            return Verdict::Declared(self.describe(&function, meant));
        }
        Verdict::Unversioned {
            what: self.describe(&function, meant),
            write: write(call.with_variable(meant.unwrap_or(first).as_str())),
        }
    }

    /// Whether a function is in the stage's account and region. What a stage variable names can be.
    fn is_here(&self, function: &FunctionId<'_>) -> bool {
        let Location { account, region } = self.location;
        let is = |part: Option<&str>, own: &str| part.is_none_or(|part| part == own || is_variable(part));
        is(function.account, account.as_str()) && is(function.region, region)
    }

    /// What a call of a function of the contract reaches. `meant` is the key with a similar name.
    fn describe(&self, function: &FunctionId<'_>, meant: Option<&FunctionKey>) -> String {
        let name = function.name;
        let Some(qualifier) = function.qualifier.filter(|qualifier| *qualifier != LATEST) else {
            return format!("{LATEST} of {name}");
        };
        if let Some(variable) = stage_variable(qualifier) {
            let other = self.functions.iter().find(|(key, _)| key.as_str() == variable);
            return match (other, meant) {
                (Some((_, Callee { name: other, .. })), _) => {
                    format!("{name} with stage variable {variable:?}, the version of {other}")
                }
                (None, Some(meant)) => format!(
                    "{name} with stage variable {variable:?}, which no release sets; did you mean {:?}?",
                    meant.as_str()
                ),
                (None, None) => format!("{name} with stage variable {variable:?}, which no release sets"),
            };
        }
        if qualifier.bytes().all(|byte| byte.is_ascii_digit()) {
            return format!("version {qualifier} of {name}, whatever is released");
        }
        if is_variable(qualifier) {
            return format!("version {qualifier:?} of {name}");
        }
        format!("alias {qualifier} of {name}")
    }
}

/// A call of whichever function a stage variable names.
fn from_variable(function: &str) -> String {
    format!("{function:?}, whose name comes from a stage variable")
}

/// The name of the stage variable that a qualifier consists of.
fn stage_variable(qualifier: &str) -> Option<&str> {
    let name = qualifier.strip_prefix("${stageVariables.")?.strip_suffix('}')?;
    (!name.contains('}')).then_some(name)
}

fn most_similar<'a>(name: &str, keys: &[&'a FunctionKey]) -> Option<&'a FunctionKey> {
    let similarity =
        |key: &FunctionKey| strsim::jaro_winkler(&name.to_lowercase(), &key.as_str().to_lowercase());
    keys.iter()
        .map(|key| (similarity(key), *key))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, key)| key)
}

/// A URI whose ARN may be percent-encoded.
fn decoded(uri: &str) -> String {
    [("%3A", ":"), ("%3a", ":"), ("%24", "$"), ("%7B", "{"), ("%7b", "{"), ("%7D", "}"), ("%7d", "}")]
        .into_iter()
        .fold(uri.to_owned(), |uri, (code, character)| uri.replace(code, character))
}

#[cfg(test)]
mod tests;
