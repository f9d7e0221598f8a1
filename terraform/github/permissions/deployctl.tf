# The permissions for deployctl's own AWS calls. tests/release/pipeline records the calls of every command and checks that these lists
# allow each of them and contain no others. The module uses no provider, so that the test can evaluate it.

locals {
  name            = "${var.project}-${var.stage}"
  state_bucket    = coalesce(var.state_bucket, "${local.name}-tfstate-${var.account_id}")
  artifact_bucket = coalesce(var.artifact_bucket, "${local.name}-artifacts-${var.account_id}")

  s3        = "arn:${var.partition}:s3:::"
  api       = "arn:${var.partition}:apigateway:${var.region}::"
  functions = "arn:${var.partition}:lambda:${var.region}:${var.account_id}:function:${local.name}-*"
  state     = "${local.s3}${local.state_bucket}/${var.project}/${var.stage}"

  # For plans and releases.
  read = [
    {
      Sid      = "ReadState"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${local.state}/*"]
    },
    {
      # Without it, S3 answers 403 instead of 404 for a state that does not exist yet.
      Sid      = "FindState"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = ["${local.s3}${local.state_bucket}", "${local.s3}${local.artifact_bucket}"]
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
      # ListFunctions has no resource-level permission. `status` compares the code of the functions with the ledger.
      Sid      = "ListFunctions"
      Effect   = "Allow"
      Action   = ["lambda:ListFunctions"]
      Resource = ["*"]
    },
    {
      # AWS generates the id of the API, so it is not known here.
      Sid      = "SeeApi"
      Effect   = "Allow"
      Action   = ["apigateway:GET"]
      Resource = ["${local.api}/restapis/*"]
    },
  ]

  # Only where a release moves aliases, provisions concurrency, or sends container images.
  see_aliases = var.function_aliases == false ? [] : [
    {
      Sid      = "SeeAliases"
      Effect   = "Allow"
      Action   = ["lambda:GetAlias", "lambda:GetProvisionedConcurrencyConfig"]
      Resource = [local.functions]
    },
  ]

  move_aliases = var.function_aliases == false ? [] : [
    {
      Sid      = "MoveAliases"
      Effect   = "Allow"
      Action   = ["lambda:UpdateAlias"]
      Resource = [local.functions]
    },
  ]

  # Also of aliases: Lambda refuses it for a version whose alias has some.
  provision = var.provisioned_concurrency == false ? [] : [
    {
      Sid    = "ProvisionConcurrency"
      Effect = "Allow"
      Action = [
        "lambda:GetProvisionedConcurrencyConfig",
        "lambda:PutProvisionedConcurrencyConfig",
        "lambda:DeleteProvisionedConcurrencyConfig",
      ]
      Resource = ["${local.functions}:*"]
    },
  ]

  # Lambda reads an image with the permissions of the caller that sends it to a function.
  read_images = length(var.image_repositories) == 0 ? [] : [
    {
      Sid      = "ReadImages"
      Effect   = "Allow"
      Action   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = var.image_repositories
    },
  ]

  deploy = concat(local.read, local.see_aliases, local.move_aliases, local.provision, local.read_images, [
    {
      # promotion.json names the artifact bucket, so that a promotion need not read the state.
      Sid      = "WriteState"
      Effect   = "Allow"
      Action   = ["s3:PutObject"]
      Resource = ["${local.state}/*.tfstate", "${local.state}/promotion.json"]
    },
    {
      # Terraform's lock file, next to the state. Not for plans: `deployctl plan` takes no lock.
      Sid      = "LockState"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:DeleteObject"]
      Resource = ["${local.state}/*.tflock"]
    },
    {
      # Zips, ledger and lease. No permission to delete: a release cannot delete the zips of older releases.
      Sid      = "WriteReleases"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
      Resource = ["${local.s3}${local.artifact_bucket}/*"]
    },
    {
      # deployctl rejects a bucket without versioning.
      Sid      = "SeeVersioning"
      Effect   = "Allow"
      Action   = ["s3:GetBucketVersioning"]
      Resource = ["${local.s3}${local.artifact_bucket}"]
    },
    {
      Sid    = "ReleaseFunctions"
      Effect = "Allow"
      # InvokeFunction is for the checks before the switch, and for waking a version that Lambda made inactive.
      Action   = ["lambda:UpdateFunctionCode", "lambda:PublishVersion", "lambda:InvokeFunction"]
      Resource = [local.functions, "${local.functions}:*"]
    },
    {
      # The error of a release that was switched back contains the end of a function's log.
      Sid      = "ReadLogs"
      Effect   = "Allow"
      Action   = ["logs:FilterLogEvents"]
      Resource = ["arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/aws/lambda/${local.name}-*"]
    },
    {
      # What a canary is judged by. GetMetricData has no resources, and alarms of alarms can be read only with permission for all.
      Sid      = "Monitor"
      Effect   = "Allow"
      Action   = ["cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"]
      Resource = ["*"]
    },
    {
      Sid      = "DeployApi"
      Effect   = "Allow"
      Action   = ["apigateway:POST"]
      Resource = ["${local.api}/restapis/*/deployments"]
    },
    {
      # The switch. Any API with a stage of this name, because its id is not known here.
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
      # One object beside the states of the source, and its ledger and zips.
      Sid      = "PromoteFrom"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = flatten([for from in local.promote_from : [from.source, "${local.s3}${from.bucket}/*"]])
    },
    {
      Sid      = "FindPromoted"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [for from in local.promote_from : "${local.s3}${from.bucket}"]
    },
  ])

  # A preview is a stage `preview-<name>` of the API. It has no record, and its zips have keys of their own.
  preview = concat([for statement in local.read : statement if statement.Sid != "ListFunctions"], [
    {
      # The lease, and the definition of the API that a preview serves. No record: a preview cannot write history.
      Sid    = "WritePreviews"
      Effect = "Allow"
      Action = ["s3:PutObject"]
      Resource = [
        "${local.s3}${local.artifact_bucket}/deployctl/${var.stage}/lease.json",
        "${local.s3}${local.artifact_bucket}/deployctl/${var.stage}/api/*",
        "${local.s3}${local.artifact_bucket}/*preview-*",
      ]
    },
    {
      Sid      = "ReadZips"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = ["${local.s3}${local.artifact_bucket}/*preview-*"]
    },
    {
      Sid      = "SeeVersioning"
      Effect   = "Allow"
      Action   = ["s3:GetBucketVersioning"]
      Resource = ["${local.s3}${local.artifact_bucket}"]
    },
    {
      Sid      = "SendPreviews"
      Effect   = "Allow"
      Action   = ["lambda:UpdateFunctionCode", "lambda:PublishVersion"]
      Resource = [local.functions]
    },
    {
      # Without a stage: CreateDeployment can also move one.
      Sid       = "DeployPreviews"
      Effect    = "Allow"
      Action    = ["apigateway:POST"]
      Resource  = ["${local.api}/restapis/*/deployments"]
      Condition = { Null = { "apigateway:Request/StageName" = "true" } }
    },
    {
      Sid      = "MakePreviews"
      Effect   = "Allow"
      Action   = ["apigateway:POST"]
      Resource = ["${local.api}/restapis/*/stages"]
    },
    {
      Sid      = "TagPreviews"
      Effect   = "Allow"
      Action   = ["apigateway:PUT"]
      Resource = ["${local.api}/tags/*"]
    },
    {
      Sid      = "ShapePreviews"
      Effect   = "Allow"
      Action   = ["apigateway:DELETE", "apigateway:PATCH"]
      Resource = ["${local.api}/restapis/*/stages/preview-*"]
    },
    {
      # API Gateway refuses to delete a deployment that a stage serves.
      Sid      = "DiscardPreviews"
      Effect   = "Allow"
      Action   = ["apigateway:DELETE"]
      Resource = ["${local.api}/restapis/*/deployments/*"]
    },
  ])

  promote_from = [for from in var.promote_from : {
    source = "${local.s3}${var.project}-${from.stage}-tfstate-${from.account_id}/${var.project}/${from.stage}/promotion.json"
    bucket = coalesce(from.artifact_bucket, "${var.project}-${from.stage}-artifacts-${from.account_id}")
  }]
}

output "deploy" {
  description = "The policies of the deploy role."
  value = merge({
    deployctl = jsonencode({ Version = "2012-10-17", Statement = local.deploy })
    see       = jsonencode({ Version = "2012-10-17", Statement = local.terraform_read })
    terraform = jsonencode({ Version = "2012-10-17", Statement = local.terraform })
    network   = jsonencode({ Version = "2012-10-17", Statement = local.network })
  }, length(local.optional_deploy) == 0 ? {} : { more = jsonencode({ Version = "2012-10-17", Statement = local.optional_deploy }) })
}

output "plan" {
  description = "The policies of the plan role."
  value = merge({
    deployctl = jsonencode({ Version = "2012-10-17", Statement = concat(local.read, local.see_aliases) })
    terraform = jsonencode({ Version = "2012-10-17", Statement = local.terraform_read })
  }, length(local.optional_read) == 0 ? {} : { more = jsonencode({ Version = "2012-10-17", Statement = local.optional_read }) })
}

output "preview" {
  description = "The policies of the role of previews."
  value       = { deployctl = jsonencode({ Version = "2012-10-17", Statement = local.preview }) }
}
