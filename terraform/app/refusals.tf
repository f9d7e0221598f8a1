# What API Gateway answers by itself, before or without a function: in the shape that the functions use for
# errors, so that a caller needs to know one only. The words stay API Gateway's.

locals {
  # The code is what a program can go by, as in the functions' errors. All types without a line of their own
  # fall under the two DEFAULTs, and keep their status.
  refusals = merge(
    {
      DEFAULT_4XX                  = { code = "refused", status = null }
      DEFAULT_5XX                  = { code = "internal", status = null }
      ACCESS_DENIED                = { code = "forbidden", status = "403" }
      MISSING_AUTHENTICATION_TOKEN = { code = "no_such_route", status = "403" }
      THROTTLED                    = { code = "throttled", status = "429" }
    },
    var.authorizer_enabled ? { UNAUTHORIZED = { code = "unauthorized", status = "401" } } : {},
  )
}

resource "aws_api_gateway_gateway_response" "this" {
  for_each = local.refusals

  rest_api_id   = aws_api_gateway_rest_api.this.id
  response_type = each.key
  status_code   = each.value.status

  response_templates = {
    "application/json" = "{\"code\":\"${each.value.code}\",\"error\":$context.error.messageString}"
  }

  response_parameters = merge(
    { for header, value in local.cors_headers : "gatewayresponse.header.${header}" => value },
    # A 401 has to say how to do better (RFC 9110, 11.6.1).
    each.key != "UNAUTHORIZED" ? {} : {
      "gatewayresponse.header.WWW-Authenticate" = "'Basic realm=\"users\", Bearer realm=\"users\"'"
    },
  )
}
