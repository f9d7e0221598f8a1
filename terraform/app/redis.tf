# Redis holds the users. It is reached from the private subnets only, by the functions' security group.

resource "aws_elasticache_subnet_group" "this" {
  name       = local.name
  subnet_ids = local.base.private_subnet_ids
}

locals {
  redis_tls = var.redis_transit_encryption != "off"

  redis_secret_is_parameter = try(split(":", var.redis_auth_secret_arn)[2] == "ssm", false)

  # Neither Terraform nor the provider can pass it on without keeping it: ElastiCache's argument is not
  # write-only in provider 5.100. So the token is in this layer's state, marked as sensitive.
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

  # SSM takes an ARN for a name, which tells "token" from "/token".
  name = var.redis_auth_secret_arn
}

# A group of one node unless redis_replicas says otherwise, like the API it serves an example: when the node
# fails, ElastiCache replaces it and the data is gone. A group all the same, and not a bare cluster: it can be
# encrypted and grow a replica in place, and MiniStack forgets the security groups of a bare cluster, so that
# every plan on the local stage would show a change.
#
# Cluster mode is off: all keys are in one shard, at one address, which moves to a replica when the node
# fails. The functions speak to one node and use transactions over several keys, which cluster mode refuses.
resource "aws_elasticache_replication_group" "redis" {
  # checkov:skip=CKV_AWS_30: encryption in transit is a variable, because the program they took over from spoke plain Redis
  # checkov:skip=CKV_AWS_31: the token is a variable for the same reason
  # checkov:skip=CKV_AWS_191: encrypted with ElastiCache's own key, which needs no one to look after it
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

  # Minor versions are moved by redis_engine_version instead, which is a reviewed change.
  auto_minor_version_upgrade = false

  lifecycle {
    precondition {
      condition     = var.redis_auth_secret_arn == null || var.redis_transit_encryption == "required"
      error_message = "redis_auth_secret_arn needs redis_transit_encryption = \"required\": ElastiCache takes no token over connections that anybody could read."
    }

    precondition {
      condition     = var.redis_auth_secret_arn == null || try(length(local.redis_auth_token) >= 16 && length(local.redis_auth_token) <= 128, false)
      error_message = "The secret that redis_auth_secret_arn names must be the token itself, of 16 to 128 characters."
    }

    # Never named, so it is AWS's default, 6379, which base's security groups open. To the provider a
    # change of port means: replace Redis, and lose the users. MiniStack reports the port its Redis
    # server really has, which would look like such a change in every plan.
    ignore_changes = [port]
  }
}

# Asked of AWS, not assumed: the resource above knows no port where none was named.
data "aws_elasticache_replication_group" "redis" {
  replication_group_id = aws_elasticache_replication_group.redis.id
}

locals {
  redis_address = aws_elasticache_replication_group.redis.primary_endpoint_address
  redis_port    = data.aws_elasticache_replication_group.redis.port
}
