"""UpdateStage as on AWS: at most 80 operations, all of them or none, and AWS's words for what it refuses.

Where the texts come from is in docs/aws-facts.md. The launcher gives the module the two functions of MiniStack
that apply an operation.
"""
import copy, re

MOST = 80
KINDS = ("add", "remove", "move", "test", "replace", "copy")
SETTABLE = ("/deploymentId", "/description", "/cacheClusterEnabled", "/cacheClusterSize", "/clientCertificateId",
            "/documentationVersion", "/tracingEnabled", "/accessLogSettings/destinationArn",
            "/accessLogSettings/format")
REMOVABLE = ("/accessLogSettings", "/canarySettings")
VARIABLE = re.compile(r"/variables/[^/]+")
CANARY = re.compile(r"/canarySettings/(percentTraffic|deploymentId|useStageCache|stageVariableOverrides/[^/]+)")
TYPED = {"/canarySettings/percentTraffic": float,  # strings in the request; clients read a number, a boolean
         "/canarySettings/useStageCache": lambda value: str(value).lower() == "true"}
CANARY_PARTS = ("/canarySettings/deploymentId", "/canarySettings/stageVariableOverrides")
VARIABLE_SYMBOLS = "' ', -', '.', '_', ':', '/', '?', '&', '=', and ','"  # AWS's quotes
METHOD_SETTINGS = ("metrics/enabled", "logging/dataTrace", "logging/loglevel", "throttling/burstLimit{0}throttling/"
                   "rateLimit{0}caching/ttlInSeconds", "caching/enabled", "caching/dataEncrypted",
                   "caching/requireAuthorizationForCacheControl", "caching/unauthorizedCacheControlHeaderStrategy")
METHOD, ANY_METHOD = "/{resourcePath}/{httpMethod}/", "/*/*/"
PATHS = ", ".join(("/deploymentId", "/description", "/cacheClusterEnabled", "/cacheClusterSize", "/clientCertificateId",
                   "/accessLogSettings", "/accessLogSettings/destinationArn", "/accessLogSettings/format",
                   *(METHOD + name.format(METHOD) for name in METHOD_SETTINGS),
                   *(ANY_METHOD + name.format(" " + ANY_METHOD) for name in METHOD_SETTINGS),
                   "/variables/{variable_name}", "/tracingEnabled"))  # without commas where AWS leaves them out


class Refused(Exception):
    """AWS's reason to refuse a call, and its error code."""

    def __init__(self, message, code="BadRequestException"):
        super().__init__(message)
        self.message, self.code = message, code


def check_variables(variables):
    """AWS's limits for stage variables, and for the canary's."""
    for name, value in (variables or {}).items():
        if not re.fullmatch(r"\w{1,64}", name, re.ASCII):
            raise Refused(f"Invalid stage variable name: {name}.  Please use names with only word characters.")
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9\-._~:/?#&=,]{1,512}", value):
            raise Refused(f"Invalid stage variable value: {'null' if value is None else value}.  Please use values "
                          f"with alphanumeric characters and the symbols {VARIABLE_SYMBOLS}.")
    if len(variables or {}) > 100:
        raise Refused("A stage has at most 100 stage variables.")


def check_stage(stage, deployments):
    """A stage and its canary name existing deployments and allowed variables."""
    canary = stage.get("canarySettings") or {}
    for deployment_id in (stage.get("deploymentId"), canary.get("deploymentId", stage.get("deploymentId"))):
        if deployment_id not in deployments:
            raise Refused("Deployment id does not exist")
    check_variables(stage.get("variables"))
    check_variables(canary.get("stageVariableOverrides"))


def with_canary(stage, settings):
    """Merges settings into the stage's canary. A new one has the stage's deployment and gets no requests."""
    stage["canarySettings"] = {"deploymentId": stage.get("deploymentId"), "percentTraffic": 0.0,
                               "useStageCache": False, **(stage.get("canarySettings") or {}), **settings}


def promote(stage, source, path):
    """The `copy` operation, which takes parts of the canary into the stage and nothing else."""
    if source not in CANARY_PARTS or path not in ("/deploymentId", "/variables"):
        raise Refused(f"Invalid copy operation with path: {path} and from {source}. Valid copy:path are "
                      "[/deploymentId, /variables] and valid copy:from are "
                      f"[{', '.join(CANARY_PARTS)}]")
    canary = stage.get("canarySettings")
    if not canary:
        raise Refused("Promotion not available. Canary does not exist.")
    if path == "/deploymentId":
        stage["deploymentId"] = canary["deploymentId"]
    else:
        stage["variables"] = {**(stage.get("variables") or {}), **(canary.get("stageVariableOverrides") or {})}


def apply(stage, op, apply_plain, try_method_setting):
    """Applies one operation to `stage`."""
    kind, path = op.get("op"), op.get("path") or ""
    if kind == "copy":
        return promote(stage, op.get("from"), path)
    if CANARY.fullmatch(path):
        if kind != "replace":  # not even `add`
            raise Refused(f"Invalid {kind} operation with path: {path}")
        try:
            op = {**op, "value": TYPED.get(path, lambda value: value)(op.get("value"))}
        except (TypeError, ValueError):
            raise Refused(f"Invalid patch value '{op.get('value')}' specified for path {path}") from None
        with_canary(stage, {})
        return apply_plain(stage, [op])
    plain = path in REMOVABLE if kind == "remove" else kind in ("add", "replace") and path in SETTABLE
    if plain or kind in ("add", "replace", "remove") and VARIABLE.fullmatch(path):
        return apply_plain(stage, [op])
    try:
        if try_method_setting(stage, op):
            return None
    except (TypeError, ValueError):
        raise Refused(f"Invalid patch value '{op.get('value')}' specified for path {path}") from None
    if kind == "remove":
        raise Refused(f"Cannot remove method setting {path[1:]} because there is no method setting for this method ")
    raise Refused(f"Invalid method setting path: {path}. Must be one of: [{PATHS}]")


def patched(stage, operations, deployments, apply_plain, try_method_setting):
    """The stage after all operations. It raises `Refused` if one of them is refused; the stage is then as it was."""
    for number, op in enumerate(operations, 1):
        if op.get("op") not in KINDS:
            raise Refused(f"1 validation error detected: Value '{op.get('op')}' at 'updateStageInput.patchOperations."
                          f"{number}.member.op' failed to satisfy constraint: Member must satisfy enum value set: "
                          f"[{', '.join(KINDS)}]", "ValidationException")
    if len(operations) > MOST:
        raise Refused("Update size too large. Try updating stage in multiple UpdateStage operations")
    stage = copy.deepcopy(stage)
    for op in operations:
        apply(stage, op, apply_plain, try_method_setting)
    check_stage(stage, deployments)
    return stage
