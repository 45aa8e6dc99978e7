# The same names, descriptions and types in all three modules; a test compares them.

locals {
  # In the order in which they should be tried.
  gpu_pool_names    = [for name in ["gpu-spot", "gpu-ondemand"] : google_container_node_pool.gpu[name].name if contains(keys(local.gpu_pools), name)]
  gpu_node_selector = { "semrec.io/pool" = "gpu" }
  dns_endpoint      = var.private_api && var.tunnel
  gpu_tolerations   = [{ key = "nvidia.com/gpu", operator = "Equal", value = "present", effect = "NoSchedule" }]
}

output "cluster_name" {
  description = "Name of the Kubernetes cluster."
  value       = google_container_cluster.this.name
}

output "cluster_endpoint" {
  description = "Address of the Kubernetes API."
  value       = "https://${local.dns_endpoint ? google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].endpoint : google_container_cluster.this.endpoint}"
}

output "kubeconfig_command" {
  description = "Command that adds the cluster to ~/.kube/config."
  value       = "gcloud container clusters get-credentials ${google_container_cluster.this.name} --project ${local.project} --region ${var.region}${local.dns_endpoint ? " --dns-endpoint" : var.private_api ? " --internal-ip" : ""}"
}

output "tunnel_command" {
  description = "Command that, after kubeconfig_command, leads kubectl into the private network; empty where none is needed."
  value       = "" # kubeconfig_command names the DNS endpoint
}

output "subnet_ids" {
  description = "Subnets of the nodes."
  value       = [google_compute_subnetwork.nodes.id]
}

output "pool_names" {
  description = "Node pools by role: cpu, and gpu in the order in which they should be tried."
  value = {
    cpu = [for pool in google_container_node_pool.cpu : pool.name]
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
  value       = { type = local.gpu_machine, accelerator = var.gpu_pool.accelerator, count = var.gpu_pool.accelerator_count, max_nodes = var.gpu_pool.max }
}

output "data_uri" {
  description = "Workspace root on the object store, for --workspace."
  value       = "gs://${google_storage_bucket.data.name}"
}

output "kms_key_id" {
  description = "Key that encrypts the workspace bucket."
  value       = google_kms_crypto_key.this["data"].id
}

output "registry" {
  description = "The image's repository: docker push REGISTRY:TAG."
  value       = "${var.region}-docker.pkg.dev/${local.project}/${google_artifact_registry_repository.this.repository_id}/${local.name}"
}

output "service_account_annotations" {
  description = "Annotations that give the Kubernetes service account its cloud identity."
  value       = { "iam.gke.io/gcp-service-account" = google_service_account.pods["workload"].email }
}

output "serving_account_annotations" {
  description = "The same for the service account of the pods that answer requests."
  value       = { "iam.gke.io/gcp-service-account" = google_service_account.pods["serving"].email }
}

output "pod_labels" {
  description = "Labels without which a pod of the service account gets no cloud identity."
  value       = tomap({})
}

output "secret_references" {
  description = "Secret name to its address in the cloud's vault."
  value       = { for name, secret in google_secret_manager_secret.this : name => secret.id }
}

output "redis_address" {
  description = "RAY_REDIS_ADDRESS of the global control store (TLS), empty without fault tolerance; its password is the secret redis-password."
  value       = var.gcs_fault_tolerance ? "rediss://${google_redis_instance.this[0].host}:${google_redis_instance.this[0].port}" : ""
}

output "redis_ca" {
  description = "Certificates (PEM) of the authority that signs Redis's own; empty where it is a public one."
  value       = join("", [for authority in flatten(google_redis_instance.this[*].server_ca_certs) : authority.cert])
}

output "commands" {
  description = "What this cloud's command line does in the guide: docker_login, redis_password (prints it), and upload (of the folder incoming)."
  value = tomap({
    docker_login   = "gcloud auth configure-docker --quiet ${var.region}-docker.pkg.dev"
    redis_password = var.gcs_fault_tolerance ? "gcloud secrets versions access latest --project ${local.project} --secret ${google_secret_manager_secret.this["redis-password"].secret_id}" : "true"
    upload         = "gcloud storage cp --recursive incoming gs://${google_storage_bucket.data.name}/"
  })
}

output "budget_id" {
  description = "Budget that alerts, and stops the nodes if asked to."
  value       = google_billing_budget.this.id
}

output "suspend_command" {
  description = "Command that stops all nodes now."
  value       = "gcloud workflows run ${google_workflows_workflow.power.name} --project ${local.project} --location ${var.region} --data '{\"action\":\"suspend\"}'"
}

output "resume_command" {
  description = "Command that brings suspended nodes back."
  value       = "gcloud workflows run ${google_workflows_workflow.power.name} --project ${local.project} --location ${var.region} --data '{\"action\":\"resume\"}'"
}

output "addons" {
  description = "The variables of the root addons, for its terraform.tfvars.json."
  value = {
    cloud             = "gcp"
    region            = var.region
    cluster_name      = google_container_cluster.this.name
    kubernetes_minor  = var.kubernetes_version
    gpu_driver        = var.gpu_pool.driver
    gpu_node_selector = local.gpu_node_selector
    gpu_tolerations   = local.gpu_tolerations
    gpu_pool_names    = local.gpu_pool_names
    disk_key_id       = google_kms_crypto_key.this["disks"].id
  }
}
