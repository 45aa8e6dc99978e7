# Where Ray's global control store survives its head: a primary and a replica in two zones, encrypted, password in the vault.

resource "google_redis_instance" "this" {
  count                   = var.gcs_fault_tolerance ? 1 : 0
  project                 = local.project
  region                  = var.region
  name                    = local.name
  display_name            = "Global control store of Ray"
  tier                    = "STANDARD_HA"
  memory_size_gb          = 1 # the store holds kilobytes per actor and job
  redis_version           = "REDIS_7_2"
  location_id             = var.zones[0]
  alternative_location_id = var.zones[1]
  authorized_network      = google_compute_network.this.id
  # Not PRIVATE_SERVICE_ACCESS: its connection outlives the instance for hours, and destroy of the network fails meanwhile.
  connect_mode            = "DIRECT_PEERING"
  reserved_ip_range       = cidrsubnet(var.network.cidr, 13, 2080)
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  customer_managed_key    = google_kms_crypto_key.this["secrets"].id
  labels                  = local.labels
  depends_on              = [google_kms_crypto_key_iam_member.this, google_project_service.this]
}

resource "google_secret_manager_secret_version" "redis" {
  count                  = var.gcs_fault_tolerance ? 1 : 0
  secret                 = google_secret_manager_secret.this["redis-password"].id
  secret_data_wo         = google_redis_instance.this[0].auth_string
  secret_data_wo_version = 1
}
