# One VPC, three availability zones, a public and a private subnet in each. Lambda and Redis live in the
# private subnets; the public ones hold only the NAT gateway.

data "aws_availability_zones" "available" {
  state = "available"

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
  public_subnets  = { for i, zone in local.zones : zone => cidrsubnet(var.vpc_cidr, 4, i) }
  private_subnets = { for i, zone in local.zones : zone => cidrsubnet(var.vpc_cidr, 4, i + 8) }
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = local.name }
}

resource "aws_internet_gateway" "this" {
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
  domain = "vpc"

  tags = { Name = "${local.name}-nat" }

  # An address can only be used from the VPC once the VPC has a way out.
  depends_on = [aws_internet_gateway.this]
}

# One NAT gateway, not one in each zone: the requests of this API need Redis only, which is inside; if
# the gateway's zone fails, calls to AWS's own APIs fail and the API still answers.
resource "aws_nat_gateway" "this" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public[local.zones[0]].id

  tags = { Name = local.name }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-public" }
}

resource "aws_route" "public_internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${local.name}-private" }
}

resource "aws_route" "private_nat" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this.id
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private.id
}
