# One key per purpose, in a vault of their own: who reads secrets cannot reach keys. Who applies this reaches the vaults, the
# bucket and the registry from one of the public ranges in allowed_cidrs; pods reach them by private endpoints.

locals {
  public_cidrs = [for cidr in var.allowed_cidrs : cidr if !can(regex(local.private_range, cidr))]
}

resource "azurerm_key_vault" "this" {
  for_each                      = toset(["keys", "secrets"])
  name                          = "${local.short}${local.suffix}${substr(each.key, 0, 3)}"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = var.region
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "premium" # keys in hardware
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true # storage and disks refuse a vault whose key could vanish
  soft_delete_retention_days    = 90
  public_network_access_enabled = true # for the ip_rules alone
  tags                          = local.labels

  network_acls {
    default_action = "Deny"
    bypass         = "AzureServices"
    ip_rules       = local.public_cidrs
  }
}

# Owning a subscription is not the right to touch keys or secrets; who applies this gets both.
resource "azurerm_role_assignment" "deployer" {
  for_each             = { keys = "Key Vault Crypto Officer", secrets = "Key Vault Secrets Officer" }
  scope                = azurerm_key_vault.this[each.key].id
  role_definition_name = each.value
  principal_id         = data.azurerm_client_config.current.object_id
}

resource "azurerm_key_vault_key" "this" {
  for_each     = toset(["data", "disks", "etcd", "redis", "registry"])
  name         = each.key
  key_vault_id = azurerm_key_vault.this["keys"].id
  key_type     = "RSA-HSM"
  key_size     = 3072
  # AKS's plugin for etcd encrypts with the key itself; the others wrap keys of theirs.
  key_opts = each.key == "etcd" ? ["encrypt", "decrypt"] : ["wrapKey", "unwrapKey"]
  tags     = local.labels

  rotation_policy {
    automatic {
      time_after_creation = "P${var.key_rotation_days}D"
    }
  }

  depends_on = [azurerm_role_assignment.deployer, azurerm_private_endpoint.vault]
}

# Each key is used by the one identity that encrypts with it.
resource "azurerm_role_assignment" "key" {
  for_each             = { data = "encryption", disks = "encryption", redis = "encryption", registry = "encryption", etcd = "cluster" }
  scope                = azurerm_key_vault_key.this[each.key].resource_versionless_id
  role_definition_name = each.value == "cluster" ? "Key Vault Crypto User" : "Key Vault Crypto Service Encryption User"
  principal_id         = azurerm_user_assigned_identity.this[each.value].principal_id
}

resource "azurerm_disk_encryption_set" "this" {
  name                      = local.name
  resource_group_name       = azurerm_resource_group.this.name
  location                  = var.region
  key_vault_key_id          = azurerm_key_vault_key.this["disks"].versionless_id
  auto_key_rotation_enabled = true
  tags                      = local.labels

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["encryption"].id]
  }

  depends_on = [azurerm_role_assignment.key]
}
