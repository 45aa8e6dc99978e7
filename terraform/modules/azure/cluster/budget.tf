# The cost of both resource groups: Azure keeps the nodes, which are most of it, in a second one.

locals {
  budget_groups = [azurerm_resource_group.this.name, azurerm_kubernetes_cluster.this.node_resource_group]
  # Azure takes a first month that has begun, and then never another one.
  budget_start = formatdate("YYYY-MM-01'T'00:00:00Z", plantimestamp())
}

resource "azurerm_consumption_budget_subscription" "this" {
  name            = local.name
  subscription_id = "/subscriptions/${var.account}"
  amount          = var.budget.monthly
  time_grain      = "Monthly"

  time_period {
    start_date = local.budget_start
  }

  filter {
    dimension {
      name   = "ResourceGroupName"
      values = local.budget_groups
    }
  }

  dynamic "notification" {
    for_each = var.budget.thresholds
    content {
      threshold      = notification.value
      threshold_type = "Actual"
      operator       = "GreaterThanOrEqualTo"
      contact_emails = var.budget.emails
    }
  }

  notification {
    threshold      = 100
    threshold_type = "Forecasted"
    operator       = "GreaterThanOrEqualTo"
    contact_emails = var.budget.emails
  }

  lifecycle {
    ignore_changes = [time_period]
  }
}

# A budget of its own: a budget has five notifications, and the first one may have used them all.
resource "azurerm_consumption_budget_subscription" "hard_stop" {
  count           = var.budget.hard_stop ? 1 : 0
  name            = "${local.name}-hard-stop"
  subscription_id = "/subscriptions/${var.account}"
  amount          = var.budget.monthly
  time_grain      = "Monthly"

  time_period {
    start_date = local.budget_start
  }

  filter {
    dimension {
      name   = "ResourceGroupName"
      values = local.budget_groups
    }
  }

  notification {
    threshold      = 100
    threshold_type = "Actual"
    operator       = "GreaterThanOrEqualTo"
    contact_groups = [azurerm_monitor_action_group.hard_stop[0].id]
  }

  lifecycle {
    ignore_changes = [time_period]
  }
}

resource "azurerm_logic_app_trigger_http_request" "hard_stop" {
  count        = var.budget.hard_stop ? 1 : 0
  name         = "over-budget"
  logic_app_id = azurerm_logic_app_workflow.power["suspend"].id
  method       = "POST"
  schema       = jsonencode({}) # whatever it says, being called means to stop
}

resource "azurerm_monitor_action_group" "hard_stop" {
  count               = var.budget.hard_stop ? 1 : 0
  name                = "${local.name}-hard-stop"
  resource_group_name = azurerm_resource_group.this.name
  short_name          = "hardstop"
  tags                = local.labels

  logic_app_receiver {
    name                    = "suspend"
    resource_id             = azurerm_logic_app_workflow.power["suspend"].id
    callback_url            = azurerm_logic_app_trigger_http_request.hard_stop[0].callback_url
    use_common_alert_schema = true
  }

  dynamic "email_receiver" {
    for_each = toset(var.budget.emails)
    content {
      name                    = email_receiver.value
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }
}
