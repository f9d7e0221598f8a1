# deployctl sets the first five variables for every layer (TF_VAR_project, …).

variable "project" {
  description = "Name of the project; for tags."
  type        = string
  default     = "users"

  validation {
    condition     = length(var.project) <= 20 && can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.project))
    error_message = "project must be at most 20 characters: lower-case letters and digits, in parts joined by single dashes, starting with a letter."
  }
}

variable "stage" {
  description = "Name of the stage (local, dev, prd, …); for tags."
  type        = string

  validation {
    condition     = length(var.stage) <= 16 && can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.stage))
    error_message = "stage must be at most 16 characters: lower-case letters and digits, in parts joined by single dashes, starting with a letter."
  }
}

variable "region" {
  description = "AWS region of the stage."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region must look like eu-west-1."
  }
}

variable "state_bucket" {
  description = "Bucket of the Terraform states, from which the outputs of the app layer are read."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "state_bucket must be the name of an S3 bucket."
  }
}

variable "state_prefix" {
  description = "Key prefix of the Terraform states: layer L has the key <state_prefix>/L.tfstate."
  type        = string

  validation {
    condition     = length(var.state_prefix) > 0 && trim(var.state_prefix, "/") == var.state_prefix
    error_message = "state_prefix must not be empty, nor start or end with a slash."
  }
}

variable "domain_name" {
  description = "Domain name of the API, such as dev.example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z]{2,63}$", var.domain_name)) && length(var.domain_name) <= 253
    error_message = "domain_name must be a host name in lower case, such as dev.example.com."
  }
}

variable "zone_id" {
  description = "Route 53 hosted zone for the name; null creates one for zone_name."
  type        = string
  default     = null

  validation {
    condition     = var.zone_id == null || can(regex("^Z[A-Z0-9]{1,31}$", var.zone_id))
    error_message = "zone_id must be the id of a hosted zone, such as Z0123456789ABCDEFGHIJ."
  }
}

variable "zone_name" {
  description = "Domain of the zone to create if zone_id is null; null means domain_name. Delegate it from the parent domain (output name_servers)."
  type        = string
  default     = null

  validation {
    condition     = var.zone_name == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z]{2,63}$", var.zone_name))
    error_message = "zone_name must be a domain in lower case, such as example.com."
  }
}

variable "endpoint_type" {
  description = "REGIONAL (callers go to the stage's region) or EDGE (through CloudFront)."
  type        = string
  default     = "REGIONAL"

  validation {
    condition     = contains(["REGIONAL", "EDGE"], var.endpoint_type)
    error_message = "endpoint_type must be REGIONAL or EDGE."
  }
}

variable "certificate_arn" {
  description = "ACM certificate for domain_name, in us-east-1 for EDGE and in the stage's region for REGIONAL; null requests one with DNS validation."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/.+$", var.certificate_arn))
    error_message = "certificate_arn must be the ARN of an ACM certificate."
  }
}

variable "base_path" {
  description = "Base path, below which are the paths of the API. It has one segment only."
  type        = string
  default     = "users"

  validation {
    condition     = can(regex("^[A-Za-z0-9._~-]{1,300}$", var.base_path))
    error_message = "base_path must be one segment of a path: letters, digits and . _ ~ -, without slashes."
  }
}
