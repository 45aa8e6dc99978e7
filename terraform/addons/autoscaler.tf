# GKE and AKS scale their own pools. On AWS the autoscaler is ours; its rights come by pod identity from the cluster module.

locals {
  # Higher is tried first: 100 for the first GPU pool (spot), 90 for the second, 10 for all others.
  priorities = merge(
    { "10" = [".*"] },
    { for index, name in var.gpu_pool_names : tostring(100 - 10 * index) => [".*${name}.*"] },
  )
  priorities_yaml = join("", [for priority, patterns in local.priorities : "${priority}:\n${join("", [for pattern in patterns : "  - ${pattern}\n"])}"])
}

resource "helm_release" "autoscaler" {
  count      = var.cloud == "aws" ? 1 : 0
  name       = "cluster-autoscaler"
  repository = local.chart_repositories.autoscaler
  chart      = "cluster-autoscaler"
  version    = "9.52.1"
  namespace  = "kube-system"
  atomic     = true

  values = [yamlencode({
    cloudProvider      = "aws"
    image              = { tag = "v${var.kubernetes_minor}.0" } # the chart's own is of one minor, whatever the cluster's
    awsRegion          = var.region
    autoDiscovery      = { clusterName = var.cluster_name }
    nodeSelector       = { "semrec.io/pool" = "cpu" }
    rbac               = { serviceAccount = { name = "cluster-autoscaler" } } # the name that the pod identity is bound to
    expanderPriorities = local.priorities_yaml
    serviceMonitor     = { enabled = true, namespace = "monitoring" }
    extraArgs = {
      expander                      = "priority"
      balance-similar-node-groups   = "true" # the cpu groups, one in each zone
      scale-down-unneeded-time      = "10m"
      skip-nodes-with-local-storage = "false" # Ray spills to emptyDir; such a node would never be given back
      skip-nodes-with-system-pods   = "false"
      max-node-provision-time       = "10m" # then the next pool is tried: spot capacity that does not come is not waited for
    }
  })]

  depends_on = [helm_release.prometheus]
}

# AKS's autoscaler reads its priorities from this map, by this name.
resource "kubernetes_config_map_v1" "priorities" {
  count = var.cloud == "azure" ? 1 : 0

  metadata {
    name      = "cluster-autoscaler-priority-expander"
    namespace = "kube-system"
  }

  data = { priorities = local.priorities_yaml }
}
