# The REST API: /demo, /demo/users and /demo/users/{userId}, with a method and an integration for every
# function that has a route. A change takes effect when deployctl creates a deployment (stage.tf).

resource "aws_api_gateway_rest_api" "this" {
  # checkov:skip=CKV_AWS_237: create_before_destroy does not help: the releases and the domain belong to this API, and deployctl refuses to replace it

  name        = local.name
  description = "Users API of ${local.name}"

  endpoint_configuration {
    types = ["REGIONAL"]
  }
}

resource "aws_api_gateway_resource" "demo" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_rest_api.this.root_resource_id
  path_part   = "demo"
}

resource "aws_api_gateway_resource" "users" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_resource.demo.id
  path_part   = "users"
}

resource "aws_api_gateway_resource" "user" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_resource.users.id
  path_part   = "{userId}"
}

locals {
  # Each method of each resource with its function. The function for GET also handles HEAD.
  routes = merge(
    {
      for key, function in local.functions :
      key => { function = key, resource = function.resource, http_method = function.http_method }
      if function.http_method != null
    },
    {
      for key, function in local.functions :
      "${key}_head" => { function = key, resource = function.resource, http_method = "HEAD" }
      if function.http_method == "GET"
    },
  )

  # The two resources by their names in the map in functions.tf.
  resources = {
    users = { id = aws_api_gateway_resource.users.id, path = "/demo/users", path_parameters = [] }
    user  = { id = aws_api_gateway_resource.user.id, path = "/demo/users/{userId}", path_parameters = ["userId"] }
  }

  # The URI that API Gateway invokes for each function. Its version is a stage variable named after the function's
  # key, so that deployctl switches all functions and the deployment in one UpdateStage call. The URI contains the name
  # of the variable, not its value ("$${" is Terraform's escape for "${"), so it does not change between releases.
  invocation_uris = {
    for key, arn in local.function_arns : key => join("", [
      "arn:${local.partition}:apigateway:${var.region}:lambda:path/2015-03-31/functions/",
      "${arn}:$${stageVariables.${key}}/invocations",
    ])
  }
}

resource "aws_api_gateway_method" "this" {
  # checkov:skip=CKV_AWS_59: authorization is a variable, and "none" has to be set
  # checkov:skip=CKV2_AWS_53: the functions validate requests and return their own error messages

  for_each = local.routes

  rest_api_id = aws_api_gateway_rest_api.this.id
  resource_id = local.resources[each.value.resource].id
  http_method = each.value.http_method

  # NONE allows every caller.
  authorization = { lambda = "CUSTOM", cognito = "COGNITO_USER_POOLS", none = "NONE" }[var.authorization]
  authorizer_id = one(concat(aws_api_gateway_authorizer.this[*].id, aws_api_gateway_authorizer.cognito[*].id))

  request_parameters = {
    for name in local.resources[each.value.resource].path_parameters :
    "method.request.path.${name}" => true
  }
}

resource "aws_api_gateway_integration" "this" {
  for_each = aws_api_gateway_method.this

  rest_api_id = each.value.rest_api_id
  resource_id = each.value.resource_id
  http_method = each.value.http_method

  type                    = "AWS_PROXY"
  integration_http_method = "POST" # the method for invoking Lambda, independent of the caller's method
  uri                     = local.invocation_uris[local.routes[each.key].function]
  credentials             = aws_iam_role.api_gateway_invoke.arn
  timeout_milliseconds    = var.integration_timeout_ms

  request_parameters = {
    for name in local.resources[local.routes[each.key].resource].path_parameters :
    "integration.request.path.${name}" => "method.request.path.${name}"
  }
}
