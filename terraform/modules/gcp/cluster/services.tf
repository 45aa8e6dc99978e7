# The APIs that this module calls. The first plan reads the project and its billing account before anything is enabled: cloudbilling,
# cloudresourcemanager and serviceusage are therefore enabled by hand before (terraform/README.md). All stay enabled on destroy: something else in the project may use them.

resource "google_project_service" "this" {
  for_each = toset([
    "artifactregistry", "billingbudgets", "binaryauthorization", "cloudbilling", "cloudkms", "cloudresourcemanager",
    "cloudscheduler", "compute", "container", "containersecurity", "eventarc", "iam", "logging", "monitoring", "orgpolicy",
    "pubsub", "redis", "secretmanager", "serviceusage", "workflowexecutions", "workflows",
  ])
  project            = local.project
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}
