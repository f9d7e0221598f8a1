"""Lambda's states, versions and refusals as on AWS. Where they come from is in docs/aws-facts.md.

A new function, and each new version, is Pending before it is Active; an update is InProgress before it is
Successful. Meanwhile AWS refuses what MiniStack would do. How long that takes is `CONTROLS["pending_seconds"]`;
for a request with the header x-deployctl-at-once, no time.

MiniStack's CloudFormation calls these functions without waiting and would meet the 409: it is not for use here.
"""
import asyncio, base64, contextvars, hashlib, json, time, uuid

CONTROLS = {"pending_seconds": 1.0}  # longer than a client's first look at a new version, shorter than Terraform's
AT_ONCE = contextvars.ContextVar("at_once", default=False)  # what the request in flight begins is ready at once
IDLE = 60  # seconds after which an unused environment of a function ends
VOLATILE = ("Version", "FunctionArn", "RevisionId", "LastModified", "SnapStart", "State", "LastUpdateStatus")
STALE_REVISION = ("The Revision Id provided does not match the latest Revision Id. "
                  "Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
NOT_NOW = "The operation cannot be performed at this time. "
CREATED = "The function is being created."  # AWS says so of updates, too

CREATING = {"State": "Pending", "StateReason": CREATED, "StateReasonCode": "Creating"}
UPDATING = {"State": "Active", "LastUpdateStatus": "InProgress", "LastUpdateStatusReason": CREATED,
            "LastUpdateStatusReasonCode": "Creating"}
READY = {"State": "Active", "LastUpdateStatus": "Successful"}
INACTIVE = {"State": "Inactive", "StateReason": "The function is currently idle.", "StateReasonCode": "Idle",
            "LastUpdateStatus": "Successful"}
RESTORING = {"State": "Pending", "StateReasonCode": "Restoring", "LastUpdateStatus": "Successful"}


def used(lambdas, workers):
    """The names used below, with their parameters in the pinned version."""
    name_data, qualified = "name: str, data: dict", "name: str, qualifier: str | None = None"
    return {lambdas: {
        "_create_function": "data: dict", "_update_code": name_data, "_update_config": name_data,
        "_publish_version": name_data, "_check_revision": "current: dict, data: dict",
        "_schedule_state_transition": "func_name: str, delay: float",
        "_get_function": qualified, "_get_function_config": qualified,
        "_get_func_record_for_qualifier": "name: str, qualifier: str | None",
        "_function_qualifier_not_found": "func_name: str, qualifier: str | None",
        "_get_func_record_for_ref_in_scope": "function_ref: str, *, account_id: str | None = None, "
                                             "region: str | None = None",
        "_invoke": "name: str, event: dict, headers: dict, path_qualifier: str | None = None, "
                   "query_params: dict | None = None",
        "handle_request": "method: str, path: str, headers: dict, body: bytes, query_params: dict",
        "error_response_json": "code: str, message: str, status: int = 400",
        "json_response": "data: dict, status: int = 200",
        "_fetch_code_from_s3": "bucket: str, key: str, version_id: str | None = None",
        "reap_idle_workers": "ttl: float = None", "_list_functions": "query_params: dict", "_get_account_settings": "",
        "_qp_first": "query_params: dict, key: str",
        "_execute_function_warm": "func: dict, event: dict, request_id: str",
        "_execute_function_provided_warm": "func: dict, event: dict, request_id: str",
    }, workers: {"kill_workers": "workers"}}


def set_state(config, state):
    """Replaces all that a configuration says about its state. AWS leaves out what does not apply."""
    for name in [name for name in config if name.startswith(("State", "LastUpdateStatus"))]:
        del config[name]
    config.update(state)


def begin(config, state):
    """The configuration is in `state` for a while, and then ready. A new time counts for those that wait, too."""
    loop = asyncio.get_running_loop()
    start = loop.time()

    def look():
        if not (config.get("State") == "Pending" or config.get("LastUpdateStatus") == "InProgress"):
            return
        if not AT_ONCE.get() and loop.time() - start < CONTROLS["pending_seconds"]:
            loop.call_later(0.02, look)
            return
        set_state(config, READY)
        if config["Version"] == "$LATEST":
            config["RevisionId"] = str(uuid.uuid4())  # it moves at the update, and again at its end

    set_state(config, state)
    look()


def settle(lambdas):
    """What was being created or updated when the stage ended is ready."""
    for function in lambdas._functions._data.values():
        for record in (function, *function["versions"].values()):
            config = record["config"]
            if config.get("State") == "Pending" or config.get("LastUpdateStatus") == "InProgress":
                set_state(config, READY)


def install(lambdas, has_bucket):
    """Puts AWS's states and refusals into MiniStack's module."""
    install_states(lambdas)
    install_updates(lambdas, has_bucket)
    install_reads(lambdas)
    install_errors(lambdas)
    install_failed_starts(lambdas)


def install_states(lambdas):
    """A function that is Pending or Inactive does not run."""

    def unavailable(config):
        """AWS's refusal to run a version now, or None. To try it is what wakes an inactive one."""
        if config.get("State") == "Pending":
            message = f"{NOT_NOW}The function is currently in the following state: Pending"
            return lambdas.error_response_json("ResourceConflictException", message, 409)
        if config.get("State") == "Inactive":
            begin(config, RESTORING)
            message = ("The function is inactive and its VPC connection is no longer available. "
                       "Wait for the VPC connection to reestablish and try again.")
            return lambdas.error_response_json("ResourceNotReadyException", message, 502)
        return None

    async def invoke(name, event, headers, path_qualifier=None, query_params=None):
        qualifier = path_qualifier or lambdas._qp_first(query_params or {}, "Qualifier") or headers.get(
            "x-amz-qualifier")
        _, config = lambdas._get_func_record_for_qualifier(name, qualifier)
        if config is None:
            return lambdas._function_qualifier_not_found(name, qualifier)
        return unavailable(config) or await run(name, event, headers, path_qualifier, query_params)

    def find(function_ref, *, account_id=None, region=None):
        """What API Gateway calls. It answers 500 for a function that it cannot run, as for one that is not there."""
        function, config, name = find_any(function_ref, account_id=account_id, region=region)
        return (None, None, name) if config and unavailable(config) else (function, config, name)

    run, find_any = lambdas._invoke, lambdas._get_func_record_for_ref_in_scope
    lambdas._invoke, lambdas._get_func_record_for_ref_in_scope = invoke, find


def install_updates(lambdas, has_bucket):
    """Functions are created, updated and published as on AWS."""
    create, publish = lambdas._create_function, lambdas._publish_version
    update_code, update_config = lambdas._update_code, lambdas._update_config

    def schedule(name, _delay):
        config = lambdas._functions[name]["config"]
        begin(config, CREATING if config.get("StateReasonCode") == "Creating" else UPDATING)

    def conflict(function):
        """AWS's 409 while the function is being created or updated, or None."""
        config = (function or {}).get("config", {})
        if config.get("State") == "Pending":
            reason = "The function is currently in the following state: Pending"
        elif config.get("LastUpdateStatus") == "InProgress":
            reason = f"An update is in progress for resource: {config.get('FunctionArn')}"
        else:
            return None
        return lambdas.error_response_json("ResourceConflictException", NOT_NOW + reason, 409)

    def check_revision(current, data):
        if "RevisionId" not in data or data["RevisionId"] == current.get("RevisionId"):
            return None
        return lambdas.error_response_json("PreconditionFailedException", STALE_REVISION, 412)

    def no_code(location):
        """AWS's refusal of code that is not where the request says, or None."""
        bucket, key, version = (location.get(name) for name in ("S3Bucket", "S3Key", "S3ObjectVersion"))
        if not bucket or lambdas._fetch_code_from_s3(bucket, key, version_id=version) is not None:
            return None
        code, message = ("NoSuchBucket", "The specified bucket does not exist") if not has_bucket(bucket) else (
            "NoSuchVersion", "The specified version does not exist.") if version else (
            "NoSuchKey", "The specified key does not exist.")
        return lambdas.error_response_json("InvalidParameterValueException", (
            f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"), 400)

    def content(config):
        """What makes a version differ from another: all of the configuration, the code's hash with it."""
        return {key: value for key, value in config.items() if not key.startswith(VOLATILE)}

    def publish_now(name, data):
        """Publishes `$LATEST` as it is. Nothing new gives the last version again."""
        function = lambdas._functions[name]
        latest = function["versions"].get(max(function["versions"], key=int, default=None))
        if latest and (latest.get("content") or content(latest["config"])) == content(function["config"]):
            latest["function_revision"] = function["config"].get("RevisionId")  # the original then returns it again
        before = function["next_version"]
        response = publish(name, data)
        if response[0] != 201 or function["next_version"] == before:
            return response
        version = function["versions"][str(before)]
        version["content"] = content(function["config"])
        function["config"]["RevisionId"] = str(uuid.uuid4())
        # AWS answers PublishVersion of a plain zip with a version that is Active; the versions of functions in a VPC
        # may be Pending. Here all are, except those with SnapStart, which MiniStack prepares itself.
        if (version["config"].get("SnapStart") or {}).get("OptimizationStatus") != "On":
            begin(version["config"], CREATING)
        return lambdas.json_response(version["config"], 201)

    def create_function(data):
        refused = no_code(data.get("Code") or {})
        response = refused or create({key: value for key, value in data.items() if key != "Publish"})
        return publish_now(data["FunctionName"], {}) if response[0] == 201 and data.get("Publish") else response

    def publish_version(name, data):
        function = lambdas._functions.get(name)
        if not function:
            return publish(name, data)
        sha, current = data.get("CodeSha256"), function["config"].get("CodeSha256")
        if sha and sha != current:
            return lambdas.error_response_json("InvalidParameterValueException", (
                f"CodeSHA256 ({sha}) is different from current CodeSHA256 in $LATEST ({current}). "
                "Please try again with the CodeSHA256 in $LATEST."), 400)
        return check_revision(function["config"], data) or conflict(function) or publish_now(name, data)

    def update_function_code(name, data):
        function = lambdas._functions.get(name)
        if not function:
            return update_code(name, data)
        refused = conflict(function) or check_revision(function["config"], data) or no_code(data)
        if refused:
            return refused
        if data.get("DryRun"):
            code = (base64.b64decode(data["ZipFile"]) if "ZipFile" in data else lambdas._fetch_code_from_s3(
                data.get("S3Bucket"), data.get("S3Key"), version_id=data.get("S3ObjectVersion")))
            sha = base64.b64encode(hashlib.sha256(code).digest()).decode()
            return lambdas.json_response({**function["config"], "CodeSize": len(code), "CodeSha256": sha})
        response = update_code(name, {k: v for k, v in data.items() if k != "Publish"})
        if response[0] != 200 or not data.get("Publish"):
            return response
        return (200, *publish_now(name, {})[1:])

    def update_function_configuration(name, data):
        return conflict(lambdas._functions.get(name)) or update_config(name, data)

    lambdas._schedule_state_transition, lambdas._check_revision = schedule, check_revision
    lambdas._create_function, lambdas._publish_version = create_function, publish_version
    lambdas._update_code, lambdas._update_config = update_function_code, update_function_configuration


def install_reads(lambdas):
    """Reads that MiniStack does not have, or answers otherwise."""
    first, list_latest, settings = lambdas._qp_first, lambdas._list_functions, lambdas._get_account_settings

    def or_not_found(original):
        def read(name, qualifier=None):
            if lambdas._get_func_record_for_qualifier(name, qualifier)[1] is None:
                return lambdas._function_qualifier_not_found(name, qualifier)
            return original(name, qualifier)
        return read

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

    lambdas._list_functions, lambdas._get_account_settings = list_functions, get_account_settings
    lambdas._get_function = or_not_found(lambdas._get_function)
    lambdas._get_function_config = or_not_found(lambdas._get_function_config)


def install_errors(lambdas):
    """An error has its code in a header only, and `Type` and the message in its body."""
    handle = lambdas.handle_request

    async def handle_request(method, path, headers, body, query_params):
        token = AT_ONCE.set("x-deployctl-at-once" in headers)
        try:
            response = await handle(method, path, headers, body, query_params)
        finally:
            AT_ONCE.reset(token)
        code = response[1].get("x-amzn-errortype") if response[0] >= 400 else None
        if not code:
            return response
        status, _, text = response
        message = json.loads(text)["message"]
        type_of = {} if code == "ValidationException" else {"Type": "User" if status < 500 else "Service"}
        name = "Message" if code == "ResourceNotFoundException" else "message"  # as AWS's model has it
        return (status, {"Content-Type": "application/json", "x-amzn-errortype": code},
                json.dumps({**type_of, name: message}).encode())

    lambdas.handle_request = handle_request


def install_failed_starts(lambdas):
    """What a function wrote before it died at its start is in its log. MiniStack has it only in the answer."""

    def logged(execute):
        def run(func, event, request_id):
            result = execute(func, event, request_id)
            if result.get("error") and not result.get("log") and isinstance(result.get("body"), dict):
                result = {**result, "log": result["body"].get("errorMessage") or ""}
            return result
        return run

    for name in ("_execute_function_warm", "_execute_function_provided_warm"):
        setattr(lambdas, name, logged(getattr(lambdas, name)))


def make_inactive(lambdas, name, version):
    """Makes a version idle. Returns whether there is such a version."""
    functions = [function for key, function in lambdas._functions._data.items() if key[-1] == name]
    configs = [record["config"] for function in functions
               if (record := function if version == "$LATEST" else function["versions"].get(version))]
    for config in configs:
        set_state(config, INACTIVE)
    return bool(configs)


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
