# The certificate, made or given. There are two of everything, of which one at most is used, because the region
# of a resource is fixed by its provider.

locals {
  makes_certificate = var.certificate_arn == null

  certificates = {
    REGIONAL = aws_acm_certificate.regional
    EDGE     = aws_acm_certificate.edge
  }

  # ACM asks for one record for each name, and there is one name.
  proofs = [
    for certificate in local.certificates[var.endpoint_type] : one(certificate.domain_validation_options)
  ]
}

resource "aws_acm_certificate" "regional" {
  count = local.makes_certificate && var.endpoint_type == "REGIONAL" ? 1 : 0

  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    # One that is in use cannot be deleted.
    create_before_destroy = true
  }
}

resource "aws_acm_certificate" "edge" {
  count    = local.makes_certificate && var.endpoint_type == "EDGE" ? 1 : 0
  provider = aws.us_east_1

  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    # One that is in use cannot be deleted.
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

  # The record is the same for every certificate of the name: a stage that was destroyed may have left it.
  allow_overwrite = true
}

# Waits until ACM has seen the record. With a new zone that can only be once its name servers are entered at
# the parent domain: Terraform gives up after 75 minutes, and the next run goes on from there.
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
  # Of the validation, not of the certificate: API Gateway refuses one that is not issued yet.
  certificate_arn = one(concat(
    var.certificate_arn[*],
    aws_acm_certificate_validation.regional[*].certificate_arn,
    aws_acm_certificate_validation.edge[*].certificate_arn,
  ))
}
