# The whole account's cost, because a filter by tag counts nothing until a day after someone activates the tag in the
# billing console, and a hard stop must not sleep that day. Give each environment an account of its own.

resource "aws_budgets_budget" "this" {
  name         = local.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.budget.monthly)
  limit_unit   = "USD"
  tags         = local.tags

  dynamic "notification" {
    for_each = var.budget.thresholds
    content {
      notification_type          = "ACTUAL"
      comparison_operator        = "GREATER_THAN"
      threshold_type             = "PERCENTAGE"
      threshold                  = notification.value
      subscriber_email_addresses = var.budget.emails
    }
  }

  notification {
    notification_type          = "FORECASTED"
    comparison_operator        = "GREATER_THAN"
    threshold_type             = "PERCENTAGE"
    threshold                  = 100
    subscriber_email_addresses = var.budget.emails
  }
}

# A budget can only send mail, so the hard stop asks it every hour. Asking, not being told once, also stops a cluster
# that somebody resumed over its budget. AWS brings costs up to date about three times a day: expect hours of delay.
resource "aws_scheduler_schedule" "hard_stop" {
  count                        = var.budget.hard_stop ? 1 : 0
  name                         = "${local.name}-hard-stop"
  description                  = "Suspends every node group when the month's cost reaches the budget"
  schedule_expression          = "rate(1 hour)"
  schedule_expression_timezone = "UTC"
  kms_key_arn                  = aws_kms_key.this["logs"].arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_sfn_state_machine.power.arn
    role_arn = aws_iam_role.scheduler.arn
    input    = jsonencode({ action = "check-budget" })
  }
}
