# The same names, descriptions and types in all three modules; a test compares them.

locals {
  # In the order in which they should be tried.
  gpu_pool_names    = [for name in ["gpu-spot", "gpu-ondemand"] : aws_eks_node_group.this[name].node_group_name if contains(keys(local.pools), name)]
  gpu_node_selector = { "semrec.io/pool" = "gpu" }
  gpu_tolerations   = [{ key = "nvidia.com/gpu", operator = "Equal", value = "present", effect = "NoSchedule" }]
}

output "cluster_name" {
  description = "Name of the Kubernetes cluster."
  value       = aws_eks_cluster.this.name
}

output "cluster_endpoint" {
  description = "Address of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "kubeconfig_command" {
  description = "Command that adds the cluster to ~/.kube/config."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}

output "tunnel_command" {
  description = "Command that, after kubeconfig_command, leads kubectl into the private network; empty where none is needed."
  value = !var.private_api || !var.tunnel ? "" : join("", [
    "aws ssm start-session --region ${var.region} --document-name AWS-StartPortForwardingSessionToRemoteHost",
    " --parameters host=${trimprefix(aws_eks_cluster.this.endpoint, "https://")},portNumber=443,localPortNumber=8443",
    " --target \"$(aws ec2 describe-instances --region ${var.region} --filters Name=tag:Name,Values=${local.name}-cpu-* Name=instance-state-name,Values=running",
    " --query 'Reservations[0].Instances[0].InstanceId' --output text)\" >tunnel.log 2>&1 & sleep 10;",
    " kubectl config set-cluster ${aws_eks_cluster.this.arn} --server=https://localhost:8443 --tls-server-name=${trimprefix(aws_eks_cluster.this.endpoint, "https://")}",
  ])
}

output "subnet_ids" {
  description = "Subnets of the nodes."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "pool_names" {
  description = "Node pools by role: cpu, and gpu in the order in which they should be tried."
  value = {
    cpu = [for name in keys(local.cpu_pools) : aws_eks_node_group.this[name].node_group_name]
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
  value       = "s3://${aws_s3_bucket.data.bucket}"
}

output "kms_key_id" {
  description = "Key that encrypts the workspace bucket."
  value       = aws_kms_key.this["data"].arn
}

output "registry" {
  description = "The image's repository: docker push REGISTRY:TAG."
  value       = aws_ecr_repository.this.repository_url
}

output "service_account_annotations" {
  description = "Annotations that give the Kubernetes service account its cloud identity."
  value       = { "eks.amazonaws.com/role-arn" = aws_iam_role.pods["workload"].arn }
}

output "serving_account_annotations" {
  description = "The same for the service account of the pods that answer requests."
  value       = { "eks.amazonaws.com/role-arn" = aws_iam_role.pods["serving"].arn }
}

output "pod_labels" {
  description = "Labels without which a pod of the service account gets no cloud identity."
  value       = tomap({})
}

output "secret_references" {
  description = "Secret name to its address in the cloud's vault."
  value       = { for name, secret in aws_secretsmanager_secret.this : name => secret.arn }
}

output "redis_address" {
  description = "RAY_REDIS_ADDRESS of the global control store (TLS), empty without fault tolerance; its password is the secret redis-password."
  value       = var.gcs_fault_tolerance ? "rediss://${aws_elasticache_replication_group.this[0].primary_endpoint_address}:6379" : ""
}

output "redis_ca" {
  description = "Certificates (PEM) of the authority that signs Redis's own; empty where it is a public one."
  value       = ""
}

output "commands" {
  description = "What this cloud's command line does in the guide: docker_login, redis_password (prints it), and upload (of the folder incoming)."
  value = tomap({
    docker_login   = "aws ecr get-login-password --region ${var.region} | docker login --username AWS --password-stdin ${split("/", aws_ecr_repository.this.repository_url)[0]}"
    redis_password = var.gcs_fault_tolerance ? "aws secretsmanager get-secret-value --region ${var.region} --secret-id ${aws_secretsmanager_secret.this["redis-password"].arn} --query SecretString --output text" : "true"
    upload         = "aws s3 cp --recursive incoming s3://${aws_s3_bucket.data.bucket}/incoming"
  })
}

output "budget_id" {
  description = "Budget that alerts, and stops the nodes if asked to."
  value       = aws_budgets_budget.this.id
}

output "suspend_command" {
  description = "Command that stops all nodes now."
  value       = "aws stepfunctions start-execution --region ${var.region} --state-machine-arn ${aws_sfn_state_machine.power.arn} --input '{\"action\":\"suspend\"}'"
}

output "resume_command" {
  description = "Command that brings suspended nodes back."
  value       = "aws stepfunctions start-execution --region ${var.region} --state-machine-arn ${aws_sfn_state_machine.power.arn} --input '{\"action\":\"resume\"}'"
}

output "addons" {
  description = "The variables of the root addons, for its terraform.tfvars.json."
  value = {
    cloud             = "aws"
    region            = var.region
    cluster_name      = aws_eks_cluster.this.name
    kubernetes_minor  = var.kubernetes_version
    gpu_driver        = var.gpu_pool.driver
    gpu_node_selector = local.gpu_node_selector
    gpu_tolerations   = local.gpu_tolerations
    gpu_pool_names    = local.gpu_pool_names
    disk_key_id       = aws_kms_key.this["disks"].arn
  }
}
