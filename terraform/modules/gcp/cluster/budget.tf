# The whole project's cost: give each environment a project of its own.

resource "google_monitoring_notification_channel" "this" {
  for_each     = toset(var.budget.emails)
  project      = local.project
  display_name = "${local.name}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
  user_labels  = local.labels
  depends_on   = [google_project_service.this]
}

resource "google_pubsub_topic" "budget" {
  project      = local.project
  name         = "${local.name}-budget"
  kms_key_name = google_kms_crypto_key.this["messages"].id
  labels       = local.labels
  depends_on   = [google_kms_crypto_key_iam_member.this]
}

resource "google_billing_budget" "this" {
  billing_account = data.google_project.this.billing_account
  display_name    = local.name

  budget_filter {
    projects               = ["projects/${local.project_number}"]
    calendar_period        = "MONTH"
    credit_types_treatment = "EXCLUDE_ALL_CREDITS" # credits end one day, and the cost does not
  }

  amount {
    specified_amount {
      units = tostring(var.budget.monthly)
    }
  }

  dynamic "threshold_rules" {
    for_each = var.budget.thresholds
    content {
      threshold_percent = threshold_rules.value / 100
      spend_basis       = "CURRENT_SPEND"
    }
  }

  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    pubsub_topic                     = google_pubsub_topic.budget.id
    monitoring_notification_channels = [for channel in google_monitoring_notification_channel.this : channel.id]
    disable_default_iam_recipients   = true
  }

  lifecycle {
    precondition {
      condition     = try(length(data.google_project.this.billing_account), 0) > 0
      error_message = "Project ${local.project} shows no billing account: link one, and run gcloud services enable cloudbilling.googleapis.com cloudresourcemanager.googleapis.com serviceusage.googleapis.com --project ${local.project}."
    }
  }
}

# Eventarc's service agent comes minutes after its API; "Permission denied while using the Eventarc Service Agent" in a new
# project goes away by applying again. The budget publishes cost and limit several times a day, whatever they are; the workflow compares them.
resource "google_eventarc_trigger" "hard_stop" {
  count           = var.budget.hard_stop ? 1 : 0
  project         = local.project
  location        = var.region
  name            = "${local.name}-hard-stop"
  service_account = google_service_account.power.email
  labels          = local.labels

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.pubsub.topic.v1.messagePublished"
  }

  transport {
    pubsub {
      topic = google_pubsub_topic.budget.id
    }
  }

  destination {
    workflow = google_workflows_workflow.power.id
  }

  depends_on = [google_project_iam_member.power]
}
