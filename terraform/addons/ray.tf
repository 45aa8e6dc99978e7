# Runs RayCluster, RayJob and RayService objects.

resource "helm_release" "kuberay" {
  name             = "kuberay-operator"
  repository       = local.chart_repositories.kuberay
  chart            = "kuberay-operator"
  version          = "1.7.0"
  namespace        = "kuberay-system"
  create_namespace = true
  atomic           = true

  values = [yamlencode({
    nodeSelector = { "semrec.io/pool" = "cpu" }
    resources    = { requests = { cpu = "100m", memory = "512Mi" }, limits = { memory = "512Mi" } }
    metrics      = { enabled = true, serviceMonitor = { enabled = true } }
    featureGates = [{ name = "RayCronJob", enabled = true }] # the daily run is one
  })]

  depends_on = [helm_release.prometheus] # brings the kind ServiceMonitor
}
