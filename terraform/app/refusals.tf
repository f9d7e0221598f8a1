# The errors of API Gateway itself, in the JSON format of the functions' errors. The messages are those of API Gateway.

locals {
  # The code is stable, as in the errors of the functions. Response types that are not listed use the two DEFAULT entries
  # and keep their status.
  refusals = merge(
    {
      DEFAULT_4XX                  = { code = "refused", status = null }
      DEFAULT_5XX                  = { code = "internal", status = null }
      ACCESS_DENIED                = { code = "forbidden", status = "403" }
      MISSING_AUTHENTICATION_TOKEN = { code = "no_such_route", status = "403" }
      THROTTLED                    = { code = "throttled", status = "429" }
    },
    var.authorization != "none" ? { UNAUTHORIZED = { code = "unauthorized", status = "401" } } : {},
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
    # A 401 must have this header (RFC 9110, 11.6.1).
    each.key != "UNAUTHORIZED" ? {} : {
      "gatewayresponse.header.WWW-Authenticate" = var.authorization == "cognito" ? "'Bearer realm=\"users\"'" : "'Basic realm=\"users\", Bearer realm=\"users\"'"
    },
  )
}
