//! An in-memory cloud with the semantics of AWS that a release depends on, and with faults at chosen calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::artifact::{Architecture, Sha256};
use crate::engine::failure::{Failure, Meaning};
use crate::engine::ports::{ProbeResult, StagePort, Store, Stored, Tried, UploadError, Uploaded, Written};
use crate::release::calls::Location;
use crate::release::check::{Answer, HttpRequest, Invoked};
use crate::release::definition::Definition;
use crate::release::model::{AliasName, DeploymentId, FunctionName, FunctionVersion, Pointer};
use crate::release::monitor::{AlarmState, Compared, FunctionReading, VersionReading};
use crate::release::patch::{MAX_OPERATIONS, Operation};
use crate::release::state::{
    Activity, AliasState, AliasTarget, Allocation, Caches, Code, Codes, Deployment, FunctionState, Object,
    Percent, Provisioned, Published, PublishedState, StageCanary, StageState, StageUse, Start, VersionState,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails and has no effect.
    Refused,
    /// The call takes effect, and its answer is lost.
    AnswerLost,
    /// The call takes effect twice, as when the SDK repeats it after a lost answer.
    Repeated,
    /// deployctl is killed before the call.
    KilledBefore,
    /// deployctl is killed after the call took effect.
    KilledAfter,
    /// Directly before the call, the API and a function's configuration change.
    Edited,
    /// Directly before the call, the stage is moved.
    Moved,
    /// Directly before the call, an alias of the first version of `users_get` is created.
    Aliased,
    /// deployctl is interrupted during the call.
    Interrupted,
    /// Before the call takes effect, deployctl stalls until the test resumes it.
    Stalled,
    /// After the call took effect, deployctl stalls until the test resumes it.
    StalledAfter,
    /// The call is refused with "try again later".
    Conflict,
    /// The call is rejected permanently.
    Rejected,
}

pub(crate) const FAULTS: [Fault; 5] =
    [Fault::Refused, Fault::AnswerLost, Fault::Repeated, Fault::KilledBefore, Fault::KilledAfter];

/// The cloud. Clones share its state.
#[derive(Debug, Clone)]
pub(crate) struct Cloud {
    pub(crate) state: Arc<Mutex<State>>,
    /// Notified when a fault kills deployctl.
    pub(crate) killed: Arc<Notify>,
    /// Cancelled when a fault interrupts it.
    pub(crate) interrupt: CancellationToken,
    /// Notified when a fault stalls deployctl, and to resume it.
    pub(crate) stalled: Arc<Notify>,
    pub(crate) resume: Arc<Notify>,
}

#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, (Vec<u8>, u64)>,
    pub(crate) functions: BTreeMap<String, Function>,
    pub(crate) definition: Definition,
    /// What the fault `Edited` makes of it, instead of another timeout.
    pub(crate) next_definition: Option<Definition>,
    pub(crate) deployments: Vec<(Deployment, Definition)>,
    pub(crate) pointer: Pointer,
    /// The names of all calls since the last [`Cloud::arm`].
    pub(crate) calls: Vec<&'static str>,
    /// The round trip in which each of them was made: one more than the last that had ended before.
    pub(crate) round_trips: Vec<usize>,
    ended: usize,
    /// The other stages of the API.
    pub(crate) stages: Vec<StageUse>,
    /// Versions that an alias points to, such as `users_get:1`.
    pub(crate) aliased: BTreeSet<String>,
    /// The aliases that releases move, such as `users_post:live`.
    pub(crate) aliases: BTreeMap<String, AliasState>,
    /// Whether the functions run container images.
    pub(crate) images: bool,
    /// The provisioned concurrency of versions and aliases, such as `users_get:1`.
    pub(crate) provisioned: BTreeMap<String, Provisioned>,
    /// The versions that Lambda cannot allocate it for, and why.
    pub(crate) unallocatable: BTreeMap<String, String>,
    /// The functions that are called without a version.
    pub(crate) called_latest: BTreeSet<String>,
    /// What the aliases pointed to after each move, in order.
    pub(crate) alias_moves: Vec<String>,
    /// The versions that cannot be invoked, such as `users_get:1`.
    pub(crate) asleep: BTreeMap<String, Asleep>,
    /// How many reads a new version stays pending for.
    pub(crate) pending: usize,
    /// Versions that were invoked to wake them.
    pub(crate) woken: Vec<String>,
    /// Whether the stage was deleted.
    pub(crate) absent: bool,
    pub(crate) canary: Option<StageCanary>,
    /// The HTTP requests so far.
    requests: u32,
    /// Whether AWS refuses to end a canary in the call that moves the stage.
    pub(crate) two_calls: bool,
    /// The canaries that were on the stage, in order.
    pub(crate) canaries: Vec<StageCanary>,
    /// The role of a version, such as `users_post:3`, if it is not that of the others.
    pub(crate) roles: BTreeMap<String, String>,
    /// Calls of `UpdateStage` that took effect.
    pub(crate) switches: usize,
    /// The number of patch operations of each.
    pub(crate) operations: Vec<usize>,
    /// Versions that crash when they start, such as `users_get:3`.
    pub(crate) crashing: BTreeSet<String>,
    /// Versions that were invoked by a check, in order.
    pub(crate) invoked: Vec<String>,
    /// The HTTP status of a release by version, 200 by default.
    pub(crate) status: BTreeMap<String, u16>,
    /// All pointers that the stage was moved to, in order.
    pub(crate) moves: Vec<Pointer>,
    /// The store's clock, in seconds.
    pub(crate) now: u64,
    /// When objects were written, by that clock.
    pub(crate) written: BTreeMap<String, u64>,
    /// The states of alarms. One that is not here does not exist.
    pub(crate) alarms: BTreeMap<String, AlarmState>,
    /// The metrics of versions such as `users_get:3`, in any window.
    pub(crate) metrics: BTreeMap<String, VersionReading>,
    /// Caches that were flushed.
    pub(crate) flushed: Vec<Caches>,
    faults: Vec<(usize, Fault)>,
    tick: u64,
    edits: u64,
    made: u64,
}

/// A version that cannot be invoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asleep {
    /// The first invocation fails, and makes it pending.
    Inactive,
    /// The same, but Lambda then fails to create its resources.
    Broken,
    /// It becomes active after as many reads.
    Pending(usize),
    /// It becomes inactive again after one read.
    Failing,
}

/// A function: the code of `$LATEST`, its revision, and the code of each published version.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) latest: String,
    pub(crate) config: Sha256,
    pub(crate) architecture: Architecture,
    /// AWS's own hash of it.
    pub(crate) aws_config: Option<String>,
    pub(crate) revision: u64,
    pub(crate) versions: Vec<(String, Sha256)>,
    /// The deleted versions: numbers are never reused.
    pub(crate) deleted: BTreeSet<usize>,
}

impl Function {
    /// The code of a version that is not deleted.
    pub(crate) fn version(&self, number: &str) -> Option<&str> {
        let number: usize = number.parse().unwrap();
        let (code, _) = self.versions.get(number - 1)?;
        (!self.deleted.contains(&number)).then_some(code)
    }
}

impl Cloud {
    pub(crate) fn new(functions: &[&str]) -> Self {
        let definition = definition(29000);
        let id: DeploymentId = "bootstrap".parse().unwrap();
        let bootstrap = Deployment { id: id.clone(), description: "made by Terraform".into(), created: 0 };
        let function = Function {
            latest: Sha256::of(b"created").base64(),
            config: Sha256::of(b"config"),
            architecture: Architecture::X86_64,
            aws_config: None,
            revision: 1,
            versions: Vec::new(),
            deleted: BTreeSet::new(),
        };
        let state = State {
            objects: BTreeMap::new(),
            functions: functions.iter().map(|name| ((*name).to_owned(), function.clone())).collect(),
            deployments: vec![(bootstrap, definition.clone())],
            definition,
            next_definition: None,
            pointer: Pointer {
                deployment_id: id,
                variables: [("owner".into(), "another team".into())].into(),
            },
            calls: Vec::new(),
            round_trips: Vec::new(),
            ended: 0,
            switches: 0,
            operations: Vec::new(),
            crashing: BTreeSet::new(),
            invoked: Vec::new(),
            status: BTreeMap::new(),
            moves: Vec::new(),
            now: 1_000_000,
            written: BTreeMap::new(),
            alarms: BTreeMap::new(),
            metrics: BTreeMap::new(),
            flushed: Vec::new(),
            faults: Vec::new(),
            tick: 0,
            edits: 0,
            made: 0,
            stages: Vec::new(),
            aliased: BTreeSet::new(),
            aliases: BTreeMap::new(),
            alias_moves: Vec::new(),
            provisioned: BTreeMap::new(),
            unallocatable: BTreeMap::new(),
            called_latest: BTreeSet::new(),
            images: false,
            asleep: BTreeMap::new(),
            pending: 0,
            woken: Vec::new(),
            absent: false,
            canary: None,
            requests: 0,
            two_calls: false,
            canaries: Vec::new(),
            roles: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            killed: Arc::new(Notify::new()),
            interrupt: CancellationToken::new(),
            stalled: Arc::new(Notify::new()),
            resume: Arc::new(Notify::new()),
        }
    }

    /// A copy that does not share the state.
    pub(crate) fn copy(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state.lock().unwrap().clone())),
            killed: Arc::new(Notify::new()),
            interrupt: CancellationToken::new(),
            stalled: Arc::new(Notify::new()),
            resume: Arc::new(Notify::new()),
        }
    }

    /// Resets the count of calls, and sets the faults by call index.
    pub(crate) fn arm(&self, faults: &[(usize, Fault)]) {
        let mut state = self.state.lock().unwrap();
        state.calls.clear();
        state.round_trips.clear();
        state.ended = 0;
        state.switches = 0;
        state.operations.clear();
        state.faults = faults.to_vec();
    }

    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The serial round trips of the calls, and what each consists of.
    pub(crate) fn round_trips(&self) -> Vec<Vec<&'static str>> {
        let state = self.state.lock().unwrap();
        let mut trips = vec![Vec::new(); state.ended];
        for (call, trip) in state.calls.iter().zip(&state.round_trips) {
            trips[trip - 1].push(*call);
        }
        for trip in &mut trips {
            trip.sort_unstable();
        }
        trips
    }

    pub(crate) async fn call<T>(
        &self,
        name: &'static str,
        mut effect: impl FnMut(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let round_trip = self.state.lock().unwrap().ended + 1;
        // Lets other tasks run, like a call over a network.
        tokio::task::yield_now().await;
        if self.next_fault() == Some(Fault::Stalled) {
            self.state.lock().unwrap().faults.clear();
            self.stalled.notify_one();
            self.resume.notified().await;
        }
        let stalls_after = self.next_fault() == Some(Fault::StalledAfter);
        let (result, killed) = {
            let mut state = self.state.lock().unwrap();
            let number = state.calls.len();
            state.calls.push(name);
            state.round_trips.push(round_trip);
            state.ended = state.ended.max(round_trip);
            let fault = state.faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
            match fault {
                None | Some(Fault::Stalled | Fault::StalledAfter) => (effect(&mut state), false),
                Some(Fault::Conflict) => (Err(failure(name, Meaning::Busy)), false),
                Some(Fault::Rejected) => (Err(failure(name, Meaning::Rejected)), false),
                Some(Fault::Refused) => (Err(lost(name)), false),
                Some(Fault::KilledBefore) => (Err(lost(name)), true),
                Some(Fault::AnswerLost) => {
                    drop(effect(&mut state));
                    (Err(lost(name)), false)
                }
                Some(Fault::Repeated) => {
                    drop(effect(&mut state));
                    (effect(&mut state), false)
                }
                Some(Fault::Edited) => {
                    state.edit();
                    (effect(&mut state), false)
                }
                Some(Fault::Moved) => {
                    state.pointer.variables.insert("owner".into(), "somebody else".into());
                    (effect(&mut state), false)
                }
                Some(Fault::Aliased) => {
                    state.aliased.insert("users_get:1".into());
                    (effect(&mut state), false)
                }
                Some(Fault::Interrupted) => {
                    self.interrupt.cancel();
                    (effect(&mut state), false)
                }
                Some(Fault::KilledAfter) => {
                    drop(effect(&mut state));
                    (Err(lost(name)), true)
                }
            }
        };
        if killed {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
        if stalls_after {
            self.state.lock().unwrap().faults.clear();
            self.stalled.notify_one();
            self.resume.notified().await;
        }
        result
    }

    /// The fault of the next call.
    fn next_fault(&self) -> Option<Fault> {
        let state = self.state.lock().unwrap();
        let number = state.calls.len();
        state.faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault)
    }
}

/// An API with `GET /users`, which calls the function `users_get`.
pub(crate) fn definition(timeout: u64) -> Definition {
    let uri = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/\
               arn:aws:lambda:eu-west-1:111111111111:function:users_get:${stageVariables.users_get}/invocations";
    let integration = serde_json::json!({ "type": "AWS_PROXY", "uri": uri, "timeout": timeout });
    Definition::new([("GET /users".to_owned(), serde_json::json!({ "integration": integration }))].into())
}

/// A canary of a deployment that somebody else started.
pub(crate) fn canary(deployment_id: &str) -> StageCanary {
    let (percent, variables) = (Percent::whole(10), BTreeMap::new());
    StageCanary { deployment_id: deployment_id.to_owned(), percent, variables }
}

fn failure(operation: &'static str, meaning: Meaning) -> Failure {
    Failure {
        operation,
        subject: "the cloud in memory".into(),
        meaning,
        code: None,
        message: "injected by the test".into(),
        request_id: None,
        advice: None,
    }
}

/// Lambda's answer, with status 502, to an invocation of an inactive function.
fn not_ready() -> Failure {
    let code = Some("ResourceNotReadyException".to_owned());
    Failure { code, ..failure("Invoke", Meaning::Unknown) }
}

fn lost(operation: &'static str) -> Failure {
    failure(operation, Meaning::Unknown)
}

impl State {
    fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn edit(&mut self) {
        let tick = self.tick();
        self.edits += 1;
        self.definition = self.next_definition.take().unwrap_or_else(|| definition(5000 + self.edits));
        let function = self.functions.values_mut().next().unwrap();
        function.config = Sha256::of(&tick.to_be_bytes());
        function.revision = tick;
    }

    fn is_aliased(&self, name: &FunctionName, version: &str) -> bool {
        let own = format!("{name}:");
        self.aliases
            .iter()
            .any(|(id, alias)| id.starts_with(&own) && alias.target.version.as_str() == version)
    }

    fn write(&mut self, key: &str, body: &[u8]) -> Written {
        let etag = self.tick();
        self.objects.insert(key.to_owned(), (body.to_vec(), etag));
        self.written.insert(key.to_owned(), self.now);
        Written::Done(etag.to_string())
    }

    /// Publishing unchanged code and configuration returns the existing version, as on AWS.
    fn publish(&mut self, name: &FunctionName) -> Published {
        let function = self.functions.get_mut(name.as_str()).unwrap();
        let latest = (function.latest.clone(), function.config);
        let deleted = function.deleted.contains(&function.versions.len());
        let is_new = function.versions.last() != Some(&latest) || deleted;
        if is_new {
            function.versions.push(latest);
        }
        let version = function.versions.len().to_string().parse().unwrap();
        let code_sha256 = function.latest.clone();
        let id = format!("{name}:{version}");
        if is_new && self.pending > 0 {
            self.asleep.insert(id.clone(), Asleep::Pending(self.pending));
        }
        Published { version, code_sha256, activity: self.activity(&id) }
    }

    fn activity(&self, version: &str) -> Activity {
        match self.asleep.get(version) {
            None => Activity::Active,
            Some(Asleep::Inactive | Asleep::Broken) => Activity::Inactive("Inactive: it is idle".into()),
            Some(Asleep::Pending(_) | Asleep::Failing) => Activity::Pending("Pending".into()),
        }
    }

    /// The activity of a version as it is read, which is closer to its end with each read.
    fn read_activity(&mut self, version: &str) -> Activity {
        let activity = self.activity(version);
        match self.asleep.get(version).copied() {
            Some(Asleep::Pending(0 | 1)) => drop(self.asleep.remove(version)),
            Some(Asleep::Pending(reads)) => {
                self.asleep.insert(version.to_owned(), Asleep::Pending(reads - 1));
            }
            Some(Asleep::Failing) => drop(self.asleep.insert(version.to_owned(), Asleep::Inactive)),
            None | Some(Asleep::Inactive | Asleep::Broken) => {}
        }
        activity
    }

    /// Invokes a version: one that cannot be invoked fails, and an inactive one becomes pending.
    fn invoke(&mut self, version: &str) -> Result<(), Failure> {
        let next = match self.asleep.get(version) {
            None => return Ok(()),
            Some(Asleep::Inactive) => Asleep::Pending(2),
            Some(Asleep::Broken) => Asleep::Failing,
            Some(Asleep::Pending(_) | Asleep::Failing) => return Err(not_ready()),
        };
        self.asleep.insert(version.to_owned(), next);
        Err(not_ready())
    }

    /// The variables of the next request: every so many get those of the canary.
    fn chosen(&mut self) -> BTreeMap<String, String> {
        let mut variables = self.pointer.variables.clone();
        self.requests += 1;
        if let Some(canary) = &self.canary {
            let chosen = |requests: u32| (f64::from(requests) * canary.percent.as_f64() / 100.0).floor();
            if chosen(self.requests) > chosen(self.requests - 1) {
                variables.extend(canary.variables.clone());
            }
        }
        variables
    }

    /// What the stage and its canary are after an UpdateStage.
    fn patched(&self, operations: &[Operation<'_>]) -> Result<(Pointer, Option<StageCanary>), Failure> {
        let rejected = || failure("UpdateStage", Meaning::Rejected);
        let exists = |id: &str| self.deployments.iter().any(|(deployment, _)| deployment.id.as_str() == id);
        let mut pointer = self.pointer.clone();
        let mut canary = self.canary.clone();
        let new = || StageCanary {
            deployment_id: self.pointer.deployment_id.to_string(),
            percent: Percent::whole(0),
            variables: BTreeMap::new(),
        };
        for operation in operations {
            let is_right = match *operation {
                Operation::Deployment(id) => {
                    pointer.deployment_id = id.clone();
                    exists(id.as_str())
                }
                Operation::Set(name, value) => {
                    pointer.variables.insert(name.to_owned(), value.to_owned());
                    true
                }
                Operation::Remove(name) => pointer.variables.remove(name).is_some(),
                Operation::CanaryPercent(percent) => {
                    canary.get_or_insert_with(new).percent = Percent::whole(percent);
                    true
                }
                Operation::CanaryDeployment(id) => {
                    canary.get_or_insert_with(new).deployment_id = id.to_string();
                    exists(id.as_str())
                }
                Operation::CanarySet(name, value) => {
                    canary.get_or_insert_with(new).variables.insert(name.to_owned(), value.to_owned());
                    true
                }
                Operation::RemoveCanary => {
                    canary.take().is_some() && !(self.two_calls && operations.len() > 1)
                }
            };
            if !is_right {
                return Err(rejected());
            }
        }
        Ok((pointer, canary))
    }

    fn crashes(&self, version: &str) -> bool {
        self.crashing.contains(version)
    }

    fn function(&mut self, name: &FunctionName, operation: &'static str) -> Result<&mut Function, Failure> {
        self.functions.get_mut(name.as_str()).ok_or_else(|| failure(operation, Meaning::NotFound))
    }
}

impl Store for Cloud {
    fn name(&self) -> &str {
        "memory"
    }

    async fn read(&self, key: &str) -> Result<Option<Stored>, Failure> {
        self.call("GetObject", |state| {
            let object = state.objects.get(key);
            let written = state.written.get(key).copied().unwrap_or(state.now);
            let age = Some(Duration::from_secs(state.now - written));
            Ok(object.map(|(body, etag)| Stored { body: body.clone(), etag: etag.to_string(), age }))
        })
        .await
    }

    async fn create(&self, key: &str, body: &[u8]) -> Result<Written, Failure> {
        self.call("PutObject", |state| {
            Ok(if state.objects.contains_key(key) { Written::Refused } else { state.write(key, body) })
        })
        .await
    }

    async fn replace(&self, key: &str, body: &[u8], etag: &str) -> Result<Written, Failure> {
        self.call("PutObject", |state| {
            let same = state.objects.get(key).is_some_and(|(_, stored)| stored.to_string() == etag);
            Ok(if same { state.write(key, body) } else { Written::Refused })
        })
        .await
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        self.call("ListObjectsV2", |state| {
            Ok(state.objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
        })
        .await
    }

    async fn objects(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        self.call("ListObjectVersions", |state| {
            let objects = state.objects.iter().filter(|(key, _)| key.starts_with(prefix));
            Ok(objects
                .map(|(key, (body, tick))| Object {
                    key: key.clone(),
                    s3_version: None,
                    bytes: body.len() as u64,
                    modified: tick.cast_signed(),
                })
                .collect())
        })
        .await
    }

    async fn delete(&self, objects: &[Object]) -> Result<(), Failure> {
        self.call("DeleteObjects", |state| {
            objects.iter().for_each(|object| drop(state.objects.remove(&object.key)));
            Ok(())
        })
        .await
    }

    async fn upload(
        &self,
        _key: &str,
        _file: &Path,
        _sha256: &Sha256,
        _replaced: Option<&str>,
    ) -> Result<Uploaded, UploadError> {
        Ok(Uploaded { s3_version: None, existed: false })
    }
}

impl StagePort for Cloud {
    fn location(&self) -> Location {
        Location { account: "111111111111".parse().unwrap(), region: "eu-west-1".into() }
    }

    async fn function(&self, name: &FunctionName) -> Result<FunctionState, Failure> {
        self.call("GetFunctionConfiguration", |state| {
            let start = Start { is_image: state.images, memory_mb: Some(512), ..Start::default() };
            let function = state.function(name, "GetFunctionConfiguration")?;
            Ok(FunctionState {
                code_sha256: function.latest.clone(),
                config_sha256: function.config,
                architecture: Some(function.architecture),
                aws_config_sha256: function.aws_config.clone(),
                revision: function.revision.to_string(),
                failed: None,
                start,
            })
        })
        .await
    }

    async fn version(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
    ) -> Result<Option<PublishedState>, Failure> {
        self.call("GetFunctionConfiguration", |state| {
            let Some(function) = state.functions.get(name.as_str()) else { return Ok(None) };
            let Some(code_sha256) = function.version(version.as_str()).map(str::to_owned) else {
                return Ok(None);
            };
            let number: usize = version.as_str().parse().unwrap();
            let config_sha256 = function.versions[number - 1].1;
            let activity = state.read_activity(&format!("{name}:{version}"));
            let role = state.roles.get(&format!("{name}:{version}")).cloned();
            let shared = (role.unwrap_or_else(|| "role".to_owned()), None);
            Ok(Some(PublishedState { code_sha256, config_sha256, activity, shared }))
        })
        .await
    }

    async fn update_code(
        &self,
        name: &FunctionName,
        code: &Code,
        revision: &str,
    ) -> Result<Published, Failure> {
        self.call("UpdateFunctionCode", |state| {
            let next = state.tick();
            let function = state.function(name, "UpdateFunctionCode")?;
            if function.revision.to_string() != revision {
                return Err(failure("UpdateFunctionCode", Meaning::Precondition));
            }
            function.revision = next;
            function.latest = code.code_sha256();
            if let Some(change) = code.architecture {
                function.architecture = change.to;
                function.config = Sha256::of(change.to.as_str().as_bytes());
            }
            Ok(state.publish(name))
        })
        .await
    }

    async fn publish(
        &self,
        name: &FunctionName,
        code_sha256: &str,
        revision: Option<&str>,
    ) -> Result<Published, Failure> {
        self.call("PublishVersion", |state| {
            let next = state.tick();
            let function = state.function(name, "PublishVersion")?;
            if function.latest != code_sha256 {
                return Err(failure("PublishVersion", Meaning::Rejected));
            }
            if revision.is_some_and(|revision| revision != function.revision.to_string()) {
                return Err(failure("PublishVersion", Meaning::Precondition));
            }
            // As on AWS, this moves the revision too.
            function.revision = next;
            Ok(state.publish(name))
        })
        .await
    }

    async fn set_latest(&self, name: &FunctionName, code: &Code, revision: &str) -> Result<(), Failure> {
        self.call("UpdateFunctionCode", |state| {
            let next = state.tick();
            let function = state.function(name, "UpdateFunctionCode")?;
            if function.revision.to_string() != revision {
                return Err(failure("UpdateFunctionCode", Meaning::Precondition));
            }
            function.revision = next;
            function.latest = code.code_sha256();
            Ok(())
        })
        .await
    }

    async fn alias(&self, name: &FunctionName, alias: &AliasName) -> Result<Option<AliasState>, Failure> {
        self.call("GetAlias", |state| Ok(state.aliases.get(&format!("{name}:{alias}")).cloned())).await
    }

    async fn move_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        target: &AliasTarget,
        revision: &str,
    ) -> Result<(), Failure> {
        self.call("UpdateAlias", |state| {
            // As on AWS, an update without any change moves the revision, too.
            let next = state.tick().to_string();
            let id = format!("{name}:{alias}");
            let found =
                state.aliases.get_mut(&id).ok_or_else(|| failure("UpdateAlias", Meaning::NotFound))?;
            if found.revision != revision {
                return Err(failure("UpdateAlias", Meaning::Precondition));
            }
            found.target = target.clone();
            found.revision = next;
            let second = target.second.as_ref().map(|(version, percent)| format!(" {version} {percent} %"));
            state.alias_moves.push(format!("{id} {}{}", target.version, second.unwrap_or_default()));
            Ok(())
        })
        .await
    }

    async fn provisioned(
        &self,
        name: &FunctionName,
        qualifier: &str,
    ) -> Result<Option<Provisioned>, Failure> {
        self.call("GetProvisionedConcurrencyConfig", |state| {
            let id = format!("{name}:{qualifier}");
            let now = state.provisioned.get(&id).cloned();
            // Allocated at the next read.
            if let Some(found) = state.provisioned.get_mut(&id)
                && found.allocation == Allocation::InProgress
            {
                found.allocation = match state.unallocatable.get(&id) {
                    Some(reason) => Allocation::Failed(reason.clone()),
                    None => Allocation::Ready,
                };
            }
            Ok(now)
        })
        .await
    }

    async fn provision(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        requested: u16,
    ) -> Result<(), Failure> {
        self.call("PutProvisionedConcurrencyConfig", |state| {
            let function = state.function(name, "PutProvisionedConcurrencyConfig")?;
            if function.version(version.as_str()).is_none() {
                return Err(failure("PutProvisionedConcurrencyConfig", Meaning::NotFound));
            }
            let id = format!("{name}:{version}");
            state.provisioned.insert(id, Provisioned { requested, allocation: Allocation::InProgress });
            Ok(())
        })
        .await
    }

    async fn unprovision(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        self.call("DeleteProvisionedConcurrencyConfig", |state| {
            drop(state.provisioned.remove(&format!("{name}:{version}")));
            Ok(())
        })
        .await
    }

    async fn wake(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        self.call("Invoke", |state| {
            let version = format!("{name}:{version}");
            state.woken.push(version.clone());
            state.invoke(&version)
        })
        .await
    }

    async fn definition(&self) -> Result<Definition, Failure> {
        self.call("GetResources", |state| Ok(state.definition.clone())).await
    }

    async fn deployed(&self) -> Result<Definition, Failure> {
        self.call("GetExport", |state| {
            let id = &state.pointer.deployment_id;
            let live = state.deployments.iter().find(|(deployment, _)| deployment.id == *id);
            Ok(live.map_or_else(|| state.definition.clone(), |(_, frozen)| frozen.clone()))
        })
        .await
    }

    async fn create_deployment(&self, description: &str) -> Result<DeploymentId, Failure> {
        self.call("CreateDeployment", |state| {
            let created = state.tick().cast_signed();
            state.made += 1;
            let id: DeploymentId = format!("d{}", state.made).parse().unwrap();
            let deployment = Deployment { id: id.clone(), description: description.to_owned(), created };
            let frozen = state.definition.clone();
            state.deployments.push((deployment, frozen));
            Ok(id)
        })
        .await
    }

    async fn deployments(&self) -> Result<Vec<Deployment>, Failure> {
        self.call("GetDeployments", |state| {
            Ok(state.deployments.iter().map(|(deployment, _)| deployment.clone()).collect())
        })
        .await
    }

    async fn deployment(&self, id: &DeploymentId) -> Result<Option<Deployment>, Failure> {
        self.call("GetDeployment", |state| {
            Ok(state.deployments.iter().find(|(there, _)| there.id == *id).map(|(there, _)| there.clone()))
        })
        .await
    }

    async fn stage(&self) -> Result<StageState, Failure> {
        self.call("GetStage", |state| {
            if state.absent {
                return Err(failure("GetStage", Meaning::NotFound));
            }
            Ok(StageState { pointer: state.pointer.clone(), canary: state.canary.clone(), cached: false })
        })
        .await
    }

    async fn stages(&self) -> Result<Vec<StageUse>, Failure> {
        self.call("GetStages", |state| {
            let canary = state.canary.iter().map(|canary| canary.deployment_id.parse().unwrap());
            let this = StageUse {
                name: "dev".into(),
                description: String::new(),
                deployments: [state.pointer.deployment_id.clone()].into_iter().chain(canary).collect(),
                variables: state.pointer.variables.clone().into_iter().collect(),
            };
            Ok(state.stages.iter().cloned().chain([this]).collect())
        })
        .await
    }

    async fn versions(&self, name: &FunctionName) -> Result<Option<Vec<VersionState>>, Failure> {
        self.call("ListVersionsByFunction", |state| {
            let Some(function) = state.functions.get(name.as_str()) else { return Ok(None) };
            let existing = (1..=function.versions.len()).filter(|number| !function.deleted.contains(number));
            let version = |number: usize| VersionState {
                version: number.to_string().parse().unwrap(),
                bytes: 1000,
                aliased: state.aliased.contains(&format!("{name}:{number}"))
                    || state.is_aliased(name, &number.to_string()),
            };
            Ok(Some(existing.map(version).collect()))
        })
        .await
    }

    async fn codes(&self, names: &[FunctionName]) -> Result<BTreeMap<FunctionName, Codes>, Failure> {
        self.call("ListFunctions", |state| {
            let codes = names.iter().filter_map(|name| {
                let function = state.functions.get(name.as_str())?;
                let numbers = (1..=function.versions.len()).map(|number| number.to_string());
                let versions = numbers.filter_map(|number| {
                    Some((number.parse().unwrap(), function.version(&number)?.to_owned()))
                });
                Some((name.clone(), Codes { latest: function.latest.clone(), versions: versions.collect() }))
            });
            Ok(codes.collect())
        })
        .await
    }

    async fn delete_version(&self, name: &FunctionName, version: &FunctionVersion) -> Result<(), Failure> {
        self.call("DeleteFunction", |state| {
            let is_aliased = state.is_aliased(name, version.as_str());
            if is_aliased || state.aliased.contains(&format!("{name}:{version}")) {
                return Err(failure("DeleteFunction", Meaning::Busy));
            }
            if state.provisioned.contains_key(&format!("{name}:{version}")) {
                return Err(failure("DeleteFunction", Meaning::Rejected));
            }
            let function = state.function(name, "DeleteFunction")?;
            function.deleted.insert(version.as_str().parse().unwrap());
            Ok(())
        })
        .await
    }

    async fn delete_deployment(&self, id: &DeploymentId) -> Result<(), Failure> {
        self.call("DeleteDeployment", |state| {
            let others = state.stages.iter().flat_map(|stage| &stage.deployments);
            if others.chain([&state.pointer.deployment_id]).any(|used| used == id) {
                return Err(failure("DeleteDeployment", Meaning::Rejected));
            }
            state.deployments.retain(|(there, _)| there.id != *id);
            Ok(())
        })
        .await
    }

    async fn update_stage(&self, operations: &[Operation<'_>]) -> Result<(), Failure> {
        self.call("UpdateStage", |state| {
            if operations.len() > MAX_OPERATIONS {
                let message =
                    "Update size too large. Try updating stage in multiple UpdateStage operations".to_owned();
                return Err(Failure { message, ..failure("UpdateStage", Meaning::Rejected) });
            }
            let (pointer, canary) = state.patched(operations)?;
            if canary.is_some() && canary != state.canary {
                state.canaries.extend(canary.clone());
            }
            state.canary = canary;
            state.switches += 1;
            state.operations.push(operations.len());
            if pointer != state.pointer || operations.iter().any(|it| matches!(it, Operation::Deployment(_)))
            {
                state.pointer = pointer.clone();
                state.moves.push(pointer);
            }
            Ok(())
        })
        .await
    }

    async fn flush_caches(&self, caches: Caches) -> Result<(), Failure> {
        self.call("FlushStageAuthorizersCache", |state| {
            state.flushed.push(caches);
            Ok(())
        })
        .await
    }

    async fn send(&self, http_request: &HttpRequest) -> ProbeResult {
        if let Err(failure) = self.call("GET", |_| Ok(())).await {
            return ProbeResult::Unreachable(failure.to_string());
        }
        let mut state = self.state.lock().unwrap();
        let variables = state.chosen();
        let release = variables.get("release").cloned().unwrap_or_default();
        let mut status = state.status.get(&release).copied().unwrap_or(200);
        let served: Vec<String> =
            variables.iter().map(|(name, version)| format!("{name}:{version}")).collect();
        for version in &served {
            if state.invoke(version).is_err() {
                state.read_activity(version);
                status = 502;
            }
        }
        let has_crashed = served.iter().any(|version| state.crashes(version));
        if has_crashed {
            status = 502;
        }
        let body = serde_json::json!({ "path": http_request.path, "release": release }).to_string();
        // API Gateway answers requests without credentials itself, without the functions' headers, and those
        // whose function crashes.
        let headers = if status == 401 || has_crashed {
            BTreeMap::new()
        } else {
            [("x-release".to_owned(), release)].into()
        };
        ProbeResult::Answer(Answer { status, headers, body: body.into() })
    }

    async fn invoke(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
    ) -> Result<Invoked, Failure> {
        self.call("Invoke", |state| {
            let function = state.function(name, "Invoke")?;
            let code =
                function.version(version.as_str()).ok_or_else(|| failure("Invoke", Meaning::NotFound))?;
            let error = payload.get("fail").map(|_| "Unhandled".to_owned());
            Ok(Invoked { error, result: serde_json::json!({ "code": code }) })
        })
        .await
    }

    async fn invoke_once(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        payload: &Value,
        _limit: Option<Duration>,
    ) -> Result<Tried, Failure> {
        self.call("Invoke", |state| {
            let id = format!("{name}:{version}");
            let what = [&payload["path"], &payload["deployctl"]["idempotency_key"]];
            let what = what.into_iter().find_map(Value::as_str).unwrap_or_default();
            state.invoked.push(format!("{id} {what}"));
            let error = state.crashes(&id).then(|| "Unhandled".to_owned());
            let result = serde_json::json!({ "errorType": "Runtime.ExitError" });
            Ok(Tried { invoked: Invoked { error, result }, log: vec![format!("{id} panicked")] })
        })
        .await
    }

    async fn log(
        &self,
        name: &FunctionName,
        version: &FunctionVersion,
        _since: Timestamp,
    ) -> Result<Vec<String>, Failure> {
        self.call("FilterLogEvents", |_| Ok(vec![format!("{name}:{version} panicked")])).await
    }

    async fn alarms(&self, names: &[String]) -> Result<BTreeMap<String, AlarmState>, Failure> {
        self.call("DescribeAlarms", |state| {
            let missing = AlarmState::Unreadable { reason: "there is no such alarm".into() };
            let state_of = |name: &String| state.alarms.get(name).unwrap_or(&missing).clone();
            Ok(names.iter().map(|name| (name.clone(), state_of(name))).collect())
        })
        .await
    }

    async fn metrics(
        &self,
        functions: &[Compared],
        _since: Timestamp,
        _until: Timestamp,
    ) -> Result<Vec<FunctionReading>, Failure> {
        self.call("GetMetricData", |state| {
            let side = |Compared { function, alias, .. }: &Compared, version: &FunctionVersion| {
                let alias = alias.as_ref().map(|alias| format!(":{alias}")).unwrap_or_default();
                state.metrics.get(&format!("{function}{alias}:{version}")).copied().unwrap_or_default()
            };
            let reading = |compared: &Compared| FunctionReading {
                function: compared.function.clone(),
                alias: compared.alias.clone(),
                old: side(compared, &compared.old),
                new: side(compared, &compared.new),
            };
            Ok(functions.iter().map(reading).collect())
        })
        .await
    }
}
