# Tells Kubernetes of a node's GPUs. GKE runs its own device plugin.

resource "helm_release" "device_plugin" {
  count      = var.cloud != "gcp" && var.gpu_driver == "managed" ? 1 : 0
  name       = "nvidia-device-plugin"
  repository = local.chart_repositories.nvidia
  chart      = "nvidia-device-plugin"
  version    = "0.18.2"
  namespace  = "kube-system"
  atomic     = true

  values = [yamlencode({
    nodeSelector = var.gpu_node_selector
    # On AKS this holds the spot taint too: a plugin that stays away from spot nodes leaves them without GPUs.
    tolerations = var.gpu_tolerations
    # The chart's own affinity waits for labels of a feature discovery that nobody runs here; null takes it away.
    affinity          = null
    priorityClassName = "system-node-critical"
  })]
}
