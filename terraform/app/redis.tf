# Redis holds the users. It is reached from the private subnets only, by the functions' security group.

resource "aws_elasticache_subnet_group" "this" {
  name       = local.name
  subnet_ids = local.base.private_subnet_ids
}

# A group of one node, like the API it serves an example: when the node fails, ElastiCache replaces it and
# the data is gone. A group all the same, and not a bare cluster: it can be encrypted at rest and grow a
# replica in place, and MiniStack forgets the security groups of a bare cluster, so that every plan on
# the local stage would show a change.
resource "aws_elasticache_replication_group" "redis" {
  replication_group_id = local.name
  description          = "Users of ${local.name}"

  engine             = "redis"
  engine_version     = var.redis_engine_version
  node_type          = var.redis_node_type
  num_cache_clusters = 1

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [local.base.redis_security_group_id]

  # At rest only: the functions speak plain Redis, as the program they took over from did, and
  # the traffic stays within the private subnets.
  at_rest_encryption_enabled = true
  transit_encryption_enabled = false

  # Minor versions are moved by redis_engine_version instead, which is a reviewed change.
  auto_minor_version_upgrade = false

  lifecycle {
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
