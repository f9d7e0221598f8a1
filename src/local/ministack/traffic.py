"""Which release and which version gets a request, and what CloudWatch counts of it: a stage's canary, the weights of
an alias, and Lambda's metrics by version.

Shares are drawn from a fixed sequence. Of every hundred requests in a row exactly the share is the canary's, and a run
can be repeated. AWS draws for each request alone.
"""
import contextvars, math, random, threading, time
from fractions import Fraction

BLOCK = 100
CANARY = contextvars.ContextVar("canary", default=None)  # whether the request in flight is the canary's, by stage
ALIAS = contextvars.ContextVar("alias", default=None)  # the alias that the invocation in flight named
INVOKING = contextvars.ContextVar("invoking", default=False)  # a function is looked up to be invoked
LOCK = threading.RLock()  # invocations end in threads of their own
draws = {}  # by subject: its percentage, how many were drawn, and what is next


def used(lambdas, cloudwatch, logs):
    """Names and signatures in MiniStack that this file relies on."""
    return {lambdas: {
        "_execute_function_dispatch": "func: dict, config: dict, event: dict, request_id: str, started: float",
        "_effective_func_record_for_qualifier": "func: dict | None, qualifier: str | None",
        "_emit_lambda_metrics": "function_name: str, duration_ms: float, error: bool, throttle: bool",
    }, cloudwatch: {
        "_metric_bucket": "key: tuple", "_dims_key": "dims: dict", "_dims_from_list": "dimensions: list[dict]",
        "_evaluate_alarm": "alarm", "_describe_alarms": "params, cbor_data, is_cbor, is_json=False",
        "handle_request": "method, path, headers, body, query_params", "_evaluate_all_alarms": "",
    }, logs: {"_append_log_events": "stream, events", "_make_group_arn": "name"}}


def draw(subject, percent):
    """Whether the next request of the subject is one of the `percent`."""
    with LOCK:
        percent, (before, drawn, left) = Fraction(str(percent)), draws.get(subject, (None, 0, []))
        if percent != before:
            drawn, left = 0, []
        if not left:
            share = math.floor(percent * (drawn + BLOCK) / 100) - math.floor(percent * drawn / 100)
            left = [True] * share + [False] * (BLOCK - share)
            random.Random(f"{subject}{drawn}").shuffle(left)
        draws[subject] = (percent, drawn + 1, left)
        return left.pop()


def served(stage, subject):
    """The stage as the request in flight sees it: all of the canary's deployment and variables, or nothing of them."""
    canary = (stage or {}).get("canarySettings")
    if not canary:
        return stage
    chosen = CANARY.get() or {}
    if subject not in chosen:
        chosen = {**chosen, subject: draw(subject, canary.get("percentTraffic") or 0)}
        CANARY.set(chosen)
    if not chosen[subject]:
        return stage
    return {**stage, "deploymentId": canary["deploymentId"], "isCanary": True,
            "variables": {**(stage.get("variables") or {}), **(canary.get("stageVariableOverrides") or {})}}


def install(lambdas, cloudwatch):
    """Puts the weights of aliases and the metrics into MiniStack's modules."""
    install_weights(lambdas)
    install_metrics(lambdas, cloudwatch)
    install_alarms(cloudwatch)


def install_weights(lambdas):
    """An alias with weights sends its share of the invocations to its second version."""
    find, invoke, record_of = (lambdas._get_func_record_for_ref_in_scope, lambdas._invoke,
                               lambdas._effective_func_record_for_qualifier)

    def version_of(function, qualifier):
        """The version that an invocation runs; the qualifier itself unless it is an alias with weights."""
        alias = ((function or {}).get("aliases") or {}).get(qualifier)
        ALIAS.set(qualifier if alias else None)
        weights = ((alias or {}).get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        for version, weight in weights.items():
            if draw(alias["AliasArn"], Fraction(str(weight)) * 100):
                return version
        return alias["FunctionVersion"] if weights else qualifier

    def record_for_qualifier(function, qualifier):
        return record_of(function, version_of(function, qualifier) if INVOKING.get() else qualifier)

    def find_to_invoke(function_ref, **scope):
        token = INVOKING.set(True)
        try:
            return find(function_ref, **scope)
        finally:
            INVOKING.reset(token)

    async def invoke_by_weight(name, event, headers, path_qualifier=None, query_params=None):
        qualifier = path_qualifier or lambdas._qp_first(query_params or {}, "Qualifier") or headers.get(
            "x-amz-qualifier")
        version = version_of(lambdas._functions.get(name), qualifier)
        return await invoke(name, event, headers, version, query_params)

    lambdas._get_func_record_for_ref_in_scope, lambdas._invoke = find_to_invoke, invoke_by_weight
    lambdas._effective_func_record_for_qualifier = record_for_qualifier


def counter(cloudwatch):
    """Adds a value to a metric. Equal values of a second are one data point with a count."""

    def count(namespace, name, value, unit, dimensions):
        with LOCK:
            points = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dimensions)))
            second = int(time.time())
            for point in reversed(points):
                if point["Timestamp"] != second:
                    break
                if point["Value"] == value:
                    point["Count"] = point.get("Count", 1.0) + 1
                    return
            points.append({"Timestamp": second, "Value": float(value), "Count": 1.0, "Unit": unit,
                           "Dimensions": dict(dimensions)})
    return count


def install_metrics(lambdas, cloudwatch):
    """Each invocation counts for its function, and for the version or alias that it named."""
    execute, count = lambdas._execute_function_dispatch, counter(cloudwatch)

    def dimensions(name, version):
        yield {"FunctionName": name}
        if ALIAS.get():
            yield {"FunctionName": name, "Resource": f"{name}:{ALIAS.get()}"}
            yield {"FunctionName": name, "Resource": f"{name}:{ALIAS.get()}", "ExecutedVersion": version}
        elif version != "$LATEST":
            yield {"FunctionName": name, "Resource": f"{name}:{version}"}

    def execute_and_count(func, config, event, request_id, started):
        result = execute(func, config, event, request_id, started)
        duration = round((time.time() - started) * 1000)
        for those in dimensions(config.get("FunctionName", "unknown"), config.get("Version", "$LATEST")):
            count("AWS/Lambda", "Invocations", 1, "Count", those)
            count("AWS/Lambda", "Errors", 1 if result.get("error") else 0, "Count", those)
            count("AWS/Lambda", "Duration", duration, "Milliseconds", those)
        return result

    def only_throttles(function_name, duration_ms, error, throttle):
        if throttle:
            count("AWS/Lambda", "Throttles", 1, "Count", {"FunctionName": function_name})

    lambdas._execute_function_dispatch, lambdas._emit_lambda_metrics = execute_and_count, only_throttles


def install_alarms(cloudwatch):
    """An alarm is evaluated when it is read, by the metric with exactly its dimensions. A state that was set stays
    until the next data point."""
    handle, evaluate, describe = cloudwatch.handle_request, cloudwatch._evaluate_alarm, cloudwatch._describe_alarms

    def evaluate_alarm(alarm):
        if alarm.get("Metrics") or not alarm.get("MetricName"):
            return
        every = cloudwatch._metrics
        dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(alarm.get("Dimensions") or []))
        key = (alarm.get("Namespace"), alarm["MetricName"], dimensions)
        points = [point for point in every.get(key) or [] if point["Timestamp"] > alarm.get("StateUpdatedTimestamp", 0)]
        if not points:
            return
        cloudwatch._metrics = {key: every.get(key)}
        try:
            evaluate(alarm)
        finally:
            cloudwatch._metrics = every

    def describe_alarms(*args):
        cloudwatch._evaluate_all_alarms()
        return describe(*args)

    async def handle_request(*args):
        with LOCK:  # the handlers do not wait for anything
            return await handle(*args)

    cloudwatch.handle_request, cloudwatch._evaluate_alarm = handle_request, evaluate_alarm
    cloudwatch._describe_alarms = describe_alarms


def observer(cloudwatch, logs):
    """What is counted and logged of each answer of a stage."""
    count = counter(cloudwatch)

    def answered(api_id, api_name, stage, method, path, status, seconds):
        for dimensions in ({"ApiName": api_name}, {"ApiName": api_name, "Stage": stage["stageName"]}):
            count("AWS/ApiGateway", "Count", 1, "Count", dimensions)
            count("AWS/ApiGateway", "4XXError", int(400 <= status < 500), "Count", dimensions)
            count("AWS/ApiGateway", "5XXError", int(status >= 500), "Count", dimensions)
            count("AWS/ApiGateway", "Latency", round(seconds * 1000), "Milliseconds", dimensions)
        levels = [settings.get("loggingLevel") for settings in (stage.get("methodSettings") or {}).values()]
        if "INFO" in levels or "ERROR" in levels and status >= 500:
            log(logs, f"API-Gateway-Execution-Logs_{api_id}/{stage['stageName']}" + (
                "/Canary" if stage.get("isCanary") else ""), f"{method} {path} completed with status: {status}")
    return answered


def log(logs, group, message):
    """Writes to the execution log; the canary has a log group of its own."""
    now = int(time.time() * 1000)
    if group not in logs._log_groups:
        logs._log_groups[group] = {"arn": logs._make_group_arn(group), "creationTime": now, "retentionInDays": None,
                                   "tags": {}, "subscriptionFilters": {}, "streams": {}}
    stream = logs._log_groups[group]["streams"].setdefault("execution", {
        "events": [], "uploadSequenceToken": "1", "creationTime": now, "firstEventTimestamp": None,
        "lastEventTimestamp": None, "lastIngestionTime": None})
    logs._append_log_events(stream, [{"timestamp": now, "message": message, "ingestionTime": now}])
