# The custom domain, its DNS record, and the base path mapping to the stage.

locals {
  is_edge = var.endpoint_type == "EDGE"
}

resource "aws_api_gateway_domain_name" "this" {
  domain_name = var.domain_name

  certificate_arn          = local.is_edge ? local.certificate_arn : null
  regional_certificate_arn = local.is_edge ? null : local.certificate_arn
  security_policy          = "TLS_1_2"

  endpoint_configuration {
    types = [var.endpoint_type]
  }

  lifecycle {
    precondition {
      condition     = var.certificate_arn == null || try(split(":", var.certificate_arn)[3] == (local.is_edge ? "us-east-1" : var.region), false)
      error_message = "certificate_arn must be in us-east-1 for an EDGE endpoint, and in the stage's region for a REGIONAL one."
    }

    # Not used. MiniStack returns an empty value, which would be a change in every plan.
    ignore_changes = [mutual_tls_authentication]
  }
}

# The mapping refers to the stage, not to a deployment: releases and rollbacks do not change it.
resource "aws_api_gateway_base_path_mapping" "this" {
  domain_name = aws_api_gateway_domain_name.this.domain_name
  base_path   = var.base_path
  api_id      = local.api.rest_api_id
  stage_name  = local.api.stage_name
}

resource "aws_route53_record" "api" {
  zone_id = local.zone_id
  name    = var.domain_name
  type    = "A"

  alias {
    name    = local.is_edge ? aws_api_gateway_domain_name.this.cloudfront_domain_name : aws_api_gateway_domain_name.this.regional_domain_name
    zone_id = local.is_edge ? aws_api_gateway_domain_name.this.cloudfront_zone_id : aws_api_gateway_domain_name.this.regional_zone_id

    # Route 53 cannot evaluate the health of API Gateway endpoints.
    evaluate_target_health = false
  }
}
