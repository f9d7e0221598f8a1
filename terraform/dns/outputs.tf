output "url" {
  description = "URL of the stage; the paths of the API are below it."
  value       = "https://${var.domain_name}/${aws_api_gateway_base_path_mapping.this.base_path}"
}

output "name_servers" {
  description = "Name servers of the created zone, for the delegation in the parent domain; none if zone_id is set."
  value       = flatten(aws_route53_zone.this[*].name_servers)
}

output "zone_id" {
  description = "Id of the zone."
  value       = local.zone_id
}

output "certificate_arn" {
  description = "ARN of the certificate."
  value       = local.certificate_arn
}

output "alias_target" {
  description = "Target of the domain's DNS record, for DNS outside of Route 53."
  value       = one(aws_route53_record.api.alias[*].name)
}
