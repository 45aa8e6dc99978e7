# Who talked to whom, for a year, and what the control plane logs.

resource "azurerm_log_analytics_workspace" "this" {
  name                = local.name
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  sku                 = "PerGB2018"
  retention_in_days   = 365
  tags                = local.labels
}

resource "azurerm_storage_account" "logs" {
  name                             = "${local.short}${local.suffix}logs"
  resource_group_name              = azurerm_resource_group.this.name
  location                         = var.region
  account_tier                     = "Standard"
  account_replication_type         = "ZRS"
  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  allow_nested_items_to_be_public  = false
  cross_tenant_replication_enabled = false
  shared_access_key_enabled        = true # Network Watcher still writes with a key
  public_network_access_enabled    = true # and from outside: through the one bypass below
  tags                             = local.labels

  network_rules {
    default_action = "Deny"
    bypass         = ["AzureServices"]
  }

  blob_properties {
    delete_retention_policy {
      days = 7
    }
  }

  sas_policy {
    expiration_period = "01.00:00:00"
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["encryption"].id]
  }

  customer_managed_key {
    key_vault_key_id          = azurerm_key_vault_key.this["data"].versionless_id
    user_assigned_identity_id = azurerm_user_assigned_identity.this["encryption"].id
  }

  depends_on = [azurerm_role_assignment.key]
}

# Azure makes one watcher per region by itself, with the region's first network, and refuses a second.
resource "azurerm_network_watcher_flow_log" "this" {
  name                 = local.name
  network_watcher_name = "NetworkWatcher_${var.region}"
  resource_group_name  = "NetworkWatcherRG"
  location             = var.region
  target_resource_id   = azurerm_virtual_network.this.id
  storage_account_id   = azurerm_storage_account.logs.id
  enabled              = true
  version              = 2
  tags                 = local.labels

  retention_policy {
    enabled = true
    days    = 365
  }

  traffic_analytics {
    enabled               = true
    interval_in_minutes   = 60
    workspace_id          = azurerm_log_analytics_workspace.this.workspace_id
    workspace_region      = var.region
    workspace_resource_id = azurerm_log_analytics_workspace.this.id
  }
}

resource "azurerm_monitor_diagnostic_setting" "this" {
  for_each = {
    cluster = { target = azurerm_kubernetes_cluster.this.id, logs = ["kube-apiserver", "kube-audit-admin", "kube-controller-manager", "kube-scheduler", "cluster-autoscaler", "guard"] }
    keys    = { target = azurerm_key_vault.this["keys"].id, logs = ["AuditEvent"] }
    secrets = { target = azurerm_key_vault.this["secrets"].id, logs = ["AuditEvent"] }
  }
  name                       = local.name
  target_resource_id         = each.value.target
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id

  dynamic "enabled_log" {
    for_each = toset(each.value.logs)
    content {
      category = enabled_log.value
    }
  }
}
