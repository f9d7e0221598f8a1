# No output contains values that a release changes (versions, deployment ids, hashes): otherwise every plan after a
# release would show changes.

# deployctl reads this output. Its structure is part of deployctl's interface.
output "deployctl" {
  description = "What deployctl needs for a release: the artifact bucket, the stage, and the functions."
  value = {
    artifact_bucket = local.base.artifact_bucket
    rest_api_id     = aws_api_gateway_rest_api.this.id
    stage_name      = aws_api_gateway_stage.this.stage_name
    invoke_url      = aws_api_gateway_stage.this.invoke_url

    # The key is the name of the stage variable.
    functions = {
      for key, function in local.functions : key => {
        name     = aws_lambda_function.this[key].function_name
        artifact = function.artifact
      }
    }
  }
}

output "users_url" {
  description = "URL of the users."
  value       = "${aws_api_gateway_stage.this.invoke_url}${aws_api_gateway_resource.users.path}"
}

output "redis_endpoint" {
  description = "Redis, as host:port; reachable from the private subnets only."
  value       = "${local.redis_address}:${local.redis_port}"
}

output "access_log_group" {
  description = "Log group of the access log, one JSON line per request."
  value       = aws_cloudwatch_log_group.access.name
}

output "execution_log_group" {
  description = "Log group of the execution log of API Gateway."
  value       = aws_cloudwatch_log_group.execution.name
}

output "function_log_groups" {
  description = "Log group of each function, by key."
  value       = { for key, group in aws_cloudwatch_log_group.function : key => group.name }
}

output "authorization" {
  description = "Who may call the API: lambda, cognito or none."
  value       = var.authorization
}

output "user_pool" {
  description = "The ids of the user pool and of its client; null without a pool."
  value       = try({ id = aws_cognito_user_pool.this[0].id, client_id = aws_cognito_user_pool_client.this[0].id }, null)
}
