# The hosted zone, unless zone_id is set.

resource "aws_route53_zone" "this" {
  # checkov:skip=CKV2_AWS_38: DNSSEC needs a key in us-east-1 and a record in the parent domain, which this layer does not manage
  # checkov:skip=CKV2_AWS_39: this example does not need a log of DNS queries

  count = var.zone_id == null ? 1 : 0

  name    = coalesce(var.zone_name, var.domain_name)
  comment = "Made by the dns layer of ${var.project}-${var.stage}"

  lifecycle {
    precondition {
      condition     = var.zone_name == null || try(var.domain_name == var.zone_name || endswith(var.domain_name, ".${var.zone_name}"), false)
      error_message = "zone_name must be domain_name or a domain above it."
    }
  }
}

locals {
  zone_id = var.zone_id != null ? var.zone_id : aws_route53_zone.this[0].zone_id
}
