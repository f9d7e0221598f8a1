//! deployctl and what it replaces, in one run: `cargo bench --bench peers -- --help`.
//!
//! The peers are installed from their registries into `target/tmp`. All work on a local stage behind a proxy that delays
//! each request, in turns: one run of each tool is a round, and each row is the run of the median time.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod memory;
mod peer;
mod project;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use peer::{Installed, Peer};
use project::{Network, Project};
use table::{Run, goal, median, ratio};

/// How long a version of the local stage is pending.
const PENDING: f64 = 1.0;

/// The functions of the scenario `rate`.
const MANY: usize = 75;

/// Compares deployctl with scripts, SAM, Serverless and cargo-lambda
#[derive(Debug, Parser)]
struct Args {
    /// How often each tool runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How much later each request to AWS is passed on, in milliseconds
    #[arg(long, default_value_t = 60)]
    latency_ms: u64,
    /// The requests that Lambda answers in a second, in the scenario `rate`; more get 429
    #[arg(long, default_value_t = 15)]
    rate: usize,
    /// What is compared
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::value_variants().to_vec())]
    scenarios: Vec<Scenario>,
    /// The tools. By default all, but for the scenarios of growth only deployctl and the two in Python
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// The numbers of generated functions that are compared
    #[arg(long, value_delimiter = ',', default_value = "6,25,75")]
    functions: Vec<usize>,
    /// The numbers of generated layers that are compared
    #[arg(long, value_delimiter = ',', default_value = "1,3,6")]
    layers: Vec<usize>,
    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Scenario {
    /// new code on unchanged infrastructure, with plans: the example, six functions in two layers
    Release,
    /// the same without Terraform
    CodeOnly,
    /// back to the release before
    Rollback,
    /// a changed string of the example's functions, built and released on the local stage, without delay
    OneString,
    /// `release` with more and more generated functions
    Functions,
    /// `release` with more and more generated layers
    Layers,
    /// 75 functions without Terraform, where Lambda answers 429 above its rate
    Rate,
}

/// The tools of this run: those that are installed, and the reasons why others are not.
type Peers = Vec<(Peer, Result<Installed, String>)>;

struct Bench {
    args: Args,
    peers: Peers,
    goals: Vec<String>,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let mut peers = Peers::new();
    let wanted = if args.peers.is_empty() { Peer::value_variants() } else { &args.peers };
    for peer in wanted {
        peers.push((*peer, peer.install().await));
    }
    println!("{} rounds, {} ms for each request", args.rounds, args.latency_ms);
    println!("{}", table::HEAD);
    let mut bench = Bench { args, peers, goals: Vec::new() };
    bench.example().await;
    bench.functions().await;
    bench.layers().await;
    println!();
    for goal in bench.goals {
        println!("{goal}");
    }
}

impl Bench {
    fn wants(&self, scenario: Scenario) -> bool {
        self.args.scenarios.contains(&scenario)
    }

    /// What a tool is asked to do in a scenario, if it takes part.
    fn action(&self, peer: Peer, scenario: Scenario) -> Option<&'static str> {
        let is_growth = matches!(scenario, Scenario::Functions | Scenario::Layers);
        let takes_long = !matches!(peer, Peer::Deployctl | Peer::Careful | Peer::Best);
        let is_left_out = is_growth && takes_long && self.args.peers.is_empty();
        peer.action(scenario).filter(|_| !is_left_out && self.wants(scenario))
    }

    fn slow(&self) -> Network {
        Network { latency: Duration::from_millis(self.args.latency_ms), rate: 0 }
    }

    async fn example(&mut self) {
        use Scenario::{CodeOnly, OneString, Release, Rollback};
        if ![Release, CodeOnly, Rollback, OneString].into_iter().any(|scenario| self.wants(scenario)) {
            return;
        }
        let mut project = Project::example().await;
        if self.wants(OneString) {
            self.prepare(&mut project, &[OneString]).await;
            let runs = self.compare(&mut project, OneString, "one string", Network::default()).await;
            if let Some(run) = runs.get("deployctl") {
                self.goals.push(goal("one string with `release`, in seconds", run.time.as_secs_f64(), 5.0));
            }
        }
        project.without_build();
        self.prepare(&mut project, &[Release, CodeOnly, Rollback]).await;
        let mut whole = None;
        if self.wants(Release) {
            let runs = self.compare(&mut project, Release, "release", self.slow()).await;
            self.ratio_goal("release, to the best Python", &runs, runs.get("best Python"), 0.9);
            self.ratio_goal("release, to the careful Python", &runs, runs.get("careful Python"), 1.0 / 3.0);
            whole = runs.get("best Python").copied();
        }
        if self.wants(CodeOnly) {
            let runs = self.compare(&mut project, CodeOnly, "code only", self.slow()).await;
            self.ratio_goal("code only, to the best Python's release", &runs, whole.as_ref(), 0.2);
        }
        if self.wants(Rollback) {
            let runs = self.compare(&mut project, Rollback, "rollback", self.slow()).await;
            if let Some(run) = runs.get("deployctl") {
                let rounds = f64::from(u32::try_from(run.rounds_to_switch).unwrap());
                self.goals.push(goal("rollback, serial round trips with the switch", rounds, 3.0));
            }
        }
    }

    async fn functions(&mut self) {
        let mut sizes =
            if self.wants(Scenario::Functions) { self.args.functions.clone() } else { Vec::new() };
        if self.wants(Scenario::Rate) && !sizes.contains(&MANY) {
            sizes.push(MANY);
        }
        for size in sizes {
            let mut project = Project::generated(size, 2).await;
            self.prepare(&mut project, &[Scenario::Functions, Scenario::Rate]).await;
            if self.wants(Scenario::Functions) && self.args.functions.contains(&size) {
                let label = format!("{size} functions");
                self.compare(&mut project, Scenario::Functions, &label, self.slow()).await;
            }
            if self.wants(Scenario::Rate) && size == MANY {
                project.pace();
                let network = Network { rate: self.args.rate, ..self.slow() };
                let label = format!("{MANY} functions, {} calls/s", self.args.rate);
                let runs = self.compare(&mut project, Scenario::Rate, &label, network).await;
                if let Some(run) = runs.get("deployctl") {
                    let calls = f64::from(u32::try_from(run.lambda).unwrap());
                    let least = calls / f64::from(u32::try_from(self.args.rate).unwrap()) + PENDING;
                    let measured = run.time.as_secs_f64() / least;
                    self.goals.push(goal(
                        "75 functions, to calls / rate + one version's wait",
                        measured,
                        1.1,
                    ));
                }
            }
        }
    }

    async fn layers(&mut self) {
        let sizes = if self.wants(Scenario::Layers) { self.args.layers.clone() } else { Vec::new() };
        for size in sizes {
            let mut project = Project::generated(6, size).await;
            self.prepare(&mut project, &[Scenario::Layers]).await;
            self.compare(&mut project, Scenario::Layers, &format!("{size} layers"), self.slow()).await;
        }
    }

    /// Lets each tool that needs it create what it releases: the scripts share their layers.
    async fn prepare(&mut self, project: &mut Project, scenarios: &[Scenario]) {
        let is_used = |peer: Peer| {
            peer != Peer::Deployctl && scenarios.iter().any(|each| self.action(peer, *each).is_some())
        };
        let used: Vec<Peer> =
            self.peers.iter().map(|(peer, _)| *peer).filter(|peer| is_used(*peer)).collect();
        let scripts = used.iter().any(|peer| !peer.has_stack()).then_some(Peer::Careful);
        for creator in scripts.into_iter().chain(used.into_iter().filter(|peer| peer.has_stack())) {
            let Err(reason) = create(project, creator).await else { continue };
            let depends = |peer: Peer| {
                peer == creator || !creator.has_stack() && !peer.has_stack() && peer != Peer::Deployctl
            };
            for (_, installed) in self.peers.iter_mut().filter(|(peer, _)| depends(*peer)) {
                *installed = Err(format!("its first release failed: {reason}"));
            }
        }
    }

    /// Runs the tools in turns, prints their rows, and returns their medians by name.
    async fn compare(
        &self,
        project: &mut Project,
        scenario: Scenario,
        label: &str,
        network: Network,
    ) -> BTreeMap<&'static str, Run> {
        let mut runs: BTreeMap<&'static str, Result<Vec<Run>, String>> = BTreeMap::new();
        for _ in 0..self.args.rounds {
            for (peer, installed) in &self.peers {
                let Some(action) = self.action(*peer, scenario) else { continue };
                let all = runs.entry(peer.name()).or_insert_with(|| installed.clone().map(|_| Vec::new()));
                let (Ok(so_far), Ok(installed)) = (all.as_mut(), installed) else { continue };
                match self.once(project, (*peer, installed), (scenario, action), network).await {
                    Ok(run) => so_far.push(run),
                    Err(reason) => *all = Err(reason),
                }
            }
        }
        let mut medians = BTreeMap::new();
        let mut reasons = BTreeMap::new();
        for (name, result) in runs {
            match result {
                Ok(runs) => medians.extend(median(runs).map(|run| (name, run))),
                Err(reason) => drop(reasons.insert(name, reason)),
            }
        }
        let base = medians.get("deployctl").map(|run| run.time);
        for name in self.peers.iter().map(|(peer, _)| peer.name()) {
            if let Some(run) = medians.get(name) {
                println!("{}", table::row(label, name, run, base));
            } else if let Some(reason) = reasons.get(name) {
                println!("{}", table::missing(label, name, reason));
            }
        }
        medians
    }

    async fn once(
        &self,
        project: &mut Project,
        tool: (Peer, &Installed),
        (scenario, action): (Scenario, &str),
        network: Network,
    ) -> Result<Run, String> {
        if scenario == Scenario::OneString {
            project.change_string();
        }
        let version = project.build();
        if scenario != Scenario::Rollback {
            return project.run(tool, (action, &version), network).await;
        }
        // Two releases, of which the newer one is live. The scripts share a stage: what one of them has released, all
        // can go back to.
        let mut releaser = tool;
        let best = Peer::Best.install().await?;
        if tool.0 != Peer::Deployctl {
            releaser = (Peer::Best, &best);
        }
        project.run(releaser, ("code-only", &version), Network::default()).await?;
        let newer = project.build();
        project.run(releaser, ("code-only", &newer), Network::default()).await?;
        project.run(tool, (action, &version), network).await
    }

    fn ratio_goal(&mut self, what: &str, runs: &BTreeMap<&str, Run>, base: Option<&Run>, most: f64) {
        if let (Some(run), Some(base)) = (runs.get("deployctl"), base) {
            self.goals.push(goal(what, ratio(run.time, base.time), most));
        }
    }
}

/// The first release of a tool, which creates everything.
async fn create(project: &mut Project, creator: Peer) -> Result<(), String> {
    let installed = creator.install().await?;
    let version = project.build();
    project.run((creator, &installed), ("release", &version), Network::default()).await.map(drop)
}
