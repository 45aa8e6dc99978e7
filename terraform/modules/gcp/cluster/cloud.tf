# What GCP calls what was asked for, and who asks.

data "google_project" "this" {
  project_id = var.account
}

locals {
  name    = "${var.name}-${var.environment}"
  labels  = merge(var.labels, { deployment = local.name, managed-by = "terraform" })
  project = var.account

  # n2: 4 GiB per vCPU, offered in every region.
  cpu_machine = "n2-standard-${var.cpu_pool.vcpus}"

  gpu_machine     = local.gpu_machines["${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}"]
  gpu_accelerator = { L4 = "nvidia-l4", A100 = "nvidia-tesla-a100", H100 = "nvidia-h100-80gb" }[var.gpu_pool.accelerator]
}
