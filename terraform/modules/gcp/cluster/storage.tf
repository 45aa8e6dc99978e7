# The workspace bucket and the image registry.

resource "google_storage_bucket" "data" {
  project                     = local.project
  name                        = "${local.project}-${local.name}-data"
  location                    = upper(var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection
  labels                      = local.labels

  encryption {
    default_kms_key_name = google_kms_crypto_key.this["data"].id
  }

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.this]
}

# A GCS bucket has no policy of its own that refuses plain HTTP; the project does, where it has an
# organisation (a trial account has none). Needs roles/orgpolicy.policyAdmin.
resource "google_org_policy_policy" "tls_only" {
  count  = length(compact([data.google_project.this.org_id, data.google_project.this.folder_id])) > 0 ? 1 : 0
  name   = "projects/${local.project}/policies/storage.secureHttpTransport"
  parent = "projects/${local.project}"

  spec {
    rules {
      enforce = "TRUE"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_artifact_registry_repository" "this" {
  project       = local.project
  location      = var.region
  repository_id = local.name
  format        = "DOCKER"
  kms_key_name  = google_kms_crypto_key.this["data"].id
  labels        = local.labels

  docker_config {
    immutable_tags = true # a tag names the same bytes on every node of a run
  }

  cleanup_policies {
    id     = "untagged"
    action = "DELETE"

    condition {
      tag_state  = "UNTAGGED"
      older_than = "604800s"
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.this]
}
