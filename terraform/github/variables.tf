variable "repository" {
  description = "The GitHub repository whose workflows get the roles, as OWNER/NAME."
  type        = string

  # With a wildcard, anyone who creates a repository with a matching name could assume the roles.
  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z-]*/[0-9A-Za-z._-]+$", var.repository))
    error_message = "repository must be OWNER/NAME, without wildcards."
  }
}

variable "project" {
  description = "As in deployctl.toml."
  type        = string

  validation {
    condition     = length(var.project) <= 20 && can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.project))
    error_message = "project must be at most 20 characters: lower-case letters and digits, in parts joined by single dashes, starting with a letter."
  }
}

variable "region" {
  description = "The region of the stages."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region must look like eu-west-1."
  }
}

variable "stages" {
  description = "The stages in this account. For each: the stages from which `deployctl promote` may promote releases, the secret of Redis and its key, whether there is a Cognito user pool, whether releases move aliases of functions, whether they provision concurrency, whether pull requests have previews, the ARNs of the repositories of container images, and the domain."
  type = map(object({
    promote_from = optional(list(object({
      stage           = string
      account_id      = string
      artifact_bucket = optional(string)
    })), [])
    redis_auth_secret_arn   = optional(string)
    redis_auth_kms_key_arn  = optional(string)
    user_pool               = optional(bool, false)
    function_aliases        = optional(bool, false)
    provisioned_concurrency = optional(bool, false)
    previews                = optional(bool, false)
    image_repositories      = optional(list(string), [])
    domain = optional(object({
      name    = string
      zone_id = optional(string)
    }))
  }))

  validation {
    condition     = length(var.stages) > 0 && alltrue([for stage in keys(var.stages) : length(stage) <= 16 && can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", stage))])
    error_message = "stages must have at least one name, each at most 16 characters: lower-case letters and digits, in parts joined by single dashes, starting with a letter."
  }

  # Stage "dev-plan" would have the same environment as the plan role of stage "dev".
  validation {
    condition     = alltrue([for stage in keys(var.stages) : !endswith(stage, "-plan") && !endswith(stage, "-preview")])
    error_message = "a stage name must not end with -plan or -preview, because the environments of plans and previews end with it."
  }

  # Names start with <project>-<stage>-, so the roles of stage "dev" would have permissions for the functions of "dev-eu".
  validation {
    condition     = alltrue(flatten([for one in keys(var.stages) : [for other in keys(var.stages) : !startswith(other, "${one}-")]]))
    error_message = "no stage name may start with another stage name and a dash."
  }

  validation {
    condition = alltrue(flatten([for stage in values(var.stages) : [for from in stage.promote_from :
      can(regex("^[a-z][a-z0-9-]*$", from.stage)) && can(regex("^[0-9]{12}$", from.account_id)) && can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", coalesce(from.artifact_bucket, "none")))
    ]]))
    error_message = "promote_from must contain names of stages and S3 buckets and ids of accounts, without wildcards."
  }

  validation {
    condition = alltrue([for stage in values(var.stages) :
      (stage.redis_auth_secret_arn == null || can(regex("^arn:[a-z-]+:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^*?]+|ssm:[a-z0-9-]+:[0-9]{12}:parameter/[^*?]+)$", stage.redis_auth_secret_arn))) &&
      (stage.redis_auth_kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", stage.redis_auth_kms_key_arn))) &&
      (stage.domain == null || can(regex("^[a-z0-9.-]+$", stage.domain.name)) && can(regex("^[0-9A-Z]+$", coalesce(stage.domain.zone_id, "NONE"))))
    ])
    error_message = "redis_auth_secret_arn and redis_auth_kms_key_arn must be ARNs, domain.name a domain and domain.zone_id the id of a zone, all without wildcards."
  }
}

variable "create_provider" {
  description = "Whether to create the OIDC provider for GitHub. Set it to false if the account has one, because there can be only one."
  type        = bool
  default     = true
}

variable "permissions_boundary" {
  description = "ARN of the permissions boundary that every role created by the deploy role must have, set by the variable of the same name of the layers. null: the deploy role may neither create nor change roles."
  type        = string
  default     = null
}
