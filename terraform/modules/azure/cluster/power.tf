# Suspending and resuming the cluster: AKS stops it whole, control plane and all, by one call. Two Logic Apps make that
# call, so that there is no code to patch.

resource "azurerm_role_definition" "power" {
  name              = "${local.name} power"
  scope             = azurerm_resource_group.this.id
  description       = "Stops and starts the cluster ${local.name}, and may do nothing else"
  assignable_scopes = [azurerm_resource_group.this.id]

  permissions {
    actions = [
      "Microsoft.ContainerService/managedClusters/read",
      "Microsoft.ContainerService/managedClusters/start/action",
      "Microsoft.ContainerService/managedClusters/stop/action",
    ]
  }
}

resource "azurerm_role_assignment" "power" {
  scope              = azurerm_kubernetes_cluster.this.id
  role_definition_id = azurerm_role_definition.power.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.this["power"].principal_id
}

resource "azurerm_logic_app_workflow" "power" {
  for_each            = { suspend = "stop", resume = "start" }
  name                = "${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  tags                = local.labels

  # Azure Monitor's action groups call the trigger; nobody looks at runs from outside.
  access_control {
    content {
      allowed_caller_ip_address_range = ["0.0.0.0-0.0.0.0"]
    }
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["power"].id]
  }
}

resource "azurerm_logic_app_action_custom" "power" {
  for_each     = { suspend = "stop", resume = "start" }
  name         = each.key
  logic_app_id = azurerm_logic_app_workflow.power[each.key].id
  body = jsonencode({
    type     = "Http"
    runAfter = {}
    inputs = {
      method         = "POST"
      uri            = "https://management.azure.com${azurerm_kubernetes_cluster.this.id}/${each.value}?api-version=2025-05-01"
      authentication = { type = "ManagedServiceIdentity", identity = azurerm_user_assigned_identity.this["power"].id, audience = "https://management.azure.com/" }
      retryPolicy    = { type = "exponential", count = 8, interval = "PT30S", maximumInterval = "PT15M" }
    }
  })
}

# A stop that fails must be heard: it is the one thing between a forgotten job and the bill.
resource "azurerm_monitor_action_group" "alerts" {
  name                = "${local.name}-alerts"
  resource_group_name = azurerm_resource_group.this.name
  short_name          = substr(local.short, 0, 12)
  tags                = local.labels

  dynamic "email_receiver" {
    for_each = toset(var.budget.emails)
    content {
      name                    = email_receiver.value
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }
}

resource "azurerm_monitor_metric_alert" "power" {
  for_each            = azurerm_logic_app_workflow.power
  name                = "${local.name}-${each.key}-failed"
  resource_group_name = azurerm_resource_group.this.name
  scopes              = [each.value.id]
  description         = "The cluster ${local.name} was to ${each.key} and did not"
  severity            = 1
  tags                = local.labels

  criteria {
    metric_namespace = "Microsoft.Logic/workflows"
    metric_name      = "RunsFailed"
    aggregation      = "Total"
    operator         = "GreaterThan"
    threshold        = 0
  }

  action {
    action_group_id = azurerm_monitor_action_group.alerts.id
  }
}
