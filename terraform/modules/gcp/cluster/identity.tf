# Who may do what: the nodes and the workload. Nobody uses the project's default account.

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

resource "google_service_account" "workload" {
  project      = local.project
  account_id   = "${local.name}-workload"
  display_name = "Pods of ${var.service_account.namespace}/${var.service_account.name}"
}

resource "google_service_account_iam_member" "workload" {
  service_account_id = google_service_account.workload.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${local.project}.svc.id.goog[${var.service_account.namespace}/${var.service_account.name}]"
  depends_on         = [google_container_cluster.this] # the identity pool exists from the project's first cluster on
}

# GKE's roles are of the project, which is why each environment has its own.
resource "google_project_iam_member" "admin" {
  for_each = var.admins
  project  = local.project
  role     = "roles/container.admin"
  member   = each.key
}

# Read and write the one bucket, read the named secrets: nothing else. Decryption is the bucket's own business.
resource "google_storage_bucket_iam_member" "workload" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectUser"
  member = google_service_account.workload.member
}

resource "google_secret_manager_secret_iam_member" "workload" {
  for_each  = local.secrets
  project   = local.project
  secret_id = google_secret_manager_secret.this[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.workload.member
}
