# The same names, descriptions and types in all three modules; a test compares them.

locals {
  # In the order in which they should be tried.
  gpu_pool_names    = [for name in ["gpuspot", "gpuondemand"] : azurerm_kubernetes_cluster_node_pool.gpu[name].name if contains(keys(local.gpu_pools), name)]
  gpu_node_selector = { "semrec.io/pool" = "gpu" }
  gpu_tolerations = concat(
    [{ key = "nvidia.com/gpu", operator = "Equal", value = "present", effect = "NoSchedule" }],
    [for name in keys(local.gpu_pools) : { key = "kubernetes.azure.com/scalesetpriority", operator = "Equal", value = "spot", effect = "NoSchedule" } if name == "gpuspot"],
  )
}

output "cluster_name" {
  description = "Name of the Kubernetes cluster."
  value       = azurerm_kubernetes_cluster.this.name
}

output "cluster_endpoint" {
  description = "Address of the Kubernetes API."
  value       = "https://${azurerm_kubernetes_cluster.this.fqdn}"
}

output "kubeconfig_command" {
  description = "Command that adds the cluster to ~/.kube/config."
  value       = "az aks get-credentials --subscription ${var.account} --resource-group ${azurerm_resource_group.this.name} --name ${azurerm_kubernetes_cluster.this.name}${var.private_api ? " --public-fqdn" : ""} && kubelogin convert-kubeconfig -l azurecli"
}

output "tunnel_command" {
  description = "Command that, after kubeconfig_command, leads kubectl into the private network; empty where none is needed."
  value = local.bastion == 0 ? "" : join("", [
    "az network bastion tunnel --subscription ${var.account} --resource-group ${azurerm_resource_group.this.name} --name ${azurerm_bastion_host.this[0].name}",
    " --target-resource-id ${azurerm_kubernetes_cluster.this.id} --resource-port 443 --port 8443 >tunnel.log 2>&1 & sleep 10;",
    " kubectl config set-cluster ${azurerm_kubernetes_cluster.this.name} --server=https://localhost:8443 --tls-server-name=${azurerm_kubernetes_cluster.this.fqdn}",
  ])
}

output "subnet_ids" {
  description = "Subnets of the nodes."
  value       = [azurerm_subnet.nodes.id]
}

output "pool_names" {
  description = "Node pools by role: cpu, and gpu in the order in which they should be tried."
  value = {
    cpu = [azurerm_kubernetes_cluster.this.default_node_pool[0].name]
    gpu = local.gpu_pool_names
  }
}

output "gpu_node_selector" {
  description = "Node selector of pods that need an accelerator."
  value       = local.gpu_node_selector
}

output "gpu_tolerations" {
  description = "Tolerations of pods that need an accelerator."
  value       = local.gpu_tolerations
}

output "gpu_machine" {
  description = "Machine type of the GPU pools, the accelerator that it really has, how many, and nodes at most."
  value       = { type = local.gpu_machine, accelerator = local.gpu_accelerator, count = var.gpu_pool.accelerator_count, max_nodes = var.gpu_pool.max }
}

output "data_uri" {
  description = "Workspace root on the object store, for --workspace."
  value       = "abfs://${azurerm_storage_container.data.name}@${azurerm_storage_account.data.name}.dfs.core.windows.net"
}

output "kms_key_id" {
  description = "Key that encrypts the workspace bucket."
  value       = azurerm_key_vault_key.this["data"].versionless_id
}

output "registry" {
  description = "The image's repository: docker push REGISTRY:TAG."
  value       = "${azurerm_container_registry.this.login_server}/${local.name}"
}

output "service_account_annotations" {
  description = "Annotations that give the Kubernetes service account its cloud identity."
  value       = { "azure.workload.identity/client-id" = azurerm_user_assigned_identity.this["workload"].client_id }
}

output "serving_account_annotations" {
  description = "The same for the service account of the pods that answer requests."
  value       = { "azure.workload.identity/client-id" = azurerm_user_assigned_identity.this["serving"].client_id }
}

output "pod_labels" {
  description = "Labels without which a pod of the service account gets no cloud identity."
  value       = tomap({ "azure.workload.identity/use" = "true" })
}

output "secret_references" {
  description = "Secret name to its address in the cloud's vault."
  value       = { for name in local.secrets : name => "${azurerm_key_vault.this["secrets"].vault_uri}secrets/${name}" }
}

output "redis_address" {
  description = "RAY_REDIS_ADDRESS of the global control store (TLS), empty without fault tolerance; its password is the secret redis-password."
  value       = var.gcs_fault_tolerance ? "rediss://${azurerm_managed_redis.this[0].hostname}:${azurerm_managed_redis.this[0].default_database[0].port}" : ""
}

output "redis_ca" {
  description = "Certificates (PEM) of the authority that signs Redis's own; empty where it is a public one."
  value       = ""
}

output "commands" {
  description = "What this cloud's command line does in the guide: docker_login, redis_password (prints it), and upload (of the folder incoming)."
  value = tomap({
    docker_login   = "az acr login --subscription ${var.account} --name ${azurerm_container_registry.this.name}"
    redis_password = var.gcs_fault_tolerance ? "az keyvault secret show --id ${azurerm_key_vault.this["secrets"].vault_uri}secrets/redis-password --query value --output tsv" : "true"
    upload         = "az storage blob upload-batch --auth-mode login --account-name ${azurerm_storage_account.data.name} --source incoming --destination ${azurerm_storage_container.data.name} --destination-path incoming"
  })
}

output "budget_id" {
  description = "Budget that alerts, and stops the nodes if asked to."
  value       = azurerm_consumption_budget_subscription.this.id
}

output "suspend_command" {
  description = "Command that stops all nodes now."
  value       = "az aks stop --subscription ${var.account} --resource-group ${azurerm_resource_group.this.name} --name ${azurerm_kubernetes_cluster.this.name}"
}

output "resume_command" {
  description = "Command that brings suspended nodes back."
  value       = "az aks start --subscription ${var.account} --resource-group ${azurerm_resource_group.this.name} --name ${azurerm_kubernetes_cluster.this.name}"
}

output "addons" {
  description = "The variables of the root addons, for its terraform.tfvars.json."
  value = {
    cloud             = "azure"
    region            = var.region
    cluster_name      = azurerm_kubernetes_cluster.this.name
    kubernetes_minor  = var.kubernetes_version
    gpu_driver        = var.gpu_pool.driver
    gpu_node_selector = local.gpu_node_selector
    gpu_tolerations   = local.gpu_tolerations
    gpu_pool_names    = local.gpu_pool_names
    disk_key_id       = azurerm_disk_encryption_set.this.id
  }
}
