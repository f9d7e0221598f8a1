"""Lets only those use the stage's AWS who know its secret, and no web page at all.

MiniStack listens on loopback, where every user of the machine and every page in a browser reaches it, and what it
runs as Lambdas runs as its owner. So each request to it has to be signed with the stage's secret (SigV4, checked by
MiniStack's own code), must not come from a page (`Origin`), and must name this machine (`Host`: a page whose name
has been rebound to 127.0.0.1 still sends that name). The APIs that the stage serves stay open, as on AWS.
"""
import contextvars, hashlib, json, os, re, uuid
from urllib.parse import parse_qs, quote

LOOPBACK = re.compile(r"(127\.0\.0\.1|\[::1\]|([a-z0-9_-]+\.)*localhost)(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
HEALTH = "/_ministack/health"
CONTROLS = "/_deployctl/"  # what tests ask of the local stage itself
TO_AN_API = contextvars.ContextVar("to_an_api", default=False)  # the request in flight is for a stage of an API


def used(app, evaluator, sigv4, actions, responses):
    """The names used below, with their parameters in the pinned version."""
    request, mapping = "method: str, path: str, headers: dict", "collections.abc.Mapping[str, typing.Any]"
    return {app: {
        "app": "scope, receive, send", "_parse_execute_api_url": "host: str, path: str",
        "_resolve_custom_domain_request": "host: str, path: str", "_with_date_header": "send",
        "_handle_pre_body_request": f"{request}, query_params: dict, request_id: str",
        "_handle_post_body_shortcuts": f"{request}, body: bytes, query_params: dict, request_id: str",
        "_handle_special_data_plane_request": f"{request}, body: bytes, query_params: dict, request_id: str",
        "_dispatch_service_request": f"{request}, body: bytes, query_params: dict, request_id: str",
        "_handle_execute_api_request": "host: str, path: str, method: str, headers: dict, body: bytes, "
                                       "query_params: dict",
        "_with_data_plane_headers": "response, request_id: str, include_s3_id: bool = False, "
                                    "wildcard_cors: bool = True",
        "_credential_failure": "service: str, iam_action: str, request_id: str, denied, headers: dict",
    }, evaluator: {
        "resolve_credential": "access_key_id: str, account_id: str | None = None",
        "find_iam_access_key_account": "access_key_id: str",
    }, sigv4: {
        "parse_header_signature": f"headers: {mapping}", "parse_query_signature": f"query_params: {mapping}",
        "request_time_failure": "signature: ministack.core.sigv4.HeaderSignature",
        "presigned_request_is_expired": "amz_date: str, expires: str | int",
        "header_signature_failure": "signature: ministack.core.sigv4.HeaderSignature, secret: str, method: str, "
                                    f"raw_path: str, query_params: {mapping}, headers: {mapping}, body: bytes",
    }, actions: {
        "access_denied_response": "service: str, action: str, principal_arn: str, request_id: str",
    }, responses: {"_account_from_sts_session": "access_key_id: str", "get_account_id": ""}}


class Refused(Exception):
    """A request that is not signed as it has to be, with AWS's code and message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def header_map(raw):
    """Headers as SigV4 signs them: a name that comes more than once has its values joined by a bare comma."""
    headers = {}
    for name, value in raw:
        name = name.decode("latin-1").lower()
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        if name in headers and name in ("host", "authorization", "x-amz-date", "x-amz-content-sha256"):
            raise Refused("IncompleteSignature", f"The header {name} is there more than once.")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    return headers


def signature_of(sigv4, headers, query):
    """The signature of a request and whether its URL carries it."""
    authorization = headers.get("authorization", "")
    presigned = any(name.lower() in ("x-amz-signature", "x-amz-credential", "x-amz-algorithm") for name in query)
    # MiniStack's oldest way to name an account; nothing in it can be checked here.
    if "AWSAccessKeyId" in query or authorization and presigned:
        raise Refused("UnsupportedSignature", "The request signature does not conform to AWS standards.")
    if presigned:
        if query.get("X-Amz-Algorithm") != ["AWS4-HMAC-SHA256"]:
            raise Refused("UnsupportedSignature", "The request signature does not conform to AWS standards.")
        if any(len(values) > 1 for name, values in query.items() if name.lower().startswith("x-amz-")):
            raise Refused("IncompleteSignature", "A parameter of the signature is there more than once.")
        signature = sigv4.parse_query_signature(query)
    elif not authorization:
        raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token")
    elif not authorization.startswith("AWS4-HMAC-SHA256 "):
        raise Refused("UnsupportedSignature", "The request signature does not conform to AWS standards.")
    else:
        signature = sigv4.parse_header_signature(headers)
    if isinstance(signature, tuple):
        raise Refused(*signature)
    return signature, presigned


def check_time(sigv4, signature, presigned, query):
    """A signature is good for minutes, one in a URL for as long as the URL says."""
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", signature.amz_date, re.ASCII):
        raise Refused("IncompleteSignature", "Date must be in ISO-8601 'basic format'.")
    if presigned and "X-Amz-Expires" in query:
        try:
            seconds = int(query["X-Amz-Expires"][0])
            expired = not 0 < seconds <= 604800 or sigv4.presigned_request_is_expired(signature.amz_date, seconds)
        except ValueError:
            expired = True
        if expired:
            raise Refused("RequestExpired", "Request has expired")
    else:
        failure = sigv4.request_time_failure(signature)
        if failure:
            raise Refused(*failure)


def check_parts(signature, presigned, headers, body):
    """What decides about a request has to be in its signature: where it goes, what it asks for, and its body."""
    signed = signature.signed_headers.split(";")
    for name in ("host", "x-amz-target"):
        if name in headers and name not in signed:
            raise Refused("SignatureDoesNotMatch", f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    claimed = headers.get("x-amz-content-sha256", "")
    if HASH.fullmatch(claimed):
        if claimed != hashlib.sha256(body).hexdigest():
            raise Refused("SignatureDoesNotMatch", "The provided 'x-amz-content-sha256' header does not match what "
                          "was computed.")
    elif claimed and signature.service != "s3":  # S3 alone takes bodies that are not signed, or piece by piece
        raise Refused("SignatureDoesNotMatch", "The body of the request is not signed.")


def check_signature(modules, scope, headers, query, body):
    """Raises `Refused` unless the request is signed by somebody who knows the secret of its key."""
    evaluator, sigv4, responses = modules
    signature, presigned = signature_of(sigv4, headers, query)
    key = signature.access_key_id
    check_time(sigv4, signature, presigned, query)
    check_parts(signature, presigned, headers, body)
    token = query.get("X-Amz-Security-Token", [""])[0] if presigned else headers.get("x-amz-security-token", "")
    try:
        account = key if ACCOUNT.fullmatch(key) else (
            responses._account_from_sts_session(key) or evaluator.find_iam_access_key_account(key))
    except ValueError:
        account = None
    credential = evaluator.resolve_credential(key, account, token) if account else None
    if not hasattr(credential, "secret_access_key"):
        raise Refused(getattr(credential, "code", "InvalidClientTokenId"),
                      "The security token included in the request is invalid.")
    raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    failure = sigv4.header_signature_failure(signature, credential.secret_access_key, scope["method"], raw_path,
                                             query, headers, body, presigned=presigned)
    if failure:
        raise Refused(*failure)


def restrict(app):
    """A request that came in as one to an API reaches nothing else, whatever its path looks like."""
    def skipped(name):
        original = getattr(app, name)

        async def handle(*args, **kwargs):
            return None if TO_AN_API.get() else await original(*args, **kwargs)
        setattr(app, name, handle)

    skipped("_handle_pre_body_request")
    skipped("_handle_post_body_shortcuts")
    special, dispatch = app._handle_special_data_plane_request, app._dispatch_service_request

    async def handle_special(method, path, headers, body, query_params, request_id, **more):
        if not TO_AN_API.get():
            return await special(method, path, headers, body, query_params, request_id, **more)
        raw = {name: more.get(name) for name in ("raw_path", "raw_query_string")}
        response = await app._handle_execute_api_request(
            headers.get("host", ""), path, method, headers, body, query_params, **raw)
        return app._with_data_plane_headers(response, request_id, wildcard_cors=False)

    async def handle_rest(*args, **kwargs):
        if TO_AN_API.get():
            return 404, {"Content-Type": "application/json"}, b'{"message": "Not Found"}'
        return await dispatch(*args, **kwargs)

    app._handle_special_data_plane_request, app._dispatch_service_request = handle_special, handle_rest


async def read(receive):
    """The whole body, or None when the client has gone away."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def replayed(body, receive):
    """The body once more, then what comes after it."""
    given = False

    async def again():
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}
    return again


def without_cors(send):
    """No page may read an answer of the emulator's own."""
    async def send_on(message):
        if message["type"] == "http.response.start":
            kept = [(n, v) for n, v in message.get("headers", []) if not n.lower().startswith(b"access-control-")]
            message = {**message, "headers": kept}
        await send(message)
    return send_on


async def answer(send, status, headers, body):
    """An answer of the guard's own."""
    raw = [(str(name).lower().encode(), str(value).encode()) for name, value in headers.items()]
    raw = [(name, value) for name, value in raw if name != b"content-length"]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def install(app, evaluator, sigv4, responses, controls):
    """Puts the guard before MiniStack, and `controls` behind the guard."""
    if len(os.environ.get("AWS_SECRET_ACCESS_KEY", "")) < 32:
        raise SystemExit("the local stage has no secret: AWS_SECRET_ACCESS_KEY is not set")
    restrict(app)
    inner, modules = app.app, (evaluator, sigv4, responses)

    def to_an_api(host, path):
        """Whether a request is for a stage of an API; the host may be a domain that the stage itself maps."""
        if path.startswith(("/_ministack/", CONTROLS)):
            return False
        parsed = app._parse_execute_api_url(host, path) if LOOPBACK.fullmatch(host) else None
        parsed = parsed or app._resolve_custom_domain_request(host, path)
        return bool(parsed) and not parsed[2].startswith("/@connections")

    async def forbidden(send, why):
        body = json.dumps({"__type": "AccessDeniedException", "message": why}).encode()
        await answer(send, 403, {"Content-Type": "application/json"}, body)

    async def control(scope, receive, send, headers):
        """A request to AWS itself."""
        if "origin" in headers:
            return await forbidden(send, "The local stage takes no requests from web pages.")
        if not LOOPBACK.fullmatch(headers.get("host", "")):
            return await forbidden(send, "The local stage takes no requests for another host.")
        if scope["path"] == HEALTH and scope["method"] == "GET":
            return await answer(send, 200, {"Content-Type": "application/json"}, b"{}")
        body = await read(receive)
        if body is None:
            return None
        query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        try:
            check_signature(modules, scope, headers, query, body)
        except Refused as refused:
            service = re.search(r"/([a-z0-9-]+)/aws4_request", headers.get("authorization", ""))
            service = service[1] if service else "s3" if any(n.lower().startswith("x-amz-") for n in query) else "sts"
            try:
                made = app._credential_failure(service, "", str(uuid.uuid4()), refused, headers)
            except KeyError:  # a service that MiniStack does not know
                made = app._credential_failure("sts", "", str(uuid.uuid4()), refused, headers)
            return await answer(send, *made)
        if scope["path"].startswith(CONTROLS):
            return await answer(send, *controls(scope["method"], scope["path"], body))
        await inner(scope, replayed(body, receive), send)

    async def guarded(scope, receive, send):
        if scope["type"] == "lifespan":
            return await inner(scope, receive, send)
        if scope["type"] != "http":  # WebSocket APIs, which a release does not know
            await receive()
            return await send({"type": "websocket.close", "code": 1008})
        dated = app._with_date_header(send)
        try:
            headers = header_map(scope.get("headers", []))
        except Refused as refused:
            return await forbidden(dated, refused.message)
        if not to_an_api(headers.get("host", ""), scope["path"]):
            return await control(scope, receive, without_cors(dated), headers)
        token = TO_AN_API.set(True)
        try:
            return await inner(scope, receive, send)
        finally:
            TO_AN_API.reset(token)

    app.app = guarded
