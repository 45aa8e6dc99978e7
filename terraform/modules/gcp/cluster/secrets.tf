# Names only: whoever owns a secret puts its value in with `gcloud secrets versions add`.

locals {
  secrets = toset(concat(sort(tolist(var.secret_names)), var.gcs_fault_tolerance ? ["redis-password"] : []))
}

resource "google_secret_manager_secret" "this" {
  for_each            = local.secrets
  project             = local.project
  secret_id           = "${local.name}-${each.key}"
  deletion_protection = var.deletion_protection
  labels              = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region # beside its key: a regional key cannot encrypt elsewhere

        customer_managed_encryption {
          kms_key_name = google_kms_crypto_key.this["secrets"].id
        }
      }
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.this]
}
