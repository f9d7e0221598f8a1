//! The checks that send requests to the sandbox's stage.
//!
//! The function returns its version, which belongs to the deployment, and the stage variable `mark`. So an answer
//! shows both halves of what a switch changes.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::gateway::{patch, pointer, replace};
use super::lambda::told;
use super::sandbox::{Sandbox, Served};
use super::{Check, Observation, Stop};
use crate::aws::http::Trust;
use crate::aws::timeouts::CONNECT;
use crate::engine::failure::Failure;

/// The connections over which requests are sent at the same time. Every second one is opened anew for each
/// request, because a connection that is kept reaches one server of API Gateway only.
const CONNECTIONS: usize = 4;

/// The wait for a change to be seen, as long as a release waits by default.
const LIMIT: Duration = Duration::from_secs(60);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The answers among which both releases must be, where a canary is on.
const SHARED: usize = 60;

/// How many requests are sent, and how fast.
#[derive(Debug)]
struct Pace {
    /// The pause of a connection between two requests.
    interval: Duration,
    /// The answers in a row with which the first deployment is taken to be served.
    started: usize,
    /// The answers in a row, over all connections, after which a change is taken to be complete.
    steady: usize,
    /// The requests that test that nothing has changed.
    unchanged: usize,
    /// How long the check of a canary waits for both releases.
    canary: Duration,
}

const AWS: Pace = Pace {
    interval: Duration::from_millis(100),
    started: 20,
    steady: 200,
    unchanged: 50,
    canary: Duration::from_secs(60),
};

/// In the emulator, changes take effect at once.
const EMULATOR: Pace = Pace {
    interval: Duration::from_millis(2),
    started: 5,
    steady: 25,
    unchanged: 5,
    canary: Duration::from_secs(1),
};

/// The most requests to the sandbox API in AWS: three waits (start, switch, canary) of 60 s with ten requests a
/// second on each connection, and the others.
pub(crate) const MAX_REQUESTS: usize = 3 * 60 * 10 * CONNECTIONS + 2 * AWS.unchanged + 1;

/// What answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Deployment and variables of the first release.
    Old,
    /// Those of the second.
    New,
    /// One of the two from each.
    Mixture,
    /// Another status than 200, or a body that the function does not write.
    Other(u16),
    Unanswered,
}

/// A request.
#[derive(Debug, Clone, Copy)]
struct Sample {
    connection: usize,
    sent: Instant,
    seen: Seen,
}

/// What the function returns.
#[derive(Debug, Deserialize)]
struct Body {
    version: String,
    mark: Option<String>,
}

fn seen(status: u16, body: &[u8], old: &Served, new: &Served) -> Seen {
    let parsed = serde_json::from_slice::<Body>(body).ok().filter(|_| status == 200);
    let Some(Body { version, mark }) = parsed else { return Seen::Other(status) };
    match (version, mark.as_deref()) {
        (version, Some("old")) if version == old.version => Seen::Old,
        (version, Some("new")) if version == new.version => Seen::New,
        (version, Some("old" | "new")) if version == old.version || version == new.version => Seen::Mixture,
        _ => Seen::Other(status),
    }
}

/// A client that keeps its connection, or opens one for each request.
fn client(trust: &Trust, keeps: bool) -> Result<reqwest::Client, Failure> {
    let caller = trust.caller().map(|caller| caller.timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT));
    caller
        .and_then(|caller| caller.pool_max_idle_per_host(usize::from(keeps)).build())
        .map_err(|error| Failure::rejected("request", "the sandbox API", error.to_string()))
}

impl Sandbox {
    fn trust(&self) -> &Trust {
        self.aws.trust()
    }

    fn pace(&self) -> &'static Pace {
        if self.aws.target.emulator.is_some() { &EMULATOR } else { &AWS }
    }

    async fn get(&self, client: &reqwest::Client, path: &str) -> Seen {
        let request = client.get(format!("{}{path}", self.url)).send();
        let Ok(answer) = request.await else { return Seen::Unanswered };
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap_or_default();
        seen(status, &body, &self.old, &self.new)
    }
}

/// What the connections share.
#[derive(Debug, Default)]
struct Watch {
    samples: Vec<Sample>,
    streak: usize,
}

impl Watch {
    fn add(&mut self, sample: Sample, wanted: Seen) {
        self.streak = if sample.seen == wanted { self.streak + 1 } else { 0 };
        self.samples.push(sample);
    }

    fn has(&self, wanted: Seen) -> bool {
        self.samples.iter().any(|sample| sample.seen == wanted)
    }
}

/// Sends requests over all connections until `is_done`, or until `limit`. `wanted` counts for the streak. Meanwhile
/// does `work`.
async fn watch<T>(
    sandbox: &Sandbox,
    wanted: Seen,
    limit: Duration,
    is_done: impl Fn(&Watch) -> bool,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<(Watch, T), Stop> {
    let shared = RefCell::new(Watch::default());
    let start = Instant::now();
    let (shared, is_done) = (&shared, &is_done);
    let connections = (0..CONNECTIONS).map(async |connection| {
        let client = client(sandbox.trust(), connection % 2 == 0)?;
        while !is_done(&shared.borrow()) && start.elapsed() < limit {
            sandbox.go_on()?;
            let sent = Instant::now();
            let seen = sandbox.get(&client, "/f").await;
            shared.borrow_mut().add(Sample { connection, sent, seen }, wanted);
            sandbox.pause(sandbox.pace().interval).await?;
        }
        Ok::<_, Stop>(())
    });
    let (sent, done) = futures::join!(futures::future::try_join_all(connections), work);
    sent?;
    Ok((shared.take(), done?))
}

/// `number` requests, one after the other.
async fn requests(sandbox: &Sandbox, number: usize) -> Result<Vec<Seen>, Stop> {
    let client = client(sandbox.trust(), false)?;
    let mut all = Vec::new();
    for _ in 0..number {
        sandbox.go_on()?;
        all.push(sandbox.get(&client, "/f").await);
        sandbox.pause(sandbox.pace().interval).await?;
    }
    Ok(all)
}

/// The number of each kind of answer.
fn summary<'a>(answers: impl Iterator<Item = &'a Seen> + Clone) -> String {
    let count = |kind: fn(&Seen) -> bool| answers.clone().filter(|seen| kind(seen)).count();
    let mut text = format!(
        "{} old, {} new, {} mixed answers",
        count(|seen| *seen == Seen::Old),
        count(|seen| *seen == Seen::New),
        count(|seen| *seen == Seen::Mixture),
    );
    let others = count(|seen| matches!(seen, Seen::Other(_) | Seen::Unanswered));
    if others > 0 {
        let example = answers.clone().find_map(|seen| match seen {
            Seen::Other(status) => Some(format!("status {status}")),
            _ => None,
        });
        text.push_str(&format!(", {others} others ({})", example.unwrap_or_else(|| "no answer".to_owned())));
    }
    text
}

pub(super) async fn stage_variable_version(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let (start, started) = (Instant::now(), sandbox.pace().started);
    let (watch, ()) =
        watch(sandbox, Seen::Old, LIMIT, |watch| watch.streak >= started, async { Ok(()) }).await?;
    let holds = watch.streak >= started;
    let first = watch.samples.iter().find(|sample| sample.seen == Seen::Old);
    let text = summary(watch.samples.iter().map(|sample| &sample.seen));
    Ok(match first {
        Some(sample) => {
            let time = milliseconds(sample.sent.saturating_duration_since(start));
            Observation::of(holds, format!("version {} answers; {text}", sandbox.old.version)).after(time)
        }
        None => Observation::of(false, text),
    })
}

pub(super) async fn stage_variable_absent(sandbox: &Sandbox) -> Result<Observation, Stop> {
    sandbox.go_on()?;
    Ok(match sandbox.get(&client(sandbox.trust(), false)?, "/absent").await {
        Seen::Other(status) => Observation::of(status == 500, format!("status {status}")),
        Seen::Unanswered => Observation::not_tried("no answer"),
        Seen::Old | Seen::New | Seen::Mixture => Observation::of(false, "a version of the function answered"),
    })
}

/// Passed if all answers are of the first release.
async fn still_old(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let answers = requests(sandbox, sandbox.pace().unchanged).await?;
    Ok(Observation::of(answers.iter().all(|seen| *seen == Seen::Old), summary(answers.iter())))
}

pub(super) async fn api_change(sandbox: &Sandbox) -> Result<Observation, Stop> {
    sandbox.change_api().await?;
    still_old(sandbox).await
}

pub(super) async fn deployment(sandbox: &mut Sandbox) -> Result<Observation, Stop> {
    if sandbox.new.version.is_empty() {
        return Ok(Observation::not_tried("there is no second version"));
    }
    sandbox.new.deployment = sandbox.deploy().await?;
    let (served, _) = pointer(sandbox).await?;
    if served != sandbox.old.deployment {
        return Ok(Observation::of(false, format!("the stage points to deployment {served}")));
    }
    still_old(sandbox).await
}

/// Switches the stage under requests. Observes also for the two other checks of a switch.
pub(super) async fn switch(sandbox: &mut Sandbox) -> Result<Observation, Stop> {
    if sandbox.new.deployment.is_empty() {
        return Ok(Observation::not_tried("there is no second deployment"));
    }
    let operations = vec![
        replace("/deploymentId", &sandbox.new.deployment),
        replace("/variables/new", &sandbox.new.version),
        replace("/variables/old", &sandbox.old.version),
        replace("/variables/mark", "new"),
    ];
    let update = async {
        sandbox.pause(sandbox.pace().interval * 10).await?;
        Ok((patch(sandbox, operations).await?, Instant::now()))
    };
    let steady = sandbox.pace().steady;
    let (watch, (answer, answered)) =
        watch(sandbox, Seen::New, LIMIT, |watch| watch.streak >= steady, update).await?;
    if let Err(failure) = answer {
        return Ok(Observation::of(false, told(&failure)));
    }
    sandbox.switched = true;
    let samples = watch.samples;
    let text = summary(samples.iter().map(|sample| &sample.seen));
    let mixture = samples.iter().any(|sample| sample.seen == Seen::Mixture);
    sandbox.observed(Check::SwitchAtomic, Observation::of(!mixture, text));
    let relapse = relapse(&samples);
    sandbox.observed(
        Check::SwitchThreeAnswers,
        Observation::of(
            relapse.is_none(),
            relapse.map_or_else(
                || "no old answer after three new ones".to_owned(),
                |late| format!("an old answer {late} ms after three new ones in a row"),
            ),
        ),
    );
    let time = last_old(&samples, answered);
    Ok(Observation::of(
        watch.streak >= steady,
        format!(
            "the last old answer was sent {time} ms after the switch; {} requests over {CONNECTIONS} connections",
            samples.len()
        ),
    )
    .after(time))
}

/// The milliseconds from the answer of the switch to the last request with an old answer.
fn last_old(samples: &[Sample], answered: Instant) -> u64 {
    let old = samples.iter().filter(|sample| sample.seen == Seen::Old).map(|sample| sample.sent).max();
    old.map_or(0, |sent| milliseconds(sent.saturating_duration_since(answered)))
}

/// The milliseconds from three new answers in a row, on one connection, to the last old answer after them.
fn relapse(samples: &[Sample]) -> Option<u64> {
    let late = |connection: usize| {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.connection == connection).collect();
        let three = own.windows(3).position(|three| three.iter().all(|sample| sample.seen == Seen::New))? + 2;
        let old = own[three..].iter().rfind(|sample| sample.seen == Seen::Old)?;
        Some(milliseconds(old.sent.saturating_duration_since(own[three].sent)))
    };
    (0..CONNECTIONS).filter_map(late).max()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) async fn canary_share(sandbox: &Sandbox) -> Result<Observation, Stop> {
    if !sandbox.canary {
        return Ok(Observation::not_tried("there is no canary"));
    }
    let is_done =
        |watch: &Watch| watch.samples.len() >= SHARED && watch.has(Seen::Old) && watch.has(Seen::New);
    let limit = sandbox.pace().canary;
    let (watch, ()) = watch(sandbox, Seen::New, limit, is_done, async { Ok(()) }).await?;
    let holds = watch.has(Seen::Old) && watch.has(Seen::New) && !watch.has(Seen::Mixture);
    Ok(Observation::of(holds, summary(watch.samples.iter().map(|sample| &sample.seen))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(version: &str) -> Served {
        Served { deployment: String::new(), version: version.to_owned() }
    }

    #[test]
    fn an_answer_shows_both_halves_of_a_switch() {
        let see = |status, body: &str| seen(status, body.as_bytes(), &served("1"), &served("2"));
        assert_eq!(see(200, r#"{"version":"1","mark":"old","code":"old"}"#), Seen::Old);
        assert_eq!(see(200, r#"{"version":"2","mark":"new","code":"new"}"#), Seen::New);
        assert_eq!(see(200, r#"{"version":"2","mark":"old","code":"new"}"#), Seen::Mixture);
        assert_eq!(see(200, r#"{"version":"1","mark":"new","code":"old"}"#), Seen::Mixture);
        assert_eq!(see(200, r#"{"version":"$LATEST","mark":"new"}"#), Seen::Other(200));
        assert_eq!(see(200, r#"{"version":"1","mark":null}"#), Seen::Other(200));
        assert_eq!(see(500, r#"{"version":"1","mark":"old"}"#), Seen::Other(500));
        assert_eq!(see(403, "Forbidden"), Seen::Other(403));
    }

    /// One sample a second.
    fn samples(start: Instant, connections: &[(usize, Seen)]) -> Vec<Sample> {
        let sample = |(second, &(connection, seen)): (u64, &(usize, Seen))| Sample {
            connection,
            sent: start + Duration::from_secs(second),
            seen,
        };
        (0..).zip(connections).map(sample).collect()
    }

    #[test]
    fn the_last_old_answer_counts_from_the_switch() {
        let start = Instant::now();
        let all = samples(start, &[(0, Seen::Old), (0, Seen::New), (1, Seen::Old), (0, Seen::New)]);
        assert_eq!(last_old(&all, start), 2000);
        assert_eq!(last_old(&all, start + Duration::from_millis(1500)), 500);
        assert_eq!(last_old(&all, start + Duration::from_secs(3)), 0);
    }

    #[test]
    fn three_new_answers_count_on_one_connection() {
        let start = Instant::now();
        let new = |connection| (connection, Seen::New);
        let spread = samples(start, &[new(0), new(1), new(2), (1, Seen::Old), new(0), new(0)]);
        assert_eq!(relapse(&spread), None);
        let back = samples(start, &[new(1), new(1), new(0), new(1), (1, Seen::Old), (0, Seen::Old)]);
        assert_eq!(relapse(&back), Some(1000));
    }

    #[test]
    fn a_streak_ends_with_any_other_answer() {
        let mut watch = Watch::default();
        let start = Instant::now();
        for sample in samples(start, &[(0, Seen::New), (1, Seen::New), (2, Seen::Unanswered), (0, Seen::New)])
        {
            watch.add(sample, Seen::New);
        }
        assert_eq!(watch.streak, 1);
    }
}
