# No output may hold what a release changes (versions, deployment ids, hashes): it would make a plan
# report changes after every release.

# The contract with deployctl. Names and shape are read by its code.
output "deployctl" {
  description = "What deployctl needs to release: where the artifacts go, which stage serves, and which functions it is made of."
  value = {
    artifact_bucket = local.base.artifact_bucket
    rest_api_id     = aws_api_gateway_rest_api.this.id
    stage_name      = aws_api_gateway_stage.this.stage_name
    invoke_url      = aws_api_gateway_stage.this.invoke_url

    # By stage-variable name.
    functions = {
      for key, function in local.functions : key => {
        name     = aws_lambda_function.this[key].function_name
        artifact = function.artifact
      }
    }
  }
}

output "users_url" {
  description = "Where the users are."
  value       = "${aws_api_gateway_stage.this.invoke_url}${aws_api_gateway_resource.users.path}"
}

output "redis_endpoint" {
  description = "Redis, as host:port; reachable from the private subnets only."
  value       = "${local.redis_address}:${local.redis_port}"
}

output "access_log_group" {
  description = "Log group of the requests, one JSON line each."
  value       = aws_cloudwatch_log_group.access.name
}

output "execution_log_group" {
  description = "Log group in which API Gateway tells how it processed the requests."
  value       = aws_cloudwatch_log_group.execution.name
}

output "function_log_groups" {
  description = "Log group of each function, by key."
  value       = { for key, group in aws_cloudwatch_log_group.function : key => group.name }
}

output "authorizer_enabled" {
  description = "Whether requests go through the custom authorizer."
  value       = var.authorizer_enabled
}
