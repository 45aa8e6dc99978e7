# The way to a private API for whoever has no VPN: Bastion leads to it, and Azure's own roles say who may use it.

locals {
  bastion = var.private_api && var.tunnel ? 1 : 0
}

resource "azurerm_subnet" "bastion" {
  count                           = local.bastion
  name                            = "AzureBastionSubnet" # Azure wants this name, and a /26
  resource_group_name             = azurerm_resource_group.this.name
  virtual_network_name            = azurerm_virtual_network.this.name
  address_prefixes                = [cidrsubnet(var.network.cidr, 10, 264)]
  default_outbound_access_enabled = false
}

resource "azurerm_public_ip" "bastion" {
  count               = local.bastion
  name                = "${local.name}-bastion"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  allocation_method   = "Static"
  sku                 = "Standard"
  tags                = local.labels
}

resource "azurerm_bastion_host" "this" {
  count               = local.bastion
  name                = local.name
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  sku                 = "Standard"
  tunneling_enabled   = true
  tags                = local.labels

  ip_configuration {
    name                 = "default"
    subnet_id            = azurerm_subnet.bastion[0].id
    public_ip_address_id = azurerm_public_ip.bastion[0].id
  }
}
