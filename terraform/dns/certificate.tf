# The certificate, unless certificate_arn is set. There are two of each resource, of which at most one is created, because
# the provider determines the region of a resource.

locals {
  makes_certificate = var.certificate_arn == null

  certificates = {
    REGIONAL = aws_acm_certificate.regional
    EDGE     = aws_acm_certificate.edge
  }

  # ACM requires one validation record per name, and there is one name.
  proofs = [
    for certificate in local.certificates[var.endpoint_type] : one(certificate.domain_validation_options)
  ]
}

resource "aws_acm_certificate" "regional" {
  count = local.makes_certificate && var.endpoint_type == "REGIONAL" ? 1 : 0

  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    # A certificate that is in use cannot be deleted.
    create_before_destroy = true
  }
}

resource "aws_acm_certificate" "edge" {
  count    = local.makes_certificate && var.endpoint_type == "EDGE" ? 1 : 0
  provider = aws.us_east_1

  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    # A certificate that is in use cannot be deleted.
    create_before_destroy = true
  }
}

resource "aws_route53_record" "proof" {
  count = length(local.proofs)

  zone_id = local.zone_id
  name    = local.proofs[count.index].resource_record_name
  type    = local.proofs[count.index].resource_record_type
  records = [local.proofs[count.index].resource_record_value]
  ttl     = 300

  # All certificates of a name have the same record, so it may exist from a destroyed stage.
  allow_overwrite = true
}

# Waits until ACM has validated the record. A new zone must first be delegated from the parent domain. Terraform stops
# waiting after 75 minutes; the next run continues.
resource "aws_acm_certificate_validation" "regional" {
  count = length(aws_acm_certificate.regional)

  certificate_arn         = aws_acm_certificate.regional[0].arn
  validation_record_fqdns = aws_route53_record.proof[*].fqdn
}

resource "aws_acm_certificate_validation" "edge" {
  count    = length(aws_acm_certificate.edge)
  provider = aws.us_east_1

  certificate_arn         = aws_acm_certificate.edge[0].arn
  validation_record_fqdns = aws_route53_record.proof[*].fqdn
}

locals {
  # The ARN from the validation, because API Gateway rejects a certificate that is not issued yet.
  certificate_arn = one(concat(
    var.certificate_arn[*],
    aws_acm_certificate_validation.regional[*].certificate_arn,
    aws_acm_certificate_validation.edge[*].certificate_arn,
  ))
}
