# Permissions for Terraform that only some stages need: for the AUTH token of Redis, for a user pool, and for `terraform/dns`. tests/pipeline
# checks them like the others. Stages without these features do not get them.

locals {
  secret_is_parameter = try(split(":", var.redis_auth_secret_arn)[2] == "ssm", false)
  dns_suffix          = var.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"

  # The state contains the token, so a role that may read the state can read it anyway.
  read_secret = var.redis_auth_secret_arn == null ? [] : [
    {
      Sid      = "ReadRedisToken"
      Effect   = "Allow"
      Action   = [local.secret_is_parameter ? "ssm:GetParameter" : "secretsmanager:GetSecretValue"]
      Resource = [var.redis_auth_secret_arn]
    },
  ]

  # Only through the service that stores the secret.
  read_key = var.redis_auth_kms_key_arn == null ? [] : [
    {
      Sid       = "DecryptRedisToken"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.redis_auth_kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = "${local.secret_is_parameter ? "ssm" : "secretsmanager"}.${var.region}.${local.dns_suffix}" } }
    },
  ]

  domains = var.domain == null ? [] : [var.domain]

  # Certificates of an EDGE endpoint are in us-east-1. AWS generates their ids, and the id of a new zone.
  certificates = [for region in distinct([var.region, "us-east-1"]) : "arn:${var.partition}:acm:${region}:${var.account_id}:certificate/*"]
  zones        = [for domain in local.domains : "arn:${var.partition}:route53:::hostedzone/${coalesce(domain.zone_id, "*")}"]
  names        = flatten([for domain in local.domains : ["${local.api}/domainnames/${domain.name}", "${local.api}/domainnames/${domain.name}/*"]])

  read_domain = flatten([for domain in local.domains : [
    {
      Sid      = "SeeZone"
      Effect   = "Allow"
      Action   = concat(["route53:ListResourceRecordSets"], domain.zone_id == null ? ["route53:GetHostedZone", "route53:ListTagsForResource"] : ["route53:GetHostedZone"])
      Resource = local.zones
    },
    {
      # To wait until a change of records has reached all name servers.
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

  manage_domain = flatten([for domain in local.domains : concat([
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
      # A replaced certificate is deleted when it is no longer used.
      Sid      = "ShapeCertificates"
      Effect   = "Allow"
      Action   = ["acm:AddTagsToCertificate", "acm:DeleteCertificate", "acm:RemoveTagsFromCertificate"]
      Resource = local.certificates
    },
    {
      # No DELETE of the domain name itself, because callers use it.
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

  # AWS generates the id of a pool.
  user_pools = ["arn:${var.partition}:cognito-idp:${var.region}:${var.account_id}:userpool/*"]

  read_user_pool = !var.user_pool ? [] : [
    {
      Sid      = "SeeUserPool"
      Effect   = "Allow"
      Action   = ["cognito-idp:DescribeUserPool", "cognito-idp:DescribeUserPoolClient", "cognito-idp:GetUserPoolMfaConfig", "cognito-idp:ListTagsForResource"]
      Resource = local.user_pools
    },
  ]

  # Neither the deletion of a pool nor anything about its users.
  manage_user_pool = !var.user_pool ? [] : [
    {
      Sid      = "MakeUserPool"
      Effect   = "Allow"
      Action   = ["cognito-idp:CreateUserPool"]
      Resource = ["*"]
    },
    {
      Sid    = "ShapeUserPool"
      Effect = "Allow"
      Action = [
        "cognito-idp:CreateUserPoolClient", "cognito-idp:DeleteUserPoolClient", "cognito-idp:SetUserPoolMfaConfig", "cognito-idp:TagResource",
        "cognito-idp:UntagResource", "cognito-idp:UpdateUserPool", "cognito-idp:UpdateUserPoolClient",
      ]
      Resource = local.user_pools
    },
  ]

  optional_read   = concat(local.read_secret, local.read_key, local.read_domain, local.read_user_pool)
  optional_deploy = concat(local.optional_read, local.manage_domain, local.manage_user_pool)
}
