"""The fastest release in Python that we could write: plans in parallel, threads for the functions, and no Terraform
process that is not needed.

release.py release VERSION     plans the layers, applies those that changed, and releases dist's program
release.py code-only VERSION   the same without Terraform
release.py rollback VERSION    moves the stage back to an earlier version
"""
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

LAYERS = os.environ["LAYERS"].split()
BUCKET, STATES, PREFIX = (os.environ[name] for name in ("ARTIFACT_BUCKET", "STATE_BUCKET", "STATE_PREFIX"))

config = Config(max_pool_connections=32, retries={"mode": "adaptive", "max_attempts": 20})
s3, functions, gateway = (boto3.client(name, config=config) for name in ("s3", "lambda", "apigateway"))


def terraform(layer, *args, allowed=(0,)):
    command = ["terraform", f"-chdir=terraform/{layer}", *args, "-input=false", "-no-color"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode not in allowed:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}: {result.stderr}")
    return result.returncode


def has_changes(layer):
    """Plans a layer, which is initialised once."""
    if not Path(f"terraform/{layer}/.terraform/terraform.tfstate").exists():
        backend = {"bucket": STATES, "key": f"{PREFIX}/{layer}.tfstate", "region": os.environ["AWS_REGION"],
                   "use_lockfile": "true"}
        terraform(layer, "init", *(f"-backend-config={name}={value}" for name, value in backend.items()))
    return terraform(layer, "plan", "-out=release.tfplan", "-detailed-exitcode", allowed=(0, 2)) == 2


def apply_changed(pool):
    changed = False
    for layer, has_changed in zip(LAYERS, list(pool.map(has_changes, LAYERS))):
        # What was planned on the outputs of a layer that has been applied since is planned again.
        if changed:
            has_changed = has_changes(layer)
        if has_changed:
            terraform(layer, "apply", "release.tfplan")
            changed = True


def contract():
    """The output of the last layer, from its state."""
    state = s3.get_object(Bucket=STATES, Key=f"{PREFIX}/{LAYERS[-1]}.tfstate")["Body"].read()
    return json.loads(state)["outputs"]["deployctl"]["value"]


def upload(key):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(os.environ["BINARY"], "bootstrap")
    s3.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())


def update(name, key):
    """Publishes a version of a function with the zip, and waits until it can be invoked."""
    made = functions.update_function_code(FunctionName=name, S3Bucket=BUCKET, S3Key=key, Publish=True)
    waiter = functions.get_waiter("function_active_v2")
    waiter.wait(FunctionName=name, Qualifier=made["Version"], WaiterConfig={"Delay": 1})
    return made["Version"]


def switch(made, patch):
    api, stage = made["rest_api_id"], made["stage_name"]
    gateway.update_stage(restApiId=api, stageName=stage, patchOperations=patch)
    url = os.environ["PROBE"].replace("API", api)
    for _ in range(60):
        try:
            return urllib.request.urlopen(url, timeout=10).read()
        except urllib.error.HTTPError as error:
            last = f"{error}: {error.read().decode()}"
            time.sleep(0.5)
    sys.exit(f"{url} does not answer: {last}")


def release(pool, version, with_terraform):
    key = os.environ["ARTIFACT_KEY"].replace("VERSION", version)
    uploaded = pool.submit(upload, key)
    if with_terraform:
        apply_changed(pool)
    made = contract()
    uploaded.result()
    deployment = pool.submit(gateway.create_deployment, restApiId=made["rest_api_id"], description=version)
    names = [function["name"] for function in made["functions"].values()]
    versions = zip(made["functions"], pool.map(lambda name: update(name, key), names))
    variables = {"release": version, **dict(versions)}
    patch = [{"op": "replace", "path": "/deploymentId", "value": deployment.result()["id"]}]
    patch += [{"op": "replace", "path": f"/variables/{name}", "value": value} for name, value in variables.items()]
    s3.put_object(Bucket=BUCKET, Key=f"releases/{version}.json", Body=json.dumps([made, patch]))
    switch(made, patch)


def main():
    action, version = sys.argv[1:]
    if action == "rollback":
        made, patch = json.loads(s3.get_object(Bucket=BUCKET, Key=f"releases/{version}.json")["Body"].read())
        switch(made, patch)
        return
    with ThreadPoolExecutor(16) as pool:
        release(pool, version, with_terraform=action == "release")


main()
