"""The algorithms of the replaced Python program, reimplemented for the benchmark as a Lambda program in one file.

_HANDLER selects one: list (one GET per user, as in the replaced program), list_mget (with MGET), get.
"""

import http.client
import json
import os

import redis

database = redis.Redis(host=os.environ["REDIS_DNS"], port=int(os.environ["REDIS_PORT"]), db=0)


def list_users(event):
    users = []
    for user_id in database.smembers("users"):
        user = database.get("user_" + user_id.decode())
        if user is not None:
            users.append(json.loads(user))
    return respond(200, users)


def list_users_mget(event):
    keys = ["user_" + user_id.decode() for user_id in database.smembers("users")]
    users = [json.loads(user) for user in (database.mget(keys) if keys else []) if user is not None]
    return respond(200, users)


def get_user(event):
    user = database.get("user_" + event["pathParameters"]["userId"])
    if user is None:
        return respond(404, {"error": "not found"})
    return respond(200, json.loads(user))


def respond(status, body):
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body),
    }


def main():
    handler = {"list": list_users, "list_mget": list_users_mget, "get": get_user}[os.environ["_HANDLER"]]
    runtime = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        runtime.request("GET", "/2018-06-01/runtime/invocation/next")
        response = runtime.getresponse()
        event = json.loads(response.read())
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        answer = json.dumps(handler(event)).encode()
        runtime.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", answer)
        runtime.getresponse().read()


main()
