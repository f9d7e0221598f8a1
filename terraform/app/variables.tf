# deployctl sets the first six of these for every layer (TF_VAR_project, …). The limits on the length of
# project and stage are those of the base layer, which derives the longest name from them.

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
  description = "Name of the stage (local, dev, prd, …); second part of every resource name, and the API Gateway stage."
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

variable "release_version" {
  description = "Version whose artifacts a function is created from. Only a function that does not exist yet looks at it: deployctl updates the code of those that do."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$", var.release_version))
    error_message = "release_version must be 1-64 characters: letters, digits, dots, plus signs, dashes and underscores, starting with a letter or digit."
  }
}

variable "state_bucket" {
  description = "Bucket of the Terraform states; the base layer's outputs are read from there."
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

variable "architectures" {
  description = "Instruction set the functions are created for. Afterwards deployctl sets it with the code it was built for."
  type        = list(string)
  default     = ["x86_64"]

  validation {
    condition     = length(var.architectures) == 1 && alltrue([for a in var.architectures : contains(["x86_64", "arm64"], a)])
    error_message = "architectures must be [\"x86_64\"] or [\"arm64\"]."
  }
}

variable "function_memory_mb" {
  description = "Memory of every function, in MB; AWS gives CPU in proportion."
  type        = number
  default     = 256

  validation {
    condition     = var.function_memory_mb >= 128 && var.function_memory_mb <= 10240
    error_message = "function_memory_mb must be between 128 and 10240."
  }
}

variable "function_timeout_seconds" {
  description = "Time limit of every function, no longer than integration_timeout_ms."
  type        = number
  default     = 10

  validation {
    condition     = var.function_timeout_seconds >= 1 && var.function_timeout_seconds <= 900
    error_message = "function_timeout_seconds must be between 1 and 900."
  }
}

variable "integration_timeout_ms" {
  description = "How long API Gateway waits for a function."
  type        = number
  default     = 29000

  validation {
    condition     = var.integration_timeout_ms >= 50 && var.integration_timeout_ms <= 29000
    error_message = "integration_timeout_ms must be between 50 and 29000, API Gateway's limit unless AWS has raised it for the account."
  }
}

variable "redis_node_type" {
  description = "Node type of the Redis cluster."
  type        = string
  default     = "cache.t4g.micro"

  validation {
    condition     = startswith(var.redis_node_type, "cache.")
    error_message = "redis_node_type must be an ElastiCache node type such as cache.t4g.micro."
  }
}

variable "redis_engine_version" {
  description = "Version of the Redis engine, as major.minor."
  type        = string
  default     = "7.1"

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+$", var.redis_engine_version))
    error_message = "redis_engine_version must be major.minor, for instance 7.1."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "log_retention_days must be one of the periods CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, …"
  }
}

variable "throttling" {
  description = "Limits of the stage, all methods together: steady requests per second, and the burst above it."
  type = object({
    rate_limit  = number
    burst_limit = number
  })
  default = {
    rate_limit  = 100
    burst_limit = 200
  }

  validation {
    condition     = var.throttling.rate_limit > 0 && var.throttling.burst_limit > 0
    error_message = "throttling limits must be greater than 0: a limit of 0 answers 429 to every request."
  }
}

variable "authorizer_enabled" {
  description = "Whether requests go through the custom authorizer."
  type        = bool
  default     = false
}

variable "authorizer_retained" {
  description = "Whether the authorizer's function stays although the authorizer is off. Set it for the release that switches the authorizer off: the release before it needs the function until the switch, and for a rollback."
  type        = bool
  default     = false
}

variable "authorizer_ttl_seconds" {
  description = "How long API Gateway may reuse an authorizer's answer; 0 means never."
  type        = number
  default     = 300

  validation {
    condition     = var.authorizer_ttl_seconds >= 0 && var.authorizer_ttl_seconds <= 3600
    error_message = "authorizer_ttl_seconds must be between 0 and 3600."
  }
}
