output "api_gateway_logs_role_arn" {
  description = "Role with which API Gateway writes logs."
  value       = aws_iam_role.api_gateway_logs.arn
}
