variable "partition" {
  description = "The AWS partition, such as aws."
  type        = string
}

variable "account_id" {
  description = "The account of the stage."
  type        = string
}

variable "region" {
  description = "The region of the stage."
  type        = string
}

variable "project" {
  description = "As in deployctl.toml."
  type        = string
}

variable "stage" {
  description = "The stage."
  type        = string
}

variable "state_bucket" {
  description = "The bucket of the Terraform states; by default the one that deployctl creates."
  type        = string
  default     = null
}

variable "artifact_bucket" {
  description = "The bucket of the zips; by default the one that the example creates."
  type        = string
  default     = null
}

variable "promote_from" {
  description = "Stages from which releases may be promoted to this stage. The role may read the name of their artifact bucket, their ledger and their zips, but not their Terraform states. artifact_bucket: by default the one that the example creates."
  type = list(object({
    stage           = string
    account_id      = string
    artifact_bucket = optional(string)
  }))
  default = []
}

variable "permissions_boundary" {
  description = "The permissions boundary that every role created by Terraform must have. null: Terraform may neither create nor change roles."
  type        = string
  default     = null
}

variable "redis_auth_secret_arn" {
  description = "As in terraform/app: the secret or parameter that contains the token of Redis; null for none."
  type        = string
  default     = null
}

variable "redis_auth_kms_key_arn" {
  description = "As in terraform/app: its KMS key, if it is a customer managed key."
  type        = string
  default     = null
}

variable "domain" {
  description = "As in terraform/dns: the domain name of the stage, and zone_id if it is set; null without that layer."
  type = object({
    name    = string
    zone_id = optional(string)
  })
  default = null
}

variable "function_aliases" {
  description = "Whether the contract names aliases of functions, which a release moves."
  type        = bool
  default     = false
}

variable "provisioned_concurrency" {
  description = "Whether the contract gives functions provisioned concurrency."
  type        = bool
  default     = false
}

variable "image_repositories" {
  description = "ARNs of the ECR repositories with the container images of releases."
  type        = list(string)
  default     = []
}

variable "user_pool" {
  description = "Whether the stage has a user pool, as with authorization = cognito in terraform/app."
  type        = bool
  default     = false
}
