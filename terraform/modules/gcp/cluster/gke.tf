# A regional, private, Standard cluster. Autopilot would choose the nodes itself, and drivers and taints with them.

resource "google_container_cluster" "this" {
  project             = local.project
  name                = local.name
  location            = var.region
  node_locations      = var.zones
  min_master_version  = var.kubernetes_version
  network             = google_compute_network.this.id
  subnetwork          = google_compute_subnetwork.nodes.id
  networking_mode     = "VPC_NATIVE"
  datapath_provider   = "ADVANCED_DATAPATH" # network policies are enforced, not merely accepted
  resource_labels     = local.labels
  deletion_protection = var.deletion_protection

  enable_shielded_nodes       = true
  enable_intranode_visibility = true

  # The pools are resources of their own; this one lives for minutes, by the same rules.
  remove_default_node_pool = true
  initial_node_count       = 1

  node_config {
    service_account   = google_service_account.node.email
    oauth_scopes      = ["https://www.googleapis.com/auth/cloud-platform"]
    boot_disk_kms_key = google_kms_crypto_key.this["disks"].id

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  release_channel {
    channel = "REGULAR"
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  private_cluster_config {
    enable_private_nodes        = true
    enable_private_endpoint     = var.private_api
    private_endpoint_subnetwork = google_compute_subnetwork.control_plane.name
  }

  # A name on the internet behind which IAM, not an address, decides (container.clusters.connect): the way to a private API.
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = local.dns_endpoint
    }
  }

  in_transit_encryption_config = "IN_TRANSIT_ENCRYPTION_INTER_NODE_TRANSPARENT" # WireGuard between nodes

  # Present even when it names nobody: absent, a public endpoint would answer the whole internet.
  master_authorized_networks_config {
    gcp_public_cidrs_access_enabled = false

    dynamic "cidr_blocks" {
      for_each = toset(var.allowed_cidrs)
      content {
        cidr_block   = cidr_blocks.value
        display_name = "allowed"
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  workload_identity_config {
    workload_pool = "${local.project}.svc.id.goog"
  }

  database_encryption {
    state    = "ENCRYPTED"
    key_name = google_kms_crypto_key.this["etcd"].id
  }

  secret_manager_config {
    enabled = true # GKE runs the secrets store driver itself
  }

  binary_authorization {
    evaluation_mode = "PROJECT_SINGLETON_POLICY_ENFORCE"
  }

  security_posture_config {
    mode               = "BASIC"
    vulnerability_mode = "VULNERABILITY_BASIC"
  }

  addons_config {
    dns_cache_config {
      enabled = true
    }
    gce_persistent_disk_csi_driver_config {
      enabled = true
    }
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER", "WORKLOADS"]
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]

    managed_prometheus {
      enabled = false # the add-ons bring one that the dashboards and alerts of this project know
    }
  }

  cost_management_config {
    enabled = true
  }

  maintenance_policy {
    recurring_window {
      start_time = "2025-01-04T06:00:00Z"
      end_time   = "2025-01-04T12:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  lifecycle {
    ignore_changes = [node_config] # of the pool that is gone
  }

  depends_on = [google_kms_crypto_key_iam_member.this, google_project_iam_member.node, google_compute_router_nat.this]
}
