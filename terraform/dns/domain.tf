# The domain: API Gateway answers at it, Route 53 leads to it, and a path of it is the stage.

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
      error_message = "certificate_arn must be of us-east-1 for an EDGE endpoint, and of the stage's region for a REGIONAL one."
    }

    # Not used here. MiniStack reports an empty one, which would look like a change in every plan.
    ignore_changes = [mutual_tls_authentication]
  }
}

# The mapping leads to the stage, whatever it serves: a release or a rollback needs no change here.
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

    # Neither kind of endpoint has a health that Route 53 could ask for.
    evaluate_target_health = false
  }
}
