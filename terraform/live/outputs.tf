# The cluster modules' outputs, passed on as they are by all roots, which link to this file. A test compares the two.

output "cluster_name" {
  description = "Name of the Kubernetes cluster."
  value       = module.cluster.cluster_name
}

output "cluster_endpoint" {
  description = "Address of the Kubernetes API."
  value       = module.cluster.cluster_endpoint
}

output "kubeconfig_command" {
  description = "Command that adds the cluster to ~/.kube/config."
  value       = module.cluster.kubeconfig_command
}

output "tunnel_command" {
  description = "Command that, after kubeconfig_command, leads kubectl into the private network; empty where none is needed."
  value       = module.cluster.tunnel_command
}

output "subnet_ids" {
  description = "Subnets of the nodes."
  value       = module.cluster.subnet_ids
}

output "pool_names" {
  description = "Node pools by role: cpu, and gpu in the order in which they should be tried."
  value       = module.cluster.pool_names
}

output "gpu_node_selector" {
  description = "Node selector of pods that need an accelerator."
  value       = module.cluster.gpu_node_selector
}

output "gpu_tolerations" {
  description = "Tolerations of pods that need an accelerator."
  value       = module.cluster.gpu_tolerations
}

output "gpu_machine" {
  description = "Machine type of the GPU pools, the accelerator that it really has, how many, and nodes at most."
  value       = module.cluster.gpu_machine
}

output "data_uri" {
  description = "Workspace root on the object store, for --workspace."
  value       = module.cluster.data_uri
}

output "kms_key_id" {
  description = "Key that encrypts the workspace bucket."
  value       = module.cluster.kms_key_id
}

output "registry" {
  description = "The image's repository: docker push REGISTRY:TAG."
  value       = module.cluster.registry
}

output "service_account_annotations" {
  description = "Annotations that give the Kubernetes service account its cloud identity."
  value       = module.cluster.service_account_annotations
}

output "serving_account_annotations" {
  description = "The same for the service account of the pods that answer requests."
  value       = module.cluster.serving_account_annotations
}

output "pod_labels" {
  description = "Labels without which a pod of the service account gets no cloud identity."
  value       = module.cluster.pod_labels
}

output "secret_references" {
  description = "Secret name to its address in the cloud's vault."
  value       = module.cluster.secret_references
}

output "redis_address" {
  description = "RAY_REDIS_ADDRESS of the global control store (TLS), empty without fault tolerance; its password is the secret redis-password."
  value       = module.cluster.redis_address
}

output "redis_ca" {
  description = "Certificates (PEM) of the authority that signs Redis's own; empty where it is a public one."
  value       = module.cluster.redis_ca
}

output "commands" {
  description = "What this cloud's command line does in the guide: docker_login, redis_password (prints it), and upload (of the folder incoming)."
  value       = module.cluster.commands
}

output "budget_id" {
  description = "Budget that alerts, and stops the nodes if asked to."
  value       = module.cluster.budget_id
}

output "suspend_command" {
  description = "Command that stops all nodes now."
  value       = module.cluster.suspend_command
}

output "resume_command" {
  description = "Command that brings suspended nodes back."
  value       = module.cluster.resume_command
}

output "addons" {
  description = "The variables of the root addons, for its terraform.tfvars.json."
  value       = module.cluster.addons
}
