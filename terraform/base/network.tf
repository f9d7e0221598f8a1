# One VPC, three availability zones, a private subnet in each: Lambda and Redis live there. How the functions
# reach AWS's own APIs is a choice (var.egress): through one NAT gateway, through one in each zone, both in
# public subnets that hold nothing else, or without any way to the internet, through endpoints (endpoints.tf).

data "aws_availability_zones" "available" {
  state = "available"

  # checkov:skip=CKV_AWS_394: a zone that AWS adds moves nothing where availability_zones pins them, as its description asks

  # Leaves out local and wavelength zones, which have neither NAT gateways nor ElastiCache.
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

  # Private subnets start at the upper half of the VPC, so that either kind can grow by its own zones
  # without renumbering the other.
  public_subnets  = { for i, zone in local.zones : zone => cidrsubnet(var.vpc_cidr, 4, i) if local.nat_gateways > 0 }
  private_subnets = { for i, zone in local.zones : zone => cidrsubnet(var.vpc_cidr, 4, i + 8) }

  nat_gateways = { nat = 1, nat_per_zone = 3, endpoints = 0 }[var.egress]

  # Gateways and private route tables are counted, not keyed by zone: a resource that becomes the first of
  # several keeps its object, so a stage moves between one gateway and three without losing its address.
  route_tables      = max(local.nat_gateways, 1)
  route_table_index = { for i, zone in local.zones : zone => min(i, local.route_tables - 1) }
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11: flow logs are the account's choice, and cost more than the rest of this example
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = local.name }
}

# The group AWS makes with every VPC lets its members talk to each other. Nothing is in it; it says so.
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

  # An address can only be used from the VPC once the VPC has a way out.
  depends_on = [aws_internet_gateway.this]
}

# One by default: the requests of this API need Redis only, which is inside; if the gateway's zone fails, calls
# to AWS's own APIs fail and the API still answers.
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

# One for each NAT gateway; without any, one that leads nowhere but to S3.
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
