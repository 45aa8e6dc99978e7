# The workspace container and the image registry.

# A flat namespace, although the URI says abfs: with a hierarchical one Azure has no versioning, and the conditional
# writes of the ledger need blobs, not directories.
resource "azurerm_storage_account" "data" {
  name                              = "${local.short}${local.suffix}data"
  resource_group_name               = azurerm_resource_group.this.name
  location                          = var.region
  account_tier                      = "Standard"
  account_replication_type          = "ZRS"
  is_hns_enabled                    = false
  min_tls_version                   = "TLS1_2"
  https_traffic_only_enabled        = true
  shared_access_key_enabled         = false # identities only: a key would be the right to everything, for ever
  default_to_oauth_authentication   = true
  local_user_enabled                = false
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  public_network_access_enabled     = true # for the ip_rules alone
  infrastructure_encryption_enabled = true
  tags                              = local.labels

  network_rules {
    default_action = "Deny"
    bypass         = ["AzureServices"]
    # Storage takes addresses where others take ranges of one or two.
    ip_rules = flatten([
      for cidr in local.public_cidrs :
      endswith(cidr, "/32") ? [cidrhost(cidr, 0)] : endswith(cidr, "/31") ? [cidrhost(cidr, 0), cidrhost(cidr, 1)] : [cidr]
    ])
  }

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 30
    }
    container_delete_retention_policy {
      days = 30
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["encryption"].id]
  }

  customer_managed_key {
    key_vault_key_id          = azurerm_key_vault_key.this["data"].versionless_id # follows the key's rotation
    user_assigned_identity_id = azurerm_user_assigned_identity.this["encryption"].id
  }

  depends_on = [azurerm_role_assignment.key]
}

resource "azurerm_storage_container" "data" {
  name                  = "data"
  storage_account_id    = azurerm_storage_account.data.id
  container_access_type = "private"
}

resource "azurerm_storage_management_policy" "data" {
  storage_account_id = azurerm_storage_account.data.id

  rule {
    name    = "forget-what-was-replaced"
    enabled = true

    filters {
      blob_types = ["blockBlob"]
    }
    actions {
      version {
        delete_after_days_since_creation = 30
      }
      snapshot {
        delete_after_days_since_creation_greater_than = 30
      }
    }
  }
}

resource "azurerm_container_registry" "this" {
  name                          = "${local.short}${local.suffix}"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = var.region
  sku                           = "Premium" # private endpoints and own keys
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = true # for the ip_rules alone: images are pushed from where this is applied
  data_endpoint_enabled         = true
  zone_redundancy_enabled       = true
  retention_policy_in_days      = 7
  tags                          = local.labels

  network_rule_set {
    default_action = "Deny"

    dynamic "ip_rule" {
      for_each = local.public_cidrs
      content {
        action   = "Allow"
        ip_range = ip_rule.value
      }
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["encryption"].id]
  }

  encryption {
    key_vault_key_id   = azurerm_key_vault_key.this["registry"].versionless_id
    identity_client_id = azurerm_user_assigned_identity.this["encryption"].client_id
  }

  depends_on = [azurerm_role_assignment.key]
}

# destroy refuses what holds data or computes it until deletion_protection is false, which takes the locks away.
resource "azurerm_management_lock" "this" {
  for_each = var.deletion_protection ? {
    data     = azurerm_storage_account.data.id
    registry = azurerm_container_registry.this.id
    cluster  = azurerm_kubernetes_cluster.this.id
  } : {}
  name       = "deletion-protection"
  scope      = each.value
  lock_level = "CanNotDelete"
  notes      = "deletion_protection of ${local.name}"
}
