# Where Ray's global control store survives its head: replicated, encrypted, password in the vault.

resource "azurerm_managed_redis" "this" {
  count                     = var.gcs_fault_tolerance ? 1 : 0
  name                      = "${local.name}-${local.suffix}"
  resource_group_name       = azurerm_resource_group.this.name
  location                  = var.region
  sku_name                  = "Balanced_B0" # the store holds kilobytes per actor and job
  high_availability_enabled = true
  public_network_access     = "Disabled"
  tags                      = local.labels

  default_database {
    access_keys_authentication_enabled = true # Ray knows passwords, not tokens that expire
    client_protocol                    = "Encrypted"
    clustering_policy                  = "EnterpriseCluster" # one address, as for a single server
    eviction_policy                    = "NoEviction"        # an evicted key would be a forgotten actor
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["encryption"].id]
  }

  customer_managed_key {
    key_vault_key_id          = azurerm_key_vault_key.this["redis"].id
    user_assigned_identity_id = azurerm_user_assigned_identity.this["encryption"].id
  }

  depends_on = [azurerm_role_assignment.key]
}

resource "azurerm_key_vault_secret" "redis" {
  count            = var.gcs_fault_tolerance ? 1 : 0
  name             = "redis-password"
  key_vault_id     = azurerm_key_vault.this["secrets"].id
  content_type     = "Redis access key"
  value_wo         = azurerm_managed_redis.this[0].default_database[0].primary_access_key
  value_wo_version = 1
  tags             = local.labels
  depends_on       = [azurerm_role_assignment.deployer, azurerm_private_endpoint.vault]
}
