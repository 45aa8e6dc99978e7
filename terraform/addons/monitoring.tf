# Prometheus, Alertmanager and Grafana. What they watch and show is in infra/.

resource "helm_release" "prometheus" {
  name             = "kube-prometheus-stack"
  repository       = local.chart_repositories.prometheus
  chart            = "kube-prometheus-stack"
  version          = "75.15.1"
  namespace        = "monitoring"
  create_namespace = true
  atomic           = true
  timeout          = 900

  values = [yamlencode({
    # Control planes of managed clusters cannot be scraped: switched on, these alert for ever.
    kubeControllerManager = { enabled = false }
    kubeEtcd              = { enabled = false }
    kubeProxy             = { enabled = false }
    kubeScheduler         = { enabled = false }

    prometheus = {
      prometheusSpec = {
        # Monitors and rules of all namespaces, not only of this release.
        podMonitorSelectorNilUsesHelmValues     = false
        ruleSelectorNilUsesHelmValues           = false
        serviceMonitorSelectorNilUsesHelmValues = false
        nodeSelector                            = { "semrec.io/pool" = "cpu" }
        retention                               = "30d"
        retentionSize                           = "45GB"
        storageSpec = { volumeClaimTemplate = { spec = {
          storageClassName = kubernetes_storage_class_v1.encrypted.metadata[0].name
          accessModes      = ["ReadWriteOnce"]
          resources        = { requests = { storage = "50Gi" } }
        } } }
      }
    }

    alertmanager = { alertmanagerSpec = { nodeSelector = { "semrec.io/pool" = "cpu" } } }

    # The chart's own password is known to everyone; this Secret is made by hand before the apply (see README).
    grafana = {
      nodeSelector = { "semrec.io/pool" = "cpu" }
      admin        = { existingSecret = "grafana-admin", userKey = "admin-user", passwordKey = "admin-password" }
    }
  })]
}
