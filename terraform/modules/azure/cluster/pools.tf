# The GPU pools: gpuspot and gpuondemand as asked (names of pools are letters and digits only).
#
# Spot: AKS watches Azure's scheduled events, cordons and drains a node that is to be evicted (the warning is 30 s) and
# deletes it. The pods' share of it (grace periods) is in the manifests, the runs' is the ledger.

locals {
  gpu_taint = "nvidia.com/gpu=present:NoSchedule"
  # Azure puts this taint on spot nodes in any case; unsaid here, every plan would want to remove it. Whatever must run
  # there tolerates it, the device plugin above all: without it the node has no GPUs to schedule.
  spot_taint = "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"

  gpu_pools = {
    for name, pool in {
      gpuspot = { spot = true, min = var.gpu_pool.min, taints = [local.gpu_taint, local.spot_taint] }
      # As a fallback it waits at 0; alone it keeps the minimum.
      gpuondemand = { spot = false, min = var.gpu_pool.spot ? 0 : var.gpu_pool.min, taints = [local.gpu_taint] }
    } : name => pool if pool.spot == var.gpu_pool.spot || var.gpu_pool.on_demand_fallback && !pool.spot
  }
}

resource "azurerm_kubernetes_cluster_node_pool" "gpu" {
  for_each                      = local.gpu_pools
  name                          = each.key
  kubernetes_cluster_id         = azurerm_kubernetes_cluster.this.id
  mode                          = "User"
  vm_size                       = local.gpu_machine
  auto_scaling_enabled          = true
  min_count                     = each.value.min
  max_count                     = var.gpu_pool.max
  zones                         = length(var.gpu_pool.zones) == 0 ? var.zones : var.gpu_pool.zones
  vnet_subnet_id                = azurerm_subnet.nodes.id
  orchestrator_version          = var.kubernetes_version
  os_disk_size_gb               = 256
  os_disk_type                  = "Managed"
  host_encryption_enabled       = true
  max_pods                      = 110
  capacity_reservation_group_id = var.gpu_pool.reservation == "" ? null : var.gpu_pool.reservation
  gpu_driver                    = var.gpu_pool.driver == "managed" ? "Install" : "None"
  priority                      = each.value.spot ? "Spot" : "Regular"
  eviction_policy               = each.value.spot ? "Delete" : null
  spot_max_price                = each.value.spot ? -1 : null # up to the on-demand price: evicted for capacity, never for price
  node_labels                   = merge({ "semrec.io/pool" = "gpu" }, each.value.spot ? { "kubernetes.azure.com/scalesetpriority" = "spot" } : {})
  node_taints                   = each.value.taints
  temporary_name_for_rotation   = each.value.spot ? "gpustmp" : "gpuotmp"
  tags                          = local.labels

  dynamic "upgrade_settings" {
    for_each = each.value.spot ? [] : ["on demand"] # Azure refuses them for spot
    content {
      max_unavailable = "1" # a spare GPU may not exist; the part in flight is computed again
    }
  }

  lifecycle {
    ignore_changes = [node_count]
  }
}
