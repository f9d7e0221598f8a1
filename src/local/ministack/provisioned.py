"""Provisioned concurrency as on AWS: allocated after a moment, only for versions and aliases, and for a version or its
alias, but not for both. MiniStack stores any number at once. No environment is started: a local function is as fast
without. Where the texts come from is in docs/aws-facts.md.
"""
import time

CONTROLS = {"provision_seconds": 0.2}  # how long an allocation takes
UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
TWICE = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
SHOWN = ("RequestedProvisionedConcurrentExecutions", "AvailableProvisionedConcurrentExecutions",
         "AllocatedProvisionedConcurrentExecutions", "Status", "LastModified")


def used(lambdas):
    """The names used below, with their parameters in the pinned version."""
    of = "func_name: str, qualifier: str"
    return {lambdas: {
        "_get_provisioned_concurrency": of, "_put_provisioned_concurrency": of + ", data: dict",
        "error_response_json": "code: str, message: str, status: int = 400",
    }}


def install(lambdas):
    get, put = lambdas._get_provisioned_concurrency, lambdas._put_provisioned_concurrency

    def config(name, qualifier):
        return (lambdas._functions.get(name) or {}).get("provisioned_concurrency", {}).get(qualifier)

    def others(name, qualifier):
        """The qualifiers that stand for the same version."""
        aliases = (lambdas._functions.get(name) or {}).get("aliases", {})
        version = aliases.get(qualifier, {}).get("FunctionVersion", qualifier)
        same = [alias for alias, found in aliases.items() if found.get("FunctionVersion") == version]
        return [other for other in (version, *same) if other != qualifier]

    def _get_provisioned_concurrency(func_name, qualifier):
        found = config(func_name, qualifier)
        if found and time.monotonic() >= found.get("ready", 0):
            count = found["RequestedProvisionedConcurrentExecutions"]
            found.update(Status="READY", AvailableProvisionedConcurrentExecutions=count,
                         AllocatedProvisionedConcurrentExecutions=count)
        response = get(func_name, qualifier)
        if response[0] != 200:
            return response
        return lambdas.json_response({name: found[name] for name in SHOWN})

    def _put_provisioned_concurrency(func_name, qualifier, data):
        if (qualifier or "$LATEST") == "$LATEST":
            return lambdas.error_response_json("InvalidParameterValueException", UNPUBLISHED, 400)
        if any(config(func_name, other) for other in others(func_name, qualifier)):
            return lambdas.error_response_json("ResourceConflictException", TWICE, 409)
        response = put(func_name, qualifier, data)
        found = config(func_name, qualifier)
        if response[0] != 202 or not found:
            return response
        found.update(Status="IN_PROGRESS", AvailableProvisionedConcurrentExecutions=0,
                     AllocatedProvisionedConcurrentExecutions=0,
                     ready=time.monotonic() + CONTROLS["provision_seconds"])
        return lambdas.json_response({name: found[name] for name in SHOWN}, 202)

    lambdas._get_provisioned_concurrency = _get_provisioned_concurrency
    lambdas._put_provisioned_concurrency = _put_provisioned_concurrency
