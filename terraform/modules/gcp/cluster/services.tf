# The APIs that this module calls. They stay enabled on destroy: something else in the project may use them.

resource "google_project_service" "this" {
  for_each = toset([
    "artifactregistry", "billingbudgets", "cloudkms", "cloudscheduler", "compute", "container", "eventarc", "iam",
    "logging", "monitoring", "orgpolicy", "pubsub", "redis", "secretmanager", "servicenetworking", "workflowexecutions",
    "workflows",
  ])
  project            = local.project
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}
