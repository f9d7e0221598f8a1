# One VPC with a private subnet in each of three availability zones, for Lambda and Redis. var.egress selects how the
# functions reach AWS APIs: through one NAT gateway, through one in each zone (both in public subnets), or through VPC
# endpoints without a route to the internet (endpoints.tf).

data "aws_availability_zones" "available" {
  state = "available"

  # checkov:skip=CKV_AWS_394: a new zone of AWS has no effect if availability_zones is set, as its description recommends

  # Excludes local and wavelength zones, which have neither NAT gateways nor ElastiCache.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  zones = (
    length(var.availability_zones) == 3
    ? var.availability_zones
    : slice(sort(data.aws_availability_zones.available.names), 0, 3)
  )

  # The private subnets start at the upper half of the address range, so that subnets of either kind can be added without
  # renumbering the others.
  public_subnets  = { for i, zone in local.zones : zone => cidrsubnet(var.vpc_cidr, 4, i) if local.nat_gateways > 0 }
  private_subnets = { for i, zone in local.zones : zone => cidrsubnet(var.vpc_cidr, 4, i + 8) }

  nat_gateways = { nat = 1, nat_per_zone = 3, endpoints = 0 }[var.egress]

  # NAT gateways and private route tables use count, not for_each: the first one stays the same object when a stage changes
  # between one and three gateways, and keeps its address.
  route_tables      = max(local.nat_gateways, 1)
  route_table_index = { for i, zone in local.zones : zone => min(i, local.route_tables - 1) }
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11: flow logs are configured per account, and cost more than the rest of this example
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = local.name }
}

# The default security group of a VPC allows traffic between its members. Nothing uses it; this removes its rules.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  count = min(local.nat_gateways, 1)

  vpc_id = aws_vpc.this.id

  tags = { Name = local.name }
}

resource "aws_subnet" "public" {
  for_each = local.public_subnets

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value

  tags = { Name = "${local.name}-public-${each.key}" }
}

resource "aws_subnet" "private" {
  for_each = local.private_subnets

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value

  tags = { Name = "${local.name}-private-${each.key}" }
}

resource "aws_eip" "nat" {
  count = local.nat_gateways

  domain = "vpc"

  tags = { Name = "${local.name}-nat" }

  # An address can be used only after the internet gateway is attached.
  depends_on = [aws_internet_gateway.this]
}

# One by default: requests to this API need only Redis, which is in the VPC. If the zone of the gateway fails, calls to AWS
# APIs fail, but the API still answers.
resource "aws_nat_gateway" "this" {
  count = local.nat_gateways

  allocation_id = aws_eip.nat[count.index].id
  subnet_id     = aws_subnet.public[local.zones[count.index]].id

  tags = { Name = local.name }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  count = min(local.nat_gateways, 1)

  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-public" }
}

resource "aws_route" "public_internet" {
  count = min(local.nat_gateways, 1)

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public[0].id
}

# One for each NAT gateway; without NAT gateways, one with a route to S3 only.
resource "aws_route_table" "private" {
  count = local.route_tables

  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-private" }
}

resource "aws_route" "private_nat" {
  count = local.nat_gateways

  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[count.index].id
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private[local.route_table_index[each.key]].id
}
