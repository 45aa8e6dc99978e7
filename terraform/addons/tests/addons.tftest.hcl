# What is installed where, with Helm and Kubernetes mocked. Whether the charts accept their values is not tested here.

mock_provider "helm" {}

mock_provider "kubernetes" {}

variables {
  cloud             = "aws"
  region            = "us-east-1"
  cluster_name      = "semrec-test"
  kubernetes_minor  = "1.36"
  gpu_driver        = "managed"
  gpu_node_selector = { "semrec.io/pool" = "gpu" }
  gpu_tolerations   = [{ key = "nvidia.com/gpu", operator = "Equal", value = "present", effect = "NoSchedule" }]
  gpu_pool_names    = ["gpu-spot", "gpu-ondemand"]
  disk_key_id       = "key"
}

run "aws_brings_everything" {
  command = plan

  assert {
    condition     = yamldecode(helm_release.autoscaler[0].values[0]).autoDiscovery.clusterName == "semrec-test" && yamldecode(helm_release.autoscaler[0].values[0]).rbac.serviceAccount.name == "cluster-autoscaler"
    error_message = "the autoscaler must find its groups and its rights"
  }
  assert {
    condition     = yamldecode(helm_release.autoscaler[0].values[0]).extraArgs.balance-similar-node-groups == "true"
    error_message = "the zones must have as many nodes each"
  }
  assert {
    condition     = yamldecode(helm_release.autoscaler[0].values[0]).image.tag == "v1.36.0"
    error_message = "the autoscaler must be of the cluster's minor"
  }
  assert {
    condition     = yamldecode(helm_release.prometheus.values[0]).alertmanager.config.route.receiver == "tickets" && yamldecode(helm_release.prometheus.values[0]).alertmanager.alertmanagerSpec.secrets == ["receivers"]
    error_message = "alerts must reach the receivers of infra/prometheus"
  }
  assert {
    condition     = sort(keys(yamldecode(helm_release.prometheus.values[0]).additionalPrometheusRulesMap)) == tolist(["semrec-cluster", "semrec-jobs", "semrec-recommendations", "semrec-recording", "semrec-serving"])
    error_message = "all rules must be installed"
  }
  assert {
    condition     = length(kubernetes_config_map_v1.dashboard) == 4 && alltrue([for map in kubernetes_config_map_v1.dashboard : map.metadata[0].labels["grafana_dashboard"] == "1"])
    error_message = "dashboards must come by themselves, and again after a night"
  }
  assert {
    condition     = yamldecode(helm_release.prometheus.values[0]).grafana.deploymentStrategy.type == "Recreate"
    error_message = "a new Grafana would wait for the disk of the old one"
  }
  assert {
    condition     = kubernetes_network_policy_v1.monitoring.metadata[0].name == "own-namespace" && length(kubernetes_network_policy_v1.monitoring.spec[0].ingress) == 2 && length(kubernetes_network_policy_v1.monitoring.spec[0].ingress[0].from[0].namespace_selector) == 0
    error_message = "who is not of the namespace must not ask Prometheus, which has no password"
  }
  assert {
    condition     = yamldecode(helm_release.prometheus.values[0]).grafana.persistence.enabled && yamldecode(helm_release.prometheus.values[0]).alertmanager.alertmanagerSpec.storage.volumeClaimTemplate.spec.storageClassName == "semrec-encrypted"
    error_message = "silences and tokens must outlive the night"
  }
  assert {
    condition     = yamldecode(yamldecode(helm_release.autoscaler[0].values[0]).expanderPriorities) == { "10" = [".*"], "90" = [".*gpu-ondemand.*"], "100" = [".*gpu-spot.*"] }
    error_message = "spot must be tried before on-demand"
  }
  assert {
    condition     = yamldecode(helm_release.device_plugin[0].values[0]).tolerations[0].key == "nvidia.com/gpu" && yamldecode(helm_release.device_plugin[0].values[0]).affinity == null
    error_message = "the device plugin must run on the tainted nodes, without waiting for labels"
  }
  assert {
    condition     = length(helm_release.secrets_driver) == 1 && length(helm_release.secrets_aws) == 1 && length(kubernetes_config_map_v1.priorities) == 0
    error_message = "EKS has no secrets driver of its own"
  }
  assert {
    condition     = kubernetes_storage_class_v1.encrypted.parameters["encrypted"] == "true" && kubernetes_storage_class_v1.encrypted.parameters["kmsKeyId"] == "key"
    error_message = "volumes must be on our key"
  }
}

run "aks_tolerates_its_spot_taint" {
  command = plan
  variables {
    cloud          = "azure"
    gpu_pool_names = ["gpuspot", "gpuondemand"]
    gpu_tolerations = [
      { key = "nvidia.com/gpu", operator = "Equal", value = "present", effect = "NoSchedule" },
      { key = "kubernetes.azure.com/scalesetpriority", operator = "Equal", value = "spot", effect = "NoSchedule" },
    ]
  }

  assert {
    condition     = contains([for toleration in yamldecode(helm_release.device_plugin[0].values[0]).tolerations : toleration.key], "kubernetes.azure.com/scalesetpriority")
    error_message = "a device plugin that stays away from spot nodes leaves them without GPUs"
  }
  assert {
    condition     = yamldecode(kubernetes_config_map_v1.priorities[0].data.priorities)["100"] == [".*gpuspot.*"]
    error_message = "spot must be tried first"
  }
  assert {
    condition     = length(helm_release.autoscaler) == 0 && length(helm_release.secrets_driver) == 0
    error_message = "AKS scales and mounts secrets by itself"
  }
}

run "gke_brings_its_own" {
  command = plan
  variables {
    cloud = "gcp"
  }

  assert {
    condition     = length(helm_release.device_plugin) == 0 && length(helm_release.autoscaler) == 0 && length(helm_release.secrets_driver) == 0
    error_message = "GKE runs plugin, autoscaler and secrets driver itself"
  }
}

run "an_operator_brings_the_device_plugin" {
  command = plan
  variables {
    gpu_driver = "none"
  }

  assert {
    condition     = length(helm_release.device_plugin) == 0
    error_message = "two device plugins would fight"
  }
}
