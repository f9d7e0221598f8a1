variable "partition" {
  description = "aws, or that of another part of AWS."
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
  description = "The bucket of the Terraform states; by default the one that deployctl makes."
  type        = string
  default     = null
}

variable "artifact_bucket" {
  description = "The bucket of the zips; by default the one that the example makes."
  type        = string
  default     = null
}

variable "promote_from" {
  description = "Stages whose releases may be released here: their contract, ledger and zips are read. artifact_bucket: by default the one that the example makes."
  type = list(object({
    stage           = string
    account_id      = string
    artifact_bucket = optional(string)
  }))
  default = []
}

variable "permissions_boundary" {
  description = "The permissions boundary that every role made by Terraform must carry; null for none."
  type        = string
  default     = null
}

variable "redis_auth_secret_arn" {
  description = "As in terraform/app: the secret or parameter with the token of Redis; null for none."
  type        = string
  default     = null
}

variable "redis_auth_kms_key_arn" {
  description = "As in terraform/app: the key that it is encrypted with, where it is one of the account's own."
  type        = string
  default     = null
}

variable "domain" {
  description = "As in terraform/dns: the domain name of the stage, and its zone where that is given; null without that layer."
  type = object({
    name    = string
    zone_id = optional(string)
  })
  default = null
}
