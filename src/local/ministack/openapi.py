"""PutRestApi, which MiniStack does not have: an API becomes what an OpenAPI document says.

Paths, methods, integrations and authorizers are imported. Models and request validators are not: they decide which
requests are refused, and nothing here depends on them.
"""
import re

PATH = re.compile(r"/restapis/([^/]+)/?")
ANY = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"
UPPER = ("type", "connectionType", "passthroughBehavior", "contentHandling")


def used(v1):
    """The names used below, with their parameters in the pinned version."""
    return {v1: {
        "_import_security_schemes": "api_id, spec", "_method_security": "security, scheme_map",
        "_import_path_item": "api_id, path, path_item, scheme_map=None, default_security=None",
        "_import_operation": "api_id, resource_id, http_method, operation, scheme_map=None, default_security=None",
        "_put_method": "api_id, resource_id, http_method, data",
        "_put_integration": "api_id, resource_id, http_method, data",
        "_put_method_response": "api_id, resource_id, http_method, status_code, data",
        "_put_integration_response": "api_id, resource_id, http_method, status_code, data",
        "_get_rest_api": "api_id",
    }}


def install(v1):
    """Puts it into MiniStack's module, and returns what answers a PutRestApi."""
    import yaml

    def request_parameters(parameters):
        places = {"path": "path", "query": "querystring", "header": "header"}
        return {f"method.request.{places[each['in']]}.{each['name']}": bool(each.get("required"))
                for each in parameters or [] if isinstance(each, dict) and each.get("in") in places}

    def import_operation(api_id, resource_id, http_method, operation, scheme_map=None, default_security=None):
        operation = operation or {}
        security = operation.get("security", default_security)
        v1._put_method(api_id, resource_id, http_method, {
            **v1._method_security(security, scheme_map or {}), "operationName": operation.get("operationId", ""),
            "requestParameters": request_parameters(operation.get("parameters"))})
        for status in operation.get("responses") or {}:
            if str(status).isdigit():
                v1._put_method_response(api_id, resource_id, http_method, str(status), {})
        integration = operation.get(INTEGRATION)
        if not integration:
            return
        data = {key: value.upper() if key in UPPER else value for key, value in integration.items()}
        v1._put_integration(api_id, resource_id, http_method, data)
        for pattern, answer in (integration.get("responses") or {}).items():
            v1._put_integration_response(api_id, resource_id, http_method, str(answer.get("statusCode", 200)), {
                **answer, "selectionPattern": "" if pattern == "default" else pattern})

    def empty(api_id):
        """Leaves the root resource only: its id is known to the client."""
        resources = v1._resources[api_id]
        root = next(resource for resource in resources.values() if resource.get("path") == "/")
        root["resourceMethods"] = {}
        v1._resources[api_id] = {root["id"]: root}
        v1._authorizers_v1[api_id] = {}

    def put_rest_api(api_id, body, mode):
        if api_id not in v1._rest_apis:
            return v1._get_rest_api(api_id)
        try:
            spec = yaml.safe_load(body)  # JSON is YAML, too
        except (yaml.YAMLError, UnicodeDecodeError):
            spec = None
        if not isinstance(spec, dict) or not (spec.get("openapi") or spec.get("swagger")):
            return v1._v1_error("BadRequestException", "Invalid OpenAPI input.", 400)
        if mode == "overwrite":
            empty(api_id)
        schemes = v1._import_security_schemes(api_id, spec)
        for path, methods in (spec.get("paths") or {}).items():
            shared = methods.get("parameters") or []
            named = {"any" if key == ANY else key: {**(value or {}), "parameters": [
                *shared, *((value or {}).get("parameters") or [])]}
                for key, value in methods.items() if key != "parameters" and isinstance(value, (dict, type(None)))}
            v1._import_path_item(api_id, path, named, schemes, spec.get("security"))
        return 200, *v1._get_rest_api(api_id)[1:]

    v1._OPENAPI_HTTP_METHODS.add("any")
    v1._import_operation = import_operation
    return put_rest_api
