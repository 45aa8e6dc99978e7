# The nightly suspend, and the morning's resume if asked for.

locals {
  crons = {
    for action, cron in { suspend = var.auto_shutdown.cron, resume = var.auto_shutdown.resume_cron } : action => cron
    if var.auto_shutdown.enabled && cron != null
  }
}

resource "google_cloud_scheduler_job" "shutdown" {
  for_each    = local.crons
  project     = local.project
  region      = var.region
  name        = "${local.name}-${each.key}"
  description = "Nightly: ${each.key} all node pools"
  schedule    = each.value
  time_zone   = var.auto_shutdown.timezone

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.power.id}/executions"
    headers     = { Content-Type = "application/json" }
    body        = base64encode(jsonencode({ argument = jsonencode({ action = each.key }) }))

    oauth_token {
      service_account_email = google_service_account.power.email
    }
  }

  retry_config {
    retry_count = 5
  }
}
