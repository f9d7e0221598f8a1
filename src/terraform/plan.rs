//! A plan as data, from `terraform show -json` of a plan file.
//!
//! Sensitive values are masked by the parser, so that no later code can print them. An attribute is listed if
//! its value changes or is known only after the apply.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::{Failure, Reason};
use super::outputs::MASK;

/// Replaces a value that is known only after the apply.
pub const UNKNOWN: &str = "(known after apply)";

/// What Terraform would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Plan {
    /// The changes to resources, in Terraform's order.
    pub changes: Vec<ResourceChange>,
    /// Changes made outside Terraform, as far as they affect the plan; without what releases change, and
    /// without a missing value that became an empty one.
    pub drift: Vec<ResourceChange>,
    /// Outputs whose values would change.
    pub outputs: BTreeMap<String, ValueChange>,
    /// Whether the state has no resources, so that all are created.
    #[serde(skip)]
    pub state_is_empty: bool,
    /// The provider's actions that an apply invokes, in Terraform's order.
    pub invocations: Vec<Invocation>,
}

/// An `action` of a provider that an apply invokes, such as an invocation of a function. It changes nothing
/// that Terraform manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Invocation {
    /// The address of the action, such as `action.aws_lambda_invoke.warm`.
    pub address: String,
    /// The address of the resource whose change triggers it.
    pub resource: Option<String>,
    /// The event that triggers it, such as `AfterCreate`.
    pub event: Option<String>,
}

/// What an apply does to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The resource is created.
    Create,
    /// The resource is changed in place.
    Update,
    /// The resource is destroyed.
    Delete,
    /// The resource is destroyed and created again.
    Replace,
    /// Another resource is created in its place. The existing one is no longer managed, and continues to
    /// exist.
    ForgetAndCreate,
    /// The data source is read during the apply.
    Read,
    /// The resource is no longer managed, and continues to exist.
    Forget,
    /// Only its address or its place in the state changes.
    NoOp,
    /// An action that this version of deployctl does not know.
    Unknown,
}

impl Action {
    fn from_words(words: &[String]) -> Self {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["create"] => Self::Create,
            ["update"] => Self::Update,
            ["delete"] => Self::Delete,
            ["delete", "create"] | ["create", "delete"] => Self::Replace,
            ["forget", "create"] | ["create", "forget"] => Self::ForgetAndCreate,
            ["read"] => Self::Read,
            ["forget"] => Self::Forget,
            ["no-op"] => Self::NoOp,
            _ => Self::Unknown,
        }
    }

    /// Whether the existing resource is destroyed. An unknown action counts as a destruction.
    pub const fn destroys(self) -> bool {
        matches!(self, Self::Delete | Self::Replace | Self::Unknown)
    }
}

/// A change to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ResourceChange {
    /// The address of the resource.
    pub address: String,
    /// The type, such as `aws_lambda_function`.
    pub resource_type: String,
    /// What an apply does to the resource.
    pub action: Action,
    /// Terraform's reason, such as `replace_because_cannot_update`.
    pub reason: Option<String>,
    /// The attributes that force a replacement.
    pub replace_paths: Vec<String>,
    /// The earlier address, if the resource moves.
    pub previous_address: Option<String>,
    /// Whether an existing resource is imported.
    pub import: bool,
    /// The attributes that differ.
    pub attributes: BTreeMap<String, ValueChange>,
}

/// A value before and after; `null` where there is none. A secret is "(sensitive)", and what only the apply tells is
/// "(known after apply)".
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ValueChange {
    /// The current value.
    pub before: Option<Value>,
    /// The planned value.
    pub after: Option<Value>,
}

impl Plan {
    /// Parses the output of `terraform show -json` for a plan file.
    ///
    /// # Errors
    /// [`Reason::Format`] for invalid JSON, and for another format version than 1.x.
    pub fn parse(json: &[u8]) -> Result<Self, Failure> {
        // First the version alone: another version may have other fields.
        let format: WireFormat = read(json)?;
        if !format.format_version.starts_with("1.") {
            let problem = format!("format {} is not supported, only 1.x", format.format_version);
            return Err(Failure::new(Reason::Format { what: PLAN, problem }));
        }
        let wire: WirePlan = read(json)?;
        let WirePlan { resource_changes, resource_drift, output_changes, action_invocations } = wire;
        let mut secrets = resource_changes.secrets;
        secrets.extend(resource_drift.secrets);
        output_changes.values().for_each(|change| change.collect_secrets(&mut secrets));
        let outputs = output_changes.into_iter().filter(|(_, change)| change.changes_something());
        let mut plan = Self {
            state_is_empty: !resource_changes.has_existing,
            changes: resource_changes.list,
            drift: resource_drift.list,
            outputs: outputs.map(|(name, change)| (name, change.whole())).collect(),
            invocations: action_invocations.into_iter().map(WireInvocation::into_invocation).collect(),
        };
        plan.hide(&secrets);
        Ok(plan)
    }

    /// Masks copies of sensitive values that Terraform does not mark, such as the `output` of a
    /// `terraform_data` with a sensitive `input`.
    fn hide(&mut self, secrets: &BTreeSet<String>) {
        let resources = self.changes.iter_mut().chain(&mut self.drift);
        let attributes = resources.flat_map(|change| change.attributes.values_mut());
        for change in attributes.chain(self.outputs.values_mut()) {
            for value in [&mut change.before, &mut change.after].into_iter().flatten() {
                hide(value, secrets);
            }
        }
    }

    /// The number of resources with this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// Whether the plan changes neither resources nor outputs, and invokes no actions.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.outputs.is_empty() && self.invocations.is_empty()
    }
}

const PLAN: &str = "the plan";

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|e| Failure::json(PLAN, &e))
}

#[derive(Deserialize)]
struct WireFormat {
    format_version: String,
}

#[derive(Deserialize)]
struct WirePlan {
    #[serde(default)]
    resource_changes: Resources<false>,
    #[serde(default)]
    resource_drift: Resources<true>,
    #[serde(default)]
    output_changes: BTreeMap<String, WireChange>,
    #[serde(default)]
    action_invocations: Vec<WireInvocation>,
}

/// The changes of resources, or their drift. Each resource is converted as soon as it is read: all values of a
/// plan would take many times the memory of their text.
#[derive(Default)]
struct Resources<const DRIFT: bool> {
    list: Vec<ResourceChange>,
    /// Whether a resource exists in the state, or is imported.
    has_existing: bool,
    /// All strings that are marked as sensitive, also of resources that do not change.
    secrets: BTreeSet<String>,
}

impl<'de, const DRIFT: bool> Deserialize<'de> for Resources<DRIFT> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Self::default())
    }
}

impl<'de, const DRIFT: bool> serde::de::Visitor<'de> for Resources<DRIFT> {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of resources")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut from: A) -> Result<Self, A::Error> {
        while let Some(resource) = from.next_element::<WireResource>()? {
            resource.change.collect_secrets(&mut self.secrets);
            self.has_existing |= resource.exists();
            self.list.extend(if DRIFT { resource.into_drift() } else { resource.into_change() });
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct WireInvocation {
    address: String,
    lifecycle_action_trigger: Option<WireTrigger>,
}

#[derive(Deserialize)]
struct WireTrigger {
    triggering_resource_address: String,
    action_trigger_event: String,
}

impl WireInvocation {
    fn into_invocation(self) -> Invocation {
        let (resource, event) = self
            .lifecycle_action_trigger
            .map(|trigger| (trigger.triggering_resource_address, trigger.action_trigger_event))
            .unzip();
        Invocation { address: self.address, resource, event }
    }
}

/// Shorter strings are not masked elsewhere: masking every `true` or `eu` would hide the plan.
const SHORTEST_SECRET: usize = 6;

fn collect(value: &Value, marks: &Value, secrets: &mut BTreeSet<String>) {
    match (value, marks) {
        (Value::String(text), Value::Bool(true)) if text.len() >= SHORTEST_SECRET => {
            secrets.insert(text.clone());
        }
        (Value::Array(items), _) => {
            for (index, item) in items.iter().enumerate() {
                let mark = if marks.is_boolean() { marks } else { marks.get(index).unwrap_or(&Value::Null) };
                collect(item, mark, secrets);
            }
        }
        (Value::Object(items), _) => {
            for (name, item) in items {
                collect(item, mark(marks, name), secrets);
            }
        }
        _ => {}
    }
}

fn hide(value: &mut Value, secrets: &BTreeSet<String>) {
    match value {
        Value::String(text) if secrets.contains(text) => *value = Value::from(MASK),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        Value::Object(items) => items.values_mut().for_each(|item| hide(item, secrets)),
        _ => {}
    }
}

#[derive(Deserialize)]
struct WireResource {
    address: String,
    #[serde(default, rename = "type")]
    resource_type: String,
    previous_address: Option<String>,
    action_reason: Option<String>,
    change: WireChange,
}

#[derive(Deserialize)]
struct WireChange {
    actions: Vec<String>,
    #[serde(default)]
    before: Value,
    #[serde(default)]
    after: Value,
    #[serde(default)]
    after_unknown: Value,
    #[serde(default)]
    before_sensitive: Value,
    #[serde(default)]
    after_sensitive: Value,
    #[serde(default)]
    replace_paths: Vec<Vec<Value>>,
    importing: Option<Value>,
}

impl WireResource {
    fn exists(&self) -> bool {
        let action = Action::from_words(&self.change.actions);
        !matches!(action, Action::Create | Action::Read) || self.change.importing.is_some()
    }

    /// The change; `None` if neither the resource nor its address changes.
    fn into_change(self) -> Option<ResourceChange> {
        let Self { address, resource_type, previous_address, action_reason, change } = self;
        let action = Action::from_words(&change.actions);
        let import = change.importing.is_some();
        if action == Action::NoOp && previous_address.is_none() && !import {
            return None;
        }
        Some(ResourceChange {
            address,
            resource_type,
            action,
            reason: action_reason,
            replace_paths: change.replace_paths.iter().map(|path| dotted(path)).collect(),
            previous_address,
            import,
            attributes: change.attributes(),
        })
    }
}

impl WireResource {
    /// A change outside Terraform; `None` if releases and the provider explain all of it.
    fn into_drift(mut self) -> Option<ResourceChange> {
        for values in [&mut self.change.before, &mut self.change.after] {
            if let Value::Object(values) = values {
                values.retain(|name, value| !is_released(&self.resource_type, name) && !is_empty(value));
            }
        }
        self.into_change().filter(|change| change.action != Action::Update || !change.attributes.is_empty())
    }
}

/// The attributes that releases set, by resource type.
pub(crate) const OWNED: &[(&str, &[&str])] = &[
    ("aws_api_gateway_stage", &["deployment_id", "variables", "canary_settings"]),
    (
        "aws_lambda_function",
        &[
            "filename",
            "source_code_hash",
            "s3_bucket",
            "s3_key",
            "s3_object_version",
            "image_uri",
            "architectures",
            "code_sha256",
            "source_kms_key_arn",
        ],
    ),
];

/// The same for an alias, where the contract names one.
pub(crate) const OWNED_ALIAS: (&str, &[&str]) = ("aws_lambda_alias", &["function_version", "routing_config"]);

/// The attributes of a function that follow from those. `status` compares all of them with the ledger.
const DERIVED: &[&str] =
    &["last_modified", "qualified_arn", "qualified_invoke_arn", "source_code_size", "version"];

/// Whether a release changes the attribute of a resource.
fn is_released(resource_type: &str, name: &str) -> bool {
    let owned = OWNED.iter().find(|(owned, _)| *owned == resource_type);
    owned.is_some_and(|(_, names)| names.contains(&name))
        || (resource_type == "aws_lambda_function" && DERIVED.contains(&name))
}

/// Whether a provider may also leave the value out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(items) => items.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl WireChange {
    /// Adds the strings that are marked as sensitive.
    fn collect_secrets(&self, secrets: &mut BTreeSet<String>) {
        collect(&self.before, &self.before_sensitive, secrets);
        collect(&self.after, &self.after_sensitive, secrets);
    }

    fn changes_something(&self) -> bool {
        Action::from_words(&self.actions) != Action::NoOp
    }

    /// The whole value before and after, masked.
    fn whole(&self) -> ValueChange {
        ValueChange {
            before: shown(&self.before, &self.before_sensitive, &Value::Null),
            after: shown(&self.after, &self.after_sensitive, &self.after_unknown),
        }
    }

    /// The changed attributes, masked.
    fn attributes(&self) -> BTreeMap<String, ValueChange> {
        let empty = Map::new();
        let object = |value: &'_ Value| value.as_object().cloned().unwrap_or_else(|| empty.clone());
        let (before, after, unknown) =
            (object(&self.before), object(&self.after), object(&self.after_unknown));
        let mut names: Vec<&String> = before.keys().chain(after.keys()).chain(unknown.keys()).collect();
        names.sort();
        names.dedup();
        let value = |from: &Map<String, Value>, name: &str| from.get(name).cloned().unwrap_or(Value::Null);
        let differs = |name: &str| {
            value(&before, name) != value(&after, name) || unknown.get(name).is_some_and(marks_anything)
        };
        let change = |name: &str| ValueChange {
            before: shown(&value(&before, name), mark(&self.before_sensitive, name), &Value::Null),
            after: shown(
                &value(&after, name),
                mark(&self.after_sensitive, name),
                mark(&self.after_unknown, name),
            ),
        };
        names.into_iter().filter(|name| differs(name)).map(|name| (name.clone(), change(name))).collect()
    }
}

/// The marks of one attribute. A mark on the whole value applies to each attribute.
fn mark<'a>(marks: &'a Value, name: &str) -> &'a Value {
    match marks {
        Value::Bool(_) => marks,
        _ => marks.get(name).unwrap_or(&Value::Null),
    }
}

fn marks_anything(marks: &Value) -> bool {
    match marks {
        Value::Bool(on) => *on,
        Value::Array(items) => items.iter().any(marks_anything),
        Value::Object(items) => items.values().any(marks_anything),
        _ => false,
    }
}

/// `value` with sensitive and unknown parts replaced; `None` for null.
fn shown(value: &Value, sensitive: &Value, unknown: &Value) -> Option<Value> {
    match masked(value, sensitive, unknown) {
        Value::Null => None,
        value => Some(value),
    }
}

fn masked(value: &Value, sensitive: &Value, unknown: &Value) -> Value {
    if *sensitive == Value::Bool(true) {
        return Value::from(MASK);
    }
    if *unknown == Value::Bool(true) {
        return Value::from(UNKNOWN);
    }
    let at = |marks: &Value, index: usize| marks.get(index).cloned().unwrap_or(Value::Null);
    match value {
        Value::Array(items) => {
            let unknown_items = unknown.as_array().map_or(0, Vec::len);
            let item = |index: usize| {
                let value = items.get(index).unwrap_or(&Value::Null);
                masked(value, &at(sensitive, index), &at(unknown, index))
            };
            (0..items.len().max(unknown_items)).map(item).collect()
        }
        Value::Object(items) => {
            let unknown_names = unknown.as_object().into_iter().flatten().map(|(name, _)| name);
            let names = items.keys().chain(unknown_names);
            let item = |name: &String| {
                let value = items.get(name).unwrap_or(&Value::Null);
                (name.clone(), masked(value, mark(sensitive, name), mark(unknown, name)))
            };
            names.map(item).collect::<Map<_, _>>().into()
        }
        // A part of a value that does not exist yet is unknown.
        Value::Null if marks_anything(unknown) => Value::from(UNKNOWN),
        scalar => scalar.clone(),
    }
}

/// A path in HCL notation: `tags.Name`, `ingress[0].cidr`.
fn dotted(path: &[Value]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Value::String(name) if text.is_empty() => text.push_str(name),
            Value::String(name) => text.push_str(&format!(".{name}")),
            other => text.push_str(&format!("[{other}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REPLAN: &[u8] = include_bytes!("../../tests/fixtures/terraform/show-replan.json");

    #[test]
    fn a_recorded_plan_is_read() {
        let plan = Plan::parse(REPLAN).unwrap();
        let [one, two] = plan.changes.as_slice() else { panic!("{plan:?}") };
        assert_eq!((one.address.as_str(), one.action), ("terraform_data.one", Action::Update));
        let names: Vec<&String> = one.attributes.keys().collect();
        assert_eq!(names, ["input", "output"]);
        assert_eq!(
            one.attributes["input"],
            ValueChange { before: Some("x".into()), after: Some("y".into()) }
        );
        assert_eq!(one.attributes["output"].after, Some(UNKNOWN.into()));
        assert_eq!((two.address.as_str(), two.action), ("terraform_data.two", Action::Replace));
        assert_eq!(two.replace_paths, ["triggers_replace"]);
        assert_eq!(plan.outputs.keys().collect::<Vec<_>>(), ["name"]);
        assert_eq!((plan.count(Action::Replace), plan.count(Action::Create)), (1, 0));
    }

    #[test]
    fn sensitive_values_are_masked() {
        let plan = Plan::parse(REPLAN).unwrap();
        assert!(!format!("{plan:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&plan).unwrap().contains("hunter2"));
    }

    #[test]
    fn nested_secrets_and_unknowns_are_masked_where_they_are() {
        let value = json!({ "a": [{ "password": "p", "port": 1 }], "b": null, "c": "c" });
        let sensitive = json!({ "a": [{ "password": true }] });
        let unknown = json!({ "b": true, "a": [{}, { "port": true }] });
        assert_eq!(
            masked(&value, &sensitive, &unknown),
            json!({ "a": [{ "password": MASK, "port": 1 }, UNKNOWN], "b": UNKNOWN, "c": "c" })
        );
    }

    #[test]
    fn another_format_and_an_incomplete_plan_are_refused() {
        let future = br#"{"format_version":"2.0","resource_changes":{}}"#;
        assert!(Plan::parse(future).unwrap_err().to_string().contains("format 2.0 is not supported"));
        for end in [0, 1, REPLAN.len() / 2, REPLAN.len() - 3] {
            assert!(matches!(*Plan::parse(&REPLAN[..end]).unwrap_err().reason, Reason::Format { .. }));
        }
        assert!(Plan::parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn drift_is_what_neither_releases_nor_the_provider_explain() {
        let drift = |resource_type: &str, before: Value, after: Value| {
            let change = json!({ "actions": ["update"], "before": before, "after": after });
            let resource =
                json!({ "address": format!("{resource_type}.a"), "type": resource_type, "change": change });
            let plan = json!({ "format_version": "1.2", "resource_drift": [resource] }).to_string();
            let plan = Plan::parse(plan.as_bytes()).unwrap();
            plan.drift.into_iter().flat_map(|drift| drift.attributes.into_keys()).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        let stage = |deployment: &str, tags: Value| json!({ "deployment_id": deployment, "tags": tags });
        let tag = json!({ "owner": "someone" });
        assert_eq!(drift("aws_api_gateway_stage", stage("a", json!(null)), stage("b", json!({}))), none);
        assert_eq!(drift("aws_api_gateway_stage", stage("a", json!(null)), stage("b", tag)), ["tags"]);
        let function = |version: &str, memory: u32| json!({ "version": version, "qualified_arn": version, "memory_size": memory, "layers": [] });
        assert_eq!(drift("aws_lambda_function", function("1", 128), function("2", 128)), none);
        assert_eq!(drift("aws_lambda_function", function("1", 128), function("2", 256)), ["memory_size"]);
        let values = |value: Value| json!({ "a": value });
        assert_eq!(drift("aws_s3_bucket", values(json!([{ "b": "" }])), values(json!(null))), none);
        assert_eq!(drift("aws_s3_bucket", values(json!(null)), values(json!(false))), ["a"]);
    }

    #[test]
    fn a_resource_that_was_deleted_outside_terraform_is_drift() {
        let change = json!({ "actions": ["delete"], "before": { "version": "1" }, "after": null });
        let resource =
            json!({ "address": "aws_lambda_function.a", "type": "aws_lambda_function", "change": change });
        let plan = json!({ "format_version": "1.2", "resource_drift": [resource] }).to_string();
        assert_eq!(Plan::parse(plan.as_bytes()).unwrap().drift[0].action, Action::Delete);
    }

    #[test]
    fn actions_and_kept_resources_are_read() {
        let trigger = json!({ "triggering_resource_address": "aws_s3_bucket.a", "action_trigger_event": "AfterCreate",
                              "action_trigger_block_index": 0, "actions_list_index": 0 });
        let plan = json!({
            "format_version": "1.2",
            "resource_changes": [
                { "address": "a.b", "type": "a", "change": { "actions": ["forget", "create"] } },
                { "address": "a.c", "type": "a", "change": { "actions": ["create", "forget"] } },
            ],
            "action_invocations": [
                { "address": "action.aws_lambda_invoke.warm", "type": "aws_lambda_invoke", "name": "warm",
                  "config_values": { "payload": "hunter2" }, "lifecycle_action_trigger": trigger },
                { "address": "action.aws_sns_publish.by_hand", "invoke_action_trigger": {} },
            ],
        });
        let plan = Plan::parse(plan.to_string().as_bytes()).unwrap();
        assert_eq!(plan.count(Action::ForgetAndCreate), 2);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            plan.invocations,
            [
                Invocation {
                    address: "action.aws_lambda_invoke.warm".into(),
                    resource: text("aws_s3_bucket.a"),
                    event: text("AfterCreate"),
                },
                Invocation { address: "action.aws_sns_publish.by_hand".into(), resource: None, event: None },
            ]
        );
        assert!(!plan.is_empty());
    }

    #[test]
    fn paths_read_like_hcl() {
        assert_eq!(dotted(&[json!("a"), json!(0), json!("b")]), "a[0].b");
    }
}
