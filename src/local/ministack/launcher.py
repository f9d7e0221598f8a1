"""Starts the pinned MiniStack with AWS's stage semantics, for the local stage.

MiniStack serves an API Gateway stage from the live API and leaves `${stageVariables.x}` as it is. AWS serves
the snapshot that the stage's deployment took and fills the variables in. Here AWS's way is put into the
pinned version, with the refusals of AWS that a release tool has to meet. Names and signatures of all that is
used are checked first, so that an upgrade cannot silently lose the semantics.
"""
import base64, contextlib, contextvars, copy, ctypes, hashlib, importlib.metadata, inspect, json, os, re, runpy
import signal, socket, socketserver, sys, time

PINNED = "1.5.33"
IDLE = 60  # seconds after which an unused environment of a function ends
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SNAPSHOT = "$snapshot"  # a key that no gateway response type has
SNAPSHOT_STORES = ("_rest_apis", "_resources", "_authorizers_v1", "_request_validators", "_models")
STAGE_VARIABLE = re.compile(r"\$\{stageVariables\.(\w+)\}", re.ASCII)
REPLACEABLE = ("/deploymentId", "/description", "/cacheClusterEnabled", "/cacheClusterSize", "/clientCertificateId",
               "/documentationVersion", "/tracingEnabled", "/accessLogSettings/destinationArn",
               "/accessLogSettings/format", "/canarySettings/percentTraffic", "/canarySettings/deploymentId",
               "/canarySettings/useStageCache")
REMOVABLE = ("/accessLogSettings", "/canarySettings")
WITH_NAMES = ("/variables/{name}", "/canarySettings/stageVariableOverrides/{name}", "/{path}/{method}/{setting}")
CANARY_VALUES = {"/canarySettings/percentTraffic": float,
                 "/canarySettings/useStageCache": lambda value: str(value).lower() == "true"}
VARIABLE_PATH = re.compile(r"/(variables|canarySettings/stageVariableOverrides)/[^/]+")
FLUSH_PATH = re.compile(r"/restapis/([^/]+)/stages/([^/]+)/cache/(data|authorizers)/?")
VOLATILE = ("Version", "FunctionArn", "RevisionId", "LastModified", "SnapStart", "State", "LastUpdateStatus")
STALE_REVISION = ("The Revision Id provided does not match the latest Revision Id. "
                  "Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
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
        signal.alarm(10)  # then it has had its chance

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


def check(v1, lambdas, workers, s3, elasticache, scoped_dict, guarded):
    """The names used below, as the pinned version has them; anything else ends the start."""
    execute = "method, path, headers, body, query_params"
    used = {v1: {
        "_execute_in_scope": f"request, api_id, stage_name, {execute}, owner_account_id, owner_region",
        "method_authorization_type": "api_id, stage_name, method, path", "rest_api_policy_for_arn": "resource_arn",
        "handle_request": execute, "find_api_scope": "api_id", "_gw_error": "response_type, message",
        "_v1_error": "code, message, status", "_v1_response": "data, status=200", "_now_unix": "",
        "_extract_lambda_ref_from_integration_uri": "uri: str", "_parse_service_integration_uri": "uri: str",
        "_invoke_http_proxy_v1": "integration, path, method, headers, body, query_params, path_params=None",
        "_get_export": "api_id, stage_name, export_type, headers, query_params",
        "_method_throttle_settings": "stage, resource_path, http_method", "_create_deployment": "api_id, data",
        "_delete_deployment": "api_id, deployment_id", "_create_stage": "api_id, data",
        "_update_stage": "api_id, stage_name, data", "_apply_stage_patch": "stage, patch_ops",
        "_try_apply_method_settings_patch": "stage, op", "_update_method": "api_id, resource_id, http_method, data",
        "_update_integration": "api_id, resource_id, http_method, data",
    }, lambdas: {
        "_update_code": "name: str, data: dict", "_update_config": "name: str, data: dict",
        "_publish_version": "name: str, data: dict", "_check_revision": "current: dict, data: dict",
        "error_response_json": "code: str, message: str, status: int = 400",
        "json_response": "data: dict, status: int = 200",
        "_fetch_code_from_s3": "bucket: str, key: str, version_id: str | None = None",
        "reap_idle_workers": "ttl: float = None", "_list_functions": "query_params: dict", "_get_account_settings": "",
        "_qp_first": "query_params: dict, key: str",
    }, workers: {"kill_workers": "workers"}, s3: {
        "_copy_object": "bucket_name: str, dest_key: str, headers: dict", "_bucket_owner_account": "name: str",
    }, elasticache: {
        "_create_replication_group": "p", "_modify_replication_group": "p", "_p": "params, key",
        "_update_auth_token": "rg, token, strategy",
    }, **guarded}
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
    wrong += [] if hasattr(getattr(workers, "_lock", None), "acquire") else ["_lock is not a lock"]
    if wrong:
        sys.exit("the local stage cannot have AWS's semantics: " + "; ".join(wrong))


def install_stages(v1, scoped_dict):
    """A stage serves its deployment's snapshot with its own variables; its calls are refused where AWS refuses."""

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
    def serving(api_id, stage_name):
        """Fixes the stage and its snapshot for the block: an UpdateStage meanwhile is for later requests."""
        seen, token = SERVING.get(), None
        if not seen or (seen["api_id"], seen["stage_name"]) != (api_id, stage_name):
            scope = v1.find_api_scope(api_id) or ("", "")
            stage = copy.deepcopy(v1._stages_v1.get_scoped(*scope, api_id, {}).get(stage_name))
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

    def bad_request(message):
        return v1._v1_error("BadRequestException", message, 400)

    def bad_variables(variables):
        """AWS's limits: the reason to refuse these stage variables, or None."""
        for name, value in (variables or {}).items():
            if not re.fullmatch(r"\w{1,64}", name, re.ASCII):
                return f"Stage variable name '{name}' is invalid. Use alphanumeric characters and underscores."
            if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9\-._~:/?#&=,]{1,512}", value):
                return f"Stage variable value for '{name}' is invalid. Use up to 512 of A-Za-z0-9-._~:/?#&=,"
        return "A stage has at most 100 stage variables." if len(variables or {}) > 100 else None

    def bad_stage(api_id, stage):
        canary = stage.get("canarySettings") or {}
        ids = [stage.get("deploymentId")] + ([canary["deploymentId"]] if "deploymentId" in canary else [])
        if any(wanted not in v1._deployments_v1.get(api_id, {}) for wanted in ids):
            return "Deployment id does not exist"
        return bad_variables(stage.get("variables")) or bad_variables(canary.get("stageVariableOverrides"))

    def patched(module, name):
        return lambda make: setattr(module, name, make(getattr(module, name)))

    @patched(v1, "_execute_in_scope")
    def execute_in_scope(original):
        async def execute(request, api_id, stage_name, *rest):
            with serving(api_id, stage_name) as seen:
                try:
                    if seen["stage"] is None or seen["deployed"]:
                        return await original(request, api_id, stage_name, *rest)
                except UnsetStageVariable:
                    pass
                request["stage"] = seen["stage"]  # it chooses the gateway responses
                return v1._gw_error("API_CONFIGURATION_ERROR", "Internal server error")
        return execute

    for name in ("_extract_lambda_ref_from_integration_uri", "_parse_service_integration_uri"):
        patched(v1, name)(lambda original: lambda uri: original(filled(uri)))

    @patched(v1, "_invoke_http_proxy_v1")
    def invoke_http(original):
        return lambda integration, *rest: original({**integration, "uri": filled(integration.get("uri", ""))}, *rest)

    for name in ("method_authorization_type", "_get_export"):
        @patched(v1, name)
        def through_snapshot(original):
            def as_served(api_id, stage_name, *rest):
                with serving(api_id, stage_name):
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

    @patched(v1, "_create_deployment")
    def create_deployment(original):
        def create(api_id, data):
            problem = bad_variables(data.get("variables"))
            if problem:
                return bad_request(problem)
            response = original(api_id, data)
            if response[0] == 201:  # kept beside the gateway responses: persisted, deleted and reset with them
                v1._deployed_gateway_responses[api_id][json.loads(response[2])["id"]][SNAPSHOT] = {
                    name: copy.deepcopy(getattr(v1, name).get(api_id, {})) for name in SNAPSHOT_STORES}
            return response
        return create

    @patched(v1, "_delete_deployment")
    def delete_deployment(original):
        def delete(api_id, deployment_id):
            for stage in v1._stages_v1.get(api_id, {}).values():
                canary = stage.get("canarySettings") or {}
                if deployment_id in (stage.get("deploymentId"), canary.get("deploymentId")):
                    return bad_request("Active stages pointing to this deployment must be moved or deleted")
            return original(api_id, deployment_id)
        return delete

    @patched(v1, "_create_stage")
    def create_stage(original):
        def create(api_id, data):
            if api_id in v1._rest_apis and data.get("stageName"):
                if data["stageName"] in v1._stages_v1.get(api_id, {}):
                    return v1._v1_error("ConflictException", "Stage already exists", 409)
                problem = bad_stage(api_id, data)
                if problem:
                    return bad_request(problem)
            return original(api_id, data)
        return create

    @patched(v1, "_update_stage")
    def update_stage(original):
        def update(api_id, stage_name, data):
            stages = v1._stages_v1.get(api_id, {})
            if stage_name not in stages:
                return original(api_id, stage_name, data)
            stage = copy.deepcopy(stages[stage_name])  # all operations or none
            for op in data.get("patchOperations") or []:
                kind, path = op.get("op"), op.get("path") or ""
                known = (kind in ("add", "replace") and path in REPLACEABLE or kind == "remove" and path in REMOVABLE
                         or kind in ("add", "replace", "remove") and VARIABLE_PATH.fullmatch(path))
                try:
                    if kind != "remove" and path in CANARY_VALUES:  # strings; clients read a number, a boolean
                        op["value"] = CANARY_VALUES[path](op.get("value"))
                    if known:
                        v1._apply_stage_patch(stage, [op])
                    elif not v1._try_apply_method_settings_patch(stage, op):
                        return bad_request(f"Invalid patch path '{path}' specified for op '{kind}'. "
                                           f"Must be one of: [{', '.join((*REPLACEABLE, *REMOVABLE, *WITH_NAMES))}]")
                except (TypeError, ValueError):
                    return bad_request(f"Invalid patch value '{op.get('value')}' specified for path {path}")
            problem = bad_stage(api_id, stage)
            if problem:
                return bad_request(problem)
            stage["lastUpdatedDate"] = v1._now_unix()
            stages[stage_name] = stage
            return v1._v1_response(stage)
        return update

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

    @patched(v1, "handle_request")
    def handle_request(original):
        async def handle(method, path, headers, body, query_params):
            flush = FLUSH_PATH.fullmatch(path) if method == "DELETE" else None
            if not flush:
                return await original(method, path, headers, body, query_params)
            scope = v1.find_api_scope(flush[1])
            if scope is None or flush[2] not in v1._stages_v1.get(flush[1], {}):
                return v1._v1_error("NotFoundException", "Invalid Stage identifier specified", 404)
            if flush[3] == "authorizers":  # keys: account, region, API, authorizer, stage, identity
                for key in [k for k in v1._authorizer_cache if (*k[:3], k[4]) == (*scope, flush[1], flush[2])]:
                    del v1._authorizer_cache[key]
            return 202, {}, b""
        return handle


def install_lambda(lambdas):
    """Versions and updates of functions behave, and are refused, as on AWS.

    MiniStack's CloudFormation calls these without waiting and would meet the 409: it is not for use here.
    """
    publish, update_code, update_config = lambdas._publish_version, lambdas._update_code, lambdas._update_config

    def conflict(function):
        """AWS's 409 while the function is being created or updated, or None."""
        config = (function or {}).get("config", {})
        reason = (f"The function is currently in the following state: {config['State']}"
                  if config.get("StateReasonCode") == "Creating" else
                  f"An update is in progress for resource: {config.get('FunctionArn')}")
        return lambdas.error_response_json(
            "ResourceConflictException", f"The operation cannot be performed at this time. {reason}", 409,
        ) if config.get("LastUpdateStatus") == "InProgress" else None

    def content(config):
        """What makes a version differ from another: all of the configuration, the code's hash with it."""
        return {key: value for key, value in config.items() if not key.startswith(VOLATILE)}

    def publish_now(name, data):
        function = lambdas._functions[name]
        latest = function["versions"].get(max(function["versions"], key=int, default=None))
        if latest and (latest.get("content") or content(latest["config"])) == content(function["config"]):
            latest["function_revision"] = function["config"].get("RevisionId")  # the original then returns it again
        response = publish(name, data)
        if response[0] == 201:
            function["versions"][json.loads(response[2])["Version"]].setdefault("content", content(function["config"]))
        return response

    def publish_version(name, data):
        function = lambdas._functions.get(name)
        if not function:
            return publish(name, data)
        sha, current = data.get("CodeSha256"), function["config"].get("CodeSha256")
        if sha and sha != current:
            return lambdas.error_response_json("InvalidParameterValueException", (
                f"CodeSHA256 ({sha}) is different from current CodeSHA256 in $LATEST ({current}). "
                "Please try again with the CodeSHA256 in $LATEST."), 400)
        if data.get("RevisionId") and data["RevisionId"] != function["config"].get("RevisionId"):
            return lambdas.error_response_json("PreconditionFailedException", STALE_REVISION, 412)
        return conflict(function) or publish_now(name, data)

    def update_function_code(name, data):
        function = lambdas._functions.get(name)
        refused = conflict(function) or (function and lambdas._check_revision(function["config"], data))
        if refused or not function:
            return refused or update_code(name, data)
        if data.get("DryRun"):
            code = (base64.b64decode(data["ZipFile"]) if "ZipFile" in data else lambdas._fetch_code_from_s3(
                data.get("S3Bucket"), data.get("S3Key"), version_id=data.get("S3ObjectVersion")))
            if code is None:
                return lambdas.error_response_json("InvalidParameterValueException", "Failed to fetch the code", 400)
            sha = base64.b64encode(hashlib.sha256(code).digest()).decode()
            return lambdas.json_response({**function["config"], "CodeSize": len(code), "CodeSha256": sha})
        response = update_code(name, {k: v for k, v in data.items() if k != "Publish"})
        if response[0] != 200 or not data.get("Publish"):
            return response
        return (200, *publish_now(name, {})[1:])

    def update_function_configuration(name, data):
        return conflict(lambdas._functions.get(name)) or update_config(name, data)

    def list_functions(query_params):
        if first(query_params, "FunctionVersion") != "ALL":
            return list_latest(query_params)
        names, size = sorted(lambdas._functions.keys()), int(first(query_params, "MaxItems", "50"))
        every = [config for name in names for function in [lambdas._functions[name]] for config in (
            function["config"], *(function["versions"][v]["config"] for v in sorted(function["versions"], key=int)))]
        start = int(first(query_params, "Marker", "0"))
        following = {"NextMarker": str(start + size)} if start + size < len(every) else {}
        return lambdas.json_response({"Functions": every[start:start + size], **following})

    def get_account_settings():
        status, headers, body = settings()
        answer = json.loads(body)  # MiniStack counts no published versions
        answer["AccountUsage"]["TotalCodeSize"] += sum(
            version["config"].get("CodeSize", 0) for name in lambdas._functions.keys()
            for version in lambdas._functions[name]["versions"].values())
        return lambdas.json_response(answer, status)

    first, list_latest, settings = lambdas._qp_first, lambdas._list_functions, lambdas._get_account_settings
    lambdas._list_functions, lambdas._get_account_settings = list_functions, get_account_settings
    lambdas._publish_version = publish_version
    lambdas._update_code, lambdas._update_config = update_function_code, update_function_configuration


def install_idle_end(lambdas, workers):
    """An idle environment ends, as on AWS. MiniStack keeps the first of each version for ever, and after a hundred
    releases hundreds of processes, each with a thread of the server, leave it no time to answer."""

    def reap_idle_workers(ttl=None):
        idle = []
        with workers._lock:
            for key, pool in list(workers._workers.items()):
                idle += [worker for worker in pool if not worker.in_use and time.time() - worker.last_used > IDLE]
                workers._workers[key] = [worker for worker in pool if worker not in idle]
                if not workers._workers[key]:
                    del workers._workers[key]
        workers.kill_workers(idle)
        return len(idle)

    lambdas.reap_idle_workers = reap_idle_workers  # its reaper thread calls it every 30 s


def install_copies(s3):
    """A copy finds its source in another account, too. MiniStack asks the bucket's policy whether the caller may
    read it, as S3 does, and then looks for it among the caller's own buckets."""
    copy_own = s3._copy_object

    def copy_object(bucket_name, dest_key, headers):
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


def install_redis_password(elasticache):
    """The stage's one Redis asks for the token of the replication group that was created or changed last, so that
    other users of the machine cannot read what the functions keep there. It is sent over the connection: an argument
    would show in the list of processes."""
    create, modify, login = elasticache._create_replication_group, elasticache._modify_replication_group, []

    def tell(*commands):
        address = os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"])
        with socket.create_connection(address, timeout=5) as connection, connection.makefile("rb") as answers:
            for command in ([["AUTH", login[0]]] if login else []) + list(commands):
                parts = [part.encode() for part in command]
                connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                answer = answers.readline()
                if not answer.startswith(b"+"):
                    raise RuntimeError(f"Redis refuses {command[0]}: {answer[:40]!r}")

    def protect(p, response):
        group = elasticache._replication_groups.get(elasticache._p(p, "ReplicationGroupId"))
        asked = elasticache._p(p, "AuthToken") or elasticache._p(p, "AuthTokenUpdateStrategy") == "DELETE"
        if response[0] == 200 and group and asked:
            tokens = group.get("_auth_tokens") or []
            passwords = [f">{token}" for token in tokens]
            tell(["ACL", "SETUSER", "default", "resetpass",
                  *(["nopass"] if group.get("_auth_optional") or not passwords else passwords)])
            login[:] = tokens[-1:]
        return response

    elasticache._create_replication_group = lambda p: protect(p, create(p))
    elasticache._modify_replication_group = lambda p: protect(p, modify(p))


def main():
    if len(sys.argv) > 1:
        sys.exit("the launcher takes no arguments: it is set up by the environment, as MiniStack is")
    os.environ.setdefault("BIND_HOST", "127.0.0.1")
    os.umask(0o077)
    supervise()
    try:
        from ministack import app
        from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses, sigv4
        from ministack.core.responses import AccountRegionScopedDict
        from ministack.services import apigateway_v1, elasticache, lambda_svc, s3
    except ImportError as error:
        sys.exit(f"the local stage needs ministack {PINNED}: {error}")
    guard = runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "guard.py"))
    check(apigateway_v1, lambda_svc, lambda_runtime, s3, elasticache, AccountRegionScopedDict,
          guard["used"](app, iam_evaluator, sigv4, iam_actions, responses))
    install_stages(apigateway_v1, AccountRegionScopedDict)
    install_lambda(lambda_svc)
    install_idle_end(lambda_svc, lambda_runtime)
    install_copies(s3)
    install_redis_password(elasticache)
    guard["install"](app, iam_evaluator, sigv4, responses)
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True  # 40 ms less for each call of a bootstrap
    try:
        app.main()
    finally:  # the workers end with the server even when the process above has been killed
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    main()
