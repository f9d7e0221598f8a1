# Outputs for the app layer and deployctl.

output "artifact_bucket" {
  description = "Bucket of the artifacts and the release ledger."
  value       = aws_s3_bucket.artifacts.bucket

  # Without this, the bucket could be used before its policy requires TLS.
  depends_on = [
    aws_s3_bucket_policy.artifacts,
    aws_s3_bucket_versioning.artifacts,
    aws_s3_bucket_server_side_encryption_configuration.artifacts,
    aws_s3_bucket_ownership_controls.artifacts,
  ]
}

output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Ids of the public subnets, in the order of their availability zones; none if egress is endpoints."
  value       = [for zone in local.zones : aws_subnet.public[zone].id if local.nat_gateways > 0]
}

output "private_subnet_ids" {
  description = "Ids of the private subnets, in the order of their availability zones."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]
}

output "lambda_security_group_id" {
  description = "Security group of the Lambda functions."
  value       = aws_security_group.lambda.id
}

output "redis_security_group_id" {
  description = "Security group of Redis."
  value       = aws_security_group.redis.id
}

output "redis_port" {
  description = "Port of Redis that the security groups allow."
  value       = local.redis_port
}

output "lambda_role_arn" {
  description = "Execution role of the Lambda functions."
  value       = aws_iam_role.lambda.arn

  # Lambda checks the permissions of the role when a function is created, so its policy must exist.
  depends_on = [aws_iam_role_policy.lambda]
}

output "lambda_role_name" {
  description = "Name of that role, to which the app layer attaches policies."
  value       = aws_iam_role.lambda.name
}

output "nat_public_ips" {
  description = "Public addresses of the NAT gateways; none if egress is endpoints."
  value       = aws_eip.nat[*].public_ip
}
