# Prometheus, Alertmanager and Grafana, with the rules, receivers and dashboards of infra/: an apply brings what a changed file says.

locals {
  prometheus = "${path.module}/../../infra/prometheus"
  dashboards = "${path.module}/../../infra/grafana/dashboards"
  volume = { for name, size in { prometheus = "50Gi", alertmanager = "2Gi" } : name => { volumeClaimTemplate = { spec = {
    storageClassName = kubernetes_storage_class_v1.encrypted.metadata[0].name
    accessModes      = ["ReadWriteOnce"]
    resources        = { requests = { storage = size } }
  } } } }
}

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
        storageSpec                             = local.volume.prometheus
      }
    }

    additionalPrometheusRulesMap = {
      for file in fileset("${local.prometheus}/rules", "*.yml") :
      "semrec-${trimsuffix(file, ".yml")}" => yamldecode(file("${local.prometheus}/rules/${file}"))
    }

    # The Secret with the receivers' credentials is made by hand before the apply (infra/README.md); the operator mounts it
    # where the configuration looks.
    alertmanager = {
      config = yamldecode(file("${local.prometheus}/alertmanager.yml"))
      alertmanagerSpec = {
        nodeSelector = { "semrec.io/pool" = "cpu" }
        secrets      = ["receivers"]
        storage      = local.volume.alertmanager # silences outlive the night, in which there are no nodes
      }
    }

    # The chart's own password is known to everyone; this Secret is made by hand too.
    grafana = {
      nodeSelector = { "semrec.io/pool" = "cpu" }
      admin        = { existingSecret = "grafana-admin", userKey = "admin-user", passwordKey = "admin-password" }
      # Its disk is of one node at a time: beside the old pod a new one would wait for ever (grafana/helm-charts#146).
      deploymentStrategy = { type = "Recreate" }
      persistence        = { enabled = true, storageClassName = kubernetes_storage_class_v1.encrypted.metadata[0].name, size = "5Gi" }
      sidecar            = { dashboards = { folderAnnotation = "grafana_folder", provider = { foldersFromFilesStructure = true } } }
    }
  })]
}

# Found by the label, by the sidecar of the chart's Grafana. For another Grafana: python -m infra.grafana push.
resource "kubernetes_config_map_v1" "dashboard" {
  for_each = fileset(local.dashboards, "*.json")

  metadata {
    name        = "semrec-dashboard-${trimsuffix(each.key, ".json")}"
    namespace   = helm_release.prometheus.namespace
    labels      = { grafana_dashboard = "1" }
    annotations = { grafana_folder = "semrec" }
  }

  data = { (each.key) = file("${local.dashboards}/${each.key}") }
}

# Prometheus and Alertmanager have no password: who is in this namespace may ask, and Grafana's users through Grafana. The API server
# still reaches what is forwarded (kubectl port-forward), for it goes by the node.
resource "kubernetes_network_policy_v1" "monitoring" {
  metadata {
    name      = "own-namespace"
    namespace = helm_release.prometheus.namespace
  }

  spec {
    pod_selector {}
    policy_types = ["Ingress"]

    ingress {
      from {
        pod_selector {}
      }
    }
    # The operator's admission webhook, which the API server calls from outside the pods' network.
    ingress {
      ports {
        port     = "10250"
        protocol = "TCP"
      }
    }
  }
}
