# A VPC whose nodes have private addresses only; each zone leaves through a NAT gateway of its own.

locals {
  zones = { for index, zone in var.zones : zone => index }
}

resource "aws_vpc" "this" {
  cidr_block           = var.network.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true # the private API endpoint is found by name
  tags                 = merge(local.tags, { Name = local.name })

  lifecycle {
    precondition {
      condition     = data.aws_caller_identity.current.account_id == var.account
      error_message = "The credentials are those of account ${data.aws_caller_identity.current.account_id}, but account is ${var.account}; use the right profile."
    }
    precondition {
      condition     = length(setsubtract(var.zones, data.aws_availability_zones.control_plane.names)) == 0
      error_message = "EKS has no control plane in ${join(", ", setsubtract(var.zones, data.aws_availability_zones.control_plane.names))} of this account; choose among ${join(", ", data.aws_availability_zones.control_plane.names)}."
    }
  }
}

# Nothing uses the default group; emptied, it cannot let anything through by accident.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = "${local.name}-unused" })
}

resource "aws_subnet" "private" {
  for_each          = local.zones
  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network.cidr, 3, each.value) # /19: pods take addresses from here too
  tags              = merge(local.tags, { Name = "${local.name}-private-${each.key}", "kubernetes.io/role/internal-elb" = "1" })
}

# Holds NAT gateways only: no instance is given a public address.
resource "aws_subnet" "public" {
  for_each          = local.zones
  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network.cidr, 8, 240 + each.value)
  tags              = merge(local.tags, { Name = "${local.name}-public-${each.key}" })
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = local.name })
}

resource "aws_eip" "nat" {
  for_each = local.zones
  domain   = "vpc"
  tags     = merge(local.tags, { Name = "${local.name}-nat-${each.key}" })
}

# One per zone: a zone that fails takes no other zone's way out with it, and traffic between zones costs money.
resource "aws_nat_gateway" "this" {
  for_each      = local.zones
  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id
  tags          = merge(local.tags, { Name = "${local.name}-${each.key}" })
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = "${local.name}-public" })
}

resource "aws_route" "public" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each       = local.zones
  route_table_id = aws_route_table.public.id
  subnet_id      = aws_subnet.public[each.key].id
}

resource "aws_route_table" "private" {
  for_each = local.zones
  vpc_id   = aws_vpc.this.id
  tags     = merge(local.tags, { Name = "${local.name}-private-${each.key}" })
}

resource "aws_route" "private" {
  for_each               = local.zones
  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[each.key].id
}

resource "aws_route_table_association" "private" {
  for_each       = local.zones
  route_table_id = aws_route_table.private[each.key].id
  subnet_id      = aws_subnet.private[each.key].id
}

# Item matrices and parts are read and written by the terabyte: past the NAT gateway they cost nothing.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [for table in aws_route_table.private : table.id]
  tags              = merge(local.tags, { Name = "${local.name}-s3" })
}
