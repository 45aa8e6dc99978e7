# Where Ray's global control store survives its head: a primary and a replica in two zones, encrypted, password in the vault.

resource "google_compute_global_address" "redis" {
  count         = var.gcs_fault_tolerance ? 1 : 0
  project       = local.project
  name          = "${local.name}-services"
  network       = google_compute_network.this.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = cidrhost(cidrsubnet(var.network.cidr, 8, 65), 0)
  prefix_length = 24
}

resource "google_service_networking_connection" "redis" {
  count                   = var.gcs_fault_tolerance ? 1 : 0
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.redis[0].name]
}

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
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  customer_managed_key    = google_kms_crypto_key.this["secrets"].id
  labels                  = local.labels
  depends_on              = [google_service_networking_connection.redis, google_kms_crypto_key_iam_member.this]
}

resource "google_secret_manager_secret_version" "redis" {
  count                  = var.gcs_fault_tolerance ? 1 : 0
  secret                 = google_secret_manager_secret.this["redis-password"].id
  secret_data_wo         = google_redis_instance.this[0].auth_string
  secret_data_wo_version = 1
}
