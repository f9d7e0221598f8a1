# What Terraform asks of AWS for what not every stage has: the token of Redis, and `terraform/dns`, the layer for a domain.
# Recorded and compared as the rest is. A stage without them has none of these rights.

locals {
  secret_is_parameter = try(split(":", var.redis_auth_secret_arn)[2] == "ssm", false)

  # Who may read the state may read the token anyway: it stands there.
  look_at_secret = var.redis_auth_secret_arn == null ? [] : [
    {
      Sid      = "ReadRedisToken"
      Effect   = "Allow"
      Action   = [local.secret_is_parameter ? "ssm:GetParameter" : "secretsmanager:GetSecretValue"]
      Resource = [var.redis_auth_secret_arn]
    },
  ]

  # Only through the service that keeps the secret.
  look_at_key = var.redis_auth_kms_key_arn == null ? [] : [
    {
      Sid       = "DecryptRedisToken"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.redis_auth_kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = "${local.secret_is_parameter ? "ssm" : "secretsmanager"}.${var.region}.amazonaws.com" } }
    },
  ]

  domains = var.domain == null ? [] : [var.domain]

  # Certificates of an EDGE endpoint are in us-east-1. Their ids, and that of a zone that is not there yet, are AWS's choice.
  certificates = [for region in distinct([var.region, "us-east-1"]) : "arn:${var.partition}:acm:${region}:${var.account_id}:certificate/*"]
  zones        = [for domain in local.domains : "arn:${var.partition}:route53:::hostedzone/${coalesce(domain.zone_id, "*")}"]
  names        = flatten([for domain in local.domains : ["${local.api}/domainnames/${domain.name}", "${local.api}/domainnames/${domain.name}/*"]])

  look_at_domain = flatten([for domain in local.domains : [
    {
      Sid      = "SeeZone"
      Effect   = "Allow"
      Action   = concat(["route53:ListResourceRecordSets"], domain.zone_id == null ? ["route53:GetHostedZone", "route53:ListTagsForResource"] : ["route53:GetHostedZone"])
      Resource = local.zones
    },
    {
      # Whether a change of records has arrived at all name servers.
      Sid      = "SeeChanges"
      Effect   = "Allow"
      Action   = ["route53:GetChange"]
      Resource = ["arn:${var.partition}:route53:::change/*"]
    },
    {
      Sid      = "SeeCertificates"
      Effect   = "Allow"
      Action   = ["acm:DescribeCertificate", "acm:ListTagsForCertificate"]
      Resource = local.certificates
    },
    {
      Sid      = "SeeDomain"
      Effect   = "Allow"
      Action   = ["apigateway:GET"]
      Resource = local.names
    },
  ]])

  shape_domain = flatten([for domain in local.domains : concat([
    {
      Sid      = "ShapeRecords"
      Effect   = "Allow"
      Action   = ["route53:ChangeResourceRecordSets"]
      Resource = local.zones
    },
    {
      Sid      = "AskForCertificates"
      Effect   = "Allow"
      Action   = ["acm:RequestCertificate"]
      Resource = ["*"]
    },
    {
      # One that is replaced is deleted when nothing uses it any more.
      Sid      = "ShapeCertificates"
      Effect   = "Allow"
      Action   = ["acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:RemoveTagsFromCertificate"]
      Resource = local.certificates
    },
    {
      # No DELETE of the domain name itself: callers know it.
      Sid      = "ShapeDomain"
      Effect   = "Allow"
      Action   = ["apigateway:PATCH", "apigateway:POST", "apigateway:PUT"]
      Resource = concat(["${local.api}/domainnames"], local.names)
    },
    {
      Sid      = "MoveDomain"
      Effect   = "Allow"
      Action   = ["apigateway:DELETE"]
      Resource = ["${local.api}/domainnames/${domain.name}/basepathmappings/*"]
    },
    ], domain.zone_id != null ? [] : [
    {
      Sid      = "MakeZone"
      Effect   = "Allow"
      Action   = ["route53:CreateHostedZone"]
      Resource = ["*"]
    },
    {
      Sid      = "ShapeZone"
      Effect   = "Allow"
      Action   = ["route53:ChangeTagsForResource", "route53:UpdateHostedZoneComment"]
      Resource = local.zones
    },
  ])])

  more_look   = concat(local.look_at_secret, local.look_at_key, local.look_at_domain)
  more_deploy = concat(local.more_look, local.shape_domain)
}
