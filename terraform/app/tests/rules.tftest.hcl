# Rules for every stage, applied with a mock provider.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111111111111" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  # A mock provider does not render policies, so the tests read the statements of the data sources.
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_resource "aws_cognito_user_pool" {
    defaults = { id = "eu-west-1_Abc123", arn = "arn:aws:cognito-idp:eu-west-1:111111111111:userpool/eu-west-1_Abc123" }
  }

  mock_data "aws_elasticache_replication_group" {
    defaults = { port = 6379 }
  }

  mock_data "aws_secretsmanager_secret_version" {
    defaults = { secret_string = "sixteen-or-more-characters" }
  }

  mock_data "aws_ssm_parameter" {
    defaults = { value = "sixteen-or-more-characters" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111111111111:role/users-dev-api-gateway-invoke" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:111111111111:log-group:any" }
  }

  # Set, because a generated id may start with a digit.
  mock_resource "aws_elasticache_replication_group" {
    defaults = {
      id                       = "users-dev"
      primary_endpoint_address = "redis.example"
    }
  }
}

# The outputs of the base layer.
override_data {
  target = data.terraform_remote_state.base
  values = {
    outputs = {
      artifact_bucket          = "users-dev-artifacts-111111111111"
      private_subnet_ids       = ["subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb", "subnet-0cccccccccccccccc"]
      lambda_security_group_id = "sg-0aaaaaaaaaaaaaaaa"
      redis_security_group_id  = "sg-0bbbbbbbbbbbbbbbb"
      lambda_role_arn          = "arn:aws:iam::111111111111:role/users-dev-lambda"
      lambda_role_name         = "users-dev-lambda"
    }
  }
}

variables {
  project         = "users"
  stage           = "dev"
  region          = "eu-west-1"
  release_version = "1.0.0"
  state_bucket    = "users-dev-tfstate-111111111111"
  state_prefix    = "users/dev"
}

run "by_default" {
  # In the URI of each integration, the version is a stage variable with the function's key as its name.
  assert {
    condition = alltrue([
      for route, integration in aws_api_gateway_integration.this :
      integration.uri == join("", [
        "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:111111111111:function:",
        "users-dev-${replace(trimsuffix(route, "_head"), "_", "-")}:$${stageVariables.${trimsuffix(route, "_head")}}/invocations",
      ])
    ])
    error_message = "an integration does not use its stage variable"
  }

  assert {
    condition = jsonencode({ for route, method in aws_api_gateway_method.this : route => method.http_method }) == jsonencode({
      user_delete    = "DELETE"
      user_get       = "GET"
      user_get_head  = "HEAD"
      user_patch     = "PATCH"
      users_delete   = "DELETE"
      users_get      = "GET"
      users_get_head = "HEAD"
      users_post     = "POST"
    })
    error_message = "the routes differ"
  }

  assert {
    condition     = aws_api_gateway_integration.this["users_get_head"].uri == aws_api_gateway_integration.this["users_get"].uri
    error_message = "HEAD and GET must use the same function"
  }

  assert {
    condition = (
      toset([for key, function in output.deployctl.functions : key]) == toset(["users_get", "users_post", "users_delete", "user_get", "user_patch", "user_delete", "authorizer"]) &&
      length(aws_lambda_function.this) == 7
    )
    error_message = "the deployctl output must contain each of the seven functions once"
  }

  assert {
    condition = (
      length(aws_api_gateway_authorizer.this) == 1 && length(aws_cognito_user_pool.this) == 0 &&
      alltrue([for method in aws_api_gateway_method.this : method.authorization == "CUSTOM" && method.authorizer_id == aws_api_gateway_authorizer.this[0].id])
    )
    error_message = "every route must need credentials"
  }

  # Also a HEAD must not use up the limit of a GET.
  assert {
    condition = (
      toset([for settings in aws_api_gateway_method_settings.method : settings.method_path]) == toset([
        "demo/users/GET", "demo/users/HEAD", "demo/users/POST", "demo/users/DELETE",
        "demo/users/{userId}/GET", "demo/users/{userId}/HEAD", "demo/users/{userId}/PATCH", "demo/users/{userId}/DELETE",
      ]) &&
      alltrue([
        for settings in concat([aws_api_gateway_method_settings.all], values(aws_api_gateway_method_settings.method)) :
        settings.settings[0].throttling_rate_limit == 100 && settings.settings[0].throttling_burst_limit == 200 &&
        settings.settings[0].metrics_enabled && settings.settings[0].logging_level == "INFO"
      ])
    )
    error_message = "each method must have a limit of its own"
  }

  # API Gateway may invoke published versions of these functions, and nothing else.
  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.invoke_functions.statement : [
        toset(statement.actions) == toset(["lambda:InvokeFunction"]),
        toset(statement.resources) == toset([for function in aws_lambda_function.this : "arn:aws:lambda:eu-west-1:111111111111:function:${function.function_name}:*"]),
      ]
    ]))
    error_message = "the role of API Gateway may do more than invoke versions of the functions"
  }

  assert {
    condition     = length(aws_iam_role_policy.redis_secret) + length(aws_iam_role_policy.tracing) == 0
    error_message = "there are permissions that are not needed"
  }

  assert {
    condition = alltrue([
      for function in aws_lambda_function.this :
      function.environment[0].variables == tomap({ REDIS_DNS = "redis.example", REDIS_PORT = "6379", REDIS_TLS = "true" })
    ])
    error_message = "variables with default values must not be set"
  }

  assert {
    condition     = aws_elasticache_replication_group.redis.at_rest_encryption_enabled == "true" && aws_elasticache_replication_group.redis.transit_encryption_mode == "required"
    error_message = "Redis must be encrypted at rest and in transit"
  }

  assert {
    condition     = length(aws_api_gateway_method.preflight) == 0 && length(aws_api_gateway_gateway_response.this["DEFAULT_4XX"].response_parameters) == 0
    error_message = "there must be no CORS headers unless they are enabled"
  }

  assert {
    condition = alltrue([
      for type, response in aws_api_gateway_gateway_response.this :
      can(regex("^{\"code\":\"[a-z_]+\",\"error\":[$]context.error.messageString}$", response.response_templates["application/json"]))
    ])
    error_message = "the errors of API Gateway must have the format of the functions' errors"
  }

  assert {
    condition = (
      !aws_api_gateway_stage.this.xray_tracing_enabled &&
      alltrue([for function in aws_lambda_function.this : function.tracing_config[0].mode == "PassThrough"])
    )
    error_message = "tracing must be off unless it is enabled"
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.errors) + length(aws_cloudwatch_metric_alarm.latency) + length(aws_cloudwatch_metric_alarm.throttles) == 0
    error_message = "there must be no alarms unless they are enabled"
  }

  assert {
    condition     = alltrue([for settings in concat([aws_api_gateway_method_settings.all], values(aws_api_gateway_method_settings.method)) : !settings.settings[0].data_trace_enabled])
    error_message = "complete requests would be logged"
  }

  assert {
    condition = alltrue([
      for group in concat(values(aws_cloudwatch_log_group.function), [aws_cloudwatch_log_group.access, aws_cloudwatch_log_group.execution]) :
      group.retention_in_days == 30
    ])
    error_message = "a log group has no retention"
  }
}

# The same stage with another version and architecture. After the creation, deployctl changes both.
run "another_version" {
  variables {
    release_version = "2.0.0"
    architectures   = ["arm64"]
  }

  assert {
    condition = alltrue([
      for function in aws_lambda_function.this :
      endswith(function.s3_key, "-lambda-1.0.0.zip") && function.architectures == tolist(["x86_64"])
    ])
    error_message = "Terraform would change the code of an existing function"
  }
}

run "with_everything" {
  variables {
    authorization            = "lambda"
    authorizer_ttl_seconds   = 60
    authorizer_concurrency   = 20
    redis_transit_encryption = "required"
    redis_auth_secret_arn    = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-Ab12Cd"
    redis_auth_kms_key_arn   = "arn:aws:kms:eu-west-1:111111111111:key/0a1b2c3d"
    redis_replicas           = 1
    cors_allow_origin        = "https://app.example.com"
    tracing                  = true
    log_level                = "debug"
    api_log_level            = "ERROR"
    alarms_enabled           = true
    alarm_topic_arn          = "arn:aws:sns:eu-west-1:111111111111:on-call"
  }

  assert {
    condition = (
      aws_api_gateway_authorizer.this[0].authorizer_result_ttl_in_seconds == 60 &&
      alltrue([
        for method in aws_api_gateway_method.this :
        method.authorization == "CUSTOM" && method.authorizer_id == aws_api_gateway_authorizer.this[0].id
      ])
    )
    error_message = "a route does not use the authorizer"
  }

  assert {
    condition = (
      aws_lambda_function.this["authorizer"].s3_key == "authorizer/authorizer-lambda-1.0.0.zip" &&
      strcontains(aws_api_gateway_authorizer.this[0].authorizer_uri, ":function:users-dev-authorizer:$${stageVariables.authorizer}/invocations")
    )
    error_message = "the authorizer must use its stage variable"
  }

  assert {
    condition     = { for key, function in aws_lambda_function.this : key => function.reserved_concurrent_executions if function.reserved_concurrent_executions != null && function.reserved_concurrent_executions != -1 } == { authorizer = 20 }
    error_message = "the authorizer alone must have a limit"
  }

  assert {
    condition     = strcontains(aws_api_gateway_gateway_response.this["UNAUTHORIZED"].response_parameters["gatewayresponse.header.WWW-Authenticate"], "Basic realm=")
    error_message = "a 401 must have the header WWW-Authenticate"
  }

  assert {
    condition = alltrue([
      for function in aws_lambda_function.this :
      function.environment[0].variables == tomap({
        REDIS_DNS             = "redis.example"
        REDIS_PORT            = "6379"
        REDIS_TLS             = "true"
        REDIS_AUTH_SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-Ab12Cd"
        CORS_ALLOW_ORIGIN     = "https://app.example.com"
        LOG_LEVEL             = "debug"
      }) && function.tracing_config[0].mode == "Active"
    ])
    error_message = "the environment of the functions differs"
  }

  assert {
    condition = (
      aws_elasticache_replication_group.redis.transit_encryption_enabled &&
      aws_elasticache_replication_group.redis.transit_encryption_mode == "required" &&
      nonsensitive(aws_elasticache_replication_group.redis.auth_token == "sixteen-or-more-characters") &&
      aws_elasticache_replication_group.redis.automatic_failover_enabled &&
      aws_elasticache_replication_group.redis.multi_az_enabled &&
      aws_elasticache_replication_group.redis.num_cache_clusters == 2
    )
    error_message = "Redis must have TLS, a token, and a replica in another zone"
  }

  # Only that secret, and its key only through that service.
  assert {
    condition = (
      jsonencode([
        for statement in data.aws_iam_policy_document.redis_secret[0].statement : [statement.actions, statement.resources]
        ]) == jsonencode([
        [["secretsmanager:GetSecretValue"], ["arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-Ab12Cd"]],
        [["kms:Decrypt"], ["arn:aws:kms:eu-west-1:111111111111:key/0a1b2c3d"]],
      ]) &&
      one(data.aws_iam_policy_document.redis_secret[0].statement[1].condition).values == tolist(["secretsmanager.eu-west-1.amazonaws.com"]) &&
      aws_iam_role_policy.redis_secret[0].role == "users-dev-lambda"
    )
    error_message = "the functions may read more than the token of Redis"
  }

  # X-Ray actions have no resource-level permissions: the only statement in this layer with all resources.
  assert {
    condition = toset(flatten([
      for statement in concat(
        data.aws_iam_policy_document.tracing[0].statement,
        data.aws_iam_policy_document.redis_secret[0].statement,
        data.aws_iam_policy_document.invoke_functions.statement,
      ) : statement.actions if contains(statement.resources, "*")
    ])) == toset(["xray:PutTelemetryRecords", "xray:PutTraceSegments"])
    error_message = "an action with resource-level permissions is allowed for all resources"
  }

  assert {
    condition = (
      toset(keys(aws_api_gateway_method.preflight)) == toset(["users", "user"]) &&
      alltrue([for method in aws_api_gateway_method.preflight : method.http_method == "OPTIONS" && method.authorization == "NONE"]) &&
      alltrue([for integration in aws_api_gateway_integration.preflight : integration.type == "MOCK"])
    )
    error_message = "preflight requests must need no credentials and be answered by API Gateway"
  }

  assert {
    condition = (
      aws_api_gateway_integration_response.preflight["users"].response_parameters == tomap({
        "method.response.header.Access-Control-Allow-Origin"  = "'https://app.example.com'"
        "method.response.header.Access-Control-Allow-Headers" = "'Authorization,Content-Type'"
        "method.response.header.Access-Control-Allow-Methods" = "'DELETE,GET,HEAD,OPTIONS,POST'"
        "method.response.header.Access-Control-Max-Age"       = "'600'"
        "method.response.header.Vary"                         = "'Origin'"
      }) &&
      alltrue([
        for name, response in aws_api_gateway_integration_response.preflight :
        toset(keys(response.response_parameters)) == toset(keys(aws_api_gateway_method_response.preflight[name].response_parameters))
      ])
    )
    error_message = "the preflight headers differ"
  }

  assert {
    condition = alltrue([
      for response in aws_api_gateway_gateway_response.this :
      response.response_parameters["gatewayresponse.header.Access-Control-Allow-Origin"] == "'https://app.example.com'"
    ])
    error_message = "the errors of API Gateway must have CORS headers"
  }

  assert {
    condition     = aws_api_gateway_stage.this.xray_tracing_enabled && aws_api_gateway_method_settings.all.settings[0].logging_level == "ERROR"
    error_message = "tracing or log level of the stage differs"
  }

  assert {
    condition = (
      length(aws_cloudwatch_metric_alarm.throttles) == 7 &&
      alltrue([
        for alarm in concat(aws_cloudwatch_metric_alarm.errors, aws_cloudwatch_metric_alarm.latency, values(aws_cloudwatch_metric_alarm.throttles)) :
        alarm.alarm_actions == toset(["arn:aws:sns:eu-west-1:111111111111:on-call"]) && alarm.ok_actions == alarm.alarm_actions
      ]) &&
      aws_cloudwatch_metric_alarm.errors[0].threshold == 0.01 && aws_cloudwatch_metric_alarm.latency[0].threshold == 1000
    )
    error_message = "there must be alarms for errors, latency and the throttles of each function"
  }
}

# The first of two releases that remove the authorizer: the routes do not use it, its function still exists.
run "the_authorizer_leaves" {
  variables {
    authorization         = "none"
    authorizer_retained   = true
    redis_auth_secret_arn = "arn:aws:ssm:eu-west-1:111111111111:parameter/users/redis"

    redis_transit_encryption = "required"
  }

  assert {
    condition = (
      length(aws_api_gateway_authorizer.this) == 0 && contains(keys(output.deployctl.functions), "authorizer") &&
      alltrue([for method in aws_api_gateway_method.this : method.authorization == "NONE"])
    )
    error_message = "the function must exist for one release after the authorizer"
  }

  assert {
    condition = (
      length(data.aws_secretsmanager_secret_version.redis) == 0 &&
      toset(data.aws_iam_policy_document.redis_secret[0].statement[0].actions) == toset(["ssm:GetParameter"]) &&
      toset(data.aws_iam_policy_document.redis_secret[0].statement[0].resources) == toset(["arn:aws:ssm:eu-west-1:111111111111:parameter/users/redis"])
    )
    error_message = "the token must be read from the SSM parameter"
  }
}

# As the example before these variables: without credentials and without TLS.
run "open" {
  variables {
    authorization            = "none"
    redis_transit_encryption = "off"
  }

  assert {
    condition = (
      length(aws_api_gateway_authorizer.this) + length(aws_api_gateway_authorizer.cognito) == 0 && length(aws_lambda_function.this) == 6 &&
      alltrue([for method in aws_api_gateway_method.this : method.authorization == "NONE" && method.authorizer_id == null]) &&
      !contains(keys(aws_api_gateway_gateway_response.this), "UNAUTHORIZED")
    )
    error_message = "there must be no authorizer"
  }

  assert {
    condition = (
      !aws_elasticache_replication_group.redis.transit_encryption_enabled &&
      alltrue([for function in aws_lambda_function.this : function.environment[0].variables == tomap({ REDIS_DNS = "redis.example", REDIS_PORT = "6379" })])
    )
    error_message = "Redis must be as before"
  }
}

# From the Lambda authorizer to a user pool: its function stays for the live release.
run "a_user_pool" {
  variables {
    authorization       = "cognito"
    authorizer_retained = true
  }

  assert {
    condition = (
      aws_api_gateway_authorizer.cognito[0].type == "COGNITO_USER_POOLS" &&
      aws_api_gateway_authorizer.cognito[0].provider_arns == toset([aws_cognito_user_pool.this[0].arn]) &&
      aws_api_gateway_authorizer.cognito[0].identity_source == "method.request.header.Authorization" &&
      alltrue([
        for method in aws_api_gateway_method.this :
        method.authorization == "COGNITO_USER_POOLS" && method.authorizer_id == aws_api_gateway_authorizer.cognito[0].id
      ])
    )
    error_message = "a route does not use the user pool"
  }

  assert {
    condition     = length(aws_api_gateway_authorizer.this) == 0 && contains(keys(output.deployctl.functions), "authorizer")
    error_message = "the function of the Lambda authorizer must exist for one release"
  }

  assert {
    condition = (
      aws_cognito_user_pool.this[0].deletion_protection == "ACTIVE" &&
      aws_cognito_user_pool.this[0].admin_create_user_config[0].allow_admin_create_user_only &&
      aws_cognito_user_pool.this[0].password_policy[0].minimum_length >= 12
    )
    error_message = "the pool must be protected, and nobody may sign up"
  }

  assert {
    condition = (
      !aws_cognito_user_pool_client.this[0].generate_secret &&
      aws_cognito_user_pool_client.this[0].prevent_user_existence_errors == "ENABLED" &&
      !contains(aws_cognito_user_pool_client.this[0].explicit_auth_flows, "ALLOW_USER_PASSWORD_AUTH")
    )
    error_message = "a client must not send the password, nor learn which users exist"
  }

  assert {
    condition     = aws_api_gateway_gateway_response.this["UNAUTHORIZED"].response_parameters["gatewayresponse.header.WWW-Authenticate"] == "'Bearer realm=\"users\"'"
    error_message = "a 401 must say that a token is needed"
  }
}

run "the_user_pool_leaves" {
  variables {
    authorization      = "lambda"
    user_pool_retained = true
  }

  assert {
    condition     = length(aws_api_gateway_authorizer.cognito) == 0 && length(aws_cognito_user_pool.this) == 1 && output.user_pool.id == "eu-west-1_Abc123"
    error_message = "the pool and its users must stay"
  }
}

run "a_token_without_tls_is_refused" {
  command = plan

  variables {
    redis_transit_encryption = "off"

    redis_auth_secret_arn = "arn:aws:ssm:eu-west-1:111111111111:parameter/users/redis"
  }

  expect_failures = [aws_elasticache_replication_group.redis]
}

run "functions_must_end_before_api_gateway_does" {
  command = plan

  variables {
    function_timeout_seconds = 30
  }

  expect_failures = [aws_lambda_function.this]
}
