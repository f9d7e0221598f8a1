# CORS, if cors_allow_origin is set. The functions add the headers to their own responses (CORS_ALLOW_ORIGIN). This file
# handles preflight requests, and the headers for the errors of API Gateway itself (refusals.tf).

locals {
  preflight = {
    for name, resource in local.resources : name => resource
    if var.cors_allow_origin != null
  }

  # API Gateway treats a text in single quotes as a literal value. Vary keeps a cache from returning the response for one
  # origin to another.
  cors_headers = var.cors_allow_origin == null ? {} : {
    "Access-Control-Allow-Origin" = "'${var.cors_allow_origin}'"
    "Vary"                        = "'Origin'"
  }

  preflight_headers = {
    for name, _ in local.preflight : name => merge(local.cors_headers, {
      "Access-Control-Allow-Headers" = "'Authorization,Content-Type'"
      "Access-Control-Max-Age"       = "'600'"
      "Access-Control-Allow-Methods" = format("'%s'", join(",", sort(concat(
        ["OPTIONS"],
        [for route in local.routes : route.http_method if route.resource == name],
      ))))
    })
  }
}

resource "aws_api_gateway_method" "preflight" {
  # checkov:skip=CKV2_AWS_53: a preflight request has nothing to validate

  for_each = local.preflight

  rest_api_id = aws_api_gateway_rest_api.this.id
  resource_id = each.value.id
  http_method = "OPTIONS"

  # A browser sends no credentials with a preflight request.
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "preflight" {
  for_each = aws_api_gateway_method.preflight

  rest_api_id = each.value.rest_api_id
  resource_id = each.value.resource_id
  http_method = each.value.http_method

  # API Gateway answers without calling a function. integration_http_method has no effect; without it, MiniStack
  # would show a change in every plan.
  type                    = "MOCK"
  integration_http_method = "POST"
  request_templates       = { "application/json" = jsonencode({ statusCode = 204 }) }
}

# Replaces the two responses below when the headers change, because MiniStack cannot update them. On AWS a replacement
# does not affect callers, because it takes effect with the next deployment.
resource "terraform_data" "preflight" {
  for_each = local.preflight

  input = local.preflight_headers[each.key]
}

resource "aws_api_gateway_method_response" "preflight" {
  for_each = aws_api_gateway_method.preflight

  rest_api_id = each.value.rest_api_id
  resource_id = each.value.resource_id
  http_method = each.value.http_method
  status_code = "204"

  response_parameters = {
    for header, _ in local.preflight_headers[each.key] : "method.response.header.${header}" => true
  }

  lifecycle {
    replace_triggered_by = [terraform_data.preflight[each.key]]
  }
}

resource "aws_api_gateway_integration_response" "preflight" {
  for_each = aws_api_gateway_method_response.preflight

  rest_api_id = each.value.rest_api_id
  resource_id = each.value.resource_id
  http_method = each.value.http_method
  status_code = each.value.status_code

  response_parameters = {
    for header, value in local.preflight_headers[each.key] : "method.response.header.${header}" => value
  }

  lifecycle {
    replace_triggered_by = [terraform_data.preflight[each.key]]
  }

  depends_on = [aws_api_gateway_integration.preflight]
}
