# The functions. Log groups, functions, methods, integrations, permissions and the deployctl output are derived from this
# map.
#
# A key is the name of the stage variable with the function's live version, the handler setting, which tells the program
# which function to run, and, with dashes, the end of the function's name.
#
# Remove a function in two releases. Terraform would delete it before the switch, but the live release needs it until
# then, and a rollback needs it afterwards. First set http_method and resource to null, then delete the line. For the
# authorizer, authorizer_retained = true is the first step.

locals {
  functions = {
    for key, function in {
      users_get    = { artifact = "users", resource = "users", http_method = "GET" }
      users_post   = { artifact = "users", resource = "users", http_method = "POST" }
      users_delete = { artifact = "users", resource = "users", http_method = "DELETE" }
      user_get     = { artifact = "users", resource = "user", http_method = "GET" }
      user_patch   = { artifact = "users", resource = "user", http_method = "PATCH" }
      user_delete  = { artifact = "users", resource = "user", http_method = "DELETE" }

      # Has no route: it authorizes the requests to the other functions (authorizer.tf).
      authorizer = { artifact = "authorizer", resource = null, http_method = null }
    } :
    key => merge(function, { name = "${local.name}-${replace(key, "_", "-")}" })
    if key != "authorizer" || var.authorization == "lambda" || var.authorizer_retained
  }

  # Derived from the names, not read from the resources: otherwise a plan that changes a function would also show a
  # change of the policy that contains its ARN.
  function_arns = {
    for key, function in local.functions :
    key => "arn:${local.partition}:lambda:${var.region}:${local.account_id}:function:${function.name}"
  }
}

# Created before the functions: a log group that Lambda creates has no retention, and Terraform cannot create it any
# more.
resource "aws_cloudwatch_log_group" "function" {
  # checkov:skip=CKV_AWS_158: CloudWatch encrypts with its default key; the functions log no personal data
  # checkov:skip=CKV_AWS_338: the retention is a variable

  for_each = local.functions

  name              = "/aws/lambda/${each.value.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_50: tracing is a variable, because each traced request costs money
  # checkov:skip=CKV_AWS_115: the throttling of the stage limits all functions; how the account's concurrency is shared is decided per account
  # checkov:skip=CKV_AWS_116: API Gateway invokes them synchronously, so there are no failed asynchronous events to keep
  # checkov:skip=CKV_AWS_173: the environment contains the ARN of a secret, not the secret
  # checkov:skip=CKV_AWS_272: deployctl compares the SHA-256 of the code at each step, from the build to the published version

  for_each = local.functions

  function_name = each.value.name
  description   = "${each.key} of ${local.name}"
  role          = local.base.lambda_role_arn

  # Several functions share one zip: the handler setting tells the program which one to run.
  runtime       = "provided.al2023"
  handler       = each.key
  architectures = var.architectures

  # Only used for the creation. deployctl uploads the zip before it applies this layer, and updates the code
  # afterwards.
  s3_bucket = local.base.artifact_bucket
  s3_key    = "${each.value.artifact}/${each.value.artifact}-lambda-${var.release_version}.zip"

  # Publishes a version after a change of the configuration, which otherwise would not affect the pinned versions.
  publish = true

  # Wrong credentials are costly to check. With a limit, they cannot use up the concurrency of the account, which the
  # other functions need.
  reserved_concurrent_executions = each.key == "authorizer" ? var.authorizer_concurrency : null

  memory_size = var.function_memory_mb
  timeout     = var.function_timeout_seconds

  vpc_config {
    subnet_ids         = local.base.private_subnet_ids
    security_group_ids = [local.base.lambda_security_group_id]
  }

  # Variables with the program's default value are left out.
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
      error_message = "function_timeout_seconds is longer than integration_timeout_ms: API Gateway would answer 504 while the function is still running."
    }

    # deployctl updates the code. A plan that changes any of these would upload the code above again and publish it as the
    # newest version.
    ignore_changes = [
      s3_bucket,         # deployctl owns it: the bucket of the code
      s3_key,            # deployctl owns it: the key contains the version, so it differs in each release
      s3_object_version, # deployctl owns it: the object version of that key
      source_code_hash,  # deployctl owns it: the hash of the code it uploaded
      architectures,     # deployctl owns it: it updates code and architecture in one call; changing only this would restore the oldest zip

      # filename, image_uri, code_sha256 and source_kms_key_arn would also update the code, but they are never set. Version 5
      # of the provider does not have the last one.
    ]
  }

  # Lambda checks the permissions of the role when tracing is enabled; the others are needed at the first start.
  depends_on = [
    aws_cloudwatch_log_group.function,
    aws_iam_role_policy.redis_secret,
    aws_iam_role_policy.tracing,
  ]
}
