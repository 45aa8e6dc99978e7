# A network with private nodes that leave through a NAT gateway. Ranges inside network.cidr: the network is its lower half
# (nodes /20 at 0, the API server /28, private endpoints /24 and Bastion /26 in the second quarter), pods the upper half (overlay).

resource "azurerm_virtual_network" "this" {
  name                = local.name
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  address_space       = [cidrsubnet(var.network.cidr, 1, 0)]
  tags                = local.labels
}

resource "azurerm_subnet" "nodes" {
  name                            = "nodes"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [cidrsubnet(var.network.cidr, 4, 0)]
  default_outbound_access_enabled = false
}

# The API server itself, so that it reaches the vault with etcd's key over a private address.
resource "azurerm_subnet" "api" {
  name                            = "api"
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [cidrsubnet(var.network.cidr, 12, 1024)]
  default_outbound_access_enabled = false

  delegation {
    name = "aks"

    service_delegation {
      name    = "Microsoft.ContainerService/managedClusters"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_subnet" "endpoints" {
  name                              = "endpoints"
  resource_group_name               = azurerm_resource_group.this.name
  virtual_network_name              = azurerm_virtual_network.this.name
  address_prefixes                  = [cidrsubnet(var.network.cidr, 8, 65)]
  default_outbound_access_enabled   = false
  private_endpoint_network_policies = "Enabled" # without it the security group does not bind endpoints
}

resource "azurerm_public_ip" "nat" {
  name                = "${local.name}-nat"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = local.labels
}

# Without zone: pinned to one, its failure would cut off the nodes of all zones, and a subnet has only one NAT gateway.
resource "azurerm_nat_gateway" "this" {
  name                = local.name
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  sku_name            = "Standard"
  tags                = local.labels
}

resource "azurerm_nat_gateway_public_ip_association" "this" {
  nat_gateway_id       = azurerm_nat_gateway.this.id
  public_ip_address_id = azurerm_public_ip.nat.id
}

resource "azurerm_subnet_nat_gateway_association" "nodes" {
  subnet_id      = azurerm_subnet.nodes.id
  nat_gateway_id = azurerm_nat_gateway.this.id
}
