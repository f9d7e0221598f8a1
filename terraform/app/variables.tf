# deployctl sets the first six variables for every layer (TF_VAR_project, …). The maximum lengths of project and stage are
# those of the base layer, which derives the longest name from them.

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
  description = "Version of the artifacts for new functions. It has no effect on existing functions, whose code deployctl updates."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$", var.release_version))
    error_message = "release_version must be 1-64 characters: letters, digits, dots, plus signs, dashes and underscores, starting with a letter or digit."
  }
}

variable "state_bucket" {
  description = "Bucket of the Terraform states, from which the outputs of the base layer are read."
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
  description = "Architecture of new functions. deployctl updates it together with the code."
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
  description = "Number of replicas in other availability zones. With at least one, ElastiCache fails over when the node fails."
  type        = number
  default     = 0

  validation {
    condition     = var.redis_replicas >= 0 && var.redis_replicas <= 5 && floor(var.redis_replicas) == var.redis_replicas
    error_message = "redis_replicas must be a whole number from 0 to 5."
  }
}

variable "redis_transit_encryption" {
  description = "TLS between the functions and Redis: off, preferred (the functions use TLS, Redis accepts both; a migration step from off to required) or required."
  type        = string
  default     = "required"

  validation {
    condition     = contains(["off", "preferred", "required"], var.redis_transit_encryption)
    error_message = "redis_transit_encryption must be off, preferred or required."
  }
}

variable "redis_auth_secret_arn" {
  description = "ARN of a Secrets Manager secret or an SSM SecureString parameter that contains only the AUTH token of Redis; null for no token. Requires redis_transit_encryption = required."
  type        = string
  default     = null

  validation {
    condition     = var.redis_auth_secret_arn == null || can(regex("^arn:[a-z-]+:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+|ssm:[a-z0-9-]+:[0-9]{12}:parameter/.+)$", var.redis_auth_secret_arn))
    error_message = "redis_auth_secret_arn must be the ARN of a Secrets Manager secret or of an SSM parameter."
  }
}

variable "redis_auth_kms_key_arn" {
  description = "KMS key of redis_auth_secret_arn, if it is a customer managed key."
  type        = string
  default     = null

  validation {
    condition     = var.redis_auth_kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.redis_auth_kms_key_arn))
    error_message = "redis_auth_kms_key_arn must be the ARN of a KMS key."
  }
}

variable "redis_auth_update" {
  description = "How a new token is set in Redis: ROTATE (Redis accepts the old and the new one) or SET (only the new one; also for the first token)."
  type        = string
  default     = "ROTATE"

  validation {
    condition     = contains(["ROTATE", "SET"], var.redis_auth_update)
    error_message = "redis_auth_update must be ROTATE or SET."
  }
}

variable "cors_allow_origin" {
  description = "Origin that may call the API from a browser, such as https://app.example.com, or * for all; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.cors_allow_origin == null || can(regex("^([*]|https?://[A-Za-z0-9.-]+(:[0-9]+)?)$", var.cors_allow_origin))
    error_message = "cors_allow_origin must be * or an origin such as https://app.example.com, without a path."
  }
}

variable "tracing" {
  description = "Whether X-Ray traces requests, from API Gateway on."
  type        = bool
  default     = false
}

variable "log_level" {
  description = "Log level of the functions: error, warn, info or debug."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["error", "warn", "info", "debug"], var.log_level)
    error_message = "log_level must be error, warn, info or debug."
  }
}

variable "api_log_level" {
  description = "Level of API Gateway's execution log: OFF, ERROR or INFO."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["OFF", "ERROR", "INFO"], var.api_log_level)
    error_message = "api_log_level must be OFF, ERROR or INFO."
  }
}

variable "alarms_enabled" {
  description = "Whether to create alarms. Off by default, because the local stage does not support them."
  type        = bool
  default     = false
}

variable "alarm_topic_arn" {
  description = "SNS topic for the start and the end of an alarm; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:.+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic."
  }
}

variable "alarm_limits" {
  description = "Thresholds of the alarms: the share of requests with a 5XX response, and the 99th percentile of the latency in milliseconds, each exceeded in three of five minutes."
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
  description = "Retention of the logs, in days."
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
  description = "Throttling of each method by itself: requests per second, and burst."
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

variable "authorization" {
  description = "Who may call the API: lambda (users of the Lambda authorizer, with their rights), cognito (users of a Cognito user pool) or none (everybody)."
  type        = string
  default     = "lambda"

  validation {
    condition     = contains(["lambda", "cognito", "none"], var.authorization)
    error_message = "authorization must be lambda, cognito or none."
  }
}

variable "authorizer_enabled" {
  description = "Replaced by authorization."
  type        = bool
  default     = null

  validation {
    condition     = var.authorizer_enabled == null
    error_message = "authorizer_enabled was replaced. Instead of true, write authorization = \"lambda\"; instead of false, authorization = \"none\"."
  }
}

variable "authorizer_retained" {
  description = "Whether to keep the authorizer's function when authorization is no longer lambda. Set it in the release that changes authorization: the previous release needs the function until the switch and for a rollback."
  type        = bool
  default     = false
}

variable "authorizer_concurrency" {
  description = "How many invocations of the authorizer may run at the same time, reserved from the concurrency of the account; null for no limit of its own."
  type        = number
  default     = null

  validation {
    condition     = var.authorizer_concurrency == null || try(var.authorizer_concurrency >= 1 && floor(var.authorizer_concurrency) == var.authorizer_concurrency, false)
    error_message = "authorizer_concurrency must be a whole number of at least 1: with 0, no request would be authorized."
  }
}

variable "user_pool_retained" {
  description = "Whether to keep the user pool and its users when authorization is no longer cognito. The previous release needs the pool until the switch and for a rollback."
  type        = bool
  default     = false
}

variable "user_pool_deletion_protection" {
  description = "Whether Cognito refuses to delete the user pool. false for stages that are thrown away."
  type        = bool
  default     = true
}

variable "authorizer_ttl_seconds" {
  description = "How long API Gateway caches a policy; 0 disables the cache."
  type        = number
  default     = 300

  validation {
    condition     = var.authorizer_ttl_seconds >= 0 && var.authorizer_ttl_seconds <= 3600
    error_message = "authorizer_ttl_seconds must be between 0 and 3600."
  }
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
