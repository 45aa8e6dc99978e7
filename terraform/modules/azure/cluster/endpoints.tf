# Vaults, bucket, registry and Redis answer inside the network only, under their usual names.

locals {
  vault_zone     = "privatelink.vaultcore.azure.net"
  endpoint_names = toset(concat(["data", "registry"], var.gcs_fault_tolerance ? ["redis"] : []))
  endpoint_zones = {
    data     = "privatelink.blob.core.windows.net"
    registry = "privatelink.azurecr.io"
    redis    = "privatelink.redis.azure.net"
  }
  endpoint_targets = {
    data     = { id = azurerm_storage_account.data.id, part = "blob" }
    registry = { id = azurerm_container_registry.this.id, part = "registry" }
    redis    = { id = one(azurerm_managed_redis.this[*].id), part = "redisEnterprise" }
  }
  private_zones = toset(concat([local.vault_zone], [for name in local.endpoint_names : local.endpoint_zones[name]]))
}

resource "azurerm_private_dns_zone" "this" {
  for_each            = local.private_zones
  name                = each.key
  resource_group_name = azurerm_resource_group.this.name
  tags                = local.labels
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each              = local.private_zones
  name                  = local.name
  resource_group_name   = azurerm_resource_group.this.name
  private_dns_zone_name = azurerm_private_dns_zone.this[each.key].name
  virtual_network_id    = azurerm_virtual_network.this.id
  tags                  = local.labels
}

# Apart from the others, which are encrypted with keys that are made through this endpoint.
resource "azurerm_private_endpoint" "vault" {
  for_each            = azurerm_key_vault.this
  name                = "${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  subnet_id           = azurerm_subnet.endpoints.id
  tags                = local.labels

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.id
    subresource_names              = ["vault"]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [azurerm_private_dns_zone.this[local.vault_zone].id]
  }

  depends_on = [azurerm_private_dns_zone_virtual_network_link.this]
}

resource "azurerm_private_endpoint" "this" {
  for_each            = local.endpoint_names
  name                = "${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  subnet_id           = azurerm_subnet.endpoints.id
  tags                = local.labels

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = local.endpoint_targets[each.key].id
    subresource_names              = [local.endpoint_targets[each.key].part]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [azurerm_private_dns_zone.this[local.endpoint_zones[each.key]].id]
  }
}
