# The node pools: cpu always, gpu-spot and gpu-ondemand as asked.
#
# Spot: GKE gives pods 15 to 25 s to end after the 30 s warning and starts another node. The pods' share of it (grace
# periods) is in the manifests, the runs' is the ledger. Its autoscaler prefers the cheaper of two pools that fit, which
# is spot, and takes the other when no spot capacity is left.

locals {
  cpu_pools = {
    cpu = { role = "cpu", machine = local.cpu_machine, spot = false, min = var.cpu_pool.min, max = var.cpu_pool.max, disk_gib = 100, zones = var.zones }
  }
  gpu_pool = {
    role     = "gpu"
    machine  = local.gpu_machine
    max      = var.gpu_pool.max
    disk_gib = 200
    zones    = length(var.gpu_pool.zones) == 0 ? var.zones : var.gpu_pool.zones
  }
  gpu_pools = {
    for name, pool in {
      gpu-spot = merge(local.gpu_pool, { spot = true, flex = false, min = var.gpu_pool.min })
      # As a fallback it waits at 0; alone it keeps the minimum.
      gpu-ondemand = merge(local.gpu_pool, { spot = false, flex = var.gpu_pool.flex_start, min = var.gpu_pool.spot ? 0 : var.gpu_pool.min })
    } : name => pool if pool.spot == var.gpu_pool.spot || var.gpu_pool.on_demand_fallback && !pool.spot
  }
  pools = merge(local.cpu_pools, local.gpu_pools)
}

resource "google_container_node_pool" "cpu" {
  for_each           = local.cpu_pools
  project            = local.project
  name               = each.key
  cluster            = google_container_cluster.this.id
  node_locations     = each.value.zones
  initial_node_count = 1 # per zone

  autoscaling {
    total_min_node_count = each.value.min
    total_max_node_count = each.value.max
    location_policy      = "BALANCED"
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }

  node_config {
    machine_type      = each.value.machine
    service_account   = google_service_account.node.email
    oauth_scopes      = ["https://www.googleapis.com/auth/cloud-platform"] # what it may do is in IAM
    disk_size_gb      = each.value.disk_gib
    disk_type         = "pd-balanced"
    boot_disk_kms_key = google_kms_crypto_key.this["disks"].id
    image_type        = "COS_CONTAINERD"
    labels            = { "semrec.io/pool" = each.value.role }
    resource_labels   = local.labels
    metadata          = { disable-legacy-endpoints = "true" }

    gcfs_config {
      enabled = true # a pod starts while the rest of its 6 GB image is still on the way
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA" # a pod cannot become the node
    }
  }

  lifecycle {
    # initial_node_count would make the pool again; autoscaling is the power workflow's, which takes it away by night.
    ignore_changes = [initial_node_count, autoscaling]
  }
}

resource "google_container_node_pool" "gpu" {
  for_each           = local.gpu_pools
  project            = local.project
  name               = each.key
  cluster            = google_container_cluster.this.id
  node_locations     = each.value.zones
  initial_node_count = 0

  autoscaling {
    total_min_node_count = each.value.min
    total_max_node_count = each.value.max
    location_policy      = "ANY" # wherever there are GPUs, rather than evenly
  }

  management {
    auto_repair  = !each.value.flex # a node that is queued for is not made again
    auto_upgrade = true
  }

  upgrade_settings {
    max_surge       = 0 # a spare GPU may not exist; the part in flight is computed again
    max_unavailable = 1
  }

  node_config {
    machine_type      = each.value.machine
    spot              = each.value.spot
    flex_start        = each.value.flex
    max_run_duration  = each.value.flex ? "604800s" : null # the longest that there is
    service_account   = google_service_account.node.email
    oauth_scopes      = ["https://www.googleapis.com/auth/cloud-platform"]
    disk_size_gb      = each.value.disk_gib
    disk_type         = "pd-balanced"
    boot_disk_kms_key = google_kms_crypto_key.this["disks"].id
    image_type        = "COS_CONTAINERD"
    labels            = { "semrec.io/pool" = each.value.role }
    resource_labels   = local.labels
    metadata          = { disable-legacy-endpoints = "true" }

    gcfs_config {
      enabled = true # a pod starts while the rest of its 6 GB image is still on the way
    }

    guest_accelerator {
      type  = local.gpu_accelerator
      count = var.gpu_pool.accelerator_count

      gpu_driver_installation_config {
        gpu_driver_version = var.gpu_pool.driver == "managed" ? "LATEST" : "INSTALLATION_DISABLED" # the image asks for 580; DEFAULT is what the minor shipped with
      }
    }

    dynamic "reservation_affinity" {
      for_each = var.gpu_pool.reservation == "" ? [] : [var.gpu_pool.reservation]
      content {
        consume_reservation_type = "SPECIFIC_RESERVATION"
        key                      = "compute.googleapis.com/reservation-name"
        values                   = [reservation_affinity.value]
      }
    }

    dynamic "reservation_affinity" {
      for_each = each.value.flex ? ["NO_RESERVATION"] : []
      content {
        consume_reservation_type = reservation_affinity.value
      }
    }

    # GKE adds this taint by itself only where the cluster has another pool already; said here, it is never forgotten.
    taint {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  lifecycle {
    ignore_changes = [initial_node_count, autoscaling]
  }

  # Not before the CPU pool: as the first pool, GPU nodes would be left untainted and the system's pods would fill them.
  depends_on = [google_container_node_pool.cpu]
}
