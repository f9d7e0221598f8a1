# Roles for the workflows of one repository. GitHub signs an OIDC token with the repository and the environment of a run; AWS
# checks it against the trust policies below and returns credentials that are valid for one hour. No credentials are stored.

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  issuer     = "token.actions.githubusercontent.com"

  # As the workflows ask for it (`audience`, AWS_OIDC_AUDIENCE).
  audience = local.partition == "aws-cn" ? "sts.amazonaws.com.cn" : "sts.amazonaws.com"

  provider_arn = "arn:${local.partition}:iam::${local.account_id}:oidc-provider/${local.issuer}"

  # Two roles for each stage, and one for previews of it. The environment is part of the subject of the token, so its protection rules (reviewers, allowed
  # branches) apply to every use of the role. A run outside of the environment has another subject.
  roles = merge(
    { for stage in keys(var.stages) : "${stage}-deploy" => { stage = stage, kind = "deploy", environment = stage } },
    { for stage in keys(var.stages) : "${stage}-plan" => { stage = stage, kind = "plan", environment = "${stage}-plan" } },
    { for stage, settings in var.stages : "${stage}-preview" => { stage = stage, kind = "preview", environment = "${stage}-preview" } if settings.previews },
  )

  kinds = { deploy = "Releases", plan = "Plans", preview = "Previews" }

  trust = {
    for name, role in local.roles : name => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Sid       = "RunsOfOneEnvironment"
        Effect    = "Allow"
        Action    = "sts:AssumeRoleWithWebIdentity"
        Principal = { Federated = local.provider_arn }
        Condition = {
          # StringEquals, not StringLike: the values are not patterns.
          StringEquals = {
            "${local.issuer}:aud" = local.audience
            "${local.issuer}:sub" = "repo:${var.repository}:environment:${role.environment}"
          }
        }
      }]
    })
  }
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.create_provider ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = [local.audience]
}

module "permissions" {
  source   = "./permissions"
  for_each = var.stages

  partition            = local.partition
  account_id           = local.account_id
  region               = var.region
  project              = var.project
  stage                = each.key
  promote_from         = each.value.promote_from
  permissions_boundary = var.permissions_boundary

  redis_auth_secret_arn   = each.value.redis_auth_secret_arn
  redis_auth_kms_key_arn  = each.value.redis_auth_kms_key_arn
  user_pool               = each.value.user_pool
  function_aliases        = each.value.function_aliases
  provisioned_concurrency = each.value.provisioned_concurrency
  image_repositories      = each.value.image_repositories
  domain                  = each.value.domain
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  # A separate path: the deploy role may change roles with names <project>-<stage>-… and must not be able to change itself.
  name                 = "${var.project}-${each.key}"
  path                 = "/github/"
  description          = "${local.kinds[each.value.kind]} of ${var.project} on ${each.value.stage}, from ${var.repository}"
  assume_role_policy   = local.trust[each.key]
  max_session_duration = 3600

  depends_on = [aws_iam_openid_connect_provider.github]
}

locals {
  # A managed policy has at most 6,144 characters, so a role has several.
  policies = merge([
    for name, role in local.roles : {
      for part, json in module.permissions[role.stage][role.kind] : "${name}-${part}" => { role = name, json = json }
    }
  ]...)
}

resource "aws_iam_policy" "this" {
  for_each = local.policies

  name   = "${var.project}-${each.key}"
  path   = "/github/"
  policy = each.value.json
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.policies

  role       = aws_iam_role.this[each.value.role].name
  policy_arn = aws_iam_policy.this[each.key].arn
}
