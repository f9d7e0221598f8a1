# What deployctl itself asks of AWS. tests/pipeline records every call of every command and holds it against these lists:
# none is refused, and none is here that nobody makes. Nothing in this module needs a provider, so that the test can read it.

locals {
  name            = "${var.project}-${var.stage}"
  state_bucket    = coalesce(var.state_bucket, "${local.name}-tfstate-${var.account_id}")
  artifact_bucket = coalesce(var.artifact_bucket, "${local.name}-artifacts-${var.account_id}")

  s3        = "arn:${var.partition}:s3:::"
  api       = "arn:${var.partition}:apigateway:${var.region}::"
  functions = "arn:${var.partition}:lambda:${var.region}:${var.account_id}:function:${local.name}-*"
  state     = "${local.s3}${local.state_bucket}/${var.project}/${var.stage}"

  # Of a plan and of a release alike.
  look = [
    {
      Sid      = "ReadState"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${local.state}/*"]
    },
    {
      # Without it S3 says 403, and not 404, of a state that nobody has written yet.
      Sid      = "FindState"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = ["${local.s3}${local.state_bucket}", "${local.s3}${local.artifact_bucket}"]
    },
    {
      # Terraform's lock: an object beside the state.
      Sid      = "LockState"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:DeleteObject"]
      Resource = ["${local.state}/*.tflock"]
    },
    {
      # The ledger and the lease.
      Sid      = "ReadLedger"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${local.s3}${local.artifact_bucket}/deployctl/*"]
    },
    {
      Sid      = "SeeFunctions"
      Effect   = "Allow"
      Action   = ["lambda:GetFunctionConfiguration"]
      Resource = [local.functions]
    },
    {
      # Lambda lists all functions or none. `status` compares their code with the ledger.
      Sid      = "ListFunctions"
      Effect   = "Allow"
      Action   = ["lambda:ListFunctions"]
      Resource = ["*"]
    },
    {
      # An API's id is AWS's choice, so it cannot be named here.
      Sid      = "SeeApi"
      Effect   = "Allow"
      Action   = ["apigateway:GET"]
      Resource = ["${local.api}/restapis/*"]
    },
  ]

  deploy = concat(local.look, [
    {
      Sid      = "WriteState"
      Effect   = "Allow"
      Action   = ["s3:PutObject"]
      Resource = ["${local.state}/*.tfstate"]
    },
    {
      # Zips, ledger and lease: written, never deleted. A release cannot take an older one's bytes away.
      Sid      = "WriteReleases"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
      Resource = ["${local.s3}${local.artifact_bucket}/*"]
    },
    {
      # A bucket without versions is refused.
      Sid      = "SeeVersioning"
      Effect   = "Allow"
      Action   = ["s3:GetBucketVersioning"]
      Resource = ["${local.s3}${local.artifact_bucket}"]
    },
    {
      Sid    = "ReleaseFunctions"
      Effect = "Allow"
      # InvokeFunction is for `[[checks]]`.
      Action   = ["lambda:UpdateFunctionCode", "lambda:PublishVersion", "lambda:InvokeFunction"]
      Resource = [local.functions, "${local.functions}:*"]
    },
    {
      Sid      = "DeployApi"
      Effect   = "Allow"
      Action   = ["apigateway:POST"]
      Resource = ["${local.api}/restapis/*/deployments"]
    },
    {
      # The switch. Of an API any stage of this name: its id is not known here.
      Sid      = "Switch"
      Effect   = "Allow"
      Action   = ["apigateway:PATCH"]
      Resource = ["${local.api}/restapis/*/stages/${var.stage}"]
    },
    {
      Sid      = "FlushCaches"
      Effect   = "Allow"
      Action   = ["apigateway:DELETE"]
      Resource = ["${local.api}/restapis/*/stages/${var.stage}/cache/*"]
    },
    ], length(var.promote_from) == 0 ? [] : [
    {
      Sid      = "PromoteFrom"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = flatten([for from in local.promote_from : [from.state, "${local.s3}${from.bucket}/*"]])
    },
    {
      Sid      = "FindPromoted"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [for from in local.promote_from : "${local.s3}${from.bucket}"]
    },
  ])

  promote_from = [for from in var.promote_from : {
    state  = "${local.s3}${var.project}-${from.stage}-tfstate-${from.account_id}/${var.project}/${from.stage}/*.tfstate"
    bucket = coalesce(from.artifact_bucket, "${var.project}-${from.stage}-artifacts-${from.account_id}")
  }]
}

output "deploy" {
  description = "The policies of the role that releases."
  value = merge({
    deployctl = jsonencode({ Version = "2012-10-17", Statement = local.deploy })
    see       = jsonencode({ Version = "2012-10-17", Statement = local.terraform_look })
    terraform = jsonencode({ Version = "2012-10-17", Statement = local.terraform })
    network   = jsonencode({ Version = "2012-10-17", Statement = local.network })
  }, length(local.more_deploy) == 0 ? {} : { more = jsonencode({ Version = "2012-10-17", Statement = local.more_deploy }) })
}

output "plan" {
  description = "The policies of the role that plans."
  value = merge({
    deployctl = jsonencode({ Version = "2012-10-17", Statement = local.look })
    terraform = jsonencode({ Version = "2012-10-17", Statement = local.terraform_look })
  }, length(local.more_look) == 0 ? {} : { more = jsonencode({ Version = "2012-10-17", Statement = local.more_look }) })
}
