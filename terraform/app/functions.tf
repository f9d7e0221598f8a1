# The functions. This map is the one place that lists them: log groups, functions, methods,
# integrations, permissions and the deployctl output are all derived from it.
#
# A key is three things at once: the stage variable that holds the function's live version, the handler by
# which the program knows which function it is, and, with dashes, the end of the name.
#
# The live release needs its functions until the switch, and a rollback needs them after it, while
# Terraform deletes them before. So a function leaves in two releases: first its route (http_method and
# resource become null), then its line. For the authorizer, authorizer_retained does the first step.

locals {
  functions = {
    for key, function in {
      users_get    = { artifact = "users", resource = "users", http_method = "GET" }
      users_post   = { artifact = "users", resource = "users", http_method = "POST" }
      users_delete = { artifact = "users", resource = "users", http_method = "DELETE" }
      user_get     = { artifact = "users", resource = "user", http_method = "GET" }
      user_patch   = { artifact = "users", resource = "user", http_method = "PATCH" }
      user_delete  = { artifact = "users", resource = "user", http_method = "DELETE" }

      # Has no route of its own: it decides on the requests of the others (authorizer.tf).
      authorizer = { artifact = "authorizer", resource = null, http_method = null }
    } :
    key => merge(function, { name = "${local.name}-${replace(key, "_", "-")}" })
    if key != "authorizer" || var.authorizer_enabled || var.authorizer_retained
  }

  # Put together from the names, not read from the functions: otherwise every plan that changes a
  # function would announce a change of the policy that names them as well.
  function_arns = {
    for key, function in local.functions :
    key => "arn:${local.partition}:lambda:${var.region}:${local.account_id}:function:${function.name}"
  }
}

# The groups Lambda writes to by name. Made here and first: a group that Lambda made would be kept for
# ever, and Terraform could not create it any more.
resource "aws_cloudwatch_log_group" "function" {
  # checkov:skip=CKV_AWS_158: CloudWatch encrypts with a key of its own; no personal data is logged
  # checkov:skip=CKV_AWS_338: how long is a variable

  for_each = local.functions

  name              = "/aws/lambda/${each.value.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_50: tracing is a variable, because it is paid for by the request
  # checkov:skip=CKV_AWS_115: the stage's throttling limits them together; a share of the account's concurrency is the account's to give
  # checkov:skip=CKV_AWS_116: API Gateway calls them and waits for the answer: there is nothing to put into a queue
  # checkov:skip=CKV_AWS_173: there is no secret in the environment, only the name of one
  # checkov:skip=CKV_AWS_272: deployctl proves the code by its hash at each hop, from the build to the published version

  for_each = local.functions

  function_name = each.value.name
  description   = "${each.key} of ${local.name}"
  role          = local.base.lambda_role_arn

  # One zip serves several functions: the handler tells it which one it is.
  runtime       = "provided.al2023"
  handler       = each.key
  architectures = var.architectures

  # Only for the creation: deployctl has put the zip there before this layer is applied, and updates the
  # code from then on.
  s3_bucket = local.base.artifact_bucket
  s3_key    = "${each.value.artifact}/${each.value.artifact}-lambda-${var.release_version}.zip"

  # A change of configuration becomes a version too, or the pinned versions would never see it.
  publish = true

  memory_size = var.function_memory_mb
  timeout     = var.function_timeout_seconds

  vpc_config {
    subnet_ids         = local.base.private_subnet_ids
    security_group_ids = [local.base.lambda_security_group_id]
  }

  # What is at the program's own default is not set.
  environment {
    variables = merge(
      {
        REDIS_DNS  = local.redis_address
        REDIS_PORT = tostring(local.redis_port)
      },
      local.redis_tls ? { REDIS_TLS = "true" } : {},
      var.redis_auth_secret_arn == null ? {} : { REDIS_AUTH_SECRET_ARN = var.redis_auth_secret_arn },
      var.cors_allow_origin == null ? {} : { CORS_ALLOW_ORIGIN = var.cors_allow_origin },
      var.log_level == "info" ? {} : { LOG_LEVEL = var.log_level },
    )
  }

  tracing_config {
    mode = var.tracing ? "Active" : "PassThrough"
  }

  lifecycle {
    precondition {
      condition     = var.function_timeout_seconds * 1000 <= var.integration_timeout_ms
      error_message = "function_timeout_seconds is longer than integration_timeout_ms: API Gateway would answer 504 while the function is still at work."
    }

    # What runs is deployctl's. Any of these in a plan would upload the code named above again, and
    # publish it as the newest version.
    ignore_changes = [
      s3_bucket,         # deployctl owns it: where the code of the next release comes from
      s3_key,            # deployctl owns it: the key carries the version, so it differs at each release
      s3_object_version, # deployctl owns it: which object under that key
      source_code_hash,  # deployctl owns it: the hash of the code it uploaded
      architectures,     # deployctl owns it: code and instruction set are updated in one call; alone, this would put the oldest zip back

      # filename and image_uri, the other two that update code, cannot change: they are never set.
    ]
  }

  # Lambda tests the role's rights when tracing is switched on; the rest is needed at the first start.
  depends_on = [
    aws_cloudwatch_log_group.function,
    aws_iam_role_policy.redis_secret,
    aws_iam_role_policy.tracing,
  ]
}
