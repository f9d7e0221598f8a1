"""Starts the pinned MiniStack with AWS's stage semantics, for the local stage.

MiniStack serves an API Gateway stage from the live API and leaves `${stageVariables.x}` as it is. AWS serves
the snapshot that the stage's deployment took and fills the variables in. Here AWS's way is put into the
pinned version, with the refusals of AWS that a release tool has to meet: functions.py and
provisioned.py have those of Lambda, update_stage.py those of UpdateStage. openapi.py has the import of an API.
traffic.py has canaries, weights and metrics. snapshot.py keeps the content, and redis_server.py has what stands in
for ElastiCache. Names and signatures of all that is used are checked first, so that an upgrade cannot silently lose
the semantics.
"""
import asyncio, contextlib, contextvars, copy, ctypes, importlib.metadata, inspect, json, os, re, runpy, signal
import secrets, socketserver, sys, time

PINNED = "1.5.33"
CONTROLS = {"change_seconds": 0.05}  # how long a change of a stage or its deployments takes
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SNAPSHOT = "$snapshot"  # a key that no gateway response type has
SNAPSHOT_STORES = ("_rest_apis", "_resources", "_authorizers_v1", "_request_validators", "_models")
STAGE_VARIABLE = re.compile(r"\$\{stageVariables\.(\w+)\}", re.ASCII)
FLUSH_PATH = re.compile(r"/restapis/([^/]+)/stages/([^/]+)/cache/(data|authorizers)/?")
CHANGE_PATH = re.compile(r"/restapis/([^/]+)/(deployments|stages)(/.*)?")
AGAIN = "Unable to complete operation due to concurrent modification. Please try again later."
NO_API, NO_STAGE = "Invalid API identifier specified", "Invalid Stage identifier specified"
SERVING = contextvars.ContextVar("serving", default=None)  # what the request in flight sees


class UnsetStageVariable(Exception):
    """A URI names a stage variable that the stage does not have."""


def supervise():
    """Forks: the child becomes the server; this process ends it and all its Lambda workers, however either dies."""
    libc, parent = ctypes.CDLL(None), os.getpid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # workers that outlive the server become children of this process
    server = os.fork()
    if server == 0:
        os.setpgid(0, 0)  # the server and its workers: one group, killed as a whole
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        return os.getppid() == parent or sys.exit(1)

    def stop(*_):
        os.kill(server, signal.SIGTERM)
        signal.alarm(20)  # then it has had its chance, also to store what it holds

    stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(server, signal.SIGKILL))
    for number in stops:
        signal.signal(number, stop)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)  # not reaped yet: nobody else can have its id
    for number in (*stops, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-server, 0)  # nothing is left when this process ends
    os._exit(code if code >= 0 else 128 - code)


def check(v1, lambdas, workers, s3, logs, scoped_dict, others):
    """The names used below, as the pinned version has them; anything else ends the start."""
    execute = "method, path, headers, body, query_params"
    used = {v1: {
        "_execute_in_scope": f"request, api_id, stage_name, {execute}, owner_account_id, owner_region",
        "method_authorization_type": "api_id, stage_name, method, path", "rest_api_policy_for_arn": "resource_arn",
        "handle_request": execute, "find_api_scope": "api_id", "_gw_error": "response_type, message",
        "_gateway_error_response": "error, request",
        "_v1_error": "code, message, status", "_v1_response": "data, status=200", "_now_unix": "",
        "_extract_lambda_ref_from_integration_uri": "uri: str", "_parse_service_integration_uri": "uri: str",
        "_invoke_http_proxy_v1": "integration, path, method, headers, body, query_params, path_params=None",
        "_get_export": "api_id, stage_name, export_type, headers, query_params",
        "_method_throttle_settings": "stage, resource_path, http_method", "_create_deployment": "api_id, data",
        "_delete_deployment": "api_id, deployment_id", "_create_stage": "api_id, data",
        "_update_stage": "api_id, stage_name, data", "_apply_stage_patch": "stage, patch_ops",
        "_try_apply_method_settings_patch": "stage, op", "_update_method": "api_id, resource_id, http_method, data",
        "_update_integration": "api_id, resource_id, http_method, data",
    }, s3: {
        "_copy_object": "bucket_name: str, dest_key: str, headers: dict", "_bucket_owner_account": "name: str",
        "_check_put_preconditions": "headers: dict, existing_obj: dict | None",
        "_apply_bucket_scope": "method: str, bucket: str, key: str, headers: dict, query_params: dict",
        "_error": "code: str, message: str, status: int",
    }, logs: {
        "_filter_log_events": "data", "_resolve_log_group_name": "data", "json_response": "data: dict",
    }}
    for module, names in [pair for other in others for pair in other.items()]:
        used.setdefault(module, {}).update(names)
    found = importlib.metadata.version("ministack")
    wrong = [] if found == PINNED else [f"ministack is {found}, this launcher is for {PINNED}"]
    for module, names in used.items():
        for name, parameters in names.items():
            there = str(inspect.signature(getattr(module, name))) if hasattr(module, name) else "missing"
            if not re.match(re.escape(f"({parameters}") + r"[,)]", there):
                wrong.append(f"{module.__name__}.{name} is {there}, expected ({parameters})")
    stores = (*SNAPSHOT_STORES, "_stages_v1", "_deployments_v1", "_deployed_gateway_responses")
    wrong += [f"{name} is not a store" for name in stores if type(getattr(v1, name, None)) is not scoped_dict]
    wrong += [] if isinstance(getattr(v1, "_authorizer_cache", None), dict) else ["_authorizer_cache is not a dict"]
    wrong += [] if isinstance(getattr(lambdas, "_functions", None), scoped_dict) else ["_functions is not a store"]
    wrong += [f"{name} is not a store" for name in ("_buckets", "_object_versions")
              if not hasattr(getattr(s3, name, None), "_data")]
    wrong += [] if isinstance(getattr(workers, "_workers", None), dict) else ["_workers is not a dict"]
    wrong += [] if hasattr(getattr(logs, "_log_groups", None), "get") else ["_log_groups is not a store"]
    wrong += [] if hasattr(getattr(workers, "_lock", None), "acquire") else ["_lock is not a lock"]
    if wrong:
        sys.exit("the local stage cannot have AWS's semantics: " + "; ".join(wrong))


def install_stages(v1, scoped_dict, account_id, rules, openapi, served, answered):
    """A stage serves its deployment's snapshot with its own variables; its calls are refused where AWS refuses."""
    Refused = rules["Refused"]

    class Served(scoped_dict):
        """A store that, inside a request, shows what the stage serves in place of the live API."""
        __slots__ = ()

        def get(self, key, default=None):
            served = self.served(key)
            return super().get(key, default) if served is None else served

        def get_scoped(self, account_id, region, key, default=None):
            served = self.served(key)
            return super().get_scoped(account_id, region, key, default) if served is None else served

        def served(self, key):
            seen = SERVING.get()
            return seen["parts"].get(self.part) if seen and seen["api_id"] == key else None

    for name in (*SNAPSHOT_STORES, "_stages_v1"):
        setattr(v1, name, type(f"Served{name}", (Served,), {"__slots__": (), "part": name})())

    @contextlib.contextmanager
    def serving(api_id, stage_name, is_request=True):
        """Fixes the stage and its snapshot for the block: an UpdateStage meanwhile is for later requests. A request
        may be the canary's."""
        seen, token = SERVING.get(), None
        if not seen or (seen["api_id"], seen["stage_name"]) != (api_id, stage_name):
            scope = v1.find_api_scope(api_id) or ("", "")
            stage = copy.deepcopy(v1._stages_v1.get_scoped(*scope, api_id, {}).get(stage_name))
            stage = served(stage, (*scope, api_id, stage_name)) if is_request else stage
            deployments = v1._deployed_gateway_responses.get_scoped(*scope, api_id, {})
            deployed = deployments.get((stage or {}).get("deploymentId"), {})
            seen = {"api_id": api_id, "stage_name": stage_name, "stage": stage, "deployed": SNAPSHOT in deployed,
                    "parts": {**deployed[SNAPSHOT], "_stages_v1": {stage_name: stage}} if SNAPSHOT in deployed else {}}
            token = SERVING.set(seen)
        try:
            yield seen
        finally:
            if token:
                SERVING.reset(token)

    def filled(uri):
        seen = SERVING.get()
        variables = (seen and seen["stage"] or {}).get("variables") or {}

        def value(match):
            if not variables.get(match[1]):
                raise UnsetStageVariable(match[1])
            return variables[match[1]]
        return STAGE_VARIABLE.sub(value, uri) if seen and uri else uri

    def refused_as_aws(original):
        """A call that raises `Refused` is answered with AWS's error."""
        def call(*args):
            try:
                return original(*args)
            except Refused as refused:
                return v1._v1_error(refused.code, refused.message, 400)
        return call

    def patched(module, name):
        return lambda make: setattr(module, name, make(getattr(module, name)))

    @patched(v1, "_execute_in_scope")
    def execute_in_scope(original):
        async def execute_once(request, seen, api_id, stage_name, *rest):
            try:
                if seen["stage"] is None or seen["deployed"]:
                    return await original(request, api_id, stage_name, *rest)
            except UnsetStageVariable:
                pass
            request["stage"] = seen["stage"]  # it chooses the gateway responses
            return v1._gw_error("API_CONFIGURATION_ERROR", "Internal server error")

        async def execute(request, api_id, stage_name, method, path, *rest):
            with serving(api_id, stage_name) as seen:
                start = time.monotonic()
                response = await execute_once(request, seen, api_id, stage_name, method, path, *rest)
                if not isinstance(response, tuple):
                    response = v1._gateway_error_response(response, request)
                if seen["stage"]:
                    name = (v1._rest_apis.get(api_id) or {}).get("name", api_id)
                    answered(api_id, name, seen["stage"], method, path, response[0], time.monotonic() - start)
                return response
        return execute

    for name in ("_extract_lambda_ref_from_integration_uri", "_parse_service_integration_uri"):
        patched(v1, name)(lambda original: lambda uri: original(filled(uri)))

    @patched(v1, "_invoke_http_proxy_v1")
    def invoke_http(original):
        return lambda integration, *rest: original({**integration, "uri": filled(integration.get("uri", ""))}, *rest)

    for name, is_request in (("method_authorization_type", True), ("_get_export", False)):
        @patched(v1, name)
        def through_snapshot(original, is_request=is_request):
            def as_served(api_id, stage_name, *rest):
                with serving(api_id, stage_name, is_request):
                    return original(api_id, stage_name, *rest)
            return as_served

    @patched(v1, "rest_api_policy_for_arn")
    def policy_for_arn(original):
        def policy(resource_arn):  # arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>
            with serving(*(resource_arn.split(":", 5)[-1] + "/").split("/")[:2]):
                return original(resource_arn)
        return policy

    @patched(v1, "_method_throttle_settings")
    def method_throttle(original):
        def limits(stage, resource_path, http_method):
            entry = original(stage, resource_path, http_method) or {}
            unlimited = min(float(entry.get(f"throttling{kind}Limit") or 0) for kind in ("Rate", "Burst")) < 0
            return None if unlimited else entry or None  # AWS: -1 is no limit
        return limits

    def check_methods(api_id):
        methods = [method for resource in v1._resources.get(api_id, {}).values()
                   for method in resource.get("resourceMethods", {}).values()]
        if not methods:
            raise Refused("The REST API doesn't contain any methods")
        if not all(method.get("methodIntegration") for method in methods):
            raise Refused("No integration defined for method")

    def canary_stage(api_id, data):
        """The stage that CreateDeployment gives a canary, or None if it is to be an ordinary deployment."""
        if not data.get("canarySettings"):
            return None
        name, problem = data.get("stageName"), "Invalid deployment content specified."
        if not name:
            raise Refused(f"{problem}Non null and non empty stageName must be provided for canary deployment. "
                          f"Provided value is {'null' if name is None else name}")
        if name not in v1._stages_v1.get(api_id, {}):
            raise Refused(f"{problem}Stage {name} must already be created before making a canary release deployment")
        return v1._stages_v1[api_id][name]

    @patched(v1, "_create_deployment")
    def create_deployment(original):
        def create(api_id, data):
            if api_id not in v1._rest_apis:
                return original(api_id, data)
            rules["check_variables"](data.get("variables"))
            check_methods(api_id)
            stage = canary_stage(api_id, data)
            response = original(api_id, {**data, "stageName": None} if stage else data)
            if response[0] == 201:  # kept beside the gateway responses: persisted, deleted and reset with them
                deployment_id = json.loads(response[2])["id"]
                v1._deployed_gateway_responses[api_id][deployment_id][SNAPSHOT] = {
                    name: copy.deepcopy(getattr(v1, name).get(api_id, {})) for name in SNAPSHOT_STORES}
                if stage:
                    rules["with_canary"](stage, {**data["canarySettings"], "deploymentId": deployment_id})
            return response
        return refused_as_aws(create)

    @patched(v1, "_delete_deployment")
    def delete_deployment(original):
        def delete(api_id, deployment_id):
            for stage in v1._stages_v1.get(api_id, {}).values():
                if deployment_id == stage.get("deploymentId"):
                    raise Refused("Active stages pointing to this deployment must be moved or deleted")
                if deployment_id == (stage.get("canarySettings") or {}).get("deploymentId"):
                    raise Refused("Active stages with canary settings pointing to this deployment must be moved or "
                                  "deleted")
            return original(api_id, deployment_id)
        return refused_as_aws(delete)

    @patched(v1, "_create_stage")
    def create_stage(original):
        def create(api_id, data):
            if api_id in v1._rest_apis and data.get("stageName"):
                if data["stageName"] in v1._stages_v1.get(api_id, {}):
                    return v1._v1_error("ConflictException", "Stage already exists", 409)
                rules["check_stage"](data, v1._deployments_v1.get(api_id, {}))
            return original(api_id, data)
        return refused_as_aws(create)

    @patched(v1, "_update_stage")
    def update_stage(original):
        def update(api_id, stage_name, data):
            stages = v1._stages_v1.get(api_id, {})
            if stage_name not in stages:
                return original(api_id, stage_name, data)
            stage = rules["patched"](stages[stage_name], data.get("patchOperations") or [],
                                     v1._deployments_v1.get(api_id, {}), v1._apply_stage_patch,
                                     v1._try_apply_method_settings_patch)
            stage["lastUpdatedDate"] = v1._now_unix()
            stages[stage_name] = stage
            return v1._v1_response(stage)
        return refused_as_aws(update)

    @patched(v1, "_update_method")
    def update_method(original):
        def update(api_id, resource_id, http_method, data):
            for op in data.get("patchOperations") or []:
                if op.get("path") == "/apiKeyRequired":
                    op["value"] = str(op.get("value")).lower() == "true"  # clients read a boolean
            return original(api_id, resource_id, http_method, data)
        return update

    @patched(v1, "_update_integration")
    def update_integration(original):
        def update(api_id, resource_id, http_method, data):
            for op in data.get("patchOperations") or []:
                if op.get("path") == "/timeoutInMillis" and str(op.get("value")).isdigit():
                    op["value"] = int(op["value"])  # clients read a number
            return original(api_id, resource_id, http_method, data)
        return update

    def flush(api_id, stage_name, cache):
        scope = v1.find_api_scope(api_id)
        if scope is None or stage_name not in v1._stages_v1.get(api_id, {}):
            return v1._v1_error("NotFoundException", NO_STAGE, 404)
        if cache == "authorizers":  # keys: account, region, API, authorizer, stage, identity
            for key in [k for k in v1._authorizer_cache if (*k[:3], k[4]) == (*scope, api_id, stage_name)]:
                del v1._authorizer_cache[key]
        return 202, {}, b""

    def worded(response, path):
        """An error has its code in a header only, and AWS's text."""
        status, headers, body = response
        if status < 400 or "x-amzn-errortype" not in headers:
            return response
        message = json.loads(body)["message"]
        if message == NO_API:
            message = f"{NO_API} {account_id()}:{(path.split('/') + ['', ''])[2]}"
        elif message == NO_STAGE:
            message = "Invalid stage identifier specified"
        return status, headers, json.dumps({"message": message}).encode()

    changing = set()  # APIs of which a stage or a deployment is being changed
    put_rest_api = openapi["install"](v1)

    def first(query_params, name, default):
        value = query_params.get(name, default)
        return value[0] if isinstance(value, list) else value

    @patched(v1, "handle_request")
    def handle_request(original):
        async def answer(method, path, *rest):
            imported = openapi["PATH"].fullmatch(path) if method == "PUT" else None
            if imported:
                _, body, query_params = rest
                return put_rest_api(imported[1], body, first(query_params, "mode", "merge"))
            flushed = FLUSH_PATH.fullmatch(path) if method == "DELETE" else None
            return flush(*flushed.groups()) if flushed else await original(method, path, *rest)

        async def handle(method, path, *rest):
            change = CHANGE_PATH.fullmatch(path) if method != "GET" else None
            if not change:
                return worded(await answer(method, path, *rest), path)
            if change[1] in changing:
                return worded(v1._v1_error("ConflictException", AGAIN, 409), path)
            changing.add(change[1])
            try:
                response = await answer(method, path, *rest)
                await asyncio.sleep(CONTROLS["change_seconds"])
                return worded(response, path)
            finally:
                changing.discard(change[1])
        return handle


def install_copies(s3):
    """A copy finds its source in another account, too, and obeys the conditions for its destination. MiniStack asks
    the bucket's policy whether the caller may read the source, as S3 does, and then looks for it among the caller's
    own buckets."""
    copy_own = s3._copy_object

    def copy_object(bucket_name, dest_key, headers):
        there = s3._buckets.get(bucket_name, {}).get("objects", {}).get(dest_key)
        refused = s3._check_put_preconditions(headers, there)
        if refused:
            return refused
        path = s3.url_unquote(headers.get("x-amz-copy-source", "").partition("?")[0])
        source, _, key = path.lstrip("/").partition("/")
        owner, caller = s3._bucket_owner_account(source), s3.get_account_id()
        if owner in (None, caller):
            return copy_own(bucket_name, dest_key, headers)
        both = ((s3._buckets._data, source), (s3._object_versions._data, (source, key)))
        lent = [(store, name) for store, name in both if (owner, name) in store]
        for store, name in lent:
            store[caller, name] = store[owner, name]
        try:
            return copy_own(bucket_name, dest_key, headers)
        finally:
            for store, name in lent:
                del store[caller, name]

    s3._copy_object = copy_object


def install_owners(s3):
    """A call that names the account that it expects to own a bucket is refused if another one does, as S3 does."""
    own_scope = s3._apply_bucket_scope

    def is_expected(account, bucket):
        return not account or s3._bucket_owner_account(bucket) in (None, account)

    def apply_scope(method, bucket, key, headers, *rest):
        source = s3.url_unquote(headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[0]
        if (is_expected(headers.get("x-amz-expected-bucket-owner"), bucket)
                and is_expected(headers.get("x-amz-source-expected-bucket-owner"), source)):
            return own_scope(method, bucket, key, headers, *rest)
        status, answered, body = s3._error("AccessDenied", "Access Denied", 403)
        return status, answered, b"" if method == "HEAD" else body

    s3._apply_bucket_scope = apply_scope


def install_log_pages(logs):
    """FilterLogEvents answers with a page and the token of the next one, and can be asked for the streams whose names
    begin alike. MiniStack answers with the oldest events of all streams, at most 10,000, and nothing leads further.
    A token is the time of the page's last event, and how many events of that time have been returned."""
    filter_all = logs._filter_log_events

    def filter_log_events(data):
        start, seen = (int(part) for part in data.get("nextToken", f"{data.get('startTime', 0)}.0").split("."))
        prefix = data.get("logStreamNamePrefix")
        group = logs._log_groups.get(logs._resolve_log_group_name(data), {"streams": {}})
        named = {"logStreamNames": [name for name in group["streams"] if name.startswith(prefix)]} if prefix else {}
        if named == {"logStreamNames": []}:
            return logs.json_response({"events": [], "searchedLogStreams": []})
        page = min(data.get("limit", 10000), 10000 - seen)  # the events of one millisecond are fewer than a page
        status, headers, body = filter_all({**data, **named, "startTime": start, "limit": page + seen})
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        events = answer["events"]
        if len(events) == page + seen:
            last = events[-1]["timestamp"]
            answer["nextToken"] = f"{last}.{sum(event['timestamp'] == last for event in events)}"
        answer["events"] = events[seen:]
        return logs.json_response(answer)

    logs._filter_log_events = filter_log_events


def controls(functions, lambdas):
    """Requests of tests to the local stage itself: how long changes take, and a version that becomes inactive."""
    every = (CONTROLS, functions["CONTROLS"])

    def settings(body):
        """Sets the times that are named, and answers with all."""
        for name, value in json.loads(body or b"{}").items():
            next(known for known in every if name in known)[name] = float(value)
        return 200, {name: value for known in every for name, value in known.items()}

    def make_inactive(name, version):
        return (200, {}) if functions["make_inactive"](lambdas, name, version) else (404, {})

    def handle(method, path, body):
        parts = path.strip("/").split("/")[1:]
        try:
            if (method, parts) == ("PUT", ["settings"]):
                status, answer = settings(body)
            elif method == "PUT" and len(parts) == 4 and (parts[0], parts[3]) == ("functions", "inactive"):
                status, answer = make_inactive(*parts[1:3])
            else:
                status, answer = 404, {}
        except (ValueError, AttributeError, TypeError, StopIteration):
            status, answer = 400, {}
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()
    return handle


def main():
    if len(sys.argv) > 1:
        sys.exit("the launcher takes no arguments: it is set up by the environment, as MiniStack is")
    os.environ.setdefault("BIND_HOST", "127.0.0.1")
    os.umask(0o077)
    # Not for the Lambdas, which inherit the environment.
    finder = json.loads(os.environ.pop("DEPLOYCTL_REDIS_FINDER", "null"))
    key = os.environ.pop("DEPLOYCTL_SNAPSHOT_KEY", "") or secrets.token_hex()
    supervise()
    try:
        from ministack import app
        from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses, sigv4
        from ministack.core.responses import AccountRegionScopedDict, AccountScopedDict
        from ministack.services import apigateway_v1, cloudwatch, cloudwatch_logs, elasticache, lambda_svc, s3
    except ImportError as error:
        sys.exit(f"the local stage needs ministack {PINNED}: {error}")
    folder = os.path.dirname(os.path.abspath(__file__))
    data = os.path.join(folder, "data")  # what is kept over the end of the stage
    os.makedirs(data, exist_ok=True)
    names = ("guard.py", "functions.py", "provisioned.py", "update_stage.py", "openapi.py", "traffic.py",
             "snapshot.py", "redis_server.py")
    guard, functions, provisioned, rules, openapi, traffic, snapshot, redis_server = (
        runpy.run_path(os.path.join(folder, name)) for name in names)
    check(apigateway_v1, lambda_svc, lambda_runtime, s3, cloudwatch_logs, AccountRegionScopedDict,
          [functions["used"](lambda_svc, lambda_runtime), provisioned["used"](lambda_svc), openapi["used"](apigateway_v1),
           traffic["used"](lambda_svc, cloudwatch, cloudwatch_logs), snapshot["used"](app),
           redis_server["used"](elasticache), guard["used"](app, iam_evaluator, sigv4, iam_actions, responses)])
    install_stages(apigateway_v1, AccountRegionScopedDict, responses.get_account_id, rules, openapi, traffic["served"],
                   traffic["observer"](cloudwatch, cloudwatch_logs))
    functions["install"](lambda_svc, lambda bucket: bucket in s3._buckets)
    traffic["install"](lambda_svc, cloudwatch)
    provisioned["install"](lambda_svc)
    functions["install_idle_end"](lambda_svc, lambda_runtime)
    install_copies(s3)
    install_owners(s3)
    install_log_pages(cloudwatch_logs)
    redis, redis_part = redis_server["install"](elasticache, data, finder)
    stored = snapshot["Snapshot"](os.path.join(data, "snapshot"), key, PINNED, snapshot["Stores"](
        (AccountRegionScopedDict, AccountScopedDict)), {"redis": redis_part})
    at, problem = stored.restore(app._get_module)
    functions["settle"](lambda_svc)
    lambda_svc.load_persisted_state({})  # what polls queues and streams for functions
    with open(os.path.join(data, "start.json"), "w") as file:
        json.dump({"snapshot": at, "problem": problem}, file)
    snapshot["install"](app, stored, lambda: snapshot["is_locked"](s3._buckets._data), guard["TO_AN_API"].get)
    guard["install"](app, iam_evaluator, sigv4, responses, controls(functions, lambda_svc))
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True  # 40 ms less for each call of a bootstrap
    try:
        app.main()
    finally:  # the workers end with the server even when the process above has been killed
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            stored.store_now()
        except OSError as error:
            print(f"snapshot: failed: {error}", flush=True)
        redis.stop(with_data=True)
        os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    main()
