# Who reaches which subnet. Azure's default lets all of the network and its peers in; here each way is named.

locals {
  node_range     = one(azurerm_subnet.nodes.address_prefixes)
  api_range      = one(azurerm_subnet.api.address_prefixes)
  endpoint_range = one(azurerm_subnet.endpoints.address_prefixes)

  inbound = {
    nodes = {
      peers = { priority = 100, sources = [local.node_range, local.api_range, cidrsubnet(var.network.cidr, 1, 1)], ports = ["0-65535"], protocol = "*" }
    }
    api = {
      nodes  = { priority = 100, sources = [local.node_range], ports = ["443", "4443"], protocol = "Tcp" }
      health = { priority = 110, sources = ["AzureLoadBalancer"], ports = ["9988"], protocol = "Tcp" }
    }
    endpoints = {
      inside = { priority = 100, sources = [local.node_range, local.api_range], ports = ["443", "10000"], protocol = "Tcp" }
    }
  }
  # VPN, peered networks and Bastion reach the private API; a public one checks the caller's address itself.
  private_cidrs = var.private_api ? concat(tolist(setsubtract(var.allowed_cidrs, local.public_cidrs)), flatten(azurerm_subnet.bastion[*].address_prefixes)) : []
  inbound_allowed = length(local.private_cidrs) > 0 ? {
    "api/allowed"       = { subnet = "api", priority = 120, sources = local.private_cidrs, ports = ["443"], protocol = "Tcp" }
    "endpoints/allowed" = { subnet = "endpoints", priority = 120, sources = local.private_cidrs, ports = ["443"], protocol = "Tcp" }
  } : {}
  inbound_rules = merge(local.inbound_allowed, merge([
    for subnet, rules in local.inbound : { for name, rule in rules : "${subnet}/${name}" => merge(rule, { subnet = subnet }) }
  ]...))
  subnet_ids = { nodes = azurerm_subnet.nodes.id, api = azurerm_subnet.api.id, endpoints = azurerm_subnet.endpoints.id }
}

resource "azurerm_network_security_group" "this" {
  for_each            = toset(["nodes", "api", "endpoints"])
  name                = "${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  tags                = local.labels
}

resource "azurerm_network_security_rule" "allow" {
  for_each                    = local.inbound_rules
  name                        = "allow-${split("/", each.key)[1]}"
  resource_group_name         = azurerm_resource_group.this.name
  network_security_group_name = azurerm_network_security_group.this[each.value.subnet].name
  direction                   = "Inbound"
  access                      = "Allow"
  priority                    = each.value.priority
  protocol                    = each.value.protocol
  # A service tag may stand in the singular argument only.
  source_address_prefix      = each.value.sources[0] == "AzureLoadBalancer" ? "AzureLoadBalancer" : null
  source_address_prefixes    = each.value.sources[0] == "AzureLoadBalancer" ? null : each.value.sources
  source_port_range          = "*"
  destination_address_prefix = "*"
  destination_port_ranges    = each.value.ports
}

resource "azurerm_network_security_rule" "deny" {
  for_each                    = azurerm_network_security_group.this
  name                        = "deny-others"
  resource_group_name         = azurerm_resource_group.this.name
  network_security_group_name = each.value.name
  direction                   = "Inbound"
  access                      = "Deny"
  priority                    = 4000
  protocol                    = "*"
  source_address_prefix       = each.key == "nodes" ? "Internet" : "*" # load balancers of services probe the nodes
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = "*"
}

resource "azurerm_subnet_network_security_group_association" "this" {
  for_each                  = local.subnet_ids
  subnet_id                 = each.value
  network_security_group_id = azurerm_network_security_group.this[each.key].id
  depends_on                = [azurerm_network_security_rule.allow, azurerm_network_security_rule.deny]
}
