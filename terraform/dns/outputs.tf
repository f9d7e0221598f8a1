output "url" {
  description = "Where the stage answers; its own paths begin below."
  value       = "https://${var.domain_name}/${aws_api_gateway_base_path_mapping.this.base_path}"
}

output "name_servers" {
  description = "Name servers of the zone that was made, to be entered at the parent domain; none where the zone was given."
  value       = flatten(aws_route53_zone.this[*].name_servers)
}

output "zone_id" {
  description = "Id of the zone, made or given."
  value       = local.zone_id
}

output "certificate_arn" {
  description = "The certificate, made or given."
  value       = local.certificate_arn
}

output "alias_target" {
  description = "What the domain's record leads to; for a record that is kept elsewhere."
  value       = one(aws_route53_record.api.alias[*].name)
}
