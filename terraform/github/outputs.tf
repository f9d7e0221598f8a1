output "environments" {
  description = "The GitHub environments to create, each with its variables AWS_ROLE_ARN and AWS_REGION."
  value = {
    for name, role in local.roles : role.environment => {
      AWS_ROLE_ARN = aws_iam_role.this[name].arn
      AWS_REGION   = var.region
    }
  }
}

output "trust" {
  description = "The trust policies, for review."
  value       = { for name, json in local.trust : name => jsondecode(json) }
}
