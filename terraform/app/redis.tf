# Redis stores the users. Only the functions' security group can reach it.

resource "aws_elasticache_subnet_group" "this" {
  name       = local.name
  subnet_ids = local.base.private_subnet_ids
}

locals {
  redis_tls = var.redis_transit_encryption != "off"

  redis_secret_is_parameter = try(split(":", var.redis_auth_secret_arn)[2] == "ssm", false)

  # The token is in the state of this layer, marked as sensitive: auth_token is not a write-only argument in provider
  # 5.100.
  redis_auth_token = one(concat(
    data.aws_secretsmanager_secret_version.redis[*].secret_string,
    data.aws_ssm_parameter.redis[*].value,
  ))
}

data "aws_secretsmanager_secret_version" "redis" {
  count = var.redis_auth_secret_arn != null && !local.redis_secret_is_parameter ? 1 : 0

  secret_id = var.redis_auth_secret_arn
}

data "aws_ssm_parameter" "redis" {
  count = local.redis_secret_is_parameter ? 1 : 0

  # SSM accepts an ARN as the name. Unlike the name alone, it distinguishes "token" from "/token".
  name = var.redis_auth_secret_arn
}

# A replication group with one node, unless redis_replicas is set. If the only node fails, ElastiCache replaces it and the
# data is lost. Unlike a cluster without a replication group, it can be encrypted, and a replica can be added later. Also,
# MiniStack does not store the security groups of such a cluster, so every plan on the local stage would show a change.
#
# Cluster mode is disabled: all keys are in one shard with one endpoint, which moves to a replica when the node fails. The
# functions connect to one node and use transactions with several keys, which cluster mode rejects.
resource "aws_elasticache_replication_group" "redis" {
  # checkov:skip=CKV_AWS_30: encryption in transit is a variable, because the replaced program did not support it
  # checkov:skip=CKV_AWS_31: the token is a variable for the same reason
  # checkov:skip=CKV_AWS_191: encrypted with ElastiCache's default key, which needs no maintenance
  # checkov:skip=CKV2_AWS_50: replicas are a variable, because each costs as much as the node

  replication_group_id = local.name
  description          = "Users of ${local.name}"

  engine             = "redis"
  engine_version     = var.redis_engine_version
  node_type          = var.redis_node_type
  num_cache_clusters = 1 + var.redis_replicas

  automatic_failover_enabled = var.redis_replicas > 0
  multi_az_enabled           = var.redis_replicas > 0

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [local.base.redis_security_group_id]

  at_rest_encryption_enabled = true
  transit_encryption_enabled = local.redis_tls
  transit_encryption_mode    = local.redis_tls ? var.redis_transit_encryption : null

  auth_token                 = local.redis_auth_token
  auth_token_update_strategy = var.redis_auth_secret_arn == null ? null : var.redis_auth_update

  # Minor versions change with redis_engine_version, which is reviewed.
  auto_minor_version_upgrade = false

  lifecycle {
    precondition {
      condition     = var.redis_auth_secret_arn == null || var.redis_transit_encryption == "required"
      error_message = "redis_auth_secret_arn needs redis_transit_encryption = \"required\": ElastiCache accepts a token only over encrypted connections."
    }

    precondition {
      condition     = var.redis_auth_secret_arn == null || try(length(local.redis_auth_token) >= 16 && length(local.redis_auth_token) <= 128, false)
      error_message = "The secret in redis_auth_secret_arn must contain only the token, 16 to 128 characters."
    }

    # The port is not set: AWS uses 6379, which the security groups of the base layer allow. A change of the port
    # would replace Redis and lose the users. MiniStack reports the actual port of its Redis server, so without this
    # every plan on the local stage would replace Redis.
    ignore_changes = [port]
  }
}

# Reads the actual port: the resource above has none, because it is not set.
data "aws_elasticache_replication_group" "redis" {
  replication_group_id = aws_elasticache_replication_group.redis.id
}

locals {
  redis_address = aws_elasticache_replication_group.redis.primary_endpoint_address
  redis_port    = data.aws_elasticache_replication_group.redis.port
}
