output "charts" {
  description = "Charts installed, and their versions."
  value = {
    for release in concat(
      [helm_release.kuberay, helm_release.prometheus],
      helm_release.device_plugin, helm_release.autoscaler, helm_release.secrets_driver, helm_release.secrets_aws,
    ) : release.chart => release.version
  }
}

output "storage_class" {
  description = "Class of volumes that are encrypted with the deployment's key."
  value       = kubernetes_storage_class_v1.encrypted.metadata[0].name
}
