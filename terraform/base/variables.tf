# deployctl sets the first three of these for every layer (TF_VAR_project, …). The limits on their
# length keep the longest derived name, the artifact bucket's, within the 63 characters S3 allows.

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
  description = "Address range of the VPC; six subnets of 1/16 of it each are cut from it."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 10)) && try(tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "vpc_cidr must be an IPv4 range of /24 or larger, for instance 10.20.0.0/16."
  }
}

variable "availability_zones" {
  description = "The three availability zones to use; empty means the first three of the region by name. Pin them where the region may gain zones, or a new one could shift the subnets."
  type        = list(string)
  default     = []

  validation {
    condition     = contains([0, 3], length(distinct(var.availability_zones)))
    error_message = "availability_zones must be empty or name three different zones."
  }
}

variable "egress" {
  description = "How functions reach AWS's APIs: nat (one NAT gateway), nat_per_zone (one in each zone, which survives the loss of a zone and costs three times as much) or endpoints (no way to the internet; S3 and endpoint_services only)."
  type        = string
  default     = "nat"

  validation {
    condition     = contains(["nat", "nat_per_zone", "endpoints"], var.egress)
    error_message = "egress must be nat, nat_per_zone or endpoints."
  }
}

variable "endpoint_services" {
  description = "With egress = endpoints, the services that get an interface endpoint beside S3, by the last part of the endpoint's name: secretsmanager or ssm for the token of Redis, xray for tracing."
  type        = list(string)
  default     = ["secretsmanager"]

  validation {
    condition     = alltrue([for service in var.endpoint_services : can(regex("^[a-z0-9]+([.-][a-z0-9]+)*$", service)) && service != "s3"])
    error_message = "endpoint_services must be names such as secretsmanager, ssm or xray; s3 is always there."
  }
}

variable "artifact_bucket_readers" {
  description = "Ids of the other accounts whose stages this stage's releases are promoted to: what may read the bucket. Each account decides which of its roles do."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for account in var.artifact_bucket_readers : can(regex("^[0-9]{12}$", account))])
    error_message = "artifact_bucket_readers must hold account ids of 12 digits."
  }
}

variable "artifact_bucket_force_destroy" {
  description = "Whether destroy may delete a bucket that still holds artifacts and the release ledger. For throw-away stages only."
  type        = bool
  default     = false
}

variable "manage_api_gateway_account" {
  description = "Whether this stage sets API Gateway's CloudWatch role. AWS keeps one per account and region: set it to false on every further stage that shares both."
  type        = bool
  default     = true
}
