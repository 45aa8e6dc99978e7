# One network with private nodes that leave through Cloud NAT. Ranges inside network.cidr: nodes /20 at 0, the API's
# endpoint /28 and Redis /29 in the second quarter, pods the upper half (a /24 per node, so 128 nodes).

resource "google_compute_network" "this" {
  project                 = local.project
  name                    = local.name
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
  depends_on              = [google_project_service.this]
}

resource "google_compute_subnetwork" "nodes" {
  project                  = local.project
  region                   = var.region
  name                     = "${local.name}-nodes"
  network                  = google_compute_network.this.id
  ip_cidr_range            = cidrsubnet(var.network.cidr, 4, 0)
  private_ip_google_access = true # buckets and the registry are reached past NAT

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = cidrsubnet(var.network.cidr, 1, 1)
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = var.network.service_cidr
  }

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_subnetwork" "control_plane" {
  project                  = local.project
  region                   = var.region
  name                     = "${local.name}-control-plane"
  network                  = google_compute_network.this.id
  ip_cidr_range            = cidrsubnet(var.network.cidr, 12, 1024)
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "this" {
  project = local.project
  region  = var.region
  name    = local.name
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  project                            = local.project
  region                             = var.region
  name                               = local.name
  router                             = google_compute_router.this.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.nodes.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY" # a port shortage shows here, and nowhere else
  }
}

# The network's implied rule denies all that comes in; said again with a log, so that one sees who tries.
resource "google_compute_firewall" "deny_ingress" {
  project       = local.project
  name          = "${local.name}-deny-ingress"
  network       = google_compute_network.this.id
  direction     = "INGRESS"
  priority      = 65534 # GKE's own rules, all of a lower number, come before it
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}
