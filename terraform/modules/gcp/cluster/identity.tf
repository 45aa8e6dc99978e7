# Who may do what: the nodes, the workload and the service. Nobody uses the project's default account.

resource "google_service_account" "node" {
  project      = local.project
  account_id   = "${local.name}-node"
  display_name = "Nodes of ${local.name}"
}

resource "google_project_iam_member" "node" {
  project = local.project
  role    = "roles/container.defaultNodeServiceAccount" # writes logs and metrics
  member  = google_service_account.node.member
}

resource "google_artifact_registry_repository_iam_member" "node" {
  project    = local.project
  location   = var.region
  repository = google_artifact_registry_repository.this.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.node.member
}

locals {
  pod_accounts = { workload = var.service_account.name, serving = "${var.service_account.name}-serve" }
}

resource "google_service_account" "pods" {
  for_each     = local.pod_accounts
  project      = local.project
  account_id   = "${local.name}-${each.key}"
  display_name = "Pods of ${var.service_account.namespace}/${each.value}"
}

resource "google_service_account_iam_member" "pods" {
  for_each           = local.pod_accounts
  service_account_id = google_service_account.pods[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${local.project}.svc.id.goog[${var.service_account.namespace}/${each.value}]"
  depends_on         = [google_container_cluster.this] # the identity pool exists from the project's first cluster on
}

# GKE's roles are of the project, which is why each environment has its own.
resource "google_project_iam_member" "admin" {
  for_each = var.admins
  project  = local.project
  role     = "roles/container.admin"
  member   = each.key
}

# The workload: read and write the one bucket, read the named secrets: nothing else. Decryption is the bucket's own business.
resource "google_storage_bucket_iam_member" "workload" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectUser"
  member = google_service_account.pods["workload"].member
}

# What answers requests: read the bucket, and add to a workspace's logs of item changes and events. An objectCreator can neither
# replace nor delete what is there.
resource "google_storage_bucket_iam_member" "serving_reads" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.pods["serving"].member
}

resource "google_storage_bucket_iam_member" "serving_adds" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectCreator"
  member = google_service_account.pods["serving"].member

  condition {
    title      = "logs-of-a-workspace"
    expression = join(" || ", [for log in ["overlay", "events"] : "resource.name.extract('/objects/{workspace}/${log}/segment-') != ''"])
  }
}

resource "google_secret_manager_secret_iam_member" "workload" {
  for_each  = local.secrets
  project   = local.project
  secret_id = google_secret_manager_secret.this[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.pods["workload"].member
}
