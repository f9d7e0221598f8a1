//! `fleet.toml`: the projects of a fleet, and what each of them needs. All problems are reported at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::graph;
use crate::error::{Error, ErrorId, Result};
use crate::project::settings::{self, nearest, table_of};
use crate::release::model::{AccountId, StageName, Version};

/// The file's name, looked for in the current folder and those above it.
pub(crate) const FILE: &str = "fleet.toml";

/// The region of a local stage that names none.
const LOCAL_REGION: &str = "us-east-1";

/// What `fleet.toml` contains.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The coordination bucket, which has the results of the runs.
    bucket: String,
    /// The account that must own the bucket.
    account: String,
    /// The region of the bucket.
    region: String,
    /// The profile with which `status` reads the bucket; the caller's own credentials by default.
    profile: Option<String>,
    /// The stage of members that name none.
    stage: Option<String>,
    /// The members by name.
    members: BTreeMap<String, MemberFile>,
}

/// A project of the fleet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MemberFile {
    /// The folder of its `deployctl.toml`, relative to that of `fleet.toml`.
    path: String,
    /// Its stage; that of the fleet by default.
    stage: Option<String>,
    /// The members that are released before it.
    #[serde(default)]
    needs: Vec<String>,
    /// Files and folders outside its own that it is built from, relative to the folder of `fleet.toml`.
    #[serde(default)]
    paths: Vec<String>,
}

/// The only part of `deployctl.toml` that a plan needs. `fleet run` checks the whole file.
#[derive(Debug, Deserialize)]
struct Project {
    stages: Stages,
}

#[derive(Debug, Clone, Deserialize)]
struct ProjectStage {
    #[serde(default)]
    local: bool,
    account: Option<String>,
    region: Option<String>,
}

type Stages = BTreeMap<String, ProjectStage>;

#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// The folder of `fleet.toml`. Paths in the file are relative to it.
    pub(crate) root: PathBuf,
    pub(crate) bucket: String,
    /// The account that must own the bucket.
    pub(crate) account: AccountId,
    pub(crate) region: String,
    pub(crate) profile: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
}

/// A stage of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The folder of its `deployctl.toml`, without `.`.
    pub(crate) path: String,
    pub(crate) stage: StageName,
    pub(crate) account: AccountId,
    pub(crate) region: String,
    /// The members that are released before it.
    pub(crate) needs: Vec<String>,
    /// Files and folders outside its own that it is built from.
    pub(crate) paths: Vec<String>,
}

impl Fleet {
    /// Reads and checks `fleet.toml`: the file at `path`, or the nearest one above.
    ///
    /// # Errors
    /// `fleet.missing`, `fleet.invalid` with all problems; exit code 2.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => settings::find_trusted(FILE).map_err(|error| match error.id {
                ErrorId::ConfigMissing => missing(Path::new(FILE)),
                _ => error,
            })?,
        };
        let text = std::fs::read_to_string(&path).map_err(|problem| missing(&path).because(problem))?;
        let root = std::path::absolute(&path).map_err(|problem| missing(&path).because(problem))?;
        let root = root.parent().unwrap_or(&root).to_owned();
        let project = |folder: &str| {
            let file = root.join(folder).join(settings::FILE);
            std::fs::read_to_string(&file)
                .map_err(|problem| format!("failed to read {}: {problem}", file.display()))
        };
        Self::parse(&text, root.clone(), &project).map_err(|problems| {
            let shown = path.display();
            let number = problems.len();
            let word = if number == 1 { "problem" } else { "problems" };
            let list: String = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
            Error::usage(ErrorId::FleetInvalid, format!("{shown} has {number} {word}:{list}"))
                .hint("nothing was changed; correct the file, and run the command again")
        })
    }

    /// The fleet of `text`; `project` reads the `deployctl.toml` of a folder.
    fn parse(
        text: &str,
        root: PathBuf,
        project: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Self, Vec<String>> {
        let file: File =
            toml::from_str(text).map_err(|problem| vec![problem.to_string().trim_end().to_owned()])?;
        let mut problems = Vec::new();
        let account = file.account.parse::<AccountId>();
        if let Err(problem) = &account {
            problems.push(format!("account: {problem}"));
        }
        if file.members.is_empty() {
            problems.push("members: a fleet has at least one".to_owned());
        }
        let mut projects = BTreeMap::new();
        let mut members = BTreeMap::new();
        for (name, member) in &file.members {
            let mut read = |folder: &str| -> Result<Stages, String> {
                let stages = projects.entry(folder.to_owned()).or_insert_with(|| stages(&project(folder)?));
                stages.clone()
            };
            match resolve(name, member, &file, &mut read) {
                Ok(member) => drop(members.insert(name.clone(), member)),
                Err(found) => {
                    problems.extend(found.into_iter().map(|text| format!("members.{name}: {text}")))
                }
            }
        }
        problems.extend(duplicates(&members));
        if problems.is_empty()
            && let Some(cycle) = graph::cycle(&members)
        {
            problems.push(format!("members need each other: {}", cycle.join(" needs ")));
        }
        match account {
            Ok(account) if problems.is_empty() => {
                let File { bucket, region, profile, .. } = file;
                Ok(Self { root, bucket, account, region, profile, members })
            }
            _ => Err(problems),
        }
    }

    /// The member called `name`.
    ///
    /// # Errors
    /// `fleet.unknown_member`, with the nearest name.
    pub(crate) fn member(&self, name: &str) -> Result<&Member> {
        self.members.get(name).ok_or_else(|| {
            let message = format!("there is no member {name:?} in {FILE}");
            Error::usage(ErrorId::FleetUnknownMember, message)
                .hint(format!("nothing was changed; {}", suggestion(name, self.members.keys())))
        })
    }
}

fn missing(path: &Path) -> Error {
    Error::usage(ErrorId::FleetMissing, format!("failed to read {}", path.display()))
        .hint("run deployctl inside a fleet, or name the file with --fleet")
}

fn stages(text: &str) -> Result<Stages, String> {
    toml::from_str::<Project>(text)
        .map(|project| project.stages)
        .map_err(|problem| format!("{} is not valid: {}", settings::FILE, problem.message()))
}

fn resolve(
    name: &str,
    member: &MemberFile,
    file: &File,
    read: &mut dyn FnMut(&str) -> Result<Stages, String>,
) -> Result<Member, Vec<String>> {
    let mut problems = Vec::new();
    // It becomes part of S3 keys, and of outputs of a workflow.
    if let Err(problem) = name.parse::<Version>() {
        problems.push(problem.to_string().replacen("version", "name", 1));
    }
    for needed in &member.needs {
        if !file.members.contains_key(needed) {
            problems.push(format!(
                "needs {needed:?}, which is no member; {}",
                suggestion(needed, file.members.keys())
            ));
        }
    }
    let mut folder = |key: &str, path: &str| match normalized(path) {
        Some(path) => path,
        None => {
            problems.push(format!("{key}: {path:?} is not a relative path"));
            String::new()
        }
    };
    let path = folder("path", &member.path);
    let paths = member.paths.iter().map(|path| folder("paths", path)).collect();
    let stage = member.stage.as_ref().or(file.stage.as_ref());
    let place = match stage {
        None => Err("stage: is missing, and the fleet has none either".to_owned()),
        Some(stage) => read(&path).and_then(|stages| place(stage, &stages)),
    };
    match place {
        Ok((stage, account, region)) if problems.is_empty() => {
            let mut needs = member.needs.clone();
            needs.sort();
            needs.dedup();
            Ok(Member { path, stage, account, region, needs, paths })
        }
        place => {
            problems.extend(place.err());
            Err(problems)
        }
    }
}

/// The stage called `stage`, its account and its region.
fn place(stage: &str, stages: &Stages) -> Result<(StageName, AccountId, String), String> {
    let Some((_, found)) = table_of(stages, stage) else {
        return Err(format!("the project has no stage {stage:?}; {}", suggestion(stage, stages.keys())));
    };
    let name = stage.parse::<StageName>().map_err(|problem| problem.to_string())?;
    let account = found.account.as_deref().or(found.local.then_some(crate::local::ACCOUNT));
    let region = found.region.as_deref().or(found.local.then_some(LOCAL_REGION));
    let (Some(account), Some(region)) = (account, region) else {
        return Err(format!("stage {stage} has no account or no region in {}", settings::FILE));
    };
    let account = account.parse::<AccountId>().map_err(|problem| problem.to_string())?;
    Ok((name, account, region.to_owned()))
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a String> + Clone) -> String {
    match nearest(name, known.clone().map(String::as_str)) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("known: {}", known.cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// Members that are the same stage of the same project.
fn duplicates(members: &BTreeMap<String, Member>) -> Vec<String> {
    let mut first = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, Member { path, stage, .. }) in members {
        if let Some(other) = first.insert((path, stage), name) {
            problems.push(format!("members.{name}: {path} with stage {stage} is member {other} already"));
        }
    }
    problems
}

/// A relative path without `.` and trailing slashes; `..` only at its beginning. `None` for an absolute one.
fn normalized(path: &str) -> Option<String> {
    if path.is_empty() || path.starts_with('/') {
        return None;
    }
    Some(join("", path))
}

/// `path` below `folder`, where `..` leads up.
pub(super) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const PROJECT: &str = "[stages.prd]\naccount = \"111111111111\"\nregion = \"eu-central-1\"\n\
                           [stages.local]\nlocal = true\n\
                           [stages.\"pr-*\"]\naccount = \"222222222222\"\nregion = \"eu-west-1\"\n";

    /// The fleet of these members, each a line of TOML.
    pub(crate) fn fleet(members: &str) -> Result<Fleet, Vec<String>> {
        let head = "bucket = \"fleet\"\naccount = \"333333333333\"\nregion = \"eu-central-1\"\nstage = \"prd\"\n[members]\n";
        let project = |folder: &str| {
            if folder.contains("empty") { Err("no file".to_owned()) } else { Ok(PROJECT.to_owned()) }
        };
        Fleet::parse(&format!("{head}{members}"), PathBuf::new(), &project)
    }

    #[test]
    fn a_member_gets_account_and_region_from_its_project() {
        let fleet = fleet(
            "a = { path = \"./services/a/\" }\nb = { path = \"b\", stage = \"local\", needs = [\"a\"] }\n\
             p = { path = \"p\", stage = \"pr-7\" }\n",
        )
        .unwrap();
        let a = fleet.member("a").unwrap();
        assert_eq!(
            (a.path.as_str(), a.account.as_str(), a.region.as_str()),
            ("services/a", "111111111111", "eu-central-1")
        );
        let b = fleet.member("b").unwrap();
        assert_eq!((b.account.as_str(), b.region.as_str()), ("000000000000", "us-east-1"));
        assert_eq!(fleet.member("p").unwrap().account.as_str(), "222222222222", "of a template");
        assert!(fleet.member("c").unwrap_err().hint.unwrap().contains("known: a, b, p"));
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let problems = fleet(
            "users = { path = \"users\", needs = [\"bass\"] }\nbase = { path = \"base\" }\n\
             again = { path = \"./base\" }\nfar = { path = \"/far\" }\nodd = { path = \"odd\", stage = \"prod\" }\n\
             void = { path = \"empty\" }\n",
        )
        .unwrap_err()
        .join("\n");
        for told in [
            "members.users: needs \"bass\", which is no member; did you mean \"base\"?",
            "members.base: base with stage prd is member again already",
            "members.far: path: \"/far\" is not a relative path",
            "members.odd: the project has no stage \"prod\"; did you mean \"prd\"?",
            "members.void: no file",
        ] {
            assert!(problems.contains(told), "{told}\n{problems}");
        }
        assert!(fleet("a = { pth = \"a\" }\n").unwrap_err()[0].contains("unknown field `pth`"));
    }

    #[test]
    fn a_cycle_is_named() {
        let problems = fleet(
            "a = { path = \"a\", needs = [\"c\"] }\nb = { path = \"b\", needs = [\"a\"] }\n\
             c = { path = \"c\", needs = [\"b\"] }\nd = { path = \"d\", needs = [\"a\"] }\n",
        );
        assert_eq!(problems.unwrap_err(), ["members need each other: a needs c needs b needs a"]);
    }
}
