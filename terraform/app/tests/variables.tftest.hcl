# Invalid values of variables.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

override_data {
  target = data.terraform_remote_state.base
  values = {
    outputs = {
      artifact_bucket          = "users-dev-artifacts-111111111111"
      private_subnet_ids       = ["subnet-0aaaaaaaaaaaaaaaa"]
      lambda_security_group_id = "sg-0aaaaaaaaaaaaaaaa"
      redis_security_group_id  = "sg-0bbbbbbbbbbbbbbbb"
      lambda_role_arn          = "arn:aws:iam::111111111111:role/users-dev-lambda"
      lambda_role_name         = "users-dev-lambda"
    }
  }
}

run "values_that_are_refused" {
  command = plan

  variables {
    project                  = "Users_"
    stage                    = "a-name-that-is-too-long"
    region                   = "Ireland"
    release_version          = "v 1"
    state_bucket             = "No_Bucket"
    state_prefix             = "/users/dev"
    architectures            = ["x86_64", "arm64"]
    function_memory_mb       = 64
    function_timeout_seconds = 0
    integration_timeout_ms   = 30000
    redis_node_type          = "db.t4g.micro"
    redis_engine_version     = "7"
    redis_replicas           = 6
    redis_transit_encryption = "yes"
    redis_auth_secret_arn    = "users/redis"
    redis_auth_kms_key_arn   = "alias/aws/ssm"
    redis_auth_update        = "DELETE"
    cors_allow_origin        = "https://app.example.com/path"
    log_level                = "verbose"
    api_log_level            = "DEBUG"
    log_retention_days       = 31
    throttling               = { rate_limit = 0, burst_limit = 1 }
    authorization            = "open"
    authorizer_enabled       = true
    authorizer_concurrency   = 0
    authorizer_ttl_seconds   = 3601
    alarm_topic_arn          = "on-call"
    alarm_limits             = { error_share = 2 }
    permissions_boundary     = "boundary"
  }

  expect_failures = [
    var.project,
    var.stage,
    var.region,
    var.release_version,
    var.state_bucket,
    var.state_prefix,
    var.architectures,
    var.function_memory_mb,
    var.function_timeout_seconds,
    var.integration_timeout_ms,
    var.redis_node_type,
    var.redis_engine_version,
    var.redis_replicas,
    var.redis_transit_encryption,
    var.redis_auth_secret_arn,
    var.redis_auth_kms_key_arn,
    var.redis_auth_update,
    var.cors_allow_origin,
    var.log_level,
    var.api_log_level,
    var.log_retention_days,
    var.throttling,
    var.authorization,
    var.authorizer_enabled,
    var.authorizer_concurrency,
    var.authorizer_ttl_seconds,
    var.alarm_topic_arn,
    var.alarm_limits,
    var.permissions_boundary,
  ]
}
