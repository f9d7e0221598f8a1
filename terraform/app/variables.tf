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

variable "redis_replicas" {
  description = "How many replicas stand by in other zones; with one or more, a replica takes over when the node fails."
  type        = number
  default     = 0

  validation {
    condition     = var.redis_replicas >= 0 && var.redis_replicas <= 5 && floor(var.redis_replicas) == var.redis_replicas
    error_message = "redis_replicas must be a whole number from 0 to 5."
  }
}

variable "redis_transit_encryption" {
  description = "TLS between functions and Redis: off, preferred (the functions use it, Redis takes both: the step between off and required on a stage that is in use) or required."
  type        = string
  default     = "off"

  validation {
    condition     = contains(["off", "preferred", "required"], var.redis_transit_encryption)
    error_message = "redis_transit_encryption must be off, preferred or required."
  }
}

variable "redis_auth_secret_arn" {
  description = "Secret of Secrets Manager, or parameter of SSM (SecureString), that holds the token with which the functions log in to Redis, and nothing else; null for none. Needs redis_transit_encryption = required."
  type        = string
  default     = null

  validation {
    condition     = var.redis_auth_secret_arn == null || can(regex("^arn:[a-z-]+:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+|ssm:[a-z0-9-]+:[0-9]{12}:parameter/.+)$", var.redis_auth_secret_arn))
    error_message = "redis_auth_secret_arn must be the ARN of a Secrets Manager secret or of an SSM parameter."
  }
}

variable "redis_auth_kms_key_arn" {
  description = "The key that redis_auth_secret_arn is encrypted with, where it is one of the account's own."
  type        = string
  default     = null

  validation {
    condition     = var.redis_auth_kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.redis_auth_kms_key_arn))
    error_message = "redis_auth_kms_key_arn must be the ARN of a KMS key."
  }
}

variable "redis_auth_update" {
  description = "How a new token comes to Redis: ROTATE (old and new are taken) or SET (the new one only; also the first token of a group that has none)."
  type        = string
  default     = "ROTATE"

  validation {
    condition     = contains(["ROTATE", "SET"], var.redis_auth_update)
    error_message = "redis_auth_update must be ROTATE or SET."
  }
}

variable "cors_allow_origin" {
  description = "The one origin whose pages may call the API from a browser, such as https://app.example.com, or * for all; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.cors_allow_origin == null || can(regex("^([*]|https?://[A-Za-z0-9.-]+(:[0-9]+)?)$", var.cors_allow_origin))
    error_message = "cors_allow_origin must be * or an origin such as https://app.example.com, without a path."
  }
}

variable "tracing" {
  description = "Whether requests are traced with X-Ray, from API Gateway on."
  type        = bool
  default     = false
}

variable "log_level" {
  description = "What the functions log: error, warn, info or debug."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["error", "warn", "info", "debug"], var.log_level)
    error_message = "log_level must be error, warn, info or debug."
  }
}

variable "api_log_level" {
  description = "What API Gateway writes to its execution log: OFF, ERROR or INFO."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["OFF", "ERROR", "INFO"], var.api_log_level)
    error_message = "api_log_level must be OFF, ERROR or INFO."
  }
}

variable "alarms_enabled" {
  description = "Whether there are alarms. Off by default: the local stage cannot hold them."
  type        = bool
  default     = false
}

variable "alarm_topic_arn" {
  description = "SNS topic that is told when an alarm begins and ends; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:.+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic."
  }
}

variable "alarm_limits" {
  description = "When alarms begin: the share of requests answered with 5XX, and the latency in milliseconds that one request in a hundred exceeds, each for three of five minutes."
  type = object({
    error_share    = optional(number, 0.01)
    latency_p99_ms = optional(number, 1000)
  })
  default = {}

  validation {
    condition     = var.alarm_limits.error_share > 0 && var.alarm_limits.error_share < 1 && var.alarm_limits.latency_p99_ms > 0
    error_message = "alarm_limits: error_share must be between 0 and 1, latency_p99_ms greater than 0."
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
