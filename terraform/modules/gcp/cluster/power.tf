# Suspending and resuming all nodes: a workflow of API calls, so that there is no code to patch.

resource "google_service_account" "power" {
  project      = local.project
  account_id   = "${local.name}-power"
  display_name = "Suspends and resumes ${local.name}"
}

# Resizing is "update" in GKE's permissions; no predefined role has so little.
resource "google_project_iam_custom_role" "power" {
  project     = local.project
  role_id     = replace("${local.name}_power", "-", "_")
  title       = "Resize node pools of ${local.name}"
  permissions = ["container.clusters.get", "container.clusters.update", "container.operations.get"]
}

resource "google_project_iam_member" "power" {
  for_each = {
    resize = google_project_iam_custom_role.power.id
    log    = "roles/logging.logWriter"
    start  = "roles/workflows.invoker" # the schedule and the budget's trigger call as this account too
    events = "roles/eventarc.eventReceiver"
  }
  project = local.project
  role    = each.value
  member  = google_service_account.power.member
}

resource "google_workflows_workflow" "power" {
  project             = local.project
  region              = var.region
  name                = "${local.name}-power"
  description         = "Suspends and resumes all node pools"
  service_account     = google_service_account.power.id
  call_log_level      = "LOG_ALL_CALLS"
  deletion_protection = false
  source_contents     = file("${path.module}/power.workflow.yaml")
  labels              = local.labels

  user_env_vars = {
    CLUSTER = google_container_cluster.this.id
    POOLS = jsonencode([for name, pool in local.pools : {
      name            = name
      min             = pool.min
      max             = pool.max
      per_zone        = ceil(pool.min / length(pool.zones))
      location_policy = pool.role == "gpu" ? "ANY" : "BALANCED"
    }])
  }

  depends_on = [google_project_iam_member.power]
}

# A stop that fails must be heard: it is the one thing between a forgotten job and the bill.
resource "google_monitoring_alert_policy" "power" {
  project               = local.project
  display_name          = "${local.name}: suspending or resuming failed"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.this : channel.id]
  user_labels           = local.labels

  conditions {
    display_name = "a run of the power workflow failed"

    condition_threshold {
      filter          = "resource.type = \"workflows.googleapis.com/Workflow\" AND resource.labels.workflow_id = \"${google_workflows_workflow.power.name}\" AND metric.type = \"workflows.googleapis.com/finished_execution_count\" AND metric.labels.status = \"FAILED\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }
}
