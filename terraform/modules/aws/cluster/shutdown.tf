# The nightly suspend, the morning's resume if asked for, and mail when either fails.

locals {
  # EventBridge has six fields and wants ? where the other day field is used.
  crons = {
    for action, cron in { suspend = var.auto_shutdown.cron, resume = var.auto_shutdown.resume_cron } :
    action => format("cron(%s %s ? * %s *)", split(" ", cron)[0], split(" ", cron)[1], split(" ", cron)[4])
    if var.auto_shutdown.enabled && cron != null
  }
}

resource "aws_scheduler_schedule" "shutdown" {
  for_each                     = local.crons
  name                         = "${local.name}-${each.key}"
  description                  = "Nightly: ${each.key} all node groups"
  schedule_expression          = each.value
  schedule_expression_timezone = var.auto_shutdown.timezone
  kms_key_arn                  = aws_kms_key.this["logs"].arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_sfn_state_machine.power.arn
    role_arn = aws_iam_role.scheduler.arn
    input    = jsonencode({ action = each.key })
  }
}

resource "aws_iam_role" "scheduler" {
  name = "${local.name}-scheduler"
  tags = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "start-power"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "states:StartExecution", Resource = aws_sfn_state_machine.power.arn },
      { Effect = "Allow", Action = "kms:Decrypt", Resource = aws_kms_key.this["logs"].arn },
    ]
  })
}

# A stop that fails must be heard: it is the one thing between a forgotten job and the bill.
resource "aws_sns_topic" "alerts" {
  name              = "${local.name}-alerts"
  kms_master_key_id = aws_kms_key.this["logs"].key_id
  tags              = local.tags
}

resource "aws_sns_topic_subscription" "alerts" {
  for_each  = toset(var.budget.emails)
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "power" {
  alarm_name          = "${local.name}-power-failed"
  alarm_description   = "Suspending or resuming ${local.name} failed: its nodes may be running and costing"
  namespace           = "AWS/States"
  metric_name         = "ExecutionsFailed"
  dimensions          = { StateMachineArn = aws_sfn_state_machine.power.arn }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
  tags                = local.tags
}
