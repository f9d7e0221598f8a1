"""Releases with python-terraform and boto3, one step after the other, as such scripts are usually written.

release.py release VERSION     applies the layers, and releases dist's program
release.py code-only VERSION   the same without Terraform
release.py rollback VERSION    releases the zip of an earlier version again
"""
import io
import os
import sys
import time
import urllib.error
import urllib.request
import zipfile

import boto3
from python_terraform import Terraform

LAYERS = os.environ["LAYERS"].split()
BUCKET = os.environ["ARTIFACT_BUCKET"]

s3, functions, gateway = boto3.client("s3"), boto3.client("lambda"), boto3.client("apigateway")


def checked(result, allowed=(0,)):
    code, _, error = result
    if code not in allowed:
        sys.exit(f"terraform ended with {code}: {error}")
    return code


def apply(layer):
    terraform = Terraform(working_dir=f"terraform/{layer}")
    backend = {"bucket": os.environ["STATE_BUCKET"], "key": f"{os.environ['STATE_PREFIX']}/{layer}.tfstate",
               "region": os.environ["AWS_REGION"], "use_lockfile": "true"}
    checked(terraform.init(backend_config=backend, var=None))
    if checked(terraform.plan(out="release.tfplan", var=None), allowed=(0, 2)) == 2:
        checked(terraform.apply("release.tfplan", var=None))


def upload(key):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(os.environ["BINARY"], "bootstrap")
    s3.put_object(Bucket=BUCKET, Key=key, Body=body.getvalue())


def update(name, key):
    """Publishes a version of a function with the zip."""
    functions.update_function_code(FunctionName=name, S3Bucket=BUCKET, S3Key=key)
    functions.get_waiter("function_updated_v2").wait(FunctionName=name)
    version = functions.publish_version(FunctionName=name)["Version"]
    functions.get_waiter("function_active_v2").wait(FunctionName=name, Qualifier=version)
    return version


def switch(contract, version, versions):
    api, stage = contract["rest_api_id"], contract["stage_name"]
    deployment = gateway.create_deployment(restApiId=api, description=version)["id"]
    variables = {"release": version, **versions}
    patch = [{"op": "replace", "path": "/deploymentId", "value": deployment}]
    patch += [{"op": "replace", "path": f"/variables/{key}", "value": value} for key, value in variables.items()]
    gateway.update_stage(restApiId=api, stageName=stage, patchOperations=patch)


def probe(url):
    for _ in range(30):
        try:
            return urllib.request.urlopen(url, timeout=10).read()
        except urllib.error.HTTPError as error:
            last = f"{error}: {error.read().decode()}"
            time.sleep(1)
    sys.exit(f"{url} does not answer: {last}")


def main():
    action, version = sys.argv[1:]
    key = os.environ["ARTIFACT_KEY"].replace("VERSION", version)
    if action == "release":
        for layer in LAYERS[:-1]:
            apply(layer)
    if action != "rollback":
        upload(key)
    if action == "release":
        apply(LAYERS[-1])
    contract = Terraform(working_dir=f"terraform/{LAYERS[-1]}").output()["deployctl"]["value"]
    versions = {name: update(function["name"], key) for name, function in contract["functions"].items()}
    switch(contract, version, versions)
    probe(os.environ["PROBE"].replace("API", contract["rest_api_id"]))


main()
