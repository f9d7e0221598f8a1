"""Judges recorded requests, and a table of known members, by AWS's service model.

stdin:  {"requests": [{"head": str, "body": str}], "table": {service: {shape: {member: decision}}}}
stdout: {"version", "problems": [{"request": number or null, "text": str}], "requests": how many were judged,
         "operations": [...], "lists": [operations with pages], "members": rows of the table}
"""

import json
import re
import sys
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

import botocore
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

# The service of a signature, by its name in botocore.
SERVICES = ["apigateway", "iam", "lambda", "logs", "s3", "sts"]

# Headers that belong to signing, tracing and checksums of the body, and not to an operation.
GENERAL = re.compile(
    "x-amz-(date|content-sha256|user-agent|security-token|decoded-content-length|trailer|target"
    "|checksum-[a-z0-9]+|sdk-checksum-algorithm)"
)


class Service:
    def __init__(self, name):
        loader = Loader()
        self.name = name
        self.model = ServiceModel(loader.load_service_model(name, "service-2"), name)
        self.operations = [self.model.operation_model(operation) for operation in self.model.operation_names]
        self.pages = set(loader.load_service_model(name, "paginators-1")["pagination"])
        self.protocol = self.model.metadata["protocol"]


class Request:
    def __init__(self, head, body):
        lines = head.split("\r\n") if "\r\n" in head else head.split("\n")
        self.method, target, _ = lines[0].split(" ", 2)
        self.headers = {}
        for line in lines[1:]:
            name, separator, value = line.partition(":")
            if separator:
                self.headers[name.strip().lower()] = value.strip()
        parts = urlsplit(target)
        self.path = parts.path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = body

    @property
    def service(self):
        scope = re.search(r"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request", self.headers.get("authorization", ""))
        return scope and scope.group(1)


def located(shape, location):
    members = shape.members.items() if shape is not None else []
    return {
        member.serialization.get("name", name): (name, member)
        for name, member in members
        if member.serialization.get("location") == location
    }


def find_rest(service, request):
    """The operation with the most in common: literal path, query of its own, required members that are there."""
    best = None
    for operation in service.operations:
        if operation.http["method"] != request.method:
            continue
        path, _, query = operation.http["requestUri"].partition("?")
        static = dict(parse_qsl(query, keep_blank_values=True))
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path).replace(r"\+\}", r"\}\+"))
        pattern = re.sub(r"\(\?P<(\w+)>\[\^/\]\+\)\\\+", r"(?P<\1>.+)", pattern)
        match = re.fullmatch(pattern + "/?", request.path)
        if not match or any(request.query.get(key) != value for key, value in static.items()):
            continue
        required = set(operation.input_shape.required_members) if operation.input_shape else set()
        bound = [
            (name, name in required, key in values)
            for location, values in [("querystring", request.query), ("header", request.headers)]
            for key, (name, _) in located(operation.input_shape, location).items()
            for key in [key if location == "querystring" else key.lower()]
        ]
        if any(needed and not present for _, needed, present in bound):
            continue
        literal = len(re.sub(r"\{[^}]*\}", "", path))
        rank = (len(static), literal, sum(needed for _, needed, _ in bound))
        if best is None or rank > best[0]:
            best = (rank, operation, match.groupdict(), static)
    return best and best[1:]


def cast(shape, text):
    """A member of path, query or header, or the text of XML and forms."""
    if shape.type_name in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d+", text) else text
    if shape.type_name in ("float", "double"):
        return float(text)
    if shape.type_name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if shape.type_name == "list":
        return [cast(shape.member, part.strip()) for part in text.split(",")]
    return text


def from_json(shape, value):
    """Members by their names in the model; what the model does not have keeps its own."""
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        return {
            names.get(key, key): from_json(shape.members[names[key]], inner) if key in names else inner
            for key, inner in value.items()
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [from_json(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: from_json(shape.value, item) for key, item in value.items()}
    return value


def from_xml(shape, node):
    def tag(element):
        return element.tag.rpartition("}")[2]

    if shape.type_name == "structure":
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        found = {}
        for child in node:
            name = names.get(tag(child))
            if name is None:
                found[tag(child)] = child.text
                continue
            member = shape.members[name]
            if member.type_name == "list" and member.serialization.get("flattened"):
                found.setdefault(name, []).append(from_xml(member.member, child))
            else:
                found[name] = from_xml(member, child)
        return found
    if shape.type_name == "list":
        return [from_xml(shape.member, child) for child in node]
    return cast(shape, node.text or "")


def from_form(shape, form, at=""):
    """The members of the query protocol: `ActionNames.member.1`."""
    if shape.type_name == "structure":
        found = {}
        for name, member in shape.members.items():
            key = f"{at}{member.serialization.get('name', name)}"
            if any(other == key or other.startswith(key + ".") for other in form):
                found[name] = from_form(member, form, key if member.type_name not in ("structure",) else key + ".")
        return found
    if shape.type_name == "list":
        prefix = at if shape.serialization.get("flattened") else f"{at}.{shape.member.serialization.get('name', 'member')}"
        count = 1
        items = []
        while any(other == f"{prefix}.{count}" or other.startswith(f"{prefix}.{count}.") for other in form):
            inner = f"{prefix}.{count}"
            items.append(from_form(shape.member, form, inner + "." if shape.member.type_name == "structure" else inner))
            count += 1
        return items
    return cast(shape, form.pop(at))


def parse_rest(service, request, problems):
    found = find_rest(service, request)
    if not found:
        problems.append(f"{service.name} has no operation for {request.method} {request.path} {request.query}")
        return None, {}
    operation, labels, static = found
    shape = operation.input_shape
    if request.query.get("x-id", operation.name) != operation.name:
        problems.append(f"{operation.name}: the SDK says that it is {request.query['x-id']}")
    members = {}
    for key, (name, member) in located(shape, "uri").items():
        if key in labels:
            members[name] = cast(member, unquote(labels[key]))
    queries = located(shape, "querystring")
    maps = [name for name, inner in queries.values() if inner.type_name == "map"]  # its keys are parameters
    for key, value in request.query.items():
        if key in queries:
            members[queries[key][0]] = cast(queries[key][1], value)
        elif maps and key not in static and key != "x-id":
            members.setdefault(maps[0], {})[key] = value
        elif key not in static and key != "x-id":
            problems.append(f"{operation.name}: unknown query parameter {key}")
    headers = {key.lower(): found for key, found in located(shape, "header").items()}
    prefixes = {key.lower(): found for key, found in located(shape, "headers").items()}
    for key, value in request.headers.items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if key in headers:
            members[headers[key][0]] = cast(headers[key][1], value)
        elif prefix:
            members.setdefault(prefixes[prefix][0], {})[key[len(prefix):]] = value
        elif key.startswith("x-amz-") and not GENERAL.fullmatch(key):
            problems.append(f"{operation.name}: unknown header {key}")
    payload = shape and shape.serialization.get("payload")
    if payload and shape.members[payload].type_name in ("blob", "string"):
        members[payload] = request.body
    elif request.body:
        # Without a payload member, the body is the structure itself.
        inner = shape.members[payload] if payload else shape
        if service.protocol == "rest-xml":
            parsed = from_xml(inner, ElementTree.fromstring(request.body))
        else:
            parsed = from_json(inner, json.loads(request.body))
        if payload:
            members[payload] = parsed
        else:
            members.update(parsed)
    return operation, members


def parse(service, request, problems):
    if service.protocol.startswith("rest-"):
        return parse_rest(service, request, problems)
    if service.protocol == "json":
        operation = service.model.operation_model(request.headers["x-amz-target"].rpartition(".")[2])
        return operation, from_json(operation.input_shape, json.loads(request.body))
    form = dict(parse_qsl(request.body, keep_blank_values=True))
    operation = service.model.operation_model(form.pop("Action"))
    version = form.pop("Version")
    if version != service.model.api_version:
        problems.append(f"{operation.name}: the version is {version}")
    members = from_form(operation.input_shape, form) if operation.input_shape else {}
    problems.extend(f"{operation.name}: unknown member {name}" for name in form)
    return operation, members


def constraints(shape, value, at):
    """What botocore does not check itself: patterns, enums, and the upper ends of ranges."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, inner in value.items():
            if name in shape.members:
                yield from constraints(shape.members[name], inner, f"{at}.{name}")
    elif shape.type_name == "map" and isinstance(value, dict):
        yield from longest(shape, len(value), at)
        for name, inner in value.items():
            yield from constraints(shape.key, name, f"{at} (key)")
            yield from constraints(shape.value, inner, f"{at}.{name}")
    elif shape.type_name == "list" and isinstance(value, list):
        yield from longest(shape, len(value), at)
        for index, inner in enumerate(value):
            yield from constraints(shape.member, inner, f"{at}[{index}]")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from longest(shape, len(value), at)
        if shape.enum and value not in shape.enum:
            yield f"{at}: {value!r} is none of {', '.join(shape.enum)}"
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(f"^(?:{python(pattern)})$", value):
            yield f"{at}: {value!r} does not match {pattern}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from longest(shape, value, at)


def longest(shape, size, at):
    if size > shape.metadata.get("max", size):
        yield f"{at}: {size} is more than {shape.metadata['max']}"


def python(pattern):
    """Java's classes in the form of Python."""
    for java, ours in [(r"\p{L}", "a-zA-Z"), (r"\p{N}", "0-9"), (r"\p{Z}", r"\s"), (r"\p{P}", r"!-/:-@\[-`{-~")]:
        pattern = pattern.replace(java, ours)
    return pattern


def judge(service, request, problems):
    operation, members = parse(service, request, problems)
    if operation is None:
        return None
    if operation.input_shape is not None:
        report = ParamValidator().validate(members, operation.input_shape)
        if report.has_errors():
            problems.extend(f"{operation.name}: {line}" for line in report.generate_report().split("\n"))
        problems.extend(f"{operation.name}: {text}" for text in constraints(operation.input_shape, members, "input"))
    return operation.name


def compare(service, shapes):
    """Differences between a table of shapes and the model."""
    for name, decisions in shapes.items():
        shape = service.model.shape_for(name)
        members = {member.serialization.get("name", key): member for key, member in shape.members.items()}
        where = f"{service.name}.{name}"
        for member in members.keys() - decisions.keys():
            yield f"{where}.{member} is new in the model: decide about it"
        for member in decisions.keys() - members.keys():
            yield f"{where}.{member} is not in the model"
        for member in members.keys() & decisions.keys():
            yield from compare_member(f"{where}.{member}", members[member], decisions[member])


def compare_member(where, shape, decision):
    if decision.startswith("left out: "):
        return
    of_a_map = False
    while shape.type_name in ("list", "map"):
        of_a_map |= shape.type_name == "map"
        shape = shape.member if shape.type_name == "list" else shape.value
    if shape.type_name == "structure":
        expected = f"{'map of' if of_a_map else 'shape'} {shape.name}"
        if decision != expected:
            yield f"{where} is {decision!r}, and the model says {expected!r}"
    elif decision.startswith("one of"):
        values = set(decision.split()[2:])
        for value in sorted(set(shape.enum) ^ values):
            yield f"{where}: the value {value} is {'in the table' if value in values else 'new in the model'}"
    elif decision != "read":
        yield f"{where} is {decision!r}, and the model has a {shape.type_name}"
    elif getattr(shape, "enum", None) and where.startswith("apigateway."):
        yield f"{where} has the values {' '.join(shape.enum)}: list them"


def main():
    given = json.load(sys.stdin)
    services = {name: Service(name) for name in SERVICES}
    judged, operations, lists, problems = 0, set(), set(), []
    for number, recorded in enumerate(given["requests"]):
        request = Request(recorded["head"], recorded["body"])
        service = services.get(request.service)
        found = []
        try:
            if service is None:
                found.append(f"the service {request.service} has no model here: {request.method} {request.path}")
            else:
                name = judge(service, request, found)
                operations.add(f"{service.name}:{name}")
                if name in service.pages:
                    lists.add(f"{service.name}:{name}")
            judged += 1
        except Exception as error:
            found.append(f"cannot be read: {request.method} {request.path}: {error!r}")
        problems.extend({"request": number, "text": text} for text in found)
    table = given["table"]
    for name, shapes in table.items():
        problems.extend({"request": None, "text": text} for text in compare(services[name], shapes))
    json.dump(
        {
            "version": botocore.__version__,
            "problems": problems,
            "requests": judged,
            "operations": sorted(operations),
            "lists": sorted(lists),
            "members": sum(len(members) for shapes in table.values() for members in shapes.values()),
        },
        sys.stdout,
    )


main()
