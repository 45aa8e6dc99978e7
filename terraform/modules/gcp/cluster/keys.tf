# One key per purpose, each usable by the service that encrypts with it and by nobody else.

# Key rings can never be deleted: a second deployment of the same name in the same project and region must import it.
resource "google_kms_key_ring" "this" {
  project    = local.project
  name       = local.name
  location   = var.region
  depends_on = [google_project_service.this]
}

data "google_storage_project_service_account" "this" {
  project    = local.project
  depends_on = [google_project_service.this]
}

locals {
  project_number = data.google_project.this.number
  key_users = {
    disks = {
      compute = "serviceAccount:service-${local.project_number}@compute-system.iam.gserviceaccount.com"
    }
    data = {
      storage  = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
      registry = "serviceAccount:service-${local.project_number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    }
    secrets = {
      vault = "serviceAccount:service-${local.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
      redis = "serviceAccount:service-${local.project_number}@cloud-redis.iam.gserviceaccount.com"
    }
    etcd = {
      gke = "serviceAccount:service-${local.project_number}@container-engine-robot.iam.gserviceaccount.com"
    }
    messages = {
      pubsub = "serviceAccount:service-${local.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    }
  }
  key_grants = merge([for key, users in local.key_users : { for user, member in users : "${key}/${user}" => { key = key, member = member } }]...)
}

resource "google_kms_crypto_key" "this" {
  for_each                   = local.key_users
  name                       = each.key
  key_ring                   = google_kms_key_ring.this.id
  purpose                    = "ENCRYPT_DECRYPT"
  rotation_period            = "${var.key_rotation_days * 86400}s"
  destroy_scheduled_duration = "2592000s" # 30 days to regret it: destroy takes the versions, and with them the data
  labels                     = local.labels
}

resource "google_kms_crypto_key_iam_member" "this" {
  for_each      = local.key_grants
  crypto_key_id = google_kms_crypto_key.this[each.value.key].id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value.member
}
