//! Which release and which version gets a request, and what CloudWatch counts of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_cloudwatch as cloudwatch;
use aws_sdk_cloudwatch::types as metrics;
use aws_sdk_lambda::types::AliasRoutingConfiguration;

use super::{Api, Functions, Outcome, STAGE, text};
use crate::support::sdk;

const NAME: &str = "canaries";
const CLIENTS: usize = 4;

/// An API with two releases: the second has another version of the function, and another answer of a constant route.
struct Canary {
    api: Api,
    functions: Functions,
    deployments: [String; 2],
    metrics: cloudwatch::Client,
}

impl Canary {
    async fn create(endpoint: &str) -> Result<Self, String> {
        let functions = Functions { name: NAME.to_owned(), ..Functions::new(endpoint) };
        functions.create("one").await?;
        functions.update("two").await?;
        let api = Api::create(endpoint, NAME).await?;
        let route = api.resource("f").await?;
        api.function(&route, NAME).await?;
        let constant = api.resource("constant").await?;
        api.mock(&constant, "old").await?;
        let old = api.deploy().await?;
        api.stage(&old, &[("f", "1"), ("release", "old")]).await?;
        api.answer(&constant, "new").await?;
        let new = api.deploy().await?;
        let metrics = cloudwatch::Client::new(&sdk::config(endpoint, "000000000000"));
        Ok(Self { api, functions, deployments: [old, new], metrics })
    }

    async fn start(&self, percent: &str) -> Outcome {
        let canary = [
            ("/canarySettings/percentTraffic", percent),
            ("/canarySettings/deploymentId", &self.deployments[1]),
            ("/canarySettings/stageVariableOverrides/f", "2"),
            ("/canarySettings/stageVariableOverrides/release", "new"),
        ];
        self.api.switch(&canary).await
    }

    /// The answers of `number` requests, from several clients at the same time.
    async fn answers(&self, path: &str, number: usize) -> Result<BTreeMap<String, usize>, String> {
        let client = async || {
            let mut answers = Vec::new();
            for _ in 0..number / CLIENTS {
                answers.push(self.api.get(path).await?);
            }
            Ok::<_, String>(answers)
        };
        let all = futures::future::try_join_all((0..CLIENTS).map(|_| client())).await?;
        let mut counted = BTreeMap::new();
        for answer in all.into_iter().flatten() {
            *counted.entry(answer).or_default() += 1;
        }
        Ok(counted)
    }

    /// The sum of a metric, or its 95th percentile.
    async fn metric(&self, name: &str, statistic: &str, dimensions: &[(&str, &str)]) -> Result<f64, String> {
        let dimensions = dimensions.iter();
        let dimensions =
            dimensions.map(|(name, value)| metrics::Dimension::builder().name(*name).value(*value).build());
        let metric = metrics::Metric::builder().namespace("AWS/Lambda").metric_name(name);
        let metric = metric.set_dimensions(Some(dimensions.collect())).build();
        let stat = metrics::MetricStat::builder().metric(metric).period(86_400).stat(statistic).build();
        let now = SystemTime::now();
        let read = self.metrics.get_metric_data();
        let read =
            read.metric_data_queries(metrics::MetricDataQuery::builder().id("q").metric_stat(stat).build());
        let read = read.start_time((now - Duration::from_hours(1)).into());
        let read = read.end_time((now + Duration::from_mins(1)).into()).send().await.map_err(text)?;
        Ok(read.metric_data_results().iter().flat_map(metrics::MetricDataResult::values).sum())
    }
}

fn counted<const N: usize>(answers: [(&str, usize); N]) -> BTreeMap<String, usize> {
    answers.map(|(answer, count)| (answer.to_owned(), count)).into()
}

/// Every answer is of one release, and of a hundred requests exactly the share is of the new one.
pub(crate) async fn share_requests(endpoint: &str, number: usize) {
    let canary = Canary::create(endpoint).await.unwrap();
    canary.start("10").await.unwrap();
    let share = number / 10;
    let expected = counted([("200 one 1", number - share), ("200 two 2", share)]);
    assert_eq!(canary.answers("/f", number).await.unwrap(), expected);
    let of_version = async |version: &str| {
        let resource = format!("{NAME}:{version}");
        let dimensions = [("FunctionName", NAME), ("Resource", &resource)];
        let counts = (
            canary.metric("Invocations", "Sum", &dimensions).await.unwrap(),
            canary.metric("Errors", "Sum", &dimensions).await.unwrap(),
        );
        assert!(canary.metric("Duration", "p95", &dimensions).await.unwrap() > 0.0, "{version}");
        counts
    };
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let counts = [number - share, share].map(|count| (count as f64, 0.0));
    assert_eq!([of_version("1").await, of_version("2").await], counts);

    canary.start("50").await.unwrap();
    assert_eq!(canary.answers("/constant", 100).await.unwrap(), counted([("200 new", 50), ("200 old", 50)]));

    // The end, and the switch with it.
    let update = canary.api.control.update_stage().rest_api_id(&canary.api.id).stage_name(STAGE);
    let remove = super::PatchOperation::builder().op(super::Op::Remove).path("/canarySettings").build();
    update.patch_operations(remove).send().await.unwrap();
    assert_eq!(canary.answers("/f", 20).await.unwrap(), counted([("200 one 1", 20)]));
    aliases_share_invocations(&canary).await.unwrap();
    alarms_are_evaluated(&canary).await.unwrap();
    canary.api.control.delete_rest_api().rest_api_id(&canary.api.id).send().await.unwrap();
    canary.functions.client.delete_function().function_name(NAME).send().await.unwrap();
}

async fn aliases_share_invocations(canary: &Canary) -> Outcome {
    let lambda = &canary.functions.client;
    let weights = AliasRoutingConfiguration::builder().additional_version_weights("2", 0.2).build();
    let create = lambda.create_alias().function_name(NAME).name("live").function_version("1");
    create.routing_config(weights).send().await.map_err(text)?;
    let mut executed = BTreeMap::new();
    for _ in 0..100 {
        let answer = lambda.invoke().function_name(NAME).qualifier("live").send().await.map_err(text)?;
        *executed.entry(answer.executed_version.unwrap_or_default()).or_default() += 1;
    }
    assert_eq!(executed, counted([("1", 80), ("2", 20)]));
    let resource = format!("{NAME}:live");
    let dimensions = [("FunctionName", NAME), ("Resource", &resource), ("ExecutedVersion", "2")];
    let of_alias = canary.metric("Invocations", "Sum", &dimensions).await?;
    assert!((of_alias - 20.0).abs() < f64::EPSILON, "{of_alias}");
    Ok(())
}

async fn alarms_are_evaluated(canary: &Canary) -> Outcome {
    let state = async || {
        let read = canary.metrics.describe_alarms().alarm_names(NAME).send().await.map_err(text)?;
        let alarm = read.metric_alarms().first().and_then(|alarm| alarm.state_value());
        Ok::<_, String>(alarm.map(|state| state.as_str().to_owned()))
    };
    let put = canary.metrics.put_metric_alarm().alarm_name(NAME).namespace("AWS/ApiGateway");
    let put =
        put.metric_name("5XXError").statistic(metrics::Statistic::Average).period(60).evaluation_periods(1);
    let put = put.threshold(0.0).comparison_operator(metrics::ComparisonOperator::GreaterThanThreshold);
    let dimension = |name: &str, value: &str| metrics::Dimension::builder().name(name).value(value).build();
    let put = put.dimensions(dimension("ApiName", NAME)).dimensions(dimension("Stage", STAGE));
    put.send().await.map_err(text)?;
    assert_eq!(state().await?.as_deref(), Some("INSUFFICIENT_DATA"));
    // No version of the function has this number.
    canary.api.switch(&[("/variables/f", "9")]).await?;
    // Data points of the second in which a state was set do not count.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    canary.api.expect("a version that does not exist", "/f", "500").await?;
    assert_eq!(state().await?.as_deref(), Some("ALARM"));
    let set = canary.metrics.set_alarm_state().alarm_name(NAME).state_reason("by hand");
    set.state_value(metrics::StateValue::Ok).send().await.map_err(text)?;
    assert_eq!(state().await?.as_deref(), Some("OK"));
    Ok(())
}
