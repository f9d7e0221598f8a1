# deployctl sets the first three variables for every layer (TF_VAR_project, …). Their maximum lengths keep the longest
# derived name, that of the artifact bucket, within the 63 characters that S3 allows.

variable "project" {
  description = "Name of the project; first part of every resource name."
  type        = string
  default     = "users"

  validation {
    condition     = length(var.project) <= 20 && can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.project))
    error_message = "project must be at most 20 characters: lower-case letters and digits, in parts joined by single dashes, starting with a letter."
  }
}

variable "stage" {
  description = "Name of the stage (local, dev, prd, …); second part of every resource name."
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

variable "vpc_cidr" {
  description = "Address range of the VPC. Each of the six subnets has 1/16 of it."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 10)) && try(tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "vpc_cidr must be an IPv4 range of /24 or larger, for instance 10.20.0.0/16."
  }
}

variable "availability_zones" {
  description = "The three availability zones; if empty, the first three of the region by name. Set them if AWS may add zones to the region, because a new zone could move the subnets."
  type        = list(string)
  default     = []

  validation {
    condition     = contains([0, 3], length(distinct(var.availability_zones)))
    error_message = "availability_zones must be empty or name three different zones."
  }
}

variable "egress" {
  description = "How functions reach AWS APIs: nat (one NAT gateway), nat_per_zone (one in each zone, which tolerates the failure of a zone and costs three times as much) or endpoints (no route to the internet; only S3 and endpoint_services)."
  type        = string
  default     = "nat"

  validation {
    condition     = contains(["nat", "nat_per_zone", "endpoints"], var.egress)
    error_message = "egress must be nat, nat_per_zone or endpoints."
  }
}

variable "endpoint_services" {
  description = "Services with an interface endpoint if egress is endpoints, in addition to S3, by the last part of the endpoint's name: secretsmanager or ssm for the token of Redis, xray for tracing."
  type        = list(string)
  default     = ["secretsmanager"]

  validation {
    condition     = alltrue([for service in var.endpoint_services : can(regex("^[a-z0-9]+([.-][a-z0-9]+)*$", service)) && service != "s3"])
    error_message = "endpoint_services must be names such as secretsmanager, ssm or xray; s3 is always included."
  }
}

variable "artifact_bucket_readers" {
  description = "Ids of other accounts that may read the bucket, because releases of this stage are promoted to their stages. Each account decides which of its roles may do so."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for account in var.artifact_bucket_readers : can(regex("^[0-9]{12}$", account))])
    error_message = "artifact_bucket_readers must hold account ids of 12 digits."
  }
}

variable "artifact_bucket_force_destroy" {
  description = "Whether destroy deletes the bucket with its artifacts and the release ledger. Only for temporary stages: noncurrent versions do not expire there."
  type        = bool
  default     = false
}

variable "permissions_boundary" {
  description = "ARN of the permissions boundary of the roles that this layer creates; null for none. As in terraform/github."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/[^*?]+$", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of an IAM policy."
  }
}
