# The nightly suspend, and the morning's resume if asked for.

locals {
  crons = {
    for action, cron in { suspend = var.auto_shutdown.cron, resume = var.auto_shutdown.resume_cron } : action => split(" ", cron)
    if var.auto_shutdown.enabled && cron != null
  }
  weekdays = {
    MON = "Monday", TUE = "Tuesday", WED = "Wednesday", THU = "Thursday", FRI = "Friday", SAT = "Saturday", SUN = "Sunday"
  }
}

resource "azurerm_logic_app_trigger_recurrence" "shutdown" {
  for_each     = local.crons
  name         = "nightly"
  logic_app_id = azurerm_logic_app_workflow.power[each.key].id
  frequency    = "Week"
  interval     = 1
  time_zone    = local.timezone_names[var.auto_shutdown.timezone]

  schedule {
    at_these_minutes = [tonumber(each.value[0])]
    at_these_hours   = [tonumber(each.value[1])]
    on_these_days = [
      for day in(each.value[4] == "*" ? keys(local.weekdays) : each.value[4] == "MON-FRI" ? ["MON", "TUE", "WED", "THU", "FRI"] : split(",", each.value[4])) :
      local.weekdays[day]
    ]
  }
}
